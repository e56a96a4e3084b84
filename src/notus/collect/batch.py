"""A collection by batch files: what is still to be asked goes out, what came back is entered in the ledger.

Owns ``BatchWriter``, which answers from the ledger and writes down what is not there, and ``enter_results``. A
collection is asked in turns: the completions first, then the judge about those that have all of their completions,
then the judge once more about what could not be read. Each turn is a batch; when none is left the same recipe collects,
and asks nobody. How a line looks is owned by ``llm.wire.batch``.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import IO, Any

from notus.core.errors import InputError, RunError, system_error
from notus.core.run import atomic
from notus.llm.endpoint import Endpoint
from notus.llm.ledger import Entry, Ledger
from notus.llm.openai import estimate_input, estimate_output
from notus.llm.protocol import Failure, Model, Outcome, Reply, Request
from notus.llm.wire.batch import batch_line, id_of_line, outcome_of_line

__all__ = ["NOT_YET", "BatchWriter", "Entered", "Written", "enter_results"]

NOT_YET = "not_asked_yet"
"""Kind of a failure: the request stands in a batch file, or would."""
_CHUNK = 256
_MOST_LINES, _MOST_BYTES = 50_000, 190 * 2**20
"""Of one file: OpenAI takes 50,000 requests and 200 MB."""
_NAMED = 5
"""Ids that are named; the others are counted."""


@dataclass
class Written:
    """What was written down, and what was not."""

    files: dict[str, int] = field(default_factory=dict)
    """File → its lines."""
    known: int = 0
    """Requests that the ledger answers already."""
    left_out: int = 0
    """Requests beyond ``max_cost``."""
    cost: float = 0.0
    """What the lines may cost at most, by the endpoints' prices."""
    priced: bool = True
    """Whether all endpoints have prices."""
    steps: Counter[str] = field(default_factory=Counter)
    """What for → lines."""

    @property
    def lines(self) -> int:
        """Lines of all files."""
        return sum(self.files.values())


class BatchWriter:
    """A ``Generator`` that answers what the ledger knows, and writes down the rest.

    Args:
        endpoints: whom requests are for, in files of their own.
        ledger: what is known.
        folder: where the files go; None writes none, and only keeps the requests.
        max_cost: the most that what is known and what is written may cost together.
    """

    def __init__(
        self, endpoints: Sequence[Endpoint], ledger: Ledger, folder: Path | None = None, max_cost: float | None = None
    ) -> None:
        self._endpoints = {endpoint.name: endpoint for endpoint in endpoints}
        self._models = {endpoint.name: endpoint.as_model() for endpoint in endpoints}
        self._ledger, self._folder, self._max_cost = ledger, folder, max_cost
        self._spent = 0.0
        self.written = Written(priced=all(e.price_in is not None for e in endpoints))
        self.wanted: dict[str, tuple[Request, Endpoint]] = {}
        """Key → what is still to be asked."""
        self._seen: set[str] = set()
        self._files: dict[str, tuple[Path, IO[Any], int, int]] = {}
        self._opened = ExitStack()

    @property
    def models(self) -> dict[str, Model]:
        """The models that can be asked, by the user's name."""
        return dict(self._models)

    def __enter__(self) -> "BatchWriter":
        self._opened.__enter__()
        return self

    def __exit__(self, *error: object) -> None:
        self._opened.__exit__(*error)  # type: ignore[arg-type]

    def answer(self, requests: Iterable[Request]) -> Iterator[tuple[Request, Outcome]]:
        """Answer each request from the ledger, or with a failure of the kind ``NOT_YET``.

        Raises:
            InputError: if a request cannot stand in a batch file.
            RunError: if a file cannot be written.
        """
        requests = iter(requests)
        while chunk := list(islice(requests, _CHUNK)):
            keys = [request.key for request in chunk]
            known = self._ledger.find(keys)
            for request, key in zip(chunk, keys, strict=True):
                if key in known:
                    self._count_known(key, known[key])
                    yield request, known[key]
                else:
                    self._want(request, key)
                    yield request, Failure(key=key, kind=NOT_YET, detail="it stands in no result yet")

    def _count_known(self, key: str, outcome: Outcome) -> None:
        if key not in self._seen:
            self._seen.add(key)
            self.written.known += 1
            self._spent += outcome.price or 0.0

    def _want(self, request: Request, key: str) -> None:
        if key in self._seen:
            return
        self._seen.add(key)
        endpoint = self._endpoints[request.model.name]
        cost = endpoint.price(estimate_input(request), estimate_output(request)) or 0.0
        if self._max_cost is not None and self._spent + self.written.cost + cost > self._max_cost:
            self.written.left_out += 1
            return
        self.wanted[key] = request, endpoint
        self.written.cost += cost
        self.written.steps[request.step] += 1
        if self._folder is not None:
            self._write(endpoint, batch_line(request, key, endpoint))

    def _write(self, endpoint: Endpoint, line: bytes) -> None:
        path, file, lines, size = self._files.get(endpoint.name) or self._open(endpoint.name, 1)
        if lines >= _MOST_LINES or size + len(line) > _MOST_BYTES:
            number = int(path.stem.rpartition("-")[2]) + 1
            path, file, lines, size = self._open(endpoint.name, number)
        try:
            file.write(line)
        except OSError as error:
            text = f"cannot write {path}"
            raise system_error(error, text, path) or RunError(f"{text}: {error.strerror}") from None
        self._files[endpoint.name] = path, file, lines + 1, size + len(line)
        self.written.files[str(path)] = lines + 1

    def _open(self, name: str, number: int) -> tuple[Path, IO[Any], int, int]:
        assert self._folder is not None
        safe = "".join(char if char.isalnum() or char in "._-" else "-" for char in name).lstrip(".") or "endpoint"
        path = self._folder / f"{safe}-{number:04}.jsonl"
        if str(path) in self.written.files:
            raise InputError(f"two endpoints would write {path}; give them names that differ by letters or digits")
        return path, self._opened.enter_context(atomic(path, "wb")), 0, 0


