import math

import msgspec
import pytest

from notus.audit.feedback import audit
from notus.audit.health import ChoiceCounts, Collector, Health, Ties
from notus.core.records import Feedback, Rating
from notus.core.stage import Tally
from notus.formats.families.ultrafeedback import decode
from notus.formats.quarantine import Quarantine
from notus.formats.source import open_source
from notus.stats.intervals import Share
from tests.helpers.data_examples import SHARED, completion, feedback, raw_row


def health(*records: Feedback) -> Health:
    return audit(records).health


def test_the_counts_of_one_row() -> None:
    found = health(decode(raw_row()))
    assert (found.prompts, found.completions, found.per_prompt) == (1, 4, {4: 1})
    assert (found.rated, found.scored) == (4, 4)
    assert found.scores == {4.0: 1, 7.5: 1, 8.0: 1, 10.0: 1}
    assert found.means == {1.25: 2, 4.25: 1, 5.0: 1}
    assert found.tens == {"set-to-1": 1}
    assert found.not_applicable["honesty"].count == 1
    assert found.not_applicable["honesty"].of == 4
    assert [group.name for group in found.models] == ["alder", "birch", "cedar", "dogwood"]
    assert [(group.name, group.completions, group.rated) for group in found.sources] == [("evol_instruct", 4, 4)]


def test_choices_differ_by_tie_or_apart() -> None:
    same = feedback(completion("a", 5.0, 9.0), completion("b", 1.0, 2.0), prompt="1")
    by_tie = feedback(completion("a", 5.0, 8.0), completion("b", 5.0, 9.0), prompt="2")
    apart = feedback(completion("a", 1.0, 10.0), completion("b", 5.0, 9.0), prompt="3")
    half = feedback(completion("a", 1.0, 10.0), completion("b", 5.0), prompt="4")
    found = health(same, by_tie, apart, half).choice
    assert found == ChoiceCounts(Share.make(2, 3), by_tie=1, apart=1)


def test_ties_of_each_strategy() -> None:
    found = health(
        feedback(completion("a", 5.0, 10.0), completion("b", 5.0, 10.0), prompt="all by both"),
        feedback(
            completion("a", 5.0, 9.0), completion("b", 5.0, 8.0), completion("c", 1.0, 1.0), prompt="best by mean"
        ),
        feedback(completion("a", 3.0, 10.0), completion("b", 2.0, 1.0), prompt="a doubtful ten"),
    ).ties
    assert found["mean-rating"] == Ties(prompts=3, best=1, all=1, too_few=0)
    assert found["critique"] == Ties(prompts=3, best=0, all=1, too_few=0)
    assert found["repaired-critique"] == Ties(prompts=2, best=0, all=1, too_few=1)


def test_length_preference_takes_one_pair_for_each_prompt() -> None:
    found = health(
        feedback(completion("a long answer", 5.0), completion("short", 1.0), completion("middle one", 3.0), prompt="1"),
        feedback(completion("short", 5.0), completion("a long answer", 1.0), prompt="2"),
        feedback(completion("equal", 5.0), completion("liked", 1.0), prompt="3"),
        feedback(completion("tied", 5.0), completion("tied too", 5.0), prompt="4"),
    ).longer_best["mean-rating"]
    assert (found.count, found.of) == (1, 2)


def test_intervals_take_prompts_as_clusters() -> None:
    (group,) = health(
        feedback(completion("a", 1.0), completion("b", 3.0), prompt="1"),
        feedback(completion("a", 5.0), completion("b", 5.0), prompt="2"),
    ).models
    assert group.mean_rating == 3.5
    assert group.mean_rating_interval is not None
    # Residuals −2.5, −0.5 | 1.5, 1.5: cluster sums −3 and 3, se² = 2/1 · 18 / 16, t(.975, 1) = 12.706.
    assert group.mean_rating_interval.low == pytest.approx(3.5 - 12.7062 * math.sqrt(2 * 18 / 16), abs=1e-3)
    assert group.overall_score is None
    assert group.overall_score_interval is None


