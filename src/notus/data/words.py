"""Words of a text, for comparing texts: how a text is normalised, what a word is, and words as numbers.

A text is brought into NFKC and its case is folded. A word is a run of letters, digits and underscores; a run of symbols
that carry meaning in mathematics and code (``+ = < > * / % $ # & | ^ ~ @ \\``) is a word too, all other punctuation and
all white space only part words. Of a script without spaces (Chinese, Japanese) each character is a word. So
"Name a river!" and "name  a RIVER" have the same words, while "2 + 3" and "2 - 3" have not.

Owns that definition, hashes of words in whole arrays, and short lists of function words. What is compared with what is
the business of ``data.duplicates`` and ``data.contamination``.
"""

import hashlib
import re
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from zlib import crc32

import numpy as np
from numpy.typing import NDArray

from notus.core.records import Dialogue, Feedback, Preference, Unpaired

__all__ = ["FUNCTION_WORDS", "Block", "Numbers", "hash_words", "jaccard", "normal_form", "prompt_text", "words_of"]

Numbers = NDArray[np.uint32]

_SYMBOLS = r"+=<>*/%$#&|^~@\\"
_ASCII_WORD = re.compile(rb"\w+|[" + _SYMBOLS.encode() + rb"]+")
_ALONE = r"\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff"
_WORD = re.compile(rf"[{_ALONE}]|[^\W{_ALONE}]+|[{_SYMBOLS}×÷−±≤≥≠√∑∫€£]+")

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
    if text.isascii():
        return _ASCII_WORD.findall(text.lower().encode())
    folded = unicodedata.normalize("NFKC", text).casefold()
    return [word.encode("utf-8", "surrogatepass") for word in _WORD.findall(folded)]


def normal_form(words: Sequence[bytes]) -> int:
    """Hash of the whole sequence of words to 64 bits: two texts of the same words in the same order share it."""
    return int.from_bytes(hashlib.blake2b(b" ".join(words), digest_size=8).digest(), "little")


def hash_words(words: Iterable[bytes]) -> Numbers:
    """CRC-32 of each word: the same in every process, and with 100,000 different words one pair shares a number."""
    return np.array(list(map(crc32, words)), np.uint32)


def jaccard(a: Iterable[bytes], b: Iterable[bytes]) -> float:
    """Shared distinct words over all distinct words, 0–1; two texts without words are equal.

    Source: Jaccard (1912), New Phytologist 11, pages 37–50.
    """
    left, right = set(a), set(b)
    union = len(left | right)
    return len(left & right) / union if union else 1.0


def prompt_text(record: Feedback | Preference | Unpaired | Dialogue) -> str:
    """What counts as the prompt: all turns before the answer; of a dialogue the user's turns."""
    if isinstance(record, Dialogue):
        return "\n".join(turn.content for turn in record.messages if turn.role == "user")
    return "\n".join(turn.content for turn in record.prompt)
