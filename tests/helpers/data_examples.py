"""Small rows, written by hand, that the tests of reading, auditing and cleaning share."""

from copy import deepcopy
from typing import Any

from msgspec.structs import replace

from notus.core.records import Completion, Critique, Feedback, Message, Rating
from tests.helpers.paths import SHARED as SHARED_FOLDER

SHARED = SHARED_FOLDER / "data"

ASPECT_NAMES = ("helpfulness", "honesty", "instruction_following", "truthfulness")


def without_place(record: Any) -> Any:
    """The record as a format reads it, before the source says where it stood."""
    return replace(record, file="", line=0)


def annotation(aspect: str, rating: str) -> dict[str, Any]:
    row: dict[str, Any] = {"Rating": rating, "Rationale": f"About {aspect}."}
    if aspect in ("helpfulness", "truthfulness"):
        row |= {"Rationale For Rating": f"Why {rating}.", "Type": ["1", "3"]}
    return row


def raw_completion(model: str, ratings: str = "4 4 5 4", score: float = 7.5) -> dict[str, Any]:
    grades = ratings.split()
    values = [float(grade) for grade in grades if grade != "N/A"]
    return {
        "annotations": {aspect: annotation(aspect, grade) for aspect, grade in zip(ASPECT_NAMES, grades, strict=True)},
        "critique": "It does what was asked.",
        "custom_system_prompt": "Answer kindly.",
        "fine-grained_score": sum(values) / len(values),
        "model": model,
        "overall_score": score,
        "principle": "helpfulness",
        "response": f"An answer by {model}.",
    }


def raw_row() -> dict[str, Any]:
    """A row with the published fields and nothing else; a fresh copy each time."""
    return deepcopy(
        {
            "source": "evol_instruct",
            "instruction": "Name a river.",
            "models": ["alder", "birch", "cedar", "dogwood"],
            "completions": [
                raw_completion("alder", "2 1 1 1", 4.0),
                raw_completion("birch", "5 N/A 5 5", 8.0),
                raw_completion("cedar"),
                raw_completion("dogwood", "1 1 2 1", 10.0),
            ],
            "correct_answers": ["None"],
            "incorrect_answers": ["None"],
        }
    )


def renamed(row: dict[str, Any], **names: str) -> dict[str, Any]:
    """The row with some of its columns under other names."""
    return {names.get(name, name): value for name, value in row.items()}


def snorkel(**change: Any) -> dict[str, Any]:
    texts = ["The Oder.", "A river.", "No."]

    def turns(text: str) -> list[dict[str, str]]:
        return [{"role": "user", "content": "Name a river."}, {"role": "assistant", "content": text}]

    row = {"prompt_id": "flan_7", "prompt": "Name a river.", "chosen": turns(texts[0]), "rejected": turns(texts[2])}
    return row | {"all_generated_responses": texts, "all_rm_scores": [1.5, -0.25, -7.5]} | change


def argilla(**change: Any) -> dict[str, Any]:
    row = {"source": "flan", "instruction": "Name a river.", "chosen_response": "The Oder.", "rejected_response": "No."}
    return row | {"chosen_avg_rating": 4.75, "rejected_avg_rating": 1.0, "chosen_model": "alder"} | change


def helpsteer(**change: Any) -> dict[str, Any]:
    grades = {"helpfulness": 4, "correctness": 4, "coherence": 4, "complexity": 0, "verbosity": 1}
    return {"prompt": "Name a river.", "response": "The Oder."} | grades | change


def completion(
    text: str = "An answer.", mean: float | None = None, score: float | None = None, model: str = "alder"
) -> Completion:
    """A completion with one rating of the given mean, and a critique of the given score."""
    return Completion(
        text=text,
        model=model,
        ratings=() if mean is None else (Rating(aspect="rubric", value=mean),),
        critique=None if score is None else Critique(text="Well.", score=score),
    )


def feedback(*completions: Completion, prompt: str = "Name a river.", source: str = "") -> Feedback:
    return Feedback(prompt=(Message(role="user", content=prompt),), completions=completions, source=source)
