"""The mark of a score on a benchmark that was trained on: TruthfulQA wherever UltraFeedback was used.

Owns what is known beforehand. Does not own the search for questions in prompts, which needs the data and gives the
evidence (``data.contamination``): a mark says that a score is not to be trusted, and not that it is too high.
"""

from collections.abc import Iterable

__all__ = ["contamination", "is_truthfulqa"]

_TRAINED = ("ultrafeedback", "truthfulqa")
"""What a path, a hub id or a source of rows holds when its data do. Some published sets left out the 811 prompts of
that source; questions that came in by other sources remain, so these sets are marked too."""
_MODELS = ("zephyr7balpha", "zephyr7bbeta", "notus7bv1", "snorkelmistralpairrmdpo")
"""Published models that were trained on UltraFeedback, by their cards, for results that have no lineage."""


def is_truthfulqa(name: str) -> bool:
    """Whether a task, a file or a setting means TruthfulQA: ``truthfulqa_mc2``, ``truthful_qa``."""
    return "truthfulqa" in _plain(name)


def contamination(benchmark: str, trained_on: Iterable[str]) -> str:
    """One sentence for a contaminated score, and an empty text for another one.

    UltraFeedback holds 811 prompts of TruthfulQA's 817 by their source, and 21 more that equal a question: Cui et al.
    (2023), https://arxiv.org/abs/2310.01377; the 21 were found by comparing texts.

    Args:
        benchmark: name of the task.
        trained_on: what the model was made from: paths, hub ids and sources of its training data, ids of its bases.
    """
    if not is_truthfulqa(benchmark):
        return ""
    found = next((item for item in trained_on if any(sign in _plain(item) for sign in (*_TRAINED, *_MODELS))), None)
    if found is None:
        return ""
    return (
        f"contaminated: UltraFeedback holds TruthfulQA's questions, and '{found}' says that it was trained on; "
        "compare such a score with none that was not"
    )


def _plain(text: str) -> str:
    return "".join(character for character in text.lower() if character.isalnum())
