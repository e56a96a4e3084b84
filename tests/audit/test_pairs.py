import pytest

from notus.audit.pairs import PAIR_FLAGS, Pair, audit_pairs, bias_of, share_of_pairs
from notus.core.records import Message, Preference
from notus.core.stage import Tally
from notus.core.tables import read_records, write_records
from notus.formats.quarantine import Quarantine
from notus.formats.source import open_source
from notus.stats.intervals import clustered_mean, proportion
from tests.helpers.data_examples import SHARED


def pair(
    chosen: str, rejected: str, a: float | None = None, b: float | None = None, prompt: str = "Name a river."
) -> Preference:
    return Preference(
        prompt=(Message(role="user", content=prompt),),
        chosen=(Message(role="assistant", content=chosen),),
        rejected=(Message(role="assistant", content=rejected),),
        score_chosen=a,
        score_rejected=b,
        model_chosen="alder",
    )


@pytest.mark.parametrize(
    ("record", "flags"),
    [
        (pair("The Oder.", "No.", 5, 1), ()),
        (pair("No.", "No.", 5, 1), ("same-answers", "same-but-scored-apart")),
        (pair("No.", "No.", 5, 5), ("same-answers", "score-tie")),
        (pair("The Oder.", "No.", 5, 5), ("score-tie",)),
        (pair("The Oder.", "No.", 1, 5), ("reversed",)),
        (pair("The Oder.", "No.", 1), ("unscored",)),
        (pair("The Oder.", " ", 5, 1), ("empty-answer",)),
    ],
)
def test_flags(record: Preference, flags: tuple[str, ...]) -> None:
    (row,) = audit_pairs([record]).rows
    assert row.flags == flags
    assert set(flags) <= PAIR_FLAGS.keys()


def test_the_health_of_a_set() -> None:
    found = audit_pairs(
        [
            pair("The Oder.", "No.", 5, 1, "1"),
            pair("No.", "The Oder.", 4, 2, "1"),
            pair("No.", "No.", 3, 3, "2"),
            pair("Yes.", "No.", 2, 3, "3"),
            pair("The Elbe.", "No.", prompt="4"),
        ]
    )
    health = found.health
    assert (health.pairs, health.prompts, health.scored) == (5, 4, 4)
    assert (health.same_answers.count, health.same_answers.of) == (1, 5)
    assert (health.score_ties.count, health.score_ties.of) == (1, 4)
    assert (health.reversed.count, health.reversed.of) == (1, 4)
    assert (health.repeated_prompts.count, health.repeated_prompts.of) == (2, 5)
    assert (health.longer_chosen.count, health.longer_chosen.of) == (3, 4)
    assert health.margin == (4 + 2 + 0 - 1) / 4
    assert health.margins == {-1: 1, 0: 1, 2: 1, 4: 1}
    assert health.chosen_models == {"alder": 5}
    assert [row.flags for row in found.rows[:2]] == [("repeated-prompt",)] * 2
    assert any("chosen has a lower score than rejected" in sentence for sentence in health.sentences())


def test_an_empty_set_has_an_empty_health() -> None:
    health = audit_pairs([]).health
    assert (health.pairs, health.margin, health.same_answers.interval) == (0, None, None)
    assert health.sentences() == ["0 pairs over 0 prompts; 0 have both scores, or state a margin."]


def test_the_rows_make_a_table(tmp_path) -> None:
    rows = audit_pairs([pair("The Oder.", "No.", 5, 1)]).rows
    write_records(tmp_path / "pairs.parquet", rows, Pair)
    assert tuple(read_records(tmp_path / "pairs.parquet", Pair)) == rows


def test_the_1000_real_pairs() -> None:
    path = SHARED / "ultrafeedback" / "binarized_1000.jsonl"
    if not path.exists():
        pytest.skip("the real pairs are not here")
    health = audit_pairs(open_source(str(path)).records(Tally("read"), Quarantine())).health  # type: ignore[arg-type]
    assert (health.pairs, health.scored) == (1000, 1000)
    assert (health.same_answers.count, health.score_ties.count, health.reversed.count) == (4, 111, 0)
    assert (health.longer_chosen.count, health.longer_chosen.of) == (552, 992)
    text = "\n".join(health.sentences())
    assert "In 4 of 1,000" in text
    assert "In 111 of 1,000" in text


def test_a_share_takes_prompts_as_clusters() -> None:
    # One pair for each prompt: Wilson. The same cases ten times over: no more is known than before.
    cases = [True, False, True, True, False, True]
    alone = share_of_pairs(cases, [str(n) for n in range(6)]).interval
    assert alone == proportion(4, 6)
    many = share_of_pairs(cases * 10, [str(n) for n in range(6)] * 10)
    assert (many.count, many.of) == (40, 60)
    assert many.interval is not None
    spread = clustered_mean([float(case) for case in cases], list(range(6)))
    assert spread is not None
    assert many.interval.low == pytest.approx(max(spread.low, 0))
    assert many.interval.high == pytest.approx(min(spread.high, 1))


def test_a_share_of_all_or_none_is_not_sure() -> None:
    for case in (True, False):
        share = share_of_pairs([case] * 6, ["a", "a", "b", "b", "c", "c"])
        assert share.interval is not None
        expected = proportion(3 * case, 3)
        assert (share.interval.low, share.interval.high, share.interval.n) == (expected.low, expected.high, 6)
    assert share_of_pairs([], []).interval is None


def test_the_length_has_one_interval() -> None:
    answers = ["The Oder.", "The Vistula, and the Warta.", "No."]
    pairs = [pair(answers[n % 3], answers[(n // 3) % 3], 5, 1, str(n % 7)) for n in range(60)]
    audit = audit_pairs(pairs)
    assert audit.health.longer_chosen.interval == bias_of(audit.rows).longer


def test_the_mean_margin_has_an_interval_over_prompts_where_there_are_scores() -> None:
    """Margins 1, 2 and 6 of three prompts: 3 ± t(.975, 2) · √7/√3, with t = 4.302653."""
    scored = audit_pairs([pair("a", "b", 1 + margin, 1, f"{margin}") for margin in (1, 2, 6)]).health
    half = 4.302653 * 7**0.5 / 3**0.5
    assert scored.margin == 3
    assert scored.margin_interval is not None
    assert (scored.margin_interval.low, scored.margin_interval.high) == pytest.approx((3 - half, 3 + half), abs=1e-5)
    unscored = audit_pairs([pair("a", "b", None, None, "x")]).health
    assert (unscored.margin, unscored.margin_interval) == (None, None)
