"""Anthropic's messages API: a request's body and a server's answer, translated from and to those of the chat API.

Owns what differs: the system prompt beside the messages, ``max_tokens`` that must be given, what is not sent, blocks of
content, ``stop_reason``, and the names under ``usage``. Documented at https://platform.claude.com/docs/en/api/messages;
what a version takes, at https://platform.claude.com/docs/en/api/versioning. What is read of an answer afterwards, and
what its errors are, is owned by ``llm.openai`` and ``llm.errors``.
"""

from collections.abc import Mapping
from typing import Any

from notus.core.errors import InputError

__all__ = ["as_completion", "headers", "messages_body", "unsent"]

_SAMPLING = ("temperature", "top_p", "top_k")
_WITH_SAMPLING = "2023-06-01"
"""The last version that takes sampling settings; later ones answer 400 where one is sent."""
_FINISH = {
    "end_turn": "stop",
    "stop_sequence": "stop",
    "max_tokens": "length",
    "model_context_window_exceeded": "length",
    "refusal": "refusal",
}
"""Their reasons to stop, as the chat API has them; others stay as they are."""
_BOUNDS = ("minimum", "maximum", "minItems", "maxItems", "multipleOf", "minLength", "maxLength")
"""What a schema may say and their server refuses; a reply is checked for it when it is read."""


def headers(secret: str, version: str) -> dict[str, str]:
    """What goes with each request beside the body."""
    return {"anthropic-version": version} | ({"x-api-key": secret} if secret else {})


def unsent(version: str) -> tuple[str, ...]:
    """Settings of a draw that this API has no place for, and that are left out; they count for the key all the same."""
    return ("seed", *(() if version <= _WITH_SAMPLING else _SAMPLING))


def messages_body(name: str, chat: Mapping[str, Any], version: str) -> dict[str, Any]:
    """The body of a chat request as this API takes it.

    Args:
        name: of the endpoint, for errors.
        chat: the body, as the chat API takes it.
        version: of the API.

    Raises:
        InputError: if it asks for what this API does not have, or sets no limit to the answer's length.
    """
    body = dict(chat)
    for there in ("repetition_penalty", "logprobs"):
        if there in body:
            raise InputError(f"endpoint '{name}' has api: messages, which takes no {there}")
    if "max_tokens" not in body:
        raise InputError(f"endpoint '{name}' has api: messages, which needs max_tokens; set it under sampling")
    for key in ("n", "top_logprobs", *unsent(version)):
        body.pop(key, None)
    turns = body.pop("messages")
    leading = next((number for number, turn in enumerate(turns) if turn["role"] != "system"), len(turns))
    system, rest = "\n\n".join(turn["content"] for turn in turns[:leading]), turns[leading:]
    if any(turn["role"] not in ("user", "assistant") or "tool_calls" in turn for turn in rest):
        raise InputError(f"endpoint '{name}' has api: messages; only turns of user and assistant are put to it here")
    body["messages"] = [{"role": turn["role"], "content": turn["content"]} for turn in rest]
    if system:
        body["system"] = system
    if stop := body.pop("stop", None):
        body["stop_sequences"] = stop
    if wanted := body.pop("response_format", None):
        schema = _without_bounds(wanted["json_schema"]["schema"])
        body["output_config"] = {"format": {"type": "json_schema", "schema": schema}}
    return body


def as_completion(value: Mapping[str, Any]) -> dict[str, Any]:
    """An answer as the chat API would have sent it: its text blocks as one text, thoughts in their own field.

    What is no answer of this API is left for the reader of the chat API to refuse.
    """
    blocks = value.get("content")
    if not isinstance(blocks, list) or not all(isinstance(block, dict) for block in blocks):
        return {}
    texts = [block.get("text") for block in blocks if block.get("type") == "text"]
    thoughts = [block for block in blocks if block.get("type") in ("thinking", "redacted_thinking")]
    message: dict[str, Any] = {"content": "".join(texts) if texts and all(isinstance(t, str) for t in texts) else None}
    if thoughts:
        message["reasoning_content"] = "".join(str(block.get("thinking") or "") for block in thoughts)
    stop = value.get("stop_reason")
    finish = _FINISH.get(stop, stop) if isinstance(stop, str) else None
    if message["content"] is None and finish in ("refusal", "length") and not texts:
        message["content"] = ""  # it said nothing, and why is known
    usage = value.get("usage")
    counts = _usage(usage) if isinstance(usage, Mapping) else None
    return {"choices": [{"index": 0, "message": message, "finish_reason": finish}], "usage": counts}


def _usage(usage: Mapping[str, Any]) -> dict[str, Any]:
    """Tokens in, those read from and written to their cache included, and tokens out."""
    names = ("input_tokens", "cache_creation_input_tokens", "cache_read_input_tokens")
    parts = [usage.get(name) or 0 for name in names]
    whole = sum(parts) if all(type(part) is int for part in parts) and "input_tokens" in usage else None
    return {"prompt_tokens": whole, "completion_tokens": usage.get("output_tokens")}


def _without_bounds(schema: Any) -> Any:
    if isinstance(schema, dict):
        return {key: _without_bounds(value) for key, value in schema.items() if key not in _BOUNDS}
    return [_without_bounds(each) for each in schema] if isinstance(schema, list) else schema
