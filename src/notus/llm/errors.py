"""What can go wrong with a request, and what is then done: one rule for each kind of error.

Owns the kinds, their rules, and the reading of a server's refusal (status and error body) as one of them. The body of
an answer that was not refused is read by ``llm.openai``.
"""

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any, Literal

from notus.core.records import Record

__all__ = ["RULES", "RequestError", "Rule", "read_refusal", "read_retry_after"]


class Rule(Record, frozen=True):
    """What a kind of error leads to."""

    then: Literal["wait", "retry", "refuse", "stop"]
    """``wait``: the whole endpoint waits, the request goes again and nothing is counted against it.
    ``retry``: the request goes again, ``retries`` times at most; then it has failed, and the next run asks it again.
    ``refuse``: asking again gives the same, so the failure is final and kept as such in the ledger.
    ``stop``: no request can succeed; the run ends with one line."""
    slower: bool = False
    """Whether it is a sign that the server has too much to do."""


_WAIT, _RETRY, _REFUSE, _STOP = Rule(then="wait"), Rule(then="retry"), Rule(then="refuse"), Rule(then="stop")
_SLOWER = Rule(then="retry", slower=True)
RULES: dict[str, Rule] = {
    "rate_limited": _WAIT,  # 429
    "overloaded": _WAIT,  # 503 with Retry-After, 529
    "refused": _WAIT,  # no connection; the replica is set aside
    "server_error": _SLOWER,  # other 5xx
    "request_timeout": _SLOWER,  # 408, 409, 425: the server asks for another try
    "connect_timeout": _SLOWER,
    "timeout": _SLOWER,  # the whole answer took longer than ``timeout``, by silence or by dripping
    "connection_reset": _SLOWER,
    "protocol_error": _RETRY,  # what came is no HTTP
    "truncated_body": _RETRY,
    "body_too_large": _RETRY,
    "wrong_content_type": _RETRY,
    "html_page": _RETRY,  # a proxy's error page under status 200
    "wrong_encoding": _RETRY,  # no UTF-8, a broken compression, half a surrogate pair
    "bad_json": _RETRY,
    "duplicate_keys": _RETRY,  # which of the two counts is anyone's guess
    "wrong_shape": _RETRY,  # JSON, but no completion
    "error_object": _RETRY,  # an error under status 200
    "empty_choices": _RETRY,
    "null_content": _RETRY,
    "too_few_choices": _RETRY,  # only the rest is asked for
    "batch_failed": _RETRY,  # a provider's batch ended without an answer: expired, cancelled, or an error of its own
    "content_filter": _REFUSE,
    "context_too_long": _REFUSE,
    "bad_request": _REFUSE,  # 400, 413, 422 for any other reason
    "logprobs_missing": _REFUSE,
    "unauthorized": _STOP,  # 401
    "forbidden": _STOP,  # 403
    "model_not_found": _STOP,  # 404 that speaks of the model
    "not_found": _STOP,  # 404, 405, 410
    "redirected": _STOP,  # 3xx; it is not followed: the key would go to another host
    "quota_exhausted": _STOP,  # 402, 429 with insufficient_quota
    "unexpected_status": _RETRY,
}
"""Kind → rule. A failure has one of these kinds."""


class RequestError(Record, frozen=True):
    """What went wrong with one attempt. A value, not an exception: most errors are retried."""

    kind: str
    detail: str
    raw: str = ""
    wait_s: float | None = None
    """Seconds that the server asks to wait."""
    tokens_in: int = 0
    """Tokens that are paid although the answer is refused."""
    tokens_out: int = 0

    @property
    def rule(self) -> Rule:
        """What is to be done."""
        return RULES[self.kind]


