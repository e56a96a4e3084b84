"""Settings of an endpoint: where a model is reached, how many requests it may get, what it costs.

Owns the settings, the identity that goes into request keys, and the reading of the API key from the environment. The
API key itself is in no setting, so that no file that keeps settings can hold it.
"""

import os
import re
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

import msgspec
import pydantic

from notus.core.config import Config
from notus.core.errors import ConfigError
from notus.llm.protocol import Model

__all__ = ["Endpoint"]

_FROM_REQUEST = (
    *("model", "messages", "prompt", "n", "stream", "seed", "stop", "temperature", "top_p", "top_k", "max_tokens"),
    *("repetition_penalty", "logprobs", "top_logprobs", "response_format", "system", "stop_sequences"),
)
"""Parts of a body that come from the request; in ``body`` they would override it."""
_HIDDEN = "(not shown)"
_KEY = re.compile(
    r"(sk|pk|rk|hf|gsk|xai|ghp|gho|nvapi|pplx|glpat|r8|fw|tgp|AIza|AKIA|eyJ)[_-]?[A-Za-z0-9]{16,}.*"  # as vendors begin
    r"|(.*_)?(?=[A-Za-z]*\d)(?=\d*[A-Za-z])[A-Za-z0-9]{16,}(_.*)?"  # no word of a name is so long and has digits
)
_IN_BODY = ("api_key", "apikey", "api-key", "key", "token", "access_token", "authorization", "secret", "password")


def _hide_key(value: object) -> object:
    """Hide what is no name of a variable, or looks like a key: errors show values, and files keep them."""
    named = isinstance(value, str) and value.isidentifier() and (value in os.environ or not _KEY.fullmatch(value))
    return value if value is None or named else _HIDDEN


def _hide_login(value: object) -> object:
    parts = urlsplit(value) if isinstance(value, str) else None
    return _HIDDEN if parts and ("@" in parts.netloc or parts.query or parts.fragment) else value


def _hide_in_body(value: object) -> object:
    if not isinstance(value, dict):
        return value
    return {
        key: _HIDDEN if str(key).lower() in _IN_BODY and isinstance(each, str) else each for key, each in value.items()
    }


def _check_url(value: str) -> str:
    if value == _HIDDEN:
        raise ValueError("a URL holds no login and no query; name the environment variable of the key in key_env")
    parts = urlsplit(value)
    if parts.port == 0:
        raise ValueError("port 0 is no port")
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.query or parts.fragment:
        raise ValueError("not of the form http://host:port/v1")
    return value.rstrip("/")


def _check_variable(value: str) -> str:
    if value == _HIDDEN:
        raise ValueError("key_env is the name of an environment variable, such as OPENAI_API_KEY, and never the key")
    return value


def _check_body(body: dict[str, Any]) -> dict[str, Any]:
    if owned := [key for key in _FROM_REQUEST if key in body]:
        raise ValueError(f"'{owned[0]}' is set by the request, not in the extra body")
    if secret := [key for key, value in body.items() if value == _HIDDEN]:
        raise ValueError(f"'{secret[0]}' would be kept with every request; name its environment variable in key_env")
    return body


Url = Annotated[str, pydantic.AfterValidator(_check_url), pydantic.BeforeValidator(_hide_login)]
Variable = Annotated[str, pydantic.AfterValidator(_check_variable), pydantic.BeforeValidator(_hide_key)]
Body = Annotated[dict[str, Any], pydantic.AfterValidator(_check_body), pydantic.BeforeValidator(_hide_in_body)]
Price = Annotated[float, pydantic.Field(ge=0)]


