"""Personal data and secrets in a text: where they stand, and of which kind they are.

| kind | what is found | what decides |
|---|---|---|
| email | a mail address, also with ``[at]`` and ``[dot]`` | email-validator, and the suffix is a real one |
| phone | a telephone number | phonenumbers, Google's numbering plans |
| handle | ``@name``, ``u/name``, the address of a profile | patterns of our own |
| ip | a public address, version 4 or 6 | the standard library |
| iban | an account number | python-stdnum: country, length, check digits |
| card | a payment card's number | its issuer's prefix and length, and python-stdnum: check digit |
| secret | keys, tokens, passwords in addresses | detect-secrets, and five formats that it does not know |

Names of persons, postal addresses and numbers of documents are not found: no rule does without a language model.
Addresses that are reserved for documentation (example.com, 192.0.2.1) are nobody's and are passed over.

Owns what is found in one text. What then becomes of a record is owned by ``clean.private.guard``. The libraries come
with the extra ``privacy``, and are imported when something is first looked for.
"""

import ipaddress
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Literal, get_args

from notus.core.errors import require

__all__ = ["KINDS", "PERSONAL", "Item", "Kind", "check_libraries", "find_items"]

Kind = Literal["email", "phone", "handle", "ip", "iban", "card", "secret"]
KINDS: tuple[Kind, ...] = get_args(Kind)
"""All kinds; where two overlap, the one that stands later here stays, for it is checked the harder."""
PERSONAL = KINDS[:-1]
"""The kinds that are personal data."""


_LIBRARIES: dict[Kind, tuple[str, ...]] = {
    "email": ("email_validator", "tldextract"),
    "phone": ("phonenumbers",),
    "iban": ("stdnum.iban",),
    "card": ("stdnum.luhn",),
    "secret": ("detect_secrets.core.plugins.util",),
}


@dataclass(frozen=True)
class Item:
    """One thing that was found."""

    kind: Kind
    start: int
    stop: int
    key: str
    """What it is in one notation: two items of one kind and key are the same address, number or key."""


def check_libraries(kinds: Iterable[Kind]) -> None:
    """Refuse kinds whose library is not installed.

    Raises:
        MissingExtraError: with the line that installs it.
    """
    for kind in kinds:
        for library in _LIBRARIES.get(kind, ()):
            require(library, extra="privacy")


def find_items(text: str, kinds: Iterable[Kind] = KINDS, regions: Sequence[str] = ("US",)) -> list[Item]:
    """What stands in a text, in order and without overlaps.

    Args:
        text: any.
        kinds: what is looked for.
        regions: countries (ISO 3166-1) whose telephone numbers are known without ``+`` and the country's code.

    Raises:
        MissingExtraError: if a library that a kind needs is not installed.
    """
    wanted = set(kinds)
    found: list[Item] = []
    for kind in KINDS:
        if kind in wanted:
            items = _phones(text, tuple(regions)) if kind == "phone" else _FINDERS[kind](text)
            mine = [Item(kind, *item) for item in items]
            found = [item for item in found if not any(_overlap(item, other) for other in mine)] + mine
    found.sort(key=lambda item: (item.start, -item.stop))
    kept: list[Item] = []
    for item in found:
        if not kept or item.start >= kept[-1].stop:
            kept.append(item)
    return kept


Spans = Iterator[tuple[int, int, str]]


def _overlap(one: Item, other: Item) -> bool:
    return one.start < other.stop and other.start < one.stop


_DOT = r"(?:\.|[ \t]?[\[({][ \t]?(?:dot|\.)[ \t]?[\])}][ \t]?)"
_AT = r"(?:@|[ \t]?[\[({][ \t]?(?:at|@)[ \t]?[\])}][ \t]?)"
_MARK = re.compile(r"@|[\[({][ \t]?[aA][tT][ \t]?[\])}]")
_EMAIL = re.compile(
    rf"(?<![\w.+%-])([^\W_][\w.+%'-]{{0,63}}){_AT}((?:[^\W_](?:[\w-]{{0,61}}[^\W_])?{_DOT}){{1,5}}[^\W\d_]{{2,24}})(?![\w-])",
    re.IGNORECASE,
)
_DOCUMENTATION = re.compile(r"(?:^|\.)example(?:\.(?:com|org|net|edu))?$")


