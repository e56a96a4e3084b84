"""What stands on each page: the values that its template is given, and the address of everything that can be clicked.

Owns what is shown and what a blind reviewer is not shown; the marks around it are owned by ``review.templates``, what
is found by ``review.query``. Every value that a template is given as text is escaped there.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

import jinja2
import msgspec

from notus.core.records import Message, Rating
from notus.core.text import counted, visible
from notus.decisions.change import OVERALL
from notus.decisions.ruling import Ruling
from notus.decisions.settle import Word, settle_target
from notus.report.section import ReportSection
from notus.report.svg import number
from notus.report.table import cell_text
from notus.review.filter import NUMBERS, Filter, shown_number
from notus.review.pictures import NARROW, WIDE, bars_picture, grid_picture
from notus.review.query import Review
from notus.review.records import Facet, RecordView, Row, Shown, State
from notus.review.text import marked, plain, rendered

__all__ = ["COUNT", "Pages", "Person", "queue_of"]

COUNT = 25
"""Rows of a list."""
_SAMPLE = 100
_KEPT = 32
"""Filters whose pictures are kept: some 200 kB each."""
_NAMES = {
    "score": "Score",
    "rating": "Mean rating",
    "margin": "Margin",
    "length": "Length",
    "q": "q",
    "suspicion": "Suspicion",
    "flagged": "Flagged",
    "file": "File order",
    "random": "Random",
}
_HIGH_FIRST = frozenset({"score", "rating", "length"})
"""Sorted downwards at the first click: what a reader wants to see first."""
_FACTS = {
    "source": "Source",
    "model": "Model",
    "rejected": "Rejected model",
    "aspect": "Aspect",
    "rater": "Rater",
    "reason": "Reason",
    "desirable": "Wanted",
    "decided": "Decided",
    "who": "Decided by",
    "text": "Text",
    "id": "Id",
    "not-who": "Not decided by",
    **_NAMES,
}
_VERDICTS = {
    "keep": "kept",
    "drop": "dropped",
    "swap": "swapped",
    "cannot-tell": "cannot tell",
    "note": "noted",
    "set-score": "score set",
    "edit": "edited",
    "undo": "undone",
}
_RANKED = {"suspicion": "suspicion", "flagged": "flags"}
"""Sort by what an audit says → the queue that it makes."""


@dataclass(frozen=True)
class Person:
    """Who looks, and whether others' decisions are hidden until their own is made."""

    name: str
    blind: bool = False


def queue_of(wanted: Filter, given: str | None) -> str:
    """The queue that a ruling made here belongs to: what the address says, or what the filter is like."""
    from notus.review.deciding import QUEUES

    if given in QUEUES:
        return str(given)
    if wanted.decided == ("conflict",):
        return "conflicts"
    return "filter" if wanted.without("decided", "not-who").narrows else _RANKED.get(wanted.sort, "filter")


def _queue_of_rows(wanted: Filter) -> str:
    """The queue of what is decided in the list itself: who sees a line of a conflict alone settles none."""
    queue = queue_of(wanted, None)
    return "filter" if queue == "conflicts" else queue


