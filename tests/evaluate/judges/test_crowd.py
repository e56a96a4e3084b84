"""Votes of many annotators, and stored verdicts: by hand, and on CrowdRAG-25 beside a plain computation."""

import gzip
import itertools
import json
import random
from collections import Counter

import pytest

from notus.core.errors import ConfigError, DataError
from notus.core.records import Completion, Feedback, Message, Ranking
from notus.core.run import read_manifest
from notus.core.stage import Tally
from notus.core.tables import read_records, read_table
from notus.evaluate.judges.crowd import AnnotatorRow, annotator_rows, crowd_judge, crowd_people, majority_of
from notus.evaluate.judges.human import JUDGMENT, from_feedback, read_human_pairs, vote_format
from notus.evaluate.judges.stored import evaluate_stored, read_stored
from notus.formats.quarantine import Quarantine, RowReader
from notus.steps.base import read_findings
from notus.steps.evaluate.judges import JudgeTrial
from notus.steps.perform import run_step
from tests.helpers.paths import SHARED

VOTES = SHARED / "data" / "votes"


def row(query, a, b, workers, **votes):
    """A row of CrowdRAG-25."""
    named = {f"{question}_vote": list(said) for question, said in votes.items()}
    return {"query_id": query, "response_a": a, "response_b": b, "worker": list(workers)} | named


PEOPLE = [
    row("q1", "r1", "r2", "stuvw", overall="AAABB", style="ABNNA"),
    row("q1", "r1", "r3", "stuvw", overall="ABBBB", style="NNNNB"),
    row("q2", "r4", "r5", "xyz", overall="AAB", style="ABN"),
    row("q3", "r6", "r7", "xyzst", overall="BBBBB", style="AANBB"),
]
JUDGE = [
    ("q1", "r1", "r2", "a", "n"),
    ("q1", "r2", "r1", "b", "n"),  # the same in both orders
    ("q1", "r1", "r3", "a", "n"),
    ("q1", "r3", "r1", "a", "n"),  # it turns with the order
    ("q2", "r4", "r5", "b", "a"),
    ("q2", "r5", "r4", "a", "b"),
    ("q3", "r6", "r7", "b", "b"),
    ("q3", "r7", "r6", None, "a"),  # no verdict in one of the orders
]
STORED = [
    {"query_id": q, "response_a": a, "response_b": b, "inference": "combined", "overall": o, "style": s}
    for q, a, b, o, s in JUDGE
]


def write(path, rows):
    path.write_text("".join(json.dumps(each) + "\n" for each in rows))
    return path


def read_people(path):
    assert vote_format(path) == "crowdrag"
    return list(read_human_pairs(path, "crowdrag", Tally("votes"), Quarantine()))


def many(seed=1):
    """Thirty pairs of ten queries with three to six of nine votes each, and a judge in both orders."""
    rng = random.Random(seed)
    people, stored = [], []
    for number in range(30):
        workers = rng.sample("rstuvwxyz", rng.randint(3, 6))
        votes = {
            name: [rng.choice(letters) for _ in workers] for name, letters in (("overall", "AAB"), ("style", "ABN"))
        }
        query, a, b = f"q{number % 10}", f"a{number}", f"b{number}"
        people.append(row(query, a, b, workers, **votes))
        for first, second in ((a, b), (b, a)):
            said = {"overall": rng.choice(["a", "b", None]), "style": rng.choice("abn")}
            stored.append(
                {"query_id": query, "response_a": first, "response_b": second, "inference": "combined"} | said
            )
    return people, stored


def mean(values):
    values = list(values)
    return sum(values) / len(values)


def most(votes):
    """The label with the most votes, None where two have as many."""
    counts = Counter(votes)
    top = [name for name, count in counts.items() if count == max(counts.values())]
    return top[0] if len(top) == 1 else None


def left_out(votes):
    """Each vote with the majority of the others."""
    for place, vote in enumerate(votes):
        if (others := most(votes[:place] + votes[place + 1 :])) is not None:
            yield vote, others


def like(votes):
    return mean(a == b for a, b in itertools.combinations(votes, 2))