def _emails(text: str) -> Spans:
    marks = [found.start() for found in _MARK.finditer(text)]
    for start, stop in _lines_with(text, marks):
        yield from _emails_of(text, start, stop)


def _emails_of(text: str, start: int, stop: int) -> Spans:
    for found in _EMAIL.finditer(text, start, stop):
        domain = re.sub(_DOT, ".", found[2], flags=re.IGNORECASE).lower()
        if not _DOCUMENTATION.search(domain) and _is_suffix(domain) and _is_address(f"{found[1]}@{domain}"):
            yield found.start(), found.end(), f"{found[1]}@{domain}".lower()


def _is_address(text: str) -> bool:
    validator = require("email_validator", extra="privacy")
    try:
        validator.validate_email(text, check_deliverability=False)
    except validator.EmailNotValidError:
        return False
    return True


@lru_cache(maxsize=1024)
def _is_suffix(domain: str) -> bool:
    """Whether the domain ends as those on the internet do; the list is the library's own, nothing is fetched."""
    return bool(_suffixes()(domain).suffix)


@lru_cache(maxsize=1)
def _suffixes() -> Any:
    return require("tldextract", extra="privacy").TLDExtract(suffix_list_urls=(), cache_dir=None)


_DIGITS = re.compile(r"\d(?:[ \t\u00a0().\-/–+]{0,3}\d){6,}")
_NEAR_PHONE = re.compile(
    r"\b(?:tel|phone|telephone|telefon|t[ée]l[ée]phone|tel[ée]fono|call|mobile|mobil|cell|fax|whatsapp|sms|contact|"
    r"hotline|dial|ring|text)\b",
    re.IGNORECASE,
)
_AROUND = 40


def _phones(text: str, regions: tuple[str, ...]) -> Spans:
    """Numbers that a country's plan knows; digits alone count only behind ``+`` or a word such as "call"."""
    if not _DIGITS.search(text):
        return
    library = require("phonenumbers", extra="privacy")
    seen: list[tuple[int, int]] = []
    for region in regions or (None,):
        for match in library.PhoneNumberMatcher(text, region, leniency=library.Leniency.VALID):
            if any(match.start < stop and start < match.end for start, stop in seen):
                continue
            said = _NEAR_PHONE.search(text[max(0, match.start - _AROUND) : match.start])
            if match.raw_string.startswith("+") or said or _is_grouped(match, library):
                seen.append((match.start, match.end))
                yield match.start, match.end, library.format_number(match.number, library.PhoneNumberFormat.E164)


def _is_grouped(match: Any, library: Any) -> bool:
    """Whether a number is written in the groups in which its country writes it, and not as a row of numbers."""
    groups = re.findall(r"\d+", match.raw_string)
    usual = re.findall(r"\d+", library.format_number(match.number, library.PhoneNumberFormat.NATIONAL))
    marks = set(re.sub(r"[\d() ]", "", match.raw_string))
    return len(groups) > 1 and groups[-len(usual) :] == usual and (bool(marks & {"-", "."}) or "(" in match.raw_string)


_CODE = re.compile(r"```.*?(?:```|\Z)|~~~.*?(?:~~~|\Z)|`[^`\n]*`", re.DOTALL)
_HANDLE = re.compile(
    r"(?<![\w@./:=#$\\+&%\"'{}<>|*-])@([A-Za-z_]\w{2,29})\b(?![@(\[={:\\]|\.\w|-\w)"
    r"|(?<![\w/.])/?u/([\w-]{3,20})\b"
    r"|\b(?:twitter|instagram|facebook|tiktok|threads|t)\.(?:com|net|me)/@?([A-Za-z_][\w.]{2,29})\b(?!/)"
    r"|\blinkedin\.com/in/([\w-]{3,60})"
)
_WORDS = """
    all autowired before bean channel charset click companyname component container controller else emit empty end endif
    entity everyone explore extends foreach getmapping groups handle hashtag here id if import include inject input
    intent interface keyframes layer listener login media mention mixin model module name namespace nonnull notnull
    nullable optional override page pages param pathvariable postmapping profile property protocol provider public
    pytest repository requestbody requestmapping requestparam restcontroller return returns search section selector
    service share sharer signup staticmethod classmethod suppresswarnings table tailwind test then throws todo tr
    transactional type use user username username_here value when your_username yourcompany yourhandle yourname
    yourusername
"""
_NO_ACCOUNT = frozenset(_WORDS.split())
"""What stands behind @ in code, and names that stand for any name."""


