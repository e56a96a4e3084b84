"""AlpacaEval's real data for the tests, where they are, and small judgements that are written out."""

import csv
import gzip
import json
from functools import cache

import numpy as np
import pytest

from notus.evaluate.alpaca.score import DRAW, Judgement
from notus.evaluate.length.alpaca import LengthRows
from tests.helpers.paths import SHARED as SHARED_FOLDER

SHARED = SHARED_FOLDER / "data" / "alpaca_eval"
needs_data = pytest.mark.skipif(not SHARED.is_dir(), reason="the real data are not here")
SHIFTED = ("minotaur-13b", "text_davinci_001")
"""Models that lack rows: upstream gave the later rows the difficulties of others, by position."""
NULL = SHARED / "annotations_NullModel_weighted_alpaca_eval_gpt4_turbo.json.gz"
GEMMA = SHARED / "annotations_gemma-2b-it_weighted_alpaca_eval_gpt4_turbo.json.gz"
ZEPHYR = SHARED / "annotations_zephyr-7b-alpha_alpaca_eval_gpt4.json.gz"
ORDER = SHARED / "outputs_zephyr-7b-beta.json.gz"


def judgement(number, preference, output="Yes, and more of it.", **more):
    reason = {} if preference is not None else {"unscored": "failed", "reason": "no-ranking"}
    base = {
        "instruction": f"Question {number}?",
        "output": output,
        "reference_output": "Yes.",
        "model": "mine",
        "reference": "theirs",
        "preference": preference,
        "annotator": "judge",
    }
    return Judgement(**(base | reason | more))


@cache
def stored(version):
    """Model → rows of the stored judgements of AlpacaEval 1 or 2."""
    found = {}
    with gzip.open(SHARED / f"judgements_ae{version}.jsonl.gz") as file:
        for line in file:
            row = json.loads(line)
            found.setdefault(row["model"], []).append(row)
    return found


@cache
def leaderboard(version):
    with (SHARED / f"leaderboard_ae{version}.csv").open() as file:
        return {row[""]: row for row in csv.DictReader(file)}


@cache
def difficulties():
    """By the number of the instruction, since the stored judgements hold no text."""
    with (SHARED / "instruction_difficulty.csv").open() as file:
        return {row["index"]: float(row["instruction_difficulty"]) for row in csv.DictReader(file)}


def judgements_of(version, model):
    """The stored judgements as records; texts of the right lengths stand for the outputs."""
    return [
        Judgement(
            instruction=str(row["idx"]),
            output="x" * row["len_2"],
            reference_output="x" * row["len_1"],
            model=model,
            reference="reference",
            preference=DRAW if row["preference"] == 0 else row["preference"],
            unscored="" if row["preference"] is not None else "failed",
            reason="" if row["preference"] is not None else "no-preference",
            annotator="judge",
        )
        for row in stored(version)[model]
    ]


def rows_by_position(model):
    """As upstream has them: the n-th row has the n-th difficulty, whatever it was asked."""
    rows = stored(2)[model]
    values = np.array(list(difficulties().values()))[: len(rows)]
    return LengthRows(
        np.array([(row["preference"] or DRAW) - 1 for row in rows]),
        np.array([float(row["len_1"] - row["len_2"]) for row in rows]),
        values,
        np.arange(len(rows)),
    )