def cohen(pairs):
    """Cohen's κ: (observed − chance)/(1 − chance), chance by the labels of each side."""
    observed = mean(a == b for a, b in pairs)
    left, right = Counter(a for a, _ in pairs), Counter(b for _, b in pairs)
    chance = sum(left[name] * right[name] for name in "ABC") / len(pairs) ** 2
    return (observed - chance) / (1 - chance)


def krippendorff(items):
    """α, nominal: 1 − (n − 1) Σ_{c≠k} o_ck / Σ_{c≠k} n_c n_k, an ordered pair of m labels weighing 1/(m − 1)."""
    apart, margins = 0.0, Counter()
    for votes in items:
        margins.update(votes)
        apart += sum(a != b for a, b in itertools.permutations(votes, 2)) / (len(votes) - 1)
    whole = sum(margins.values())
    return 1 - (whole - 1) * apart / (whole**2 - sum(count**2 for count in margins.values()))


def cases_of(people, stored, question):
    """Votes, the judge's label from both orders, and whether it was shown the pair, out of the raw rows."""
    said = {(each["query_id"], each["response_a"], each["response_b"]): each[question] for each in stored}
    letters, flipped = {"a": "A", "b": "B", "n": "C"}, {"A": "B", "B": "A", "C": "C"}
    for each in people:
        key = each["query_id"], each["response_a"], each["response_b"]
        votes = [{"A": "A", "B": "B", "N": "C"}[vote] for vote in each[f"{question}_vote"]]
        forward, backward = (letters.get(said.get(shown)) for shown in (key, (key[0], key[2], key[1])))
        both = forward is not None and backward is not None
        yield votes, (forward if forward == flipped[backward] else "C") if both else None, key in said


def plain(people, stored, question):
    """All agreements on one question, written out from the raw rows."""
    cases = list(cases_of(people, stored, question))
    judged = [(votes, label) for votes, label, _ in cases if label is not None]
    majority = [(label, most(votes)) for votes, label in judged if most(votes)]
    single = [(label, vote) for votes, label in judged for vote in votes]
    others = [(label, vote, of) for votes, label in judged for vote, of in left_out(votes)]
    return {
        "asked": sum(there for *_, there in cases),
        "scored": len(judged),
        "majority": mean(a == b for a, b in majority),
        "majority n": len(majority),
        "kappa": cohen(majority),
        "single": mean(a == b for a, b in single),
        "kappa of votes": cohen(single),
        "minus people": mean(mean(vote == label for vote in votes) - like(votes) for votes, label in judged),
        "others": mean(label == of for label, _, of in others),
        "others n": len(others),
        "minus person": mean((label == of) - (vote == of) for label, vote, of in others),
        "people others": mean(vote == of for votes, *_ in cases for vote, of in left_out(votes)),
        "among": mean(like(votes) for votes, *_ in cases),
        "divided": sum(most(votes) is None for votes, *_ in cases),
        "alpha": krippendorff([votes for votes, *_ in cases]),
    }


def equal(people, judge, expected):
    found = {
        "asked": judge.asked,
        "scored": judge.scored,
        "majority": judge.majority.raw.mean,
        "majority n": judge.majority.n,
        "kappa": judge.majority.kappa.mean,
        "single": judge.person.raw.mean,
        "kappa of votes": judge.person.kappa.mean,
        "minus people": judge.minus_people.mean,
        "others": judge.with_others.mean,
        "others n": judge.against_others,
        "minus person": judge.minus_person.mean,
        "people others": people.with_others.mean,
        "among": people.people.among.mean,
        "divided": people.people.divided,
        "alpha": people.people.alpha.mean,
    }
    assert found == {name: pytest.approx(value, abs=1e-12) for name, value in expected.items()}


@pytest.mark.parametrize("question", ["overall", "style"])
def test_agreements_equal_a_plain_computation(tmp_path, question):
    people, stored = many()
    pairs = read_people(write(tmp_path / "people.jsonl", people))
    (judge,) = read_stored(write(tmp_path / "judge.jsonl", stored), RowReader())
    evaluation, own, beside = evaluate_stored(judge, pairs)
    assert beside == {"pairs": 0, "verdicts": 0}
    mine = [pair for pair in pairs if pair.question == question]
    equal(crowd_people(question, mine), crowd_judge(question, evaluation, own), plain(people, stored, question))


