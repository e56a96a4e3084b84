"""Chat templates by name, for models that come without one. No torch: a recipe is checked without it.

Written anew here, in the shortest form that gives the strings of the published ones. Owns the texts; what a template
writes, and where a turn ends, is asked of it in ``engine.text.template``.
"""

from pathlib import Path

from notus.core.errors import ConfigError, nearest

__all__ = ["TEMPLATES", "ZEPHYR_TEMPLATE", "is_template_name", "template_text"]

ZEPHYR_TEMPLATE = (
    "{% for message in messages %}"
    "{{ '<|' + message['role'] + '|>\n' + message['content'] + eos_token + '\n' }}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|assistant|>\n' }}{% endif %}"
)
"""The prompt format of Zephyr and Notus: ``<|role|>``, a line break, the text, ``</s>``, a line break."""

_ALTERNATE = (
    "{% if (message['role'] == 'user') != (loop.index0 % 2 == 0) %}"
    "{{ raise_exception('user and assistant must take turns, and there is no system turn') }}{% endif %}"
)
_CHATML = (
    "{% for message in messages %}"
    "{{ '<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>\n' }}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
_LLAMA3 = (
    "{% for message in messages %}"
    "{{ '<|start_header_id|>' + message['role'] + '<|end_header_id|>\n\n' + message['content'] | trim + '<|eot_id|>' }}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|start_header_id|>assistant<|end_header_id|>\n\n' }}{% endif %}"
)
_GEMMA = (
    "{% for message in messages %}" + _ALTERNATE + "{{ '<start_of_turn>' + ('model' if message['role'] == 'assistant' "
    "else 'user') + '\n' + message['content'] | trim + '<end_of_turn>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<start_of_turn>model\n' }}{% endif %}"
)
_MISTRAL = (
    "{% for message in messages %}" + _ALTERNATE + "{% if message['role'] == 'user' %}"
    "{{ '[INST] ' + message['content'] + ' [/INST]' }}"
    "{% else %}{{ message['content'] + eos_token }}{% endif %}{% endfor %}"
)
_PHI3 = (
    "{% for message in messages %}{{ '<|' + message['role'] + '|>\n' + message['content'] + '<|end|>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|assistant|>\n' }}{% else %}{{ eos_token }}{% endif %}"
)
_TULU = (
    "{% for message in messages %}{{ '<|' + message['role'] + '|>\n' + message['content'] }}"
    "{% if message['role'] == 'assistant' %}{{ eos_token }}{% endif %}"
    "{% if message['role'] != 'assistant' or not loop.last %}{{ '\n' }}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|assistant|>\n' }}{% endif %}"
)

TEMPLATES = {
    "zephyr": ZEPHYR_TEMPLATE,
    "chatml": _CHATML,
    "llama3": _LLAMA3,
    "gemma": _GEMMA,
    "mistral": _MISTRAL,
    "phi3": _PHI3,
    "tulu": _TULU,
}
"""Name → the text of a template, without a beginning-of-sequence token in front."""


def is_template_name(name: str) -> bool:
    """Whether a setting is the name of a template, or looks like a file."""
    return name in TEMPLATES or Path(name).suffix != "" or "/" in name


def template_text(name: str) -> str:
    """The text of a template by its name, or from a file.

    Raises:
        ConfigError: if it is neither a name nor a file that can be read.
    """
    if name in TEMPLATES:
        return TEMPLATES[name]
    try:
        return Path(name).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
        raise ConfigError(
            f"limits.chat_template is {name!r}, which cannot be read ({reason}) and is no template by name; "
            f"{nearest(name, TEMPLATES)}"
        ) from None