def test_a_share_carries_its_interval() -> None:
    share = Share.make(1, 4)
    # Wilson: (p + z²/2n ± z √(p(1−p)/n + z²/4n²)) / (1 + z²/n), z = 1.95996.
    z, p, n = 1.959964, 0.25, 4
    half = z * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n)) / (1 + z * z / n)
    centre = (p + z * z / (2 * n)) / (1 + z * z / n)
    assert share.interval is not None
    assert (share.interval.low, share.interval.high) == pytest.approx((centre - half, centre + half), abs=1e-6)
    assert str(share) == "1 of 4 (25.0%, 95 % 4.6% to 69.9%)"
    assert str(Share.make(0, 0)) == "0 of 0"


def test_repeated_prompts_are_counted() -> None:
    assert health(*[feedback(completion("a"), completion("b"))] * 3).repeated_prompts == 2


def rated(*values: float) -> list[Feedback]:
    """A prompt for each rating of the aspect Tone."""
    return [
        feedback(
            msgspec.structs.replace(completion("a"), ratings=(Rating(aspect="Tone", value=value),)),
            prompt=f"Name river {number}.",
        )
        for number, value in enumerate(values)
    ]


def test_a_slip_in_a_rating_is_told() -> None:
    """A 55 among 1 to 5 lies 50 from the nearest, and these lie 4 apart; a 9 lies no further from 5 than 1 does."""
    usual = [1.0, 2.0, 3.0, 4.0, 5.0] * 6
    (told,) = health(*rated(*usual, 55.0)).beyond.values()
    assert (told.values, told.count, told.of, told.low, told.high) == ((55.0,), 1, 31, 1.0, 5.0)
    said = " ".join(health(*rated(*usual, 55.0)).sentences())
    assert "Tone: 1 of 31 ratings (55) lies far from all others, which go from 1 to 5; is that a slip?" in said
    for others in ([9.0], [], [55.0, 55.0]):  # two of 32 are more than one in a hundred
        assert not health(*rated(*usual, *others)).beyond
    assert not health(*rated(1.0, 2.0, 55.0)).beyond  # three say too little
    low = health(*rated(*usual, -99.0)).beyond["Tone"]
    assert (low.values, low.low, low.high) == ((-99.0,), 1.0, 5.0)


def test_slips_are_the_same_however_the_set_was_divided() -> None:
    rows = rated(*[n / 7 for n in range(200)], 400.0)
    whole = health(*rows).beyond
    parts = [Collector() for _ in range(3)]
    for number, row in enumerate(rows):
        parts[number % 3].add(row)
    for part in parts[1:]:
        parts[0].merge(part)
    assert parts[0].health({}).beyond == whole
    assert whole["Tone"].of == 201


def test_an_empty_set_has_an_empty_health() -> None:
    found = health()
    assert (found.prompts, found.completions, found.models) == (0, 0, ())
    assert found.sentences() == ["0 prompts with 0 completions; with a mean rating: 0, with an overall score: 0."]


def test_the_figures_are_plain_values() -> None:
    assert msgspec.json.encode(health(decode(raw_row())))


def test_sentences_name_the_tens_the_choices_and_the_ties() -> None:
    text = "\n".join(health(decode(raw_row())).sentences())
    assert "1 completion carries an overall score of 10; the published rule says: 1 set-to-1" in text
    assert "choose different answers in 1 of 1" in text
    assert "honesty: N/A in 1 of 4" in text


def test_the_80_real_records_their_ties_counted_and_explained() -> None:
    path = SHARED / "feedback" / "four_models_80.jsonl"
    if not path.exists():
        pytest.skip("the real feedback is not here")
    found = audit(open_source(str(path)).records(Tally("read"), Quarantine()))  # type: ignore[arg-type]
    assert found.measure == "spread-of-ratings"
    assert found.health.ties["mean-rating"] == Ties(prompts=80, best=37, all=6, too_few=0)
    assert (found.health.completions, found.health.scored) == (320, 0)
    text = "\n".join(found.health.sentences())
    assert "all answers tie in 6 of 80" in text
    assert "in 37 more, several but not all share the best score" in text
    assert "by critique" not in text.lower()