class Pages:
    """The pages over a review. ``state`` is what every page says: the page's secret and the addresses of files."""

    def __init__(self, review: Review, state: dict[str, Any]) -> None:
        self._review = review
        self._environment = _environment()
        self._state = state
        self._kept: dict[str, list[dict[str, Any]]] = {}

    def listing(self, wanted: Filter, start: int, person: Person) -> str:
        """The list with its counts and pictures."""
        review = self._review
        page, progress = review.page(wanted, start, COUNT), review.progress(wanted)
        facets = [each for each in review.facets(wanted) if each.choices and not (person.blind and each.key == "who")]
        return self._render(
            "list.html.j2",
            person=person,
            wanted=wanted,
            page=replace(page, rows=tuple(_seen_row(row, person) for row in page.rows)),
            facets=[(facet, self._choices(facet, wanted)) for facet in facets],
            chips=self._chips(wanted),
            pictures=self._pictures(wanted),
            sorts=self._sorts(wanted),
            queues=self._queues(wanted, person, [name for name, _ in progress.by]),
            queue=_queue_of_rows(wanted),
            search=[(key, value) for key, value in wanted.params() if key != "text"],
            before=_list_url(wanted, max(0, start - COUNT)) if start else "",
            after=_list_url(wanted, start + COUNT) if start + COUNT < page.total else "",
            record=_record_url(wanted, queue_of(wanted, None)),
            query=wanted.url(),
            progress=progress,
            digit=self._digit(),
        )

    def record(self, key: str, wanted: Filter, queue: str, person: Person, *, part: bool) -> str:
        """A record whole, by its key; with ``part`` without the page around it, to be put into one.

        Raises:
            InputError: if there is none of that key.
        """
        review = self._review
        view = _edited(_seen(review.record(key), person), person)
        around = review.around(wanted, key)
        address = _record_url(wanted, queue)
        return self._render(
            "_record.html.j2" if part else "record.html.j2",
            person=person,
            view=view,
            main=_main_answers(view),
            others=_other_answers(view),
            diff=_marks(view),
            around=around,
            progress=review.progress(wanted),
            queue=queue,
            back=_list_url(wanted, max(0, (around.place or 0) // COUNT * COUNT)),
            before=address(around.before) if around.before else "",
            after=address(around.after) if around.after else "",
            record=address,
            scores=_scores(view, review),
            fields=_editable(view),
            near=f"/near/{key}?{wanted.url(queue=queue)}",
        )

    def near(self, key: str, wanted: Filter, queue: str, person: Person) -> str:
        """Records like one.

        Raises:
            InputError: if there is none of that key.
        """
        found = self._review.neighbours(key, 8)
        rows = [(_seen_row(each.row, person), each) for each in found]
        return self._render("_near.html.j2", person=person, rows=rows, record=_record_url(wanted, queue))

    def people(self, person: Person, figures: Sequence[ReportSection]) -> str:
        """Who decided how much, where they agree, how often a reason was right, and on what they differ."""
        wanted = Filter.parse([("decided", "conflict")])
        page = self._review.page(wanted, 0, 50)
        conflicts = [
            (row, [each for each in self._review.record(row.key).rulings if each.what in _VERDICTS])
            for row in page.rows
            if not person.blind or person.name in row.state.who
        ]
        return self._render(
            "people.html.j2",
            person=person,
            progress=self._review.progress(Filter()),
            conflicts=conflicts,
            total=page.total,
            # The first names records on which people differ: nothing for who is still to decide on them.
            figures=[replace(figures[0], sentences=()), *figures[1:]] if person.blind and figures else figures,
            record=_record_url(wanted, "conflicts"),
            query=wanted.url(),
        )

    def preview(self, wanted: Filter, person: Person) -> str:
        """What a decision on all results would be on, counted now."""
        page = self._review.page(wanted, 0, 5)
        decided = self._review.deciders(wanted)
        own = decided.pop(person.name, 0)
        return self._render(
            "_bulk.html.j2",
            person=person,
            page=page,
            own=own,
            others={} if person.blind else decided,
            scores=_scored(self._review) if self._review.facts.of == "completion" else [],
            chips=self._chips(wanted),
            query=wanted.url(),
            of=self._review.facts.of,
        )

    def problem(self, status: int, line: str, person: Person) -> str:
        """A page that says what is wrong."""
        return self._render("problem.html.j2", person=person, status=status, line=line)

    def _render(self, template: str, **values: Any) -> str:
        return self._environment.get_template(template).render(facts=self._review.facts, site=self._state, **values)

    def _pictures(self, wanted: Filter) -> list[dict[str, Any]]:
        """The pictures of a filter; the newest are kept, for they are the same on every page of a list."""
        if wanted.on_decisions:
            return self._drawn(wanted)
        key = wanted.url()
        found = self._kept.pop(key, None) or self._drawn(wanted)
        self._kept[key] = found
        while len(self._kept) > _KEPT:
            self._kept.pop(next(iter(self._kept), key), None)
        return found

    def _drawn(self, wanted: Filter) -> list[dict[str, Any]]:
        known = self._review.facts.numbers
        found: list[dict[str, Any]] = []
        if "score" in known and "rating" in known:
            grid = self._review.grid(wanted)
            drawn = {width: grid_picture(grid, wanted, width) for width in (WIDE, NARROW)}
            note = f"{counted(grid.none, 'record')} without one of the two" if grid.none else ""
            title = f"{grid.label_y} against {grid.label_x.lower()}"
            found.append({"grid": True, "wide": drawn[WIDE], "narrow": drawn[NARROW], "note": note, "title": title})
        for key in known:
            if key in (*_RANKED, "q"):
                continue
            histogram = self._review.histogram(wanted, key)
            wide, narrow = (bars_picture(histogram, wanted, width) for width in (WIDE / 2, NARROW))
            found.append({"grid": False, "wide": wide, "narrow": narrow, "note": "", "title": histogram.label})
        return found

    def _sorts(self, wanted: Filter) -> list[dict[str, Any]]:
        now, found = wanted.sort or (self._review.facts.sorts or ("file",))[0], []
        for key in self._review.facts.sorts:
            own, down = now.removeprefix("-") == key, now.startswith("-")
            first = f"-{key}" if key in _HIGH_FIRST else key
            to = (key if down else f"-{key}") if own and key != "random" else first
            said = "" if not own or key == "random" else ", highest first" if down else ", lowest first"
            found.append(
                {"name": _NAMES[key], "on": own, "down": down, "said": said, "to": _list_url(wanted.put("sort", to))}
            )
        return found

    def _choices(self, facet: Facet, wanted: Filter) -> list[dict[str, Any]]:
        top = max(choice.count for choice in facet.choices)
        return [
            {
                "label": _VERDICTS.get(choice.label, choice.label) if facet.key == "decided" else choice.label,
                "count": choice.count,
                "on": choice.on,
                "share": round(100 * choice.count / top) if top else 0,
                "to": _list_url(wanted.toggle(facet.key, choice.value)),
            }
            for choice in facet.choices
        ]

    def _chips(self, wanted: Filter) -> list[dict[str, str]]:
        found = []
        for key, value in wanted.params():
            if key not in ("sort", "seed"):
                rest = wanted.toggle(key, value) if key not in (*NUMBERS, "text") else wanted.without(key)
                said = _range(value) if key in NUMBERS else {"-": "none"}.get(value, value)
                found.append({"name": _FACTS.get(key, key), "value": said, "to": _list_url(rest)})
        return found

    def _digit(self) -> dict[str, Any] | None:
        """What a digit sets on a row of the list; None: nothing."""
        name = self._review.digit_name()
        of_answers = self._review.facts.of == "completion"
        return next((each for each in _scored(self._review) if of_answers and each["name"] == name), None)

    def first(self, wanted: Filter, queue: str) -> str:
        """Address of the first record of a queue; empty where nothing is in it."""
        page = self._review.page(wanted, 0, 1)
        return _record_url(wanted, queue)(page.rows[0].key) if page.rows else ""

    def _queues(self, now: Filter, person: Person, people: Iterable[str]) -> list[dict[str, Any]]:
        """Ways through the data, the one first that most people want first; which of them the list is, is marked."""
        found = []
        if "suspicion" in self._review.facts.sorts:
            queue = Filter.parse([("sort", "suspicion"), ("not-who", person.name)])
            found.append(("Most suspicious first", "suspicion", queue, "those that you have not decided"))
        if "flagged" in self._review.facts.sorts:
            queue = Filter.parse([("sort", "flagged"), ("not-who", person.name)])
            found.append(("Flagged first", "flags", queue, "facts, then labels against their texts"))
        sample = Filter.parse([("sort", "random"), ("not-who", person.name)])
        found.append(("A random sample", "random", sample, f"for a rate without bias: about {_SAMPLE}"))
        others = [each for each in people if each != person.name]
        if others:
            second = Filter.parse([("not-who", person.name), *(("who", each) for each in others), ("sort", "random")])
            found.append(("A second opinion", "filter", second, "what others have decided and you have not"))
            conflicts = Filter.parse([("decided", "conflict")])
            found.append(("Conflicts", "conflicts", conflicts, "a decision made here settles it"))
        return [
            {
                "name": name,
                "note": note,
                "to": f"/first?{wanted.url(queue=queue)}",
                "on": wanted == now and queue == queue_of(now, None),
            }
            for name, queue, wanted, note in found
        ]


def _range(value: str) -> str:
    """A range in words: ``9 to 10``, ``under 3``, ``from 9``, ``1 to under 1.5``."""
    low, dots, high = value.partition("..")
    if not dots:
        return value
    under = "under " if high.startswith("<") else "" if low else "up to "
    high = under + high.removeprefix("<")
    return f"from {low}" if not high.strip() or high == "up to " else f"{low} to {high}" if low else high


def _list_url(wanted: Filter, start: int = 0) -> str:
    query = wanted.url(**({"start": str(start)} if start else {}))
    return f"/?{query}" if query else "/"


def _record_url(wanted: Filter, queue: str) -> Callable[[str], str]:
    return lambda key: f"/record/{key}?{wanted.url(queue=queue)}"


def _seen(view: RecordView, person: Person) -> RecordView:
    """The record as a person may see it: blind, others' decisions show as soon as they have decided themselves."""
    if not person.blind or person.name in view.row.state.who:
        return view

    def own(rulings: tuple[Ruling, ...]) -> tuple[Ruling, ...]:
        return tuple(each for each in rulings if each.who == person.name)

    return replace(
        view,
        row=_seen_row(view.row, person),
        answers=tuple(replace(each, rulings=own(each.rulings)) for each in view.answers),
        rulings=own(view.rulings),
        history=own(view.history),
    )


def _seen_row(row: Row, person: Person) -> Row:
    return row if not person.blind or person.name in row.state.who else replace(row, state=State())


def _main_answers(view: RecordView) -> list[Shown]:
    """What is decided on: both of a pair; of feedback the asked one."""
    if view.row.of == "completion" and view.asked is not None:
        return [view.answers[view.asked]]
    return [each for each in view.answers if each.role]


def _other_answers(view: RecordView) -> list[Shown]:
    main = {id(each) for each in _main_answers(view)}
    return [each for each in view.answers if id(each) not in main]


def _marks(view: RecordView) -> dict[str, Any]:
    """Of a pair: each role's text with the words marked that only it has."""
    by_role = {each.role: each.text for each in view.answers}
    if view.row.of != "pair" or not {"chosen", "rejected"} <= set(by_role):
        return {}
    chosen, rejected, said = marked(by_role["chosen"], by_role["rejected"])
    return {"said": said} if said else {"chosen": chosen, "rejected": rejected, "said": ""}


def _scores(view: RecordView, review: Review) -> dict[str, Any]:
    """Which answer is scored, what a digit sets of it, and the names and scales of its scores."""
    asked = next((each for each in _main_answers(view) if each.id), None)
    if asked is None:
        return {}
    fields, digit = _scored(review, asked), review.digit_name(asked)
    now = {each.aspect: each.value for each in asked.ratings} | {OVERALL: asked.score}
    return {
        "answer": asked.id,
        "role": asked.role,
        "fields": [each | {"now": now.get(each["name"])} for each in fields],
        "digit": next((each for each in fields if each["name"] == digit), None),
    }


def _scored(review: Review, answer: Shown | None = None) -> list[dict[str, Any]]:
    """What can be scored, each with its scale; what a digit sets comes first."""
    digit = review.digit_name(answer)
    found = []
    for name in sorted(review.score_names(answer), key=lambda each: each != digit):
        scale = review.scale_of(name, answer)
        said = "score" if name == OVERALL else name.replace("_", " ")
        found.append({"name": name, "said": said, "low": shown_number(scale.low), "high": shown_number(scale.high)})
    return found


def _edited(view: RecordView, person: Person) -> RecordView:
    """The record with its texts as the person last edited them, or else as it is settled; the old ones kept beside."""
    own = _edits(view.rulings, person)
    answers = tuple(
        _edited_answer(each, _edits(each.rulings, person).get("answer") or own.get(each.role)) for each in view.answers
    )
    found = replace(view, answers=answers)
    for role, word in (("user", own.get("prompt")), ("assistant", own.get("answer"))):
        if word is not None and (role == "user" or view.row.of == "dialogue"):
            prompt = _with_last(found.prompt, role if view.row.of == "dialogue" else "", str(word.value))
            if prompt != found.prompt:
                by = ", ".join(dict.fromkeys(filter(None, (found.edited_by, word.by))))
                found = replace(found, prompt=prompt, before=view.prompt, edited_by=by)
    return found


def _edits(rulings: tuple[Ruling, ...], person: Person) -> dict[str, Word]:
    """Name of a text → how the person last edited it, or else what is settled."""
    edits = [each for each in rulings if each.what == "edit"]
    if not edits:
        return {}
    own = [each for each in edits if each.who == person.name]
    return settle_target(edits).edits | {each.field: Word(value=each.value, who=(each.who,)) for each in own}


def _edited_answer(answer: Shown, word: Word | None) -> Shown:
    if word is None:
        return answer
    text = str(word.value)
    turns = _with_last(answer.turns, "assistant", text)
    if turns == answer.turns:
        return answer
    return replace(answer, text=text, turns=turns, before=answer.turns, edited_by=word.by)


def _with_last(turns: tuple[Message, ...], role: str, text: str) -> tuple[Message, ...]:
    """The turns with another text in the last of a role; where none has it, or none is asked for, in the last."""
    places = [place for place, turn in enumerate(turns) if turn.role == role] or [len(turns) - 1]
    changed = msgspec.structs.replace(turns[places[-1]], content=text)
    return (*turns[: places[-1]], changed, *turns[places[-1] + 1 :])


def _editable(view: RecordView) -> list[tuple[str, str]]:
    """What can be edited, with its text: see ``deciding``."""
    if view.row.of == "dialogue":
        last = {turn.role: turn.content for turn in view.prompt}
        return [(name, last[role]) for name, role in (("prompt", "user"), ("answer", "assistant")) if role in last]
    prompt = [("prompt", view.prompt[-1].content)] if view.row.of in ("pair", "row") and view.prompt else []
    return prompt + [(each.role or "answer", each.text) for each in _main_answers(view)]


@lru_cache(maxsize=1)
def _environment() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("notus.review", "templates"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=lambda value: visible(value, "[U+{:04X}]") if type(value) is str else value,
    )
    environment.filters |= {
        "count": number,
        "short": _short,
        "cell": cell_text,
        "chance": lambda value: "< 0.01" if value < 0.01 else _short(value),
        "markdown": rendered,
        "plain": plain,
        "words": lambda slug: str(slug).replace("-", " ").replace("_", " "),
        "done": lambda what: _VERDICTS.get(what, what),
        "ruling": _ruling,
        "turns": _turns,
        "undos": lambda rulings: sum(each.what == "undo" for each in rulings),
        "ratings": _ratings,
    }
    return environment


def _short(value: float | None) -> str:
    """A number with at most two decimals."""
    return "–" if value is None else number(value, 2).rstrip("0").rstrip(".")


def _ruling(each: Ruling) -> str:
    """A ruling as a few words."""
    if each.what == "set-score":
        value = "none" if each.value is None else shown_number(float(each.value))
        return f"{'score' if each.field == 'overall_score' else each.field.replace('_', ' ')} set to {value}"
    if each.what == "undo":
        return "took it back"
    return f"edited {each.field}" if each.what == "edit" else _VERDICTS[each.what]


def _turns(turns: tuple[Message, ...]) -> list[dict[str, Any]]:
    """Turns with what each says; a role is named where there is more than one."""
    several = len(turns) > 1
    return [
        {
            "role": each.role if several or each.role not in ("user", "assistant") else "",
            "name": each.name,
            "text": each.content,
            "thoughts": each.reasoning,
            "calls": [f"{call.name}({call.arguments})" for call in each.tool_calls],
        }
        for each in turns
    ]


def _ratings(ratings: tuple[Rating, ...]) -> list[dict[str, Any]]:
    return [
        {
            "aspect": each.aspect.replace("_", " "),
            "value": "N/A" if each.value is None else number(each.value),
            "rater": each.rater,
            "why": each.rationale,
            "level": _level(each),
        }
        for each in ratings
    ]


def _level(rating: Rating) -> str:
    """Whether a rating stands in the lowest or the highest quarter of its scale, where that is known."""
    if rating.value is None or rating.scale is None or rating.scale.high <= rating.scale.low:
        return ""
    place = (rating.value - rating.scale.low) / (rating.scale.high - rating.scale.low)
    return "low" if place <= 0.25 else "high" if place >= 0.75 else ""
