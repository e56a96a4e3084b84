"""Tokenisation of preference pairs: ours against what TRL 1.16 does to prepare the same data set for DPO.

From rows in memory to token ids, same tokenizer, same 1,000 pairs. TRL renders and encodes each pair three times
through ``datasets.map``: the prompt, and the prompt with each answer. Ours renders a prompt once for each prompt and
encodes it and all answers in batches. Each side runs twice over: with one thread, and with tokenizers free to
use two, which batches can and single calls cannot. Figures are medians over processes, in turn, of the best of three in
a process.

The ids of all pairs must be the same but for what is known and taken off first. TRL cuts later, in its collator, so
ours are compared up to the cut; it counts the line break that Zephyr's template puts behind an answer's end as a token
of the answer; and what a user typed as ``</s>`` it encodes as the end of a sequence, so pairs with a typed control
token are left out of the comparison, and counted.
"""

import tempfile
from collections.abc import Container
from pathlib import Path
from typing import Any

from benchmarks.common import in_turn, ratio, read_rows, real_data, side, spread, write_rows
from benchmarks.dpo import SHAPE, make_model

__all__ = ["compare_ids", "measure"]


def measure(*, small: bool = False) -> dict[str, Any]:
    """Pairs per second of both sides with one thread and with two, and their ratios."""
    rows = read_rows(real_data("ultrafeedback/binarized_1000.jsonl"))
    pairs, rounds = (rows[:200], 1) if small else (rows, 5)
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        model, encoder = make_model(work / "model", SHAPE, [row[key] for row in pairs for key in ("prompt", "chosen")])
        file = write_rows(work / "pairs.jsonl", pairs)
        found: dict[str, Any] = {"pairs": len(pairs)}
        for name, threads in (("one_thread", 1), ("two_threads", 2)):
            runs = in_turn(
                rounds,
                {
                    who: lambda who=who, threads=threads: side(  # type: ignore[misc]
                        *(f"{who}_tokens", "--model", model, "--pairs", str(file), "--rounds", 3),
                        *("--ids", str(work / f"{who}.json")),
                        threads=threads,
                        parallel=threads > 1,
                    )
                    for who in ("ours", "trl")
                },
            )
            found |= {
                f"{name}_pairs_per_s": {who: spread(of, "pairs_per_s") for who, of in runs.items()},
                **ratio(f"{name}_speed_to_trl", runs["ours"], runs["trl"], "pairs_per_s"),
            }
        ids = [read_rows(work / f"{who}.json")[0] for who in ("ours", "trl")]
    line_break = encoder.tokenizer("\n", add_special_tokens=False)["input_ids"]
    control = encoder.tokenizer.get_added_vocab()
    typed = {i for i, row in enumerate(pairs) if any(token in text for token in control for text in _texts(row))}
    return found | compare_ids(*ids, line_break, encoder.limits.max_length, typed)


def _texts(row: dict[str, Any]) -> list[str]:
    return [row["prompt"], row["chosen"], row["rejected"]]


def compare_ids(
    ours: Any, theirs: Any, line_break: list[int], longest: int, leave_out: Container[int] = ()
) -> dict[str, int]:
    """Compare the ids of all pairs.

    Args:
        ours: [prompt, chosen, rejected] of each pair.
        theirs: likewise, not cut, with ``line_break`` behind each answer.
        line_break: ids of the line break behind an answer.
        longest: tokens of prompt and answer together at which ours are cut; a prompt to one less, on the left.
        leave_out: numbers of pairs that are not compared.

    Returns:
        How many pairs have the same ids, how many were left out, and how many answers were cut.

    Raises:
        AssertionError: if any pair differs.
    """
    same = cut = 0
    for number, (mine, other) in enumerate(zip(ours, theirs, strict=True)):
        if number in leave_out:
            continue
        prompt = other[0][-(longest - 1) :]
        room = longest - len(prompt)
        answers = []
        for answer in other[1:]:
            assert answer[-len(line_break) :] == line_break, f"pair {number}: no line break behind the answer"
            answers.append(answer[: -len(line_break)][:room])
            cut += len(answer) - len(line_break) > room
        assert mine == [prompt, *answers], f"pair {number} has other ids"
        same += 1
    return {"pairs_with_the_same_ids": same, "pairs_with_typed_control_tokens": len(ours) - same, "answers_cut": cut}