_FILTER_CODES = {"content_filter", "content_policy_violation", "responsibleaipolicyviolation", "moderation_blocked"}
_QUOTA_CODES = {"insufficient_quota", "billing_hard_limit_reached", "insufficient_credits", "account_deactivated"}
_LENGTH_CODES = {"context_length_exceeded", "exceed_context_size_error", "string_above_max_length"}
_TOO_LONG = re.compile(
    r"(maximum|max) (context|model|input|prompt|sequence) (length|size)|context (length|window|size)"
    r"|(prompt|input|request)s? (is|are) too (long|large)|too many (input |prompt )?tokens|max_model_len",
    re.IGNORECASE,
)
_NO_CREDIT = re.compile(r"credit balance is too low", re.IGNORECASE)
_STATUS_KINDS = {
    401: "unauthorized",
    402: "quota_exhausted",
    403: "forbidden",
    404: "not_found",
    405: "not_found",
    408: "request_timeout",
    409: "request_timeout",
    410: "not_found",
    425: "request_timeout",
    429: "rate_limited",
    529: "overloaded",
}


def read_refusal(status: int, error: Any, raw: str, wait_s: float | None) -> RequestError:
    """Read a refusal: the HTTP status, and the ``error`` of the body if there is one.

    Args:
        status: the HTTP status; an error object under status 200 is passed with 200.
        error: what stands under ``error`` in the body: an object, a text, or None.
        raw: the body, to be kept.
        wait_s: what Retry-After asks for.
    """
    fields = error if isinstance(error, Mapping) else {"message": error if isinstance(error, str) else ""}
    codes = {str(fields.get(name) or "").lower() for name in ("code", "type")}
    message = " ".join(str(fields.get("message") or "").split()) or " ".join(raw.split())
    if status == 200:
        # Some gateways answer 200 and put the status into the error.
        code = str(fields.get("code"))
        status = int(code) if code in {str(known) for known in range(400, 600)} else 200
    kind = _kind(status, codes, message, wait_s)
    detail = f"{status if status != 200 else 'status 200 with an error'}: {message[:300]}".rstrip(": ")
    return RequestError(kind=kind, detail=detail, raw=raw, wait_s=wait_s)


def _kind(status: int, codes: set[str], message: str, wait_s: float | None) -> str:
    if by_code := _kind_by_code(status, codes, message):
        return by_code
    if status in _STATUS_KINDS:
        return _STATUS_KINDS[status]
    if status == 200:
        return "error_object"
    if 300 <= status < 400:
        return "redirected"
    if 400 <= status < 500:
        return "bad_request"
    if status >= 500:
        return "overloaded" if status == 503 and wait_s is not None else "server_error"
    return "unexpected_status"


def _kind_by_code(status: int, codes: set[str], message: str) -> str | None:
    if codes & _QUOTA_CODES or (status == 400 and _NO_CREDIT.search(message)):
        return "quota_exhausted"
    if codes & _FILTER_CODES:
        return "content_filter"
    if codes & _LENGTH_CODES or (status in (200, 400, 413, 422) and _TOO_LONG.search(message)):
        return "context_too_long"
    if "model_not_found" in codes or (status == 404 and re.search(r"\bmodel\b", message, re.IGNORECASE)):
        return "model_not_found"
    if status == 200 and codes & {"rate_limit_exceeded", "rate_limit_error"}:
        return "rate_limited"
    if status == 200 and "overloaded_error" in codes:
        return "overloaded"
    return None


def read_retry_after(headers: Mapping[str, str], now: datetime | None = None) -> float | None:
    """Seconds that a server asks to wait: ``Retry-After`` as seconds or as an HTTP date (RFC 9110, section 10.2.3).

    A value that is neither is ignored; a date that has passed is 0.
    """
    value = headers.get("retry-after", "").strip()
    if re.fullmatch(r"\d{1,9}(\.\d{1,9})?", value):
        return float(value)
    try:
        date = parsedate_to_datetime(value)
    except ValueError:
        return None
    date = date if date.tzinfo else date.replace(tzinfo=UTC)
    return max(0.0, (date - (now or datetime.now(UTC))).total_seconds())
