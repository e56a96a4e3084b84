"""IFBench's ``custom``: instructions that one prompt has, each checked by what its answer must be."""

import csv
import io
import re
import unicodedata
from datetime import date
from itertools import pairwise

from notus.checks.ifbench.text import PUNCTUATION, bare, bare_words, listed, sentences

__all__ = [
    "character_reverse",
    "csv_city",
    "csv_quotes",
    "csv_special_character",
    "date_format_list",
    "european_capitals_sort",
    "mcq_count_length",
    "multiples",
    "reverse_newline",
    "sentence_alphabet",
    "word_reverse",
]

_FIELDS = 5
_CITY = ["ID", "Country", "City", "Year", "Count"]
_PRODUCT = re.compile(r"ProductID, *Category, *Brand, *Price, *Stock")
_STUDENT = re.compile(r'"StudentID"\t *"Subject"\t *"Grade"\t *"Semester"\t *"Score"')
_SPECIAL = re.compile(r'".*[^\d\w\s].*"')
_DATE = re.compile(r"\d{4}-\d{2}-\d{2}", re.ASCII)
_LIVED = (1769, 1821)
"""Napoleon."""
_CAPITALS = listed(
    "Reykjavik Helsinki Oslo Tallinn Stockholm Riga Moscow Copenhagen Vilnius Minsk Dublin Berlin Amsterdam Warsaw "
    "London Brussels Prague Luxembourg Paris Vienna Bratislava Budapest Vaduz Chisinau Bern Ljubljana Zagreb"
)
"""North of 45 degrees, the most northern first. Kyiv belongs behind Brussels; IFBench's list lacks it."""
_QUESTION = re.compile(r"\n*(?:Question \d+[.|):;]?\s*)")
_OPTION = re.compile(r"[A-Ea-e][.|)]\s*\w+")
_QUESTIONS, _OPTIONS = 4, 5
_FIRST_COUNTRY, _COUNTRIES = "Zimbabwe", 52
_LETTERS = "abcdefghijklmnopqrstuvwxyz"


def character_reverse(answer: str) -> bool:
    """Whether the bald eagle is in it, letter by letter backwards."""
    return "elgae dlab" in answer.lower()


def word_reverse(answer: str) -> bool:
    """Whether the bald eagle is in it, word by word backwards."""
    return "bald eagle" in " ".join(reversed(bare_words(answer.lower())))


def csv_city(answer: str) -> bool:
    """Whether it is a table with commas: the five columns, and seven rows of five fields."""
    rows = _rows(answer)
    return rows[:1] == [_CITY] and len(rows) == 8 and all(len(row) == _FIELDS for row in rows)


def csv_special_character(answer: str) -> bool:
    """Whether it is a table with commas: the header, 14 rows of five, and a quoted field with a special character."""
    # Marks are doubled, so that the reader keeps them in the fields.
    rows = _rows(answer.replace('"', '"""'))
    headed = _PRODUCT.fullmatch(answer.split("\n")[0].strip()) is not None
    whole = len(rows) == 15 and all(len(row) == _FIELDS for row in rows)
    return headed and whole and any(_SPECIAL.match(field) for row in rows for field in row)


def csv_quotes(answer: str) -> bool:
    """Whether it is a table with tabs: the header and three rows of five, each field in double quotes."""
    rows = _rows(answer.replace('"', '"""'), delimiter="\t")
    headed = _STUDENT.fullmatch(answer.split("\n")[0].strip()) is not None
    fields = [field.strip() for row in rows for field in row]
    whole = len(rows) == 4 and all(len(row) == _FIELDS for row in rows)
    return headed and whole and all(len(each) > 1 and each[0] == each[-1] == '"' for each in fields)


def date_format_list(answer: str) -> bool:
    """Whether it is dates alone, divided by commas, as YYYY-MM-DD, of days in Napoleon's life."""
    return all(_is_date(part.strip()) for part in answer.strip().split(","))


def european_capitals_sort(answer: str) -> bool:
    """Whether it is the capitals north of 45 degrees, divided by commas, from north to south; accents do not count."""
    return [_plain(part).strip() for part in answer.strip(PUNCTUATION + " ").split(",")] == [*_CAPITALS]


def mcq_count_length(answer: str) -> bool:
    """Whether it is four questions, each longer than the one before it, with five options each, and nothing before."""
    if not answer.startswith("Question"):
        return False
    parts = [part.strip() for part in _QUESTION.split(answer) if part.strip()]
    lengths = []
    for part in parts:
        lines = [line.strip() for line in part.split("\n")]
        options = [place for place, line in enumerate(lines) if _OPTION.match(line)]
        if len(options) != _OPTIONS:
            return False
        lengths.append(len(" ".join(lines[: options[0]]).strip()))
    return len(parts) == _QUESTIONS and all(before < after for before, after in pairwise(lengths))


def multiples(answer: str) -> bool:
    """Whether its numbers are the multiples of 7 from 14 to 49, in their order."""
    return re.findall(r"\d+", answer) == [str(number) for number in range(14, 50, 7)]


def reverse_newline(answer: str) -> bool:
    """Whether at least 52 lines, from that of Zimbabwe on, stand in reverse order; what is not ASCII does not count."""
    lines = [line.strip(PUNCTUATION + " ") for line in answer.split("\n") if line.strip()]
    start = next((place for place, line in enumerate(lines) if _FIRST_COUNTRY in line), len(lines))
    listed = [_plain(line) for line in lines[start:]]
    return len(listed) >= _COUNTRIES and listed == sorted(listed, reverse=True)


def sentence_alphabet(answer: str) -> bool:
    """Whether it is 26 sentences whose first letters are those of the alphabet in their order; marks do not count."""
    return [bare(sentence)[:1].lower() for sentence in sentences(answer)] == [*_LETTERS]


def _rows(answer: str, delimiter: str = ",") -> list[list[str]]:
    """The rows of a table; none where it cannot be read as one."""
    try:
        return list(csv.reader(io.StringIO(answer), delimiter=delimiter))
    except csv.Error:
        return []


def _is_date(part: str) -> bool:
    if not _DATE.fullmatch(part):
        return False
    try:
        return _LIVED[0] <= date.fromisoformat(part).year <= _LIVED[1]
    except ValueError:
        return False


def _plain(name: str) -> str:
    """A name without its accents, and whatever else is not ASCII."""
    return unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode()
