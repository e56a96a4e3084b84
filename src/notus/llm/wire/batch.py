"""Batch files of providers: requests out as JSON lines, results in. No network, and no ledger.

A line that goes out is ``{"custom_id", "method", "url", "body"}``, as OpenAI's batch API takes it, or for the messages
API ``{"custom_id", "params"}``, the items of Anthropic's ``requests``. A line that comes in is a result of either, or
an error. ``custom_id`` is the request's key in the ledger. Who writes which requests, and what becomes of the results,
is owned by ``collect.batch``. Documented at https://platform.openai.com/docs/guides/batch and
https://platform.claude.com/docs/en/build-with-claude/batch-processing.
"""

import json
from collections.abc import Mapping
from typing import Any

from notus.core.errors import InputError
from notus.llm.endpoint import Endpoint
from notus.llm.errors import RequestError
from notus.llm.openai import Answer, api_path, encode, read_answer
from notus.llm.protocol import Failure, Outcome, Reply, Request

__all__ = ["batch_line", "id_of_line", "outcome_of_line"]

_ENDED = {"errored": "error", "canceled": "cancelled", "expired": "expired"}
_JSON = {"content-type": "application/json"}


def batch_line(request: Request, key: str, endpoint: Endpoint) -> bytes:
    """The line that asks for a request, with its line end.

    Raises:
        InputError: if the API cannot take it, or it asks the messages API for several answers.
    """
    if endpoint.api == "messages" and request.decoding.n > 1:
        raise InputError(
            f"endpoint '{endpoint.name}' has api: messages, which gives one answer a request, and {request.decoding.n} "
            "are asked for; set samples: 1, or ask without a batch"
        )
    body = encode(request, endpoint, n=request.decoding.n)
    head = f'{{"custom_id":{json.dumps(key)},'.encode()
    if endpoint.api == "messages":
        return head + b'"params":' + body + b"}\n"
    url = json.dumps(f"/v1{api_path(endpoint)}").encode()
    return head + b'"method":"POST","url":' + url + b',"body":' + body + b"}\n"


def id_of_line(line: bytes) -> tuple[str, dict[str, Any]]:
    """The id of a result, and the result; an empty id where the line is none."""
    try:
        value = json.loads(line)
    except (ValueError, RecursionError):
        return "", {}
    key = value.get("custom_id") if isinstance(value, dict) else None
    return (key, value) if isinstance(key, str) and ("response" in value or "result" in value) else ("", {})


def outcome_of_line(result: Mapping[str, Any], request: Request, key: str, endpoint: Endpoint) -> Outcome:
    """The answer to a request that a result holds, or why there is none."""
    found = _read(result, request, endpoint)
    if isinstance(found, Answer) and len(found.texts) < request.decoding.n:
        detail = f"{len(found.texts)} of {request.decoding.n} answers came"
        found = RequestError(
            "too_few_choices", detail, found.raw, tokens_in=found.tokens_in, tokens_out=found.tokens_out
        )
    price = endpoint.price(found.tokens_in, found.tokens_out)
    if isinstance(found, RequestError):
        return Failure(
            key=key,
            kind=found.kind,
            detail=found.detail,
            raw=found.raw,
            tokens_in=found.tokens_in,
            tokens_out=found.tokens_out,
            price=price,
        )
    return Reply(
        key=key,
        texts=found.texts,
        finish=found.finish,
        tokens_in=found.tokens_in,
        tokens_out=found.tokens_out,
        estimated=found.estimated,
        logprobs=found.logprobs,
        raw=found.raw,
        price=price,
    )


def _read(result: Mapping[str, Any], request: Request, endpoint: Endpoint) -> Answer | RequestError:
    if "result" in result:
        return _read_message(result["result"], request, endpoint)
    response = result["response"]
    if not isinstance(response, dict):
        return RequestError("batch_failed", _said(result.get("error")), json.dumps(result))
    status = response.get("status_code")
    status = status if type(status) is int else 200
    content = json.dumps(response.get("body"), ensure_ascii=False).encode("utf-8", "surrogatepass")
    return read_answer(status, _JSON, content, request, "", endpoint.api)


def _read_message(result: Any, request: Request, endpoint: Endpoint) -> Answer | RequestError:
    kind = result.get("type") if isinstance(result, dict) else None
    if kind == "succeeded":
        content = json.dumps(result.get("message"), ensure_ascii=False).encode("utf-8", "surrogatepass")
        return read_answer(200, _JSON, content, request, "", endpoint.api)
    said = f"{_ENDED.get(str(kind), kind)}: {_said(result.get('error'))}" if isinstance(result, dict) else "no result"
    return RequestError("batch_failed", said.removesuffix(": "), json.dumps(result))


def _said(error: Any) -> str:
    """The code and the message of an error, wherever they stand."""
    inner = error.get("error", error) if isinstance(error, dict) else {}
    inner = inner if isinstance(inner, dict) else {"message": str(inner)}
    parts = [str(inner[name]) for name in ("code", "type", "message") if inner.get(name)]
    return " ".join(" ".join(parts).split())[:300]
