"""Words of a text, for comparing texts: how a text is normalised, what a word is, and words as numbers.

A text is brought into NFKC and its case is folded. A word is a run of letters, digits and underscores; a run of symbols
that carry meaning in mathematics and code (``+ = < > * / % $ # & | ^ ~ @ \\``) is a word too, all other punctuation and
all white space only part words, but for brackets and minus signs in a formula. A number is one word with its sign, its
points and commas; an entity of HTML is the character that it stands for, but where a text is about HTML. Of a script
without spaces (Chinese, Japanese, Thai, Khmer, Lao, Burmese, Tibetan and others) each character, with the marks on it,
is a word. So "Name a river!" and "name  a RIVER" have the same words, while "2 + 3" and "2 - 3", or "-5" and "5", have
not. What counts beside the words in code, and in a text about the form of a text, is its *marks*.

Owns these definitions, hashes of words in whole arrays, and short lists of function words. What is compared with what
is the business of ``clean.duplicates`` and ``clean.contamination``.
"""

import hashlib
import re
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from html import unescape
from zlib import crc32

import numpy as np
from numpy.typing import NDArray

from notus.core.records import Dialogue, Feedback, Preference, Unpaired

__all__ = [
    "FUNCTION_WORDS",
    "REQUESTS",
    "Block",
    "Numbers",
    "edits",
    "hash_words",
    "marks_of",
    "normal_form",
    "prompt_text",
    "words_of",
]

Numbers = NDArray[np.uint32]

_SYMBOLS = r"+=<>*/%$#&|^~@\\"
_FURTHER_SYMBOLS = r"×÷−±¬°§¢£¥€₠-⃀←-⇿∀-⋿☀-➿⬀-⯿\U0001f000-\U0001faff"
"""Of mathematics and money, arrows, and pictures that are asked about or stand for words."""
_NUMBER = r"\d\w*(?:[.,]\d\w*)*"
"""1,000 and 3.5, also 5th and 3.5kg."""
_SIGNED = r"(?<![\w)\]])-" + _NUMBER
_FORMULA = r"(?<=[+*/^=])\(|(?<=[+*/^=-] )\(|\)(?= ?[-+*/^])|(?<=[\d)] )-(?= [\d(])"
"""Brackets and minus signs of a formula."""
_ASCII_WORD = re.compile(rf"[^\W\d]\w*|{_NUMBER}|[{_SYMBOLS}]+".encode())
_ASCII_FORMULA_WORD = re.compile(rf"[^\W\d]\w*|{_NUMBER}|{_SIGNED}|[{_SYMBOLS}]+|{_FORMULA}".encode())
_PLAIN = bytes(
    ord(char.lower())
    if (char := chr(code)).isalnum() or char == "_"
    else 1
    if char in "+=<>*/%$#&|^~@\\"
    else 11
    if char in ".,"
    else 32
    for code in range(128)
) + bytes(128)
"""ASCII in lower case, with 1 for a symbol, 11 for a point or a comma, and a blank for all else that is in no word."""
_IN_NUMBER = re.compile(rb"\x0b[0-9]")
_MINUS = (" -", "\n-", "(-", "=-", "*-")
_BRACKETS = (
    *("*(", "/(", "+(", "^(", "=(", "-(", "* (", "/ (", "+ (", "- (", "= (", "^ ("),
    *(")*", ")/", ")+", ")^", ")-", ") *", ") /", ") +", ") ^", ") -"),
)
"""Without one of these a text holds no minus sign and no bracket that is a word: looked for first, for speed."""
_HAN = r"\u3005-\u3007\u3040-\u30ff\u31f0-\u31ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"
_UNSPACED = (
    (0x0E00, 0x0E7F),  # Thai
    (0x0E80, 0x0EFF),  # Lao
    (0x0F00, 0x0FFF),  # Tibetan
    (0x1000, 0x109F),  # Burmese
    (0x1780, 0x17FF),  # Khmer
    (0x1950, 0x19DF),  # Tai Le, New Tai Lue
    (0x1A20, 0x1AAF),  # Tai Tham
    (0x1B00, 0x1B7F),  # Balinese
    (0xA000, 0xA4CF),  # Yi
    (0xA980, 0xA9FF),  # Javanese, and more of Burmese
    (0xAA60, 0xAADF),  # more of Burmese, Tai Viet
)
"""Blocks of scripts that put no space between words, beside those of ``_HAN``."""
_MARKED = ((0x0300, 0x036F), (0x0483, 0x0487), (0x0591, 0x05C7), (0x0610, 0x06ED), (0x0900, 0x0DFF))
"""Blocks with marks that belong to the letter before them, in scripts that do put spaces."""

