"""The generator over models in this process: the same requests and replies as endpoints give, without a server.

Owns the batching of requests, and what of a request becomes a setting of ``engine.generate``. What is answered is in
the ledger before it is shown, as with endpoints. Several threads may ask; the model answers one of them at a time.
"""

import threading
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import groupby, islice

from notus.core.artifacts import find_model
from notus.core.disk.hashes import hash_model
from notus.core.errors import InputError, nearest
from notus.core.stage import by_halves
from notus.engine.generate import LocalModel
from notus.engine.load import Precision
from notus.engine.settings import Sampling
from notus.engine.text.encoder import Encoder
from notus.engine.text.template import UnfitError
from notus.llm.ledger import Ledger
from notus.llm.protocol import Failure, Model, Outcome, Reply, Request

__all__ = ["InProcess"]

_CHUNK = 256
_ELSEWHERE_S = 0.2
"""Seconds between two looks at what another process is answering."""
_LONGEST = 256
"""Tokens of an answer whose request sets no limit."""


class InProcess:
    """Local models as a ``Generator``.

    Requests at temperature 0 go through in batches. What is sampled is drawn request by request, seeded by the request
    itself, so that the answer does not depend on what else is asked.

    Args:
        models: name → run directory, folder of a model or an adapter, or hub id.
        ledger: where answers are kept and looked up; None keeps nothing.
        batch_size: rows of a batch.
        precision: of the weights.
    """

    def __init__(
        self,
        models: Mapping[str, str],
        ledger: Ledger | None = None,
        *,
        batch_size: int = 16,
        precision: Precision = "float32",
    ) -> None:
        self._sources = {name: find_model(source) for name, source in models.items()}
        self._models = {name: Model(name=name, identity=hash_model(at)) for name, at in self._sources.items()}
        self._ledger = ledger
        self._batch_size = batch_size
        self._precision: Precision = precision
        self._loaded: dict[str, LocalModel] = {}
        self._lock = threading.Lock()

    @property
    def models(self) -> dict[str, Model]:
        """The models that can be asked, by the user's name."""
        return dict(self._models)

    def answer(self, requests: Iterable[Request]) -> Iterator[tuple[Request, Outcome]]:
        """Answer requests as ``Generator`` says.

        Raises:
            InputError: if a request names a model that is not there, or asks for what only servers give.
            RunError: if the ledger cannot be written.
        """
        source = iter(requests)
        while chunk := list(islice(source, _CHUNK)):
            for request in chunk:
                self._check(request)
            with self._lock:
                outcomes = self._answer_all({request.key: request for request in chunk})
            for request in chunk:
                yield request, outcomes[request.key]

    def _answer_all(self, asked: Mapping[str, Request]) -> dict[str, Outcome]:
        """Answer what the ledger does not know, and wait for what another process is answering."""
        if self._ledger is None:
            return self._new(list(asked.values()))
        found: dict[str, Outcome] = {}
        left = list(asked)
        while left:
            known, elsewhere = self._ledger.claim(left)
            try:
                new = self._new([asked[key] for key in left if key not in known and key not in elsewhere])
            except BaseException:
                self._ledger.release(left)
                raise
            found |= known | new
            left = [key for key in left if key in elsewhere]
            if left and not new:
                time.sleep(_ELSEWHERE_S)
        return found

    def _check(self, request: Request) -> None:
        name = request.model.name
        if name not in self._models:
            raise InputError(f"there is no model '{name}'; {nearest(name, self._models)}")
        if request.model != self._models[name]:
            raise InputError(f"the request's model '{name}' is another; take it from InProcess.models")
        asked = {
            "a JSON schema": request.schema,
            "log-probabilities": request.top_logprobs,
            "stop": request.decoding.stop,
        }
        if refused := [what for what, value in asked.items() if value]:
            raise InputError(f"a model in this process has no {refused[0]}; ask a server for that")

    def _new(self, requests: Sequence[Request]) -> dict[str, Outcome]:
        """Answer what is not known, alike requests together, and keep each batch before the next begins."""
        distinct = {request.key: request for request in requests}
        found: dict[str, Outcome] = {}
        ordered = sorted(distinct.values(), key=_alike)
        for _, alike in groupby(ordered, _alike):
            group = list(alike)
            greedy = not group[0].decoding.temperature if group[0].decoding.temperature is not None else False
            size = self._batch_size if greedy else 1
            for start in range(0, len(group), size):
                batch = [(request, outcome) for request, outcome in self._batch(group[start : start + size])]
                if self._ledger is not None:
                    self._ledger.put(batch)
                found |= {outcome.key: outcome for _, outcome in batch}
        return found

    def _batch(self, requests: Sequence[Request]) -> list[tuple[Request, Outcome]]:
        local = self._load(requests[0].model.name)
        encoder, decoding, room = local.encoder, requests[0].decoding, local.encoder.limits.max_length
        longest = decoding.max_tokens or _LONGEST
        refused: dict[str, Failure] = {}
        lengths: dict[str, int] = dict(_lengths(encoder, requests, refused))
        fitting = [request for request in requests if lengths.get(request.key, room) + longest <= room]
        started = time.perf_counter()
        answers = self._draw(local, fitting, longest)
        seconds = time.perf_counter() - started
        replies = {
            request.key: _reply(request, own, lengths[request.key], encoder, seconds)
            for request, own in zip(fitting, answers, strict=True)
        }
        return [(r, replies.get(r.key) or refused.get(r.key) or _too_long(r, lengths[r.key], room)) for r in requests]

    def _draw(self, local: LocalModel, requests: Sequence[Request], longest: int) -> list[list[tuple[str, bool]]]:
        """The texts of each request, with whether they were cut."""
        if not requests:
            return []
        decoding = requests[0].decoding
        settings = Sampling(
            samples=decoding.n,
            temperature=1.0 if decoding.temperature is None else decoding.temperature,
            top_p=1.0 if decoding.top_p is None else decoding.top_p,
            top_k=decoding.top_k or 0,
            repetition_penalty=decoding.repetition_penalty or 1.0,
            max_new_tokens=longest,
            batch_size=self._batch_size,
        )
        seed = int(requests[0].key[:15], 16) % 2**32
        outputs = local.sample([r.messages for r in requests], settings, name="", seed=seed)
        texts = [(output.text, output.truncated) for output in outputs]
        return [texts[start : start + decoding.n] for start in range(0, len(texts), decoding.n)]

    def _load(self, name: str) -> LocalModel:
        if name not in self._loaded:
            # The prompt is never cut: one that is too long is refused, as a server would.
            self._loaded[name] = LocalModel.load(self._sources[name], precision=self._precision)
        return self._loaded[name]


