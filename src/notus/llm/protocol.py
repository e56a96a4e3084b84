"""What a model can be asked for: ``Generator`` answers requests, ``Ranker`` scores answers.

Owns these protocols, the records ``Request``, ``Reply`` and ``Failure``, and the key of a request. Does not own how an
answer is made: ``llm.pool`` asks endpoints over HTTP, ``engine.generator`` a model in this process, and both yield the
same records. Rankers are made by ``rankers.make``.
"""

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from typing import Annotated, Any, Protocol

import msgspec

from notus.core.errors import InputError
from notus.core.records import Message, Name, Record

__all__ = ["Decoding", "Failure", "Generator", "Model", "Outcome", "Ranker", "Reply", "Request", "Token", "ordered"]

Count = Annotated[int, msgspec.Meta(ge=0)]
_KEY_VERSION = 1
"""Goes into every key; it changes when the same request would be asked in another way."""


class Model(Record, frozen=True):
    """A model that can be asked. Take it from ``Generator.models``, so that name and identity belong together."""

    name: Name
    """As the user calls it: for routing and for the usage table. Another name for the same model asks nothing again."""
    identity: str = ""
    """All of the endpoint that determines an answer: the server's model, the API, the extra body. Empty: the name."""
    schema: bool = False
    """Whether the server holds an answer to a JSON schema. It counts for the key only through ``Request.schema``."""


class Decoding(Record, frozen=True):
    """How an answer is drawn. None is not sent, and leaves the server's default."""

    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    repetition_penalty: float | None = None
    max_tokens: int | None = None
    n: Annotated[int, msgspec.Meta(ge=1)] = 1
    """Answers to one request. Fewer than asked are asked for again."""
    seed: int | None = None
    stop: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        # 0 and 0.0 are the same setting and must give the same key.
        for field in ("temperature", "top_p", "repetition_penalty"):
            if isinstance(value := getattr(self, field), int):
                msgspec.structs.force_setattr(self, field, float(value))


class Request(Record, frozen=True):
    """One question to one model."""

    model: Model
    messages: tuple[Message, ...]
    decoding: Decoding = Decoding()
    schema: dict[str, Any] | None = None
    """JSON schema that the answer must fulfil; only for a model with ``schema``."""
    top_logprobs: int | None = None
    """How many alternatives of each token are wanted with their log-probability; None wants no log-probabilities."""
    sample: Count = 0
    """Number of the draw: another number is another request, for an answer that is wanted anew."""
    step: str = ""
    """For the usage table only: what the answer is for, such as ``judge/honesty``."""
    tag: str = ""
    """For the caller only: finds the place that a reply belongs to. It is neither sent nor stored."""

    @property
    def key(self) -> str:
        """Hash, 32 hexadecimal digits, of all that determines the answer and of nothing else.

        The model's name, the step, the tag, replicas, keys and concurrency do not count.

        Raises:
            InputError: if a text holds half a surrogate pair, which no server can be sent.
        """
        parts = (
            _KEY_VERSION,
            self.model.identity or self.model.name,
            self.messages,
            self.decoding,
            self.schema,
            self.top_logprobs,
            self.sample,
        )
        try:
            return hashlib.blake2b(_ENCODER.encode(parts), digest_size=16).hexdigest()
        except UnicodeEncodeError:
            raise InputError(f"a request to '{self.model.name}' holds half a surrogate pair: no text") from None

    def to_json(self) -> str:
        """The request as JSON text, without its tag."""
        return _ENCODER.encode(msgspec.structs.replace(self, tag="")).decode()


class Token(Record, frozen=True):
    """A token of an answer with its log-probability, in nats."""

    text: str
    logprob: float
    top: tuple[tuple[str, float], ...] = ()
    """The likeliest tokens at this place with their log-probabilities, as the server ordered them."""


