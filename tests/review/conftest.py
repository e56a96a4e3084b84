"""One browser for the tests of a module, and data that a person can check by eye."""

import pytest

from tests.helpers.browser import chromium
from tests.helpers.review_server import feedback_row, pair_row, write_rows


@pytest.fixture(scope="module")
def browser():
    with chromium() as opened:
        yield opened


@pytest.fixture(scope="session")
def feedback_file(tmp_path_factory):
    """Forty prompts of two answers: a good one (8, ratings of 4 or 5), and a bad one (2, ratings of 1 or 2), but of
    every fifth prompt the bad one has a 10, beside ratings of 1 and a critique that calls it wrong."""
    rows = []
    for number in range(40):
        odd = number % 5 == 0
        good = (
            f"**River {number}** is long.\n\n- it starts in hills\n- it ends in a sea",
            8.0,
            4 + number % 2,
            "Right and clear.",
        )
        bad = (f"No idea {number}.", 10.0 if odd else 2.0, 1 if odd else 1 + number % 2, "Wrong: it names no river.")
        rows.append(feedback_row(f"Name river number {number}.", [good, bad], "odd" if odd else "plain"))
    return write_rows(tmp_path_factory.mktemp("review") / "feedback.jsonl", rows)


@pytest.fixture(scope="session")
def pairs_file(tmp_path_factory):
    rows = [
        pair_row(
            f"Name river number {number}.",
            f"The Oder, {number} miles of it, flows to the north.",
            f"The Oder, {number} feet of it, flows to the south.",
            score_chosen=float(number % 10),
            score_rejected=1.0,
        )
        for number in range(30)
    ]
    return write_rows(tmp_path_factory.mktemp("review") / "pairs.jsonl", rows)