@pytest.mark.skipif(not VOTES.exists(), reason="the shared data is not there")
@pytest.mark.parametrize("question", ["quality_overall", "coverage_deep"])
@pytest.mark.parametrize("way", ["combined", "individual"])
def test_agreements_on_crowdrag_equal_a_plain_computation(question, way):
    people, judged = (
        [json.loads(line) for line in gzip.decompress((VOTES / f"{name}.jsonl.gz").read_bytes()).splitlines()]
        for name in ("people", "judge")
    )
    pairs = [pair for pair in read_people(VOTES / "people.jsonl.gz") if pair.question == question]
    reader = RowReader()
    judge = next(each for each in read_stored(VOTES / "judge.jsonl.gz", reader) if each.name == way)
    evaluation, own, _ = evaluate_stored(judge, pairs)
    expected = plain(people, [each for each in judged if each["inference"] == way], question)
    found = crowd_judge(question, evaluation, own)
    equal(crowd_people(question, pairs), found, expected)
    assert (len(pairs), found.asked) == (1352, 754)
    assert found.with_others.low < found.with_others.mean < found.with_others.high
    assert found.majority.raw.groups < 65  # topics are clusters
    assert reader.tally.counts["judged-anew-otherwise"] > 0


def test_a_majority_needs_more_than_any_other():
    assert [majority_of(votes) for votes in ("AAB", "AB", "", "C")] == ["A", None, None, "C"]


def test_each_annotator_has_a_row(tmp_path):
    pairs = read_people(write(tmp_path / "people.jsonl", PEOPLE))
    (judge,) = read_stored(write(tmp_path / "judge.jsonl", STORED), RowReader())
    evaluation, own, _ = evaluate_stored(judge, pairs)
    rows = {(each.question, each.annotator): each for each in annotator_rows(pairs, [(evaluation, own)])}
    assert len(rows) == 2 * 8
    x = rows["overall", "x"]
    # x said A of q2, where the others are divided, and B of q3, as all; the judge has a verdict on q2 alone: B.
    assert (x.votes, x.against_others, x.with_others, x.judged, x.with_judge) == (2, 1, 1.0, 1, 0.0)


def test_votes_in_any_format_are_pairs_with_named_raters():
    prompt = (Message(role="user", content="Name a river."),)
    answers = tuple(Completion(text=text) for text in ("The Oder.", "No.", "Warsaw."))
    votes = (
        Ranking(ranks=(1, 2, None), rater="ana", question="better"),
        Ranking(ranks=(2, 1, None), rater="ana", question="better"),  # she votes anew: the last counts
        Ranking(ranks=(1, 1, 2), rater="ben", question="better"),
        Ranking(ranks=(1, 2, 2), rater="gpt", question=JUDGMENT),
    )
    tally = Tally("votes")
    nobody = Feedback(prompt=prompt, completions=answers[:1])
    found = list(from_feedback([Feedback(prompt=prompt, completions=answers, rankings=votes), nobody], tally))
    assert [(pair.first, pair.second, pair.votes, pair.raters) for pair in found] == [
        ("The Oder.", "No.", ("B", "C"), ("ana", "ben")),
        ("The Oder.", "Warsaw.", ("A",), ("ben",)),
        ("No.", "Warsaw.", ("A",), ("ben",)),
    ]
    assert tally.counts == {"voted-anew": 1}
    assert [each.reason for each in tally.dropped] == ["no-votes"]


def test_broken_rows_of_votes_go_to_the_quarantine(tmp_path):
    bad = [
        PEOPLE[0] | {"overall_vote": ["A"]},
        PEOPLE[0] | {"style_vote": ["A", "B", "X", "N", "N"]},
        PEOPLE[0] | {"worker": ["s", "s", "u", "v", "w"]},
        PEOPLE[0] | {"worker": []},
        PEOPLE[2],
    ]
    quarantine = Quarantine()
    found = list(read_human_pairs(write(tmp_path / "p.jsonl", bad), "crowdrag", Tally("votes"), quarantine))
    assert (len(found), quarantine.total) == (2, 4)