def _handles(text: str) -> Spans:
    if "@" not in text and "u/" not in text and ".com/" not in text and ".me/" not in text:
        return
    code = [found.span() for found in _CODE.finditer(text)]
    for found in _HANDLE.finditer(text):
        name = next(group for group in found.groups() if group)
        group = next(index for index, each in enumerate(found.groups(), 1) if each)
        start = found.start() if group == 1 else found.start(group)
        if name.lower().strip("_") in _NO_ACCOUNT or any(a <= start < b for a, b in code):
            continue
        yield start, found.end(group), name.lower()


_IP4 = re.compile(r"(?<![\w.])(?:\d{1,3}\.){3}\d{1,3}(?![\w]|\.\d)")
_IP6 = re.compile(r"(?<![\w:.])(?:[0-9a-f]{1,4}:{1,2}){2,7}[0-9a-f]{0,4}(?![\w:])", re.IGNORECASE)
_DOTS = re.compile(r"\d\.\d{1,3}\.\d{1,3}\.\d")
_COLONS = re.compile(r":[0-9a-fA-F]{0,4}:")
_VERSION = re.compile(r"(?:\bv(?:ersion|er)?\.?|\brelease|\bsection|§|\bchapter|\bclause)[ \t]*$", re.IGNORECASE)
_UNICAST = ipaddress.ip_network("2000::/3")


def _addresses(text: str) -> Spans:
    for found in _IP4.finditer(text) if _DOTS.search(text) else ():
        try:
            address = ipaddress.IPv4Address(found.group())
        except ValueError:
            continue
        if address.is_global and not _VERSION.search(text[max(0, found.start() - 12) : found.start()]):
            yield found.start(), found.end(), str(address)
    for found in _IP6.finditer(text) if _COLONS.search(text) else ():
        try:
            longer = ipaddress.IPv6Address(found.group())
        except ValueError:
            continue
        if longer.is_global and longer in _UNICAST:
            yield found.start(), found.end(), str(longer)


_COUNTRY = re.compile(r"(?<=[A-Za-z])\d\d[ \u00a0-]?[A-Za-z0-9]{2}")
_IBAN = re.compile(r"(?<![\w])[A-Z]{2}\d{2}(?:[ \u00a0-]?[A-Z0-9]){11,30}(?!\w)", re.IGNORECASE)


def _ibans(text: str) -> Spans:
    for found in _IBAN.finditer(text) if _COUNTRY.search(text) else ():
        ends = [part.end() for part in re.finditer(r"[A-Z0-9]+", found.group(), re.IGNORECASE)]
        for end in reversed(ends):  # a word behind it may look like a further group
            compact = re.sub(r"[ \u00a0-]", "", found.group()[:end]).upper()
            if len(compact) >= 15 and require("stdnum.iban", extra="privacy").is_valid(compact):
                yield found.start(), found.start() + end, compact
                break


_DIGIT_GROUPS = re.compile(r"(?<![\w.+-])\d+(?:[ \u00a0-]\d+)*(?!\w|[.-]\d)")
_CARD_GROUPS = 5
_ISSUERS = re.compile(
    r"4\d{15}(?:\d{3})?|(?:5[1-5]\d\d|222[1-9]|22[3-9]\d|2[3-6]\d\d|27[01]\d|2720)\d{12}|3[47]\d{13}|"
    r"3(?:0[0-5]|[68]\d)\d{11}|6(?:011|4[4-9]\d|5\d\d)\d{12}|35(?:2[89]|[3-8]\d)\d{12}"
)


def _cards(text: str) -> Spans:
    for found in _DIGIT_GROUPS.finditer(text) if _DIGITS.search(text) else ():
        groups = [each.span() for each in re.finditer(r"\d+", found.group())]
        if len(found.group()) < 14:
            continue
        done = 0
        for first, (start, _) in enumerate(groups):  # another number may stand beside it
            for _, stop in groups[first : first + _CARD_GROUPS] if start >= done else ():
                if _is_card(found.group()[start:stop]):
                    yield found.start() + start, found.start() + stop, re.sub(r"\D", "", found.group()[start:stop])
                    done = stop
                    break


