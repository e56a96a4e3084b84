"""The OpenAI-compatible protocol: a request as a JSON body, and a server's answer read strictly, or as an error.

Owns the bodies of ``/chat/completions`` and ``/completions``, both ways, and the estimates of tokens. Those of
``/messages`` are translated by ``llm.wire.messages``. No network.
"""

import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from notus.core.errors import InputError
from notus.core.records import Message, Record
from notus.core.text import chat_turn
from notus.llm.endpoint import Endpoint
from notus.llm.errors import RequestError, read_refusal, read_retry_after
from notus.llm.protocol import Request, Token
from notus.llm.wire import messages

__all__ = ["Answer", "api_headers", "api_path", "encode", "estimate_input", "estimate_output", "read_answer"]

_PATHS = {"chat": "/chat/completions", "completions": "/completions", "messages": "/messages"}
_THOUGHTS = ("reasoning_content", "reasoning")
"""Fields in which servers send what a model thought before its answer."""
_BYTES_PER_TOKEN = 4
"""Of English text, about; a figure made with it is marked as estimated wherever it is used."""
_USUAL_OUTPUT = 512
"""Tokens of an answer that has no limit, as an estimate."""
_TOKENS_PER_MESSAGE = 4
_ENCODER = msgspec.json.Encoder()


class Answer(Record, frozen=True):
    """What one HTTP response holds; it may be fewer texts than were asked for."""

    texts: tuple[str, ...]
    finish: tuple[str, ...]
    logprobs: tuple[tuple[Token, ...], ...] | None
    tokens_in: int
    tokens_out: int
    estimated: bool
    raw: str


class _RepeatedKeyError(ValueError):
    pass


def api_path(endpoint: Endpoint) -> str:
    """Path of the API below the base URL."""
    return _PATHS[endpoint.api]


def api_headers(endpoint: Endpoint, secret: str) -> dict[str, str]:
    """What says who asks, for the headers of a request; nothing where there is no key."""
    if endpoint.api == "messages":
        return messages.headers(secret, endpoint.api_version)
    return {"authorization": f"Bearer {secret}"} if secret else {}


def estimate_input(request: Request) -> int:
    """Tokens of a request's messages, estimated from the lengths of their texts."""
    return sum(_estimate_tokens(message.content) + _TOKENS_PER_MESSAGE for message in request.messages)


def estimate_output(request: Request) -> int:
    """Tokens of the answers to a request at most, or an estimate where it sets no limit."""
    decoding = request.decoding
    return (_USUAL_OUTPUT if decoding.max_tokens is None else decoding.max_tokens) * decoding.n


def encode(request: Request, endpoint: Endpoint, *, n: int, got: int = 0) -> bytes:
    """The JSON body that asks for ``n`` answers, where ``got`` answers to the request have come already.

    A seed is moved by ``got``, since the same seed would draw the same answers again.

    Raises:
        InputError: if the API cannot take the request.
    """
    decoding = request.decoding
    body: dict[str, Any] = {"model": endpoint.model, **_prompt_fields(request, endpoint)}
    settings = {
        "temperature": decoding.temperature,
        "top_p": decoding.top_p,
        "top_k": decoding.top_k,
        "repetition_penalty": decoding.repetition_penalty,
        "max_tokens": decoding.max_tokens,
        "n": n if n > 1 else None,
        "seed": None if decoding.seed is None else decoding.seed + got,
        "stop": decoding.stop or None,
    }
    body |= {name: value for name, value in settings.items() if value is not None}
    if request.top_logprobs is not None:
        body |= {"logprobs": request.top_logprobs} if endpoint.api == "completions" else _chat_logprobs(request)
    if request.schema is not None:
        body["response_format"] = {"type": "json_schema", "json_schema": {"name": "answer", "schema": request.schema}}
    if endpoint.api == "messages":
        body = messages.messages_body(endpoint.name, body, endpoint.api_version)
        if isinstance(own := endpoint.body.get("output_config"), dict) and "output_config" in body:
            return _ENCODER.encode(body | endpoint.body | {"output_config": own | body["output_config"]})
    return _ENCODER.encode(body | endpoint.body)