_ENTITY = re.compile(r"&(?:#\d{1,6}|#x[0-9a-fA-F]{1,5}|[a-zA-Z]{2,8});")
_TAG = re.compile(r"</?(?:br|p|b|i|em|strong|u|span|div)\s*/?>", re.IGNORECASE)
_MARKUP = re.compile(r"\b(?:html|xml|entit(?:y|ies)|escap(?:e|es|ed|ing)|encod(?:e|ed|ing)|markup|href|tags?)\b", re.I)
"""Of texts in which an entity is what is asked about."""


def _characters(blocks: Iterable[tuple[int, int]], category: str) -> str:
    """The characters of blocks that are of a general category ("L", "M")."""
    of = (chr(code) for first, last in blocks for code in range(first, last + 1))
    return "".join(char for char in of if unicodedata.category(char).startswith(category))


_LETTERS, _OWN_MARKS = _characters(_UNSPACED, "L"), _characters(_UNSPACED, "M")
_MARKS = _characters(_MARKED, "M")
_LETTER = rf"[^\W{_HAN}{_LETTERS}]|[{_MARKS}]"
_WORD = re.compile(
    rf"[{_HAN}]|[{_LETTERS}][{_OWN_MARKS}]*|[^\W\d{_HAN}{_LETTERS}](?:{_LETTER})*|\d(?:{_LETTER})*(?:[.,]\d(?:{_LETTER})*)*"
    rf"|{_SIGNED}|[{_SYMBOLS}{_FURTHER_SYMBOLS}]+|{_FORMULA}"
)

FUNCTION_WORDS = {
    "en": "the of and to a in is that it for on with as was be by this are or from at an not have has had but which "
    "you i he she we they his her their its my your if can will would should could do does did what when where who how "
    "there here about into than then them these those been being so such some any all no also more most other only",
    "de": "der die das und ist in zu den von mit nicht ein eine auf für im dem des sich auch es an als wird sind aus "
    "bei nach oder werden wie ich sie wir er einen einer einem haben hat kann durch über noch nur",
    "es": "el la los las de que y en un una es se no por con para del al lo su como más pero sus le ya o este sí "
    "porque esta entre cuando muy sin sobre también me hasta hay donde quien desde todo nos",
    "fr": "le la les de des et en un une est que qui dans pour pas sur au avec ce il sont par plus se ne du ou son "
    "cette mais aux ses nous vous être elle ont je comme leur même sans aussi peut",
    "it": "il lo la gli le di che e è un una in per non con del della si da sono come ma anche più al alla nel dei "
    "delle questo questa ha o se dal perché essere ai su",
    "nl": "de het een en van in is dat op te zijn met voor niet aan er om ook als dan maar bij door over naar uit hij "
    "zij ze wordt worden deze dit heeft hebben kan nog wel geen",
    "pl": "i w na z do nie się że to jest o jak po co za od tak są dla przez tym być może który która które oraz ale "
    "przy tylko lub czy jego jej ich",
    "pt": "o a os as de que e em um uma é se não por com para do da no na mais como mas dos das ao sua seu ou ser "
    "quando muito também já está pelo pela até isso ela ele são",
}
"""Language → frequent words that carry little content; a list of our own, for comparing and not for grammar."""

REQUESTS = (
    "please kindly thanks thank hi hello hey me us our help need want like d s m re ll ve t tell give provide show "
    "find locate get search looking know could may might bitte favor plaît"
)
"""Words that frame what is asked for; like function words, they do not decide which prompts are compared."""


