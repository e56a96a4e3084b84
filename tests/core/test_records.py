import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from notus.core.records import (
    Completion,
    Critique,
    Feedback,
    Message,
    Preference,
    Ranking,
    Rating,
    digest,
    prompt_id,
)

USER = (Message(role="user", content="Name a colour."),)


def answer(text):
    return (Message(role="assistant", content=text),)


def test_mean_rating_leaves_na_out_and_counts_legacy_zeros():
    ratings = tuple(
        Rating(aspect=a, value=v) for a, v in [("helpfulness", 4.0), ("honesty", None), ("truthfulness", 0.0)]
    )
    assert Completion(text="red", ratings=ratings).mean_rating == 2.0
    assert Completion(text="red").mean_rating is None
    assert Completion(text="red", ratings=(Rating(aspect="honesty", value=None),)).mean_rating is None


def test_overall_score():
    assert Completion(text="red", critique=Critique(text="good", score=7.5)).overall_score == 7.5
    assert Completion(text="red").overall_score is None


def test_ids_follow_the_content():
    a, b = Completion(text="red", model="m"), Completion(text="blue", model="n")
    one, two = Feedback(prompt=USER, completions=(a, b)), Feedback(prompt=USER, completions=(b, a))
    assert one.id == Feedback(prompt=USER, completions=(a, b), source="elsewhere").id
    assert one.id != two.id
    assert one.prompt_id == two.prompt_id == prompt_id(USER)
    pair = Preference(prompt=USER, chosen=answer("red"), rejected=answer("blue"))
    assert pair.prompt_id == one.prompt_id
    assert pair.id != Preference(prompt=USER, chosen=answer("blue"), rejected=answer("red")).id


def test_a_prompt_of_one_user_turn_hashes_as_its_text_alone():
    assert prompt_id((Message(role="user", content="hi"),)) == digest("hi")
    assert prompt_id((Message(role="system", content="hi"),)) != digest("hi")


@given(st.lists(st.text(), max_size=4), st.lists(st.text(), max_size=4))
def test_the_borders_of_texts_count_in_a_digest(one, two):
    assert (digest(*one) == digest(*two)) == (one == two)


def test_a_lone_surrogate_has_an_id():
    assert len(digest("\ud800")) == 16


def with_rating(rating: bytes) -> bytes:
    return (
        b'{"prompt": [{"role": "user", "content": "a"}], "completions": [{"text": "a", "ratings": [' + rating + b"]}]}"
    )


@pytest.mark.parametrize(
    "data",
    [
        b'{"prompt": [], "completions": [{"text": "a"}]}',
        b'{"prompt": [{"role": "user", "content": "a"}], "completions": []}',
        b'{"prompt": [{"role": "robot", "content": "a"}], "completions": [{"text": "a"}]}',
        b'{"prompt": [{"role": "user", "content": "a"}], "completions": [{"txt": "a"}]}',
        with_rating(b'{"aspect": "x", "value": "4"}'),
        with_rating(b'{"aspect": "", "value": 4}'),
        with_rating(b'{"aspect": "x", "value": 1e301}'),
    ],
)
def test_decoding_validates(data):
    with pytest.raises(msgspec.ValidationError):
        msgspec.json.decode(data, type=Feedback)


def test_records_are_frozen():
    with pytest.raises(AttributeError):
        USER[0].content = "other"  # type: ignore[misc]


ratings = st.builds(Rating, aspect=st.text(min_size=1), value=st.none() | st.floats(0, 100), rationale=st.text())
completions = st.builds(Completion, text=st.text(), model=st.text(), ratings=st.lists(ratings, max_size=3).map(tuple))
messages = st.builds(Message, role=st.sampled_from(["system", "user", "assistant"]), content=st.text())
feedback = st.builds(
    Feedback,
    prompt=st.lists(messages, min_size=1, max_size=3).map(tuple),
    completions=st.lists(completions, min_size=1, max_size=3).map(tuple),
)


@given(feedback)
def test_round_trip_through_json(record):
    assert msgspec.json.decode(msgspec.json.encode(record), type=Feedback) == record


def test_a_ranking_has_a_rank_for_each_completion():
    prompt, completions = (Message(role="user", content="?"),), (Completion(text="a"), Completion(text="b"))
    whole = Feedback(prompt=prompt, completions=completions, rankings=(Ranking(ranks=(1, 2)),))
    assert whole.keep([1]).rankings[0].ranks == (2,)
    for ranks in ((1,), (1, 2, 3)):
        with pytest.raises(ValueError, match=f"{len(ranks)} ranks for 2 completions"):
            Feedback(prompt=prompt, completions=completions, rankings=(Ranking(ranks=ranks),))
