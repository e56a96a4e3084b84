"""What people decide: a queue out as a form, and what was decided in it into a store.

    export_queue("runs/audit", Path("queue.xlsx"), top=50)
    import_form(Path("queue.xlsx"), "decisions.sqlite", who="ana")

Owns the two functions that the command line calls. The queue is made by ``api.queue``, the forms and the store are in
``decisions``.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from notus.api.queue import Queue, make_queue
from notus.core.disk.hashes import hash_file
from notus.core.disk.withdrawn import answer_digest
from notus.core.errors import ConfigError, DataError, InputError
from notus.core.records import Feedback
from notus.core.stage import Tally
from notus.decisions.forms.answers import Brought, Returned, bring
from notus.decisions.forms.form import FORMS, Form, Written, read_form, write_form
from notus.decisions.forms.records import ids_of
from notus.decisions.ruling import Ruling, in_force
from notus.decisions.store import open_store
from notus.formats.quarantine import Quarantine
from notus.steps.base import open_records
from notus.steps.data.audit import Audit

__all__ = ["Exported", "export_queue", "form_of", "import_form"]

_SUFFIXES: Mapping[Form, str] = {
    "xlsx": ".xlsx",
    "csv": ".csv",
    "jsonl": ".jsonl",
    "label-studio": ".json",
    "html": ".html",
    "argilla": "",
}
_DECIDE = ("keep", "drop", "swap", "cannot-tell", "set-score", "edit")


@dataclass(frozen=True)
class Exported:
    """What went out."""

    queue: Queue
    form: Form
    written: Written


def export_queue(
    given: str,
    out: Path,
    to: str | None = None,
    *,
    top: int = 50,
    random: int = 0,
    seed: int = 0,
    reason: str | None = None,
    decisions: str | None = None,
    who: str | None = None,
    feedback: str | None = None,
    layout: str | None = None,
    force: bool = False,
) -> Exported:
    """Write what is to be decided as a form.

    Args:
        given: a run of the audit, another run that holds records, a file, a folder or a hub id.
        out: a new file; of Argilla a new folder.
        to: which form; None takes it from the suffix of ``out``.
        top: so many of the most suspicious, or of the first.
        random: so many more, drawn from all that are not decided.
        seed: of the drawing.
        reason: only what an audit raised this flag for.
        decisions: a store; what is decided in it is left out.
        who: of the store only what this person has decided.
        feedback: that pairs were made from; of a run it is found by itself.
        layout: name of the format of a file.
        force: whether a file that is there is overwritten.

    Raises:
        ConfigError: for settings that do not fit each other.
        InputError: for a file that is there, or a source, a run or a store that cannot be read.
    """
    form = form_of(out, to)
    if who is not None and decisions is None:
        raise ConfigError("'--who' says whose decisions are left out, and no store is named; add --decisions STORE")
    if out.is_file() and not force:
        raise InputError(f"{out} is there, and somebody may have decided in it; name another --out, or add --force")
    decided = frozenset[str]() if decisions is None else _decided(decisions, who)
    queue = make_queue(
        given,
        top=top,
        random=random,
        seed=seed,
        reason=reason,
        decided=decided,
        feedback=feedback,
        layout=layout,
    )
    if not queue.items:
        raise DataError(f"there is nothing to decide in {given}: {queue.left_out:,} of {queue.of:,} rows are decided")
    title = f"Decisions on {Path(queue.source).name}"
    return Exported(queue, form, write_form(queue.items, out, form, title=title))


def form_of(out: Path, to: str | None) -> Form:
    """The form that is meant, by its name or by the suffix of the file.

    Raises:
        ConfigError: if there is no such form, or the file would have the suffix of another.
    """
    suffix = out.suffix.lower()
    if to is None:
        found = next((form for form in FORMS if suffix and _SUFFIXES[form] == suffix), None)
        if found is None:
            raise ConfigError(f"'--out' is {out}, which does not say which form it is; add --to {'|'.join(FORMS)}")
        return found
    form = next((form for form in FORMS if form == to), None)
    if form is None:
        raise ConfigError(f"'--to' is {to}; known: {', '.join(FORMS)}")
    if suffix != _SUFFIXES[form] and form != "argilla":
        raise ConfigError(f"'--out' is {out}, and {form} is a file that ends in {_SUFFIXES[form]}; rename it")
    return form


def import_form(
    path: Path,
    decisions: str,
    *,
    who: str = "",
    names: Mapping[str, str] | None = None,
    data: str | None = None,
    anew: bool = False,
) -> Brought:
    """Read what was decided in a form into a store, which is made where it is missing.

    Args:
        path: the form, filled in; or what an annotation tool exported of it.
        decisions: the store.
        who: whose decisions they are, where the file does not say it.
        names: name or number of a person in the file → the name in the store.
        data: a source; what is decided on nothing of it is told, and not taken.
        anew: whether to decide again what was taken back, or made otherwise, since it was brought in first.

    Raises:
        InputError: for a file, a source or a store that cannot be read, and where nothing of the file can be taken.
    """
    returned = read_form(path, who, names)
    if data is not None:
        _keep_known(returned, data)
    faults = [*returned.unreadable, *returned.unknown]
    if not returned.rulings and faults:
        raise DataError(f"nothing of the {returned.answers:,} rows of {path} can be taken. {faults[0]}")
    file = path / "records.json" if path.is_dir() else path
    with open_store(decisions, create=True) as store:
        return bring(store, returned, f"import-{hash_file(file)[:12]}", anew=anew)


def _decided(decisions: str, who: str | None) -> frozenset[str]:
    with open_store(decisions) as store:
        return frozenset(
            each.target for each in in_force(store.rulings()) if each.what in _DECIDE and who in (None, each.who)
        )


def _keep_known(returned: Returned, data: str) -> None:
    """Leave out decisions on what a source does not hold."""
    source = open_records(Audit.parse({"data": data}, where="--data"), data)
    ids, answers = set[str](), set[tuple[str, str]]()
    for record in source.records(Tally("known"), Quarantine()):
        ids.update(ids_of(record))
        if isinstance(record, Feedback):
            answers.update((record.prompt_id, answer_digest(item.text)) for item in record.completions)
    kept: list[tuple[str, Ruling]] = []
    for where, ruling in returned.rulings:
        if ruling.target in ids or (ruling.prompt, ruling.answer) in answers:
            kept.append((where, ruling))
        else:
            returned.unknown.append(f"{where}: {ruling.of}:{ruling.target} is nothing that {data} holds")
    returned.rulings[:] = kept