def _prompt_fields(request: Request, endpoint: Endpoint) -> dict[str, Any]:
    if endpoint.api != "completions":
        return {"messages": [_chat_message(message) for message in request.messages]}
    if len(request.messages) != 1:
        raise InputError(
            f"endpoint '{endpoint.name}' has api: completions, which takes requests of one message; "
            f"this one has {len(request.messages)}"
        )
    return {"prompt": request.messages[0].content}


def _chat_message(message: Message) -> dict[str, Any]:
    """A turn as the API takes it: thoughts of earlier turns are not sent, and arguments of calls are JSON text."""
    turn = chat_turn(message, None)
    for call in turn.get("tool_calls", ()):
        arguments = call["function"]["arguments"]
        if not isinstance(arguments, str):
            call["function"]["arguments"] = _ENCODER.encode(arguments).decode()
    return turn


def _chat_logprobs(request: Request) -> dict[str, Any]:
    return {"logprobs": True} | ({"top_logprobs": request.top_logprobs} if request.top_logprobs else {})


def read_answer(
    status: int, headers: Mapping[str, str], content: bytes, request: Request, secret: str, api: str = "chat"
) -> Answer | RequestError:
    """Read what a server sent: an answer, or what is wrong with it.

    Args:
        status: the HTTP status.
        headers: the HTTP headers, by names in lower case.
        content: the body.
        request: what was asked.
        secret: the key, which some servers repeat; it is removed from all that is kept. Empty: none.
        api: the endpoint's.
    """
    raw = content.decode("utf-8", "replace")
    if secret:
        raw = raw.replace(secret, "[key]")
    wait_s = read_retry_after(headers)
    if status != 200:
        error = _error_field(raw) or _location(status, headers).replace(secret or "\0", "[key]")
        return read_refusal(status, error, raw, wait_s)
    if refused := _check_content(headers, content, raw):
        return refused
    try:
        value = json.loads(raw, object_pairs_hook=_unique, parse_constant=_no_number)
    except _RepeatedKeyError as error:
        return RequestError(kind="duplicate_keys", detail=f"the key {error} stands twice", raw=raw)
    except (ValueError, RecursionError) as error:
        return RequestError(kind="bad_json", detail=f"no JSON: {error}", raw=raw)
    if not isinstance(value, dict):
        return RequestError(kind="wrong_shape", detail=f"a JSON {type(value).__name__} in place of an object", raw=raw)
    if value.get("error"):
        return read_refusal(200, value["error"], raw, wait_s)
    return _read_completion(messages.as_completion(value) if api == "messages" else value, raw, request)


def _check_content(headers: Mapping[str, str], content: bytes, raw: str) -> RequestError | None:
    kind = headers.get("content-type", "application/json").partition(";")[0].strip().lower()
    if kind == "text/html" or raw[:64].lstrip().lower().startswith(("<!doctype", "<html")):
        return RequestError(kind="html_page", detail="an HTML page in place of JSON", raw=raw)
    if "json" not in kind:
        return RequestError(kind="wrong_content_type", detail=f"content type {kind!r} in place of JSON", raw=raw)
    try:
        content.decode("utf-8")
    except UnicodeDecodeError as error:
        return RequestError(kind="wrong_encoding", detail=f"byte {error.start} is no UTF-8", raw=raw)
    return None


def _read_completion(value: dict[str, Any], raw: str, request: Request) -> Answer | RequestError:
    tokens_in, tokens_out, counted = _read_usage(value.get("usage"))

    def refuse(kind: str, detail: str) -> RequestError:
        return RequestError(kind=kind, detail=detail, raw=raw, tokens_in=tokens_in, tokens_out=tokens_out)

    choices = value.get("choices")
    if not isinstance(choices, list) or not all(isinstance(choice, dict) for choice in choices):
        return refuse("wrong_shape", "no list of choices")
    if not choices:
        return refuse("empty_choices", "the list of choices is empty")
    read = [_read_choice(choice) for choice in _in_order(choices)[: request.decoding.n]]
    whole = [(text, finish, logprobs) for text, finish, logprobs in read if text is not None]
    if not whole:
        if any(finish == "content_filter" for _, finish, _ in read):
            return refuse("content_filter", "the server filtered the answer")
        return refuse("null_content", f"no text; finish_reason {read[0][1]!r}")
    texts, finish, logprobs = (tuple(part) for part in zip(*whole, strict=True))
    if any(any("\ud800" <= character <= "\udfff" for character in text) for text in texts if not text.isascii()):
        return refuse("wrong_encoding", "half a surrogate pair in the text")
    if request.top_logprobs is not None and any(item is None for item in logprobs):
        return refuse("logprobs_missing", "log-probabilities were asked for and did not come; the server lacks them")
    if not counted:
        tokens_in, tokens_out = estimate_input(request), sum(map(_estimate_tokens, texts))
    return Answer(
        texts=texts,
        finish=finish,
        logprobs=logprobs if request.top_logprobs is not None else None,
        tokens_in=tokens_in,
        tokens_out=tokens_out,
        estimated=not counted,
        raw=raw,
    )