@dataclass(frozen=True)
class Block:
    """The words of several texts as numbers, one text after the other."""

    numbers: Numbers
    """Hash of each word, in the order of the texts."""
    ends: NDArray[np.int64]
    """Where each text ends in ``numbers``."""

    @property
    def starts(self) -> NDArray[np.int64]:
        """Where each text begins in ``numbers``."""
        return np.concatenate((np.zeros(1, np.int64), self.ends[:-1])) if len(self.ends) else self.ends

    @classmethod
    def of(cls, texts: Iterable[Sequence[bytes]]) -> "Block":
        """The block of texts that are given as words."""
        flat: list[int] = []
        ends: list[int] = []
        for words in texts:
            flat.extend(map(crc32, words))
            ends.append(len(flat))
        return cls(np.array(flat, np.uint32), np.array(ends, np.int64))

    def where(self, mask: NDArray[np.bool_]) -> "Block":
        """The texts with only those words that the mask names."""
        return Block(self.numbers[mask], np.cumsum(self.count(mask)))

    def count(self, mask: NDArray[np.bool_]) -> NDArray[np.int64]:
        """How many of its words the mask names, for each text."""
        # A running sum over all words is the largest array of a cleaning, so it is as narrow as it can be.
        running = np.zeros(len(mask) + 1, np.int32 if len(mask) < 2**31 else np.int64)
        np.cumsum(mask, out=running[1:], dtype=running.dtype)
        counts: NDArray[np.int64] = np.diff(running[np.concatenate((np.zeros(1, np.int64), self.ends))])
        return counts.astype(np.int64)

    def sets(self) -> "Block":
        """The distinct words of each text, in the order in which they first stand there."""
        owner = np.repeat(np.arange(len(self.ends), dtype=np.uint64), np.diff(self.ends, prepend=0))
        first = np.unique((owner << np.uint64(32)) | self.numbers, return_index=True)[1]
        mask = np.zeros(len(self.numbers), bool)
        mask[first] = True
        return self.where(mask)


def words_of(text: str) -> list[bytes]:
    """The words of a text, in order, as UTF-8. See the module for what a word is."""
    if "&" in text and _ENTITY.search(text) and not _MARKUP.search(text):
        text = unescape(_TAG.sub(" ", text))
    if text.isascii():
        formula = "-" in text and (text[0] == "-" or any(sign in text for sign in _MINUS))
        formula = formula or ("(" in text and any(sign in text for sign in _BRACKETS))
        if not formula:
            plain = text.encode().translate(_PLAIN)
            if b"\x01" not in plain and not _IN_NUMBER.search(plain):  # words are all that is left, as mostly
                return plain.split()
        return (_ASCII_FORMULA_WORD if formula else _ASCII_WORD).findall(text.lower().encode())
    folded = unicodedata.normalize("NFKC", text).casefold()
    return [word.encode("utf-8", "surrogatepass") for word in _WORD.findall(folded)]


def normal_form(words: Sequence[bytes]) -> int:
    """Hash of the whole sequence of words to 64 bits: two texts of the same words in the same order share it."""
    return int.from_bytes(hashlib.blake2b(b" ".join(words), digest_size=8).digest(), "little")


def hash_words(words: Iterable[bytes]) -> Numbers:
    """CRC-32 of each word: the same in every process, and with 100,000 different words one pair shares a number."""
    return np.array(list(map(crc32, words)), np.uint32)