@dataclass
class Entered:
    """What became of the results of a batch."""

    replies: int = 0
    """Entered as answers."""
    failed: Counter[str] = field(default_factory=Counter)
    """Kind → results without an answer; those that are not final are asked for again."""
    known: list[str] = field(default_factory=list)
    """Ids of which the ledger had the answer before; nothing was entered a second time."""
    repeated: list[str] = field(default_factory=list)
    """Ids that stood in the results before."""
    unknown: list[str] = field(default_factory=list)
    """Ids that nothing of this recipe has asked for."""
    unread: list[str] = field(default_factory=list)
    """``FILE:LINE`` of lines that are no result."""
    failed_ids: list[str] = field(default_factory=list)
    """Ids of results without an answer."""
    price: float = 0.0
    """What was paid for, by the endpoints' prices."""

    def lines(self) -> list[str]:
        """All of it in sentences, each kind with its first ids; what did not happen is left out."""
        why = ", ".join(f"{count:,} {kind}" for kind, count in self.failed.most_common())
        found = [
            (self.failed_ids, f"without an answer ({why})"),
            (self.known, "answered before, and not entered again"),
            (self.repeated, "there more than once, and entered once"),
            (self.unknown, "asked for by nothing in this recipe, and not entered"),
            (self.unread, "no result, and not read"),
        ]
        named = [f"{len(ids):,} {told}: {_named(ids)}" for ids, told in found if ids]
        return [f"{self.replies:,} answers entered in the ledger", *named]


def enter_results(files: Iterable[Path], wanted: BatchWriter, ledger: Ledger) -> Entered:
    """Enter the results of batches in the ledger, each once; an answer counts, and not the failure of an earlier batch.

    Args:
        files: of results, and of errors where the provider has them apart.
        wanted: has seen all requests of the recipe: what it still wants is entered.
        ledger: where to.

    Raises:
        InputError: if a file cannot be read.
        RunError: if the ledger cannot be written.
    """
    found, entries = Entered(), list[Entry]()
    seen: dict[str, Outcome] = {}
    for file in files:
        for number, line in _lines(file):
            key, result = id_of_line(line)
            if not key:
                found.unread.append(f"{file.name}:{number}")
            elif key in seen and (isinstance(seen[key], Reply) or not _answers(result, *wanted.wanted[key], key)):
                found.repeated.append(key)
            elif key not in wanted.wanted and _is_key(key) and ledger.find([key]):
                found.known.append(key)
            elif key not in wanted.wanted:
                found.unknown.append(key)
            else:
                request, endpoint = wanted.wanted[key]
                outcome = outcome_of_line(result, request, key, endpoint)
                found.price += outcome.price or 0.0
                _count(found, key, outcome, seen.get(key))
                seen[key] = outcome
                entries.append((request, outcome))
            if len(entries) >= _CHUNK:
                ledger.put(entries)
                entries.clear()
    ledger.put(entries)
    return found


def _answers(result: Mapping[str, Any], request: Request, endpoint: Endpoint, key: str) -> bool:
    return isinstance(outcome_of_line(result, request, key, endpoint), Reply)


def _count(found: Entered, key: str, outcome: Outcome, before: Outcome | None) -> None:
    """Count a result; of a request that had failed in the same files, and is now answered, the answer alone."""
    if isinstance(before, Failure):
        found.failed -= Counter([before.kind])
        found.failed_ids.remove(key)
    if isinstance(outcome, Reply):
        found.replies += 1
    else:
        found.failed[outcome.kind] += 1
        found.failed_ids.append(key)


def _lines(file: Path) -> Iterator[tuple[int, bytes]]:
    try:
        with file.open("rb") as lines:
            for number, line in enumerate(lines, 1):
                if line.strip():
                    yield number, line
    except OSError as error:
        raise InputError(f"cannot read {file}: {error.strerror}") from None


def _is_key(text: str) -> bool:
    return len(text) == 32 and all(char in "0123456789abcdef" for char in text)


def _named(ids: Sequence[str]) -> str:
    more = f" and {len(ids) - _NAMED:,} more" if len(ids) > _NAMED else ""
    return ", ".join(ids[:_NAMED]) + more