def _in_order(choices: list[dict[str, Any]]) -> list[dict[str, Any]]:
    numbers = [choice.get("index") for choice in choices]
    if all(type(number) is int for number in numbers) and len(set(numbers)) == len(numbers):
        return sorted(choices, key=lambda choice: int(choice["index"]))
    return choices


def _read_choice(choice: dict[str, Any]) -> tuple[str | None, str, tuple[Token, ...] | None]:
    """Text, finish reason and log-probabilities of one choice; no text where it was filtered or is missing."""
    message = choice.get("message")
    text = message.get("content") if isinstance(message, dict) else choice.get("text")
    finish = choice.get("finish_reason")
    finish = finish if isinstance(finish, str) else "unknown"
    if isinstance(message, dict) and text is None:
        if isinstance(refusal := message.get("refusal"), str):
            text, finish = refusal, "refusal"
        elif any(isinstance(message.get(name), str) and message[name] for name in _THOUGHTS):
            text = ""  # it thought, and did not come to speak: asking again pays for the same again
    if not isinstance(text, str) or finish == "content_filter":
        return None, finish, None
    return text, finish, _read_logprobs(choice.get("logprobs"))


def _read_logprobs(value: Any) -> tuple[Token, ...] | None:
    if not isinstance(value, dict):
        return None
    try:
        if isinstance(value.get("content"), list):
            return tuple(
                Token(
                    text=item["token"],
                    logprob=float(item["logprob"]),
                    top=tuple((top["token"], float(top["logprob"])) for top in item.get("top_logprobs") or ()),
                )
                for item in value["content"]
            )
        tops: Sequence[Any] = value.get("top_logprobs") or [{}] * len(value["tokens"])
        return tuple(
            Token(text=text, logprob=float(logprob), top=tuple((str(k), float(v)) for k, v in (top or {}).items()))
            for text, logprob, top in zip(value["tokens"], value["token_logprobs"], tops, strict=True)
        )
    except (KeyError, TypeError, ValueError, AttributeError):
        return None


def _read_usage(usage: Any) -> tuple[int, int, bool]:
    """Tokens in and out, and whether the server counted them."""
    if not isinstance(usage, dict):
        return 0, 0, False
    tokens_in, tokens_out = usage.get("prompt_tokens"), usage.get("completion_tokens")
    if type(tokens_in) is not int or type(tokens_out) is not int or tokens_in < 0 or tokens_out < 0:
        return 0, 0, False
    # A number that the ledger's SQLite cannot hold is no count.
    return (tokens_in, tokens_out, True) if max(tokens_in, tokens_out) < 2**40 else (0, 0, False)


def _estimate_tokens(text: str) -> int:
    return math.ceil(len(text.encode("utf-8", "surrogatepass")) / _BYTES_PER_TOKEN)


def _error_field(raw: str) -> Any:
    try:
        value = json.loads(raw)
    except (ValueError, RecursionError):
        return None
    if not isinstance(value, dict):
        return None
    return value.get("error") or value.get("detail") or (value if "message" in value else None)


def _location(status: int, headers: Mapping[str, str]) -> str:
    if not 300 <= status < 400:
        return ""
    return f"the server sends on to {headers.get('location', 'nowhere')}; write the final URL into the endpoint"


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        names = [name for name, _ in pairs]
        raise _RepeatedKeyError(repr(next(name for name in names if names.count(name) > 1)))
    return found


def _no_number(text: str) -> Any:
    raise ValueError(f"{text} is no JSON number")