_CODE_ANY = (*"([{}=<>;`+", "::")
_CODE_SIGNS = ("```", "==", "!=", "=>", "->", "::", "++", "</", "/>", "();", "{}")
_CODE = {
    sign: re.compile(pattern, re.MULTILINE)
    for sign, pattern in {
        "(": r"\((?<=\w\()[^()\n]{0,80}\)",
        "[": r"\[(?<=\w\[)[^\]\n]{0,40}\]",
        ";": r";[ \t]*$",
        "{": r"\{[ \t]*$",
        "}": r"\}[ \t]*$",
        "=": r"=(?<=\w =) ?[\[({\"'\w]",
        "<": r"<\w+>",
    }.items()
}
"""A sign → code that begins with it, or is told by it."""
_CODE_MARK = re.compile(r"[\[\](){}<>=+*/&|^%\\]|(?<=[\w\])]):(?=[\w\]])|\b\w*[a-z0-9_][A-Z]\w*")
_FORM_WORDS = frozenset(
    b"uppercase lowercase uppercased lowercased titlecase camelcase snakecase capitalize capitalise capitalized "
    b"capitalised capitalization capitalisation capitalizing caps punctuation punctuate punctuated "
    b"hyphenation hyphenate whitespace whitespaces "
    b"spaces indent indentation indented newline newlines formatting proofread typo typos typographical".split()
) | frozenset(
    "großschreibung kleinschreibung großbuchstaben kleinbuchstaben kommasetzung satzzeichen leerzeichen "
    "mayúscula mayúsculas minúscula minúsculas puntuación majuscule majuscules minuscule minuscules ponctuation "
    "maiuscola maiuscole punteggiatura maiúsculas pontuação hoofdletter hoofdletters leestekens "
    "interpunkcja заглавные заглавных заглавными строчные строчных пунктуация пунктуацию "
    "пробелы пробелов الترقيم الفواصل विराम अल्पविराम 대문자 소문자 띄어쓰기".encode().split()
)
"""Words of prompts that are about the form of a text; "upper case" and "quotation marks" beside them."""
_SIGNS = frozenset(
    "regex ascii comma commas semicolon semicolons colon colons apostrophe apostrophes hyphen hyphens kommas coma "
    "comas virgules запятая запятые запятых virgole vírgulas komma".encode().split()
)
_SIGN_WORDS = 30
"""Words up to which a prompt that names a sign is taken to be about it."""
_FORM_ANY = _FORM_WORDS | _SIGNS | {b"case", b"cased", b"letter", b"letters", b"mark", b"marks"}
_FORM = re.compile(
    rb"\b(?:upper|lower|title|camel|snake|sentence) case[ds]?\b|\b(?:capital letters?|quotation marks?)\b"
)
_FORM_UNSPACED = re.compile("大文字|小文字|句読点|空白|大写|小写|标点|空格|ตัวพิมพ์|เว้นวรรค|วรรคตอน")


def marks_of(text: str, words: Sequence[bytes]) -> int:
    """Hash of what counts beside the words: of a text about its own form all of it, of code its brackets and signs.

    0 for any other text, of which only the words count.
    """
    if (not _FORM_ANY.isdisjoint(words) and _is_about_form(words)) or (
        not text.isascii() and _FORM_UNSPACED.search(text)
    ):
        marks = text.strip()
    elif any(sign in text for sign in _CODE_ANY) and _is_code(text):
        marks = "\n".join(_CODE_MARK.findall(text.strip()))
    else:
        return 0
    return normal_form([marks.encode("utf-8", "surrogatepass")])


def _is_about_form(words: Sequence[bytes]) -> bool:
    if not _FORM_WORDS.isdisjoint(words) or _FORM.search(b" ".join(words)):
        return True
    return len(words) <= _SIGN_WORDS and not _SIGNS.isdisjoint(words)


def _is_code(text: str) -> bool:
    if any(sign in text for sign in _CODE_SIGNS):
        return True
    return any(sign in text and code.search(text) for sign, code in _CODE.items())


def prompt_text(record: Feedback | Preference | Unpaired | Dialogue) -> str:
    """What counts as the prompt: all turns before the answer; of a dialogue the user's turns."""
    if isinstance(record, Dialogue):
        return "\n".join(turn.content for turn in record.messages if turn.role == "user")
    return "\n".join(turn.content for turn in record.prompt)


def edits(a: str | bytes, b: str | bytes) -> int:
    """Edits between two words, a swap of neighbours counting as one. Source: Damerau (1964), CACM 7(3)."""
    before: list[int] = []
    row = list(range(len(b) + 1))
    for i, x in enumerate(a, 1):
        older, before, row = before, row, [i]
        for j, y in enumerate(b, 1):
            cost = min(before[j] + 1, row[j - 1] + 1, before[j - 1] + (x != y))
            if i > 1 and j > 1 and x == b[j - 2] and a[i - 2] == y:
                cost = min(cost, older[j - 2] + 1)
            row.append(cost)
    return row[-1]