def _is_card(text: str) -> bool:
    """Whether a number is a card's: written in one, or in groups of three digits or more."""
    digits = re.sub(r"\D", "", text)
    return (
        _ISSUERS.fullmatch(digits) is not None
        and min(map(len, re.split(r"\D", text))) > 2
        and len(set(digits)) > 2
        and require("stdnum.luhn", extra="privacy").is_valid(digits)
    )


_KEY_BLOCK = re.compile(
    r"-----BEGIN (?:[A-Z0-9]+ )*PRIVATE KEY(?: BLOCK)?-----(?:\\n|[^-]){40,20000}(?:-----END (?:[A-Z0-9]+ )*PRIVATE "
    r"KEY(?: BLOCK)?-----)?"
)
_FURTHER = re.compile(
    r"\b(?:AIza[0-9A-Za-z_-]{35}|hf_[A-Za-z0-9]{34,40}|sk-ant-[A-Za-z0-9_-]{24,}|sk-(?:proj-)?[A-Za-z0-9_-]{40,}|"
    r"github_pat_[A-Za-z0-9_]{60,})(?![A-Za-z0-9_-])"
)
"""Keys of Google, Hugging Face, Anthropic, OpenAI and GitHub, whose formats of today detect-secrets 1.5 lacks."""
_LONG = re.compile(r"[\w+/=.-]{16,}|://[^\s/:@]+:[^\s/@]+@")
_DIGIT = re.compile(r"\d|@$")
"""What a secret has: a word of 16 characters with a digit in it; or it is the password of an address."""
_PLACEHOLDER = re.compile(
    r"(?i)[<{\[$%].*|.*[>}\]]|\*+|x+|(?:your|my|the)?[ _-]?(?:pass(?:word|wd)?|pwd|pw|token|secret|key|port)"
)
_REST = re.compile(r"[A-Za-z0-9_+/=-]*(?:\.[A-Za-z0-9_-]+)*")
"""What of a secret a rule may leave over: that of JSON web tokens ends before the signature."""
_NOISY = {"Base64 High Entropy String", "Hex High Entropy String", "Secret Keyword", "Public IP (ipv4)", "Private Key"}
"""Rules of detect-secrets for repositories of code, which take any long word or any ``password = x`` in a text."""


def _secrets(text: str) -> Spans:
    for pattern, signs in ((_KEY_BLOCK, ("PRIVATE KEY",)), (_FURTHER, ("AIza", "hf_", "sk-", "github_pat_"))):
        if any(sign in text for sign in signs):
            yield from ((found.start(), found.end(), found.group()) for found in pattern.finditer(text))
    marks = [found.start() for found in _LONG.finditer(text) if _DIGIT.search(found.group())]
    for start, stop in _lines_with(text, marks):
        yield from _detected(text[start:stop], start)


def _detected(line: str, offset: int) -> Spans:
    """What the rules of detect-secrets find in a line."""
    for patterns, group, confirms in _detectors():
        for pattern in patterns:
            for found in pattern.finditer(line):
                start, stop = found.start(group), _REST.match(line, found.end(group)).end()  # type: ignore[union-attr]
                if confirms(found.group()) and not _PLACEHOLDER.fullmatch(line[start:stop]):
                    yield start + offset, stop + offset, line[start:stop]


def _lines_with(text: str, marks: Iterable[int]) -> Iterator[tuple[int, int]]:
    """The lines in which some places lie, each once."""
    done = -1
    for mark in marks:
        if mark >= done:
            start = text.rfind("\n", 0, mark) + 1
            done = text.find("\n", mark)
            done = len(text) if done < 0 else done
            yield start, done


@lru_cache(maxsize=1)
def _detectors() -> list[tuple[tuple[re.Pattern[str], ...], int, Callable[[str], bool]]]:
    """Of each rule of detect-secrets its patterns, which group is the secret, and the rule's own last word."""
    util = require("detect_secrets.core.plugins.util", extra="privacy")
    made = []
    for name, plugin in sorted(util.get_mapping_from_secret_type_to_class().items()):
        if name not in _NOISY:
            rule = plugin()
            made.append((tuple(rule.denylist), int(name == "Basic Auth Credentials"), _last_word(rule)))
    return made


def _last_word(rule: Any) -> Callable[[str], bool]:
    return lambda text: any(True for _ in rule.analyze_string(text))


_FINDERS: dict[Kind, Callable[[str], Spans]] = {
    "email": _emails,
    "handle": _handles,
    "ip": _addresses,
    "iban": _ibans,
    "card": _cards,
    "secret": _secrets,
}