class Reply(Record, frozen=True):
    """A full answer to a request."""

    key: str
    """The request's key, under which the ledger holds the reply."""
    texts: tuple[str, ...]
    """As many as ``decoding.n``."""
    finish: tuple[str, ...]
    """Why each text ended: ``stop``, ``length`` (cut at ``max_tokens``), or what the server says."""
    tokens_in: Count
    """All attempts together, as are ``tokens_out`` and ``price``: what was refused and asked again was paid too."""
    tokens_out: Count
    estimated: bool = False
    """True when the server did not count the tokens and they were estimated from the lengths of the texts."""
    logprobs: tuple[tuple[Token, ...], ...] | None = None
    raw: str = ""
    """The server's JSON as it came; a JSON list of them where several attempts gave the ``n`` texts."""
    price: float | None = None
    """In the currency of the endpoint's prices; None when it has none."""
    latency_s: float = 0.0
    """Seconds from the sending of the last attempt to its last byte."""
    attempts: int = 1
    stored: bool = False
    """True when it comes from the ledger: nothing was sent, and nothing paid."""

    @property
    def text(self) -> str:
        """The first text."""
        return self.texts[0]

    @property
    def truncated(self) -> bool:
        """Whether the first text was cut at the token limit."""
        return self.finish[0] == "length"


class Failure(Record, frozen=True):
    """A request that has no answer, and why."""

    key: str
    kind: Name
    """Slug of the request error, such as ``context_too_long``; ``llm.errors.RULES`` lists them."""
    detail: str
    raw: str = ""
    """What the server sent, if anything."""
    tokens_in: Count = 0
    tokens_out: Count = 0
    price: float | None = None
    """What refused answers cost all the same."""
    attempts: int = 1
    stored: bool = False
    """True when the ledger knows it as final: it was not asked again."""


Outcome = Reply | Failure


class Generator(Protocol):
    """Whatever answers requests."""

    @property
    def models(self) -> dict[str, Model]:
        """The models that can be asked, by the user's name."""
        ...

    def answer(self, requests: Iterable[Request]) -> Iterator[tuple[Request, Outcome]]:
        """Answer each request once, in order of completion; the request that is yielded is the one that was given.

        Requests are taken as there is room for them, in the caller's thread. Each one taken is yielded with an
        outcome, unless an error ends the iteration.

        Raises:
            RunError: when going on is of no use (a refused key, a quota that is used up, ``max_cost``). What was
                answered until then has been yielded and is in the ledger.
        """
        ...


class Ranker(Protocol):
    """Whatever says which answers to a prompt are better."""

    @property
    def name(self) -> str:
        """What scores are recorded under, such as ``pairrm``."""
        ...

    def rank(
        self, prompts: Sequence[tuple[Message, ...]], candidates: Sequence[Sequence[str]]
    ) -> list[list[float | None]]:
        """Score the candidates of each prompt; higher is better, and only scores of one prompt can be compared.

        Args:
            prompts: conversations that end with a user's turn.
            candidates: for each prompt its answers; their number may differ from prompt to prompt.

        Returns:
            For each prompt the scores of its candidates, in their order; None where one could not be scored.
        """
        ...


def ordered(generator: Generator, requests: Iterable[Request]) -> Iterator[tuple[Request, Outcome]]:
    """Answer requests and yield them in their own order; what is early waits in memory."""
    places: dict[int, int] = {}
    taken: list[Request] = []  # keeps them alive, so that their ids stay theirs

    def numbered() -> Iterator[Request]:
        for number, request in enumerate(requests):
            # The same object may be given twice; a copy has an id of its own.
            own = msgspec.structs.replace(request) if id(request) in places else request
            places[id(own)] = number
            taken.append(own)
            yield own

    early: dict[int, tuple[Request, Outcome]] = {}
    next_up = 0
    for request, outcome in generator.answer(numbered()):
        early[places[id(request)]] = (request, outcome)
        while next_up in early:
            yield early.pop(next_up)
            next_up += 1


_ENCODER = msgspec.json.Encoder(order="sorted")
