"""What a judge wrote before its reply, and what it wrote in place of one: thoughts and refusals.

Owns what counts as thoughts in the text of a reply, and what words a refusal begins with. Every parser reads what
``behind_thoughts`` leaves: what a judge thought first is neither its critique nor its score. Thoughts that a server
sends in a field of their own (``reasoning_content``) never come this far: ``llm.openai`` leaves them where they are.
"""

import json
import re

__all__ = ["OnlyThoughtsError", "behind_thoughts", "is_refusal"]

_NAMES = r"(?:seed:)?(?:think|thinking|thoughts?|reasoning)"
_OPEN = re.compile(rf"<{_NAMES}>|\[THINK\]|◁think▷", re.I)
_CLOSE = re.compile(rf"</{_NAMES}>|\[/THINK\]|◁/think▷", re.I)
_CLOSED_AGAIN = re.compile(rf"\s*(?:{_CLOSE.pattern})", re.I)
_OPENS_A_LINE = re.compile(rf"^[ \t]*(?:{_OPEN.pattern})", re.I | re.M)
_CHANNEL, _FINAL = re.compile(r"\s*<\|channel\|>\s*analysis\b"), "<|channel|>final<|message|>"
"""What opens the thoughts of the models that divide a reply into channels, and what opens the reply itself."""
_END = re.compile(r"<\|(?:end|return)\|>\s*\Z")
_APOLOGY = (
    r"(?:i(?:['’]m| am) (?:very |so |really )?sorry|sorry|apologies|i apologi[sz]e|unfortunately)"
    r"[,.:;!—–-]*\s*(?:but\s+)?"
)
_CANNOT = (
    r"i(?:['’]m| am) (?:not able|unable|not allowed|not permitted|not comfortable|not going)\b"
    r"|i (?:can(?:no|['’]?)t|can not|could not|couldn['’]t|won['’]t|will not|must decline|have to decline|decline)\b"
    r"|(?:this|that|the) (?:request|content|material) (?:violates|goes against|is against|cannot be)\b"
)
_REFUSAL = re.compile(
    rf"[\s\"'*#>]*(?:{_APOLOGY})?(?:as an? (?:ai|language)\b[^.,\n]{{0,60}},?\s*)?(?:{_CANNOT})", re.I
)


class OnlyThoughtsError(ValueError):
    """A reply that is nothing but thoughts: it was cut off in them, or the judge never came to speak."""


def behind_thoughts(text: str) -> str:
    """A reply without the thoughts that a reasoning judge wrote before it, or between its parts.

    Thoughts stand between an opening and a closing tag. The opening one may be missing, because it stood in the prompt:
    then all before the closing tag are thoughts. So may the closing one, because the reply was cut off: then all behind
    an opening tag that begins a line are. JSON is left as it is: what looks like a tag in it is a quotation.

    Raises:
        OnlyThoughtsError: if nothing is left.
    """
    if _is_json(text):
        return text
    if _FINAL in text:
        return _END.sub("", text.rpartition(_FINAL)[2])
    if _CHANNEL.match(text):
        raise OnlyThoughtsError
    closing = _CLOSE.search(text)
    opening = _OPEN.search(text)
    if closing is None and opening is None:
        return text
    if closing is not None and (opening is None or opening.start() > closing.start()):
        text = text[closing.end() :]
    left = _cut_open_thoughts(_cut_blocks(text))
    if not left.strip():
        raise OnlyThoughtsError
    return left


def is_refusal(text: str) -> bool:
    """Whether a text that could not be read begins as one that says no. English only: others are unreadable alone."""
    return _REFUSAL.match(text) is not None


def _is_json(text: str) -> bool:
    bare = text.strip()
    if not (bare.startswith("{") and bare.endswith("}")):
        return False
    try:
        json.loads(bare)
    except (ValueError, RecursionError):
        return False
    return True


def _cut_blocks(text: str) -> str:
    """The text without what stands between an opening and the next closing tag, and without the tags."""
    kept, place = [], 0
    while (opening := _OPEN.search(text, place)) and (closing := _CLOSE.search(text, opening.end())):
        kept.append(text[place : opening.start()])
        place = closing.end()
        while doubled := _CLOSED_AGAIN.match(text, place):
            place = doubled.end()
    return "".join([*kept, text[place:]])


def _cut_open_thoughts(text: str) -> str:
    """The text before an opening tag that begins a line and is never closed; one within a line is a quotation."""
    opening = _OPENS_A_LINE.search(text)
    return text if opening is None else text[: opening.start()]