class Endpoint(Config):
    """A model behind an OpenAI-compatible API or Anthropic's, on one server or on several replicas."""

    name: str = pydantic.Field(min_length=1)
    """What the user calls the model."""
    model: str = pydantic.Field(min_length=1)
    """What the server calls it."""
    urls: Annotated[tuple[Url, ...], pydantic.Field(min_length=1)]
    """Base of the API on each replica, such as ``http://localhost:8000/v1``."""
    key_env: Variable | None = None
    """Name of the environment variable that holds the key; null sends none."""
    api: Literal["chat", "completions", "messages"] = "chat"
    """``completions`` takes requests of one message and sends its text as the prompt; ``messages`` is Anthropic's
    ``/messages``, which needs ``max_tokens`` and is sent no seed."""
    api_version: Annotated[str, pydantic.Field(pattern=r"^\d{4}-\d{2}-\d{2}$")] = "2026-10-21"
    """Of the API ``messages``: the header ``anthropic-version``. From 2026-10-21 on the API takes no temperature, top_p
    or top_k, and is sent none; 2023-06-01 is sent them. The others know no version."""
    structured: bool = False
    """Whether the server holds answers to a JSON schema (``response_format``, or ``output_config`` of ``messages``)."""
    concurrency: int = pydantic.Field(default=32, ge=1, le=2048)
    """Requests under way at once, over all replicas. Less are, while the server is slow or fails."""
    requests_per_minute: Annotated[float, pydantic.Field(gt=0)] | None = None
    """Null finds the rate from the server's refusals."""
    tokens_per_minute: Annotated[float, pydantic.Field(gt=0)] | None = None
    """Of requests and answers; null sets no limit."""
    timeout: float = pydantic.Field(default=600.0, gt=0)
    """Seconds for a whole answer, from sending to the last byte."""
    connect_timeout: float = pydantic.Field(default=10.0, gt=0)
    """Seconds for a connection."""
    retries: int = pydantic.Field(default=5, ge=0)
    """How often a request is asked again after errors of its own; waiting for a limited server does not count."""
    backoff: float = pydantic.Field(default=0.5, gt=0)
    """Seconds before the first retry; doubled for each further one, up to 60."""
    patience: float = pydantic.Field(default=3600.0, gt=0)
    """Seconds without any answer, while the server limits or is gone, after which the run is stopped."""
    connect_patience: float = pydantic.Field(default=60.0, gt=0)
    """Seconds after which the run is stopped where no replica has been reached yet: a wrong address, a server that does
    not run. Once one has been, ``patience`` counts."""
    max_bytes: int = pydantic.Field(default=16 * 2**20, ge=1024)
    """Bytes of an answer; what is longer is refused."""
    price_in: Price | None = None
    """Price of a million tokens of the prompt, in any currency."""
    price_out: Price | None = None
    """Price of a million tokens of the answer."""
    body: Body = pydantic.Field(default_factory=dict)
    """Further parts of the request body, as they are. They count for the key."""

    @pydantic.model_validator(mode="after")
    def _version_is_of_messages(self) -> "Endpoint":
        if self.api != "messages" and "api_version" in self.model_fields_set:
            raise ValueError(f"api_version belongs to api: messages, and this is api: {self.api}")
        return self

    @pydantic.model_validator(mode="after")
    def _prices_together(self) -> "Endpoint":
        if (self.price_in is None) != (self.price_out is None):
            raise ValueError("price_in and price_out are given together, or neither")
        return self

    def as_model(self) -> Model:
        """The model with its identity: what a request to it is made of."""
        parts = {"api": self.api, "model": self.model, "body": self.body}
        if self.api == "messages":  # what it leaves out decides the answer too
            parts["api_version"] = self.api_version
        identity = msgspec.json.encode(parts, order="sorted").decode()
        return Model(name=self.name, identity=identity, schema=self.structured)

    def price(self, tokens_in: int, tokens_out: int) -> float | None:
        """What so many tokens cost, or None without prices."""
        if self.price_in is None or self.price_out is None:
            return None
        return (tokens_in * self.price_in + tokens_out * self.price_out) / 1e6

    def read_key(self) -> str:
        """The key, from the environment; empty when none is to be sent.

        Raises:
            ConfigError: if the variable is not set, or holds what cannot stand in a header.
        """
        if self.key_env is None:
            return ""
        key = os.environ.get(self.key_env, "").strip()
        if not key:
            # What no variable is called may be a key that does not look like one.
            usual = re.fullmatch(r"[A-Z0-9_]+", self.key_env) or len(self.key_env) < 12
            name = self.key_env if usual else f"{self.key_env[:4]}… ({len(self.key_env)} characters)"
            raise ConfigError(
                f"endpoint '{self.name}': the environment variable {name} is not set; "
                "key_env names the variable that holds the key"
            )
        if not (key.isascii() and key.isprintable()):
            raise ConfigError(f"endpoint '{self.name}': {self.key_env} holds characters that no key can have")
        return key