def trial(data, **more):
    return JudgeTrial.parse({"data": str(data)} | more, where="test")


def test_the_step_tells_each_question_and_leaves_the_annotators(tmp_path):
    rows, stored = many()
    people, judge = write(tmp_path / "people.jsonl", rows), write(tmp_path / "judge.jsonl", stored)
    run = run_step("judges", trial(people, stored=(str(judge),)), tmp_path / "run")
    summary = read_manifest(run.path)["summary"]
    assert (summary["question"], summary["questions"], summary["canaries"]) == ("overall", ["overall", "style"], 0)
    by = {each["question"]: each for each in summary["by_question"]}
    expected = plain(rows, stored, "style")
    assert by["style"]["with_others"]["mean"] == pytest.approx(expected["others"])
    assert (by["style"]["with_others"]["n"], by["style"]["judge"]) == (expected["others n"], "combined")
    headings = [finding.heading for finding in read_findings(run.path)]
    assert headings == [
        *("Flags", "People among themselves", "Judges and many annotators"),
        *("Agreement with people", "Order and length"),
    ]
    assert len(list(read_records(run.path / "annotators.parquet", AnnotatorRow))) == 2 * 9
    assert len(read_table(run.path / "scores.parquet")) == 30 - plain(rows, stored, "overall")["divided"]
    # A run is itself a file of stored verdicts.
    again = run_step("judges", trial(people, stored=(str(run.path),), question="style"), tmp_path / "again")
    told = read_manifest(again.path)["summary"]
    assert told["question"] == "style"
    with pytest.raises(ConfigError, match="did you mean 'style'"):
        run_step("judges", trial(people, stored=(str(judge),), question="stile"), tmp_path / "c")


def test_texts_that_are_not_there_cannot_be_shown_to_a_judge(tmp_path):
    people = write(tmp_path / "people.jsonl", PEOPLE)
    with pytest.raises(DataError, match="names the answers and does not hold them"):
        run_step("judges", trial(people, rankers=("length",)), tmp_path / "run")
    other = write(tmp_path / "other.jsonl", [STORED[0] | {"query_id": "q9"}])
    with pytest.raises(DataError, match="no stored verdict is on any"):
        run_step("judges", trial(people, stored=(str(other),)), tmp_path / "none")
    broken = write(tmp_path / "broken.jsonl", [{"a": 1}])
    with pytest.raises(DataError, match="holds no stored verdict"):
        run_step("judges", trial(people, stored=(str(broken),), allow_losses=True), tmp_path / "empty")


def test_votes_of_a_known_format_are_judged_by_a_ranker(tmp_path):
    """MultiPref's rows: several people, on two questions."""

    def said(who, overall, helpful):
        return {"evaluator": who, "overall_pref": f"{overall}-is-clearly-better", "helpful_pref": helpful}

    rows = [
        {
            "comparison_id": f"c{n}",
            "text": f"Name river {n}.",
            "model_a": "alder",
            "completion_a": "The Oder." if n % 2 else "The Oder, I think.",
            "model_b": "birch",
            "completion_b": "The Spree, of course.",
            "normal_worker_annotations": [said("ana", "B", "Tie"), said("ben", "AB"[n % 3 > 0], "Tie")],
            "expert_worker_annotations": [said("eve", "B", "A-is-slightly-better")],
        }
        for n in range(6)
    ]
    data = write(tmp_path / "votes.jsonl", rows)
    run = run_step("judges", trial(data, rankers=("length",), canaries=0), tmp_path / "run")
    found = {each["question"]: each for each in read_manifest(run.path)["summary"]["by_question"]}
    # The second answer is the longer one, and the majority prefers it overall; of help most say tie.
    assert (found["overall"]["majority"]["raw"]["mean"], found["helpful"]["majority"]["raw"]["mean"]) == (1.0, 0.0)
    assert found["overall"]["scored"] == 6
    votes = 6 * 3
    assert found["overall"]["person"]["n"] == votes
    assert found["overall"]["person"]["raw"]["mean"] == pytest.approx((votes - 2) / votes)  # ben says A of two