def _alike(request: Request) -> tuple[str, str]:
    return request.model.name, repr(request.decoding)


def _lengths(encoder: Encoder, requests: Sequence[Request], refused: dict[str, Failure]) -> list[tuple[str, int]]:
    """Key of each request → the tokens of its prompt; those that the template refuses go to ``refused``."""

    def count(some: Sequence[Request]) -> list[tuple[str, int]]:
        prompts = encoder.prompts([request.messages for request in some])
        return [(request.key, len(ids)) for request, ids in zip(some, prompts, strict=True)]

    def put_aside(request: Request, error: UnfitError) -> list[tuple[str, int]]:
        # As a server does whose template raises: the request is bad, and asking again would not help.
        refused[request.key] = Failure(key=request.key, kind="bad_request", detail=str(error))
        return []

    return by_halves(requests, count, UnfitError, put_aside, encoder.tally)


def _reply(
    request: Request, texts: Sequence[tuple[str, bool]], tokens_in: int, encoder: Encoder, seconds: float
) -> Reply:
    out = sum(len(ids) + (not cut) for ids, (_, cut) in zip(encoder.ids([t for t, _ in texts]), texts, strict=True))
    return Reply(
        key=request.key,
        texts=tuple(text for text, _ in texts),
        finish=tuple("length" if cut else "stop" for _, cut in texts),
        tokens_in=tokens_in,
        tokens_out=out,
        latency_s=seconds,
    )


def _too_long(request: Request, tokens: int, room: int) -> Failure:
    detail = f"{tokens} tokens and {request.decoding.max_tokens or _LONGEST} for the answer; the model takes {room}"
    return Failure(key=request.key, kind="context_too_long", detail=detail, tokens_in=0)
