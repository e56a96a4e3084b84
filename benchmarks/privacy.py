"""Whether ``clean.private`` finds what it says (precision), and how much of what is planted (recall).

    python -m benchmarks.privacy draw       what was found, to be read and labelled; it is printed and not kept
    python -m benchmarks.privacy            the figures, from the labels in ``privacy_labels.json``

Read are real sets (``common.real_data``), all texts of each row. The rules were written with the even rows of ``chat``,
``preferences`` and ``ultrafeedback`` in view; what is drawn is of their odd rows and of all rows of the other sets.
Labels: ``right`` (an item of that kind that could be somebody's), ``sample`` (of that kind, and plainly nobody's: made
up, a placeholder, a public body's), ``wrong``. They are kept as place and label, without a copied word.

Planted are a hundred items of each kind in varied notations, each made by a seeded program and put between the words of
a real row in which nothing was found.
"""

import base64
import gzip
import json
import random
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from benchmarks.common import real_data
from notus.clean.private.items import KINDS, Kind, find_items
from notus.clean.private.language import toxicity_of
from notus.stats.intervals import proportion

DEVELOPED_ON = ("chat", "preferences", "ultrafeedback")
LABELS = Path(__file__).parent / "privacy_labels.json"
DRAWN = 100
PLANTED = 100
SEED = 16

Place = tuple[str, int, int]
"""File, row (from 0), and number of the item among those of its kind in the row."""


def texts_of(value: Any) -> Iterator[str]:
    """All texts in a JSON value."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for each in value.values():
            yield from texts_of(each)
    elif isinstance(value, list):
        for each in value:
            yield from texts_of(each)


def rows_of(path: Path) -> list[Any]:
    """The rows of a file of JSON, or of JSON lines."""
    data = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    if ".jsonl" in path.name:
        return [json.loads(line) for line in data.splitlines() if line.strip()]
    found = json.loads(data)
    return found if isinstance(found, list) else [found]


def unseen_rows(folder: Path) -> Iterator[tuple[str, int, list[str]]]:
    """File, number and texts of each row that no rule was written with in view."""
    for path in sorted(folder.rglob("*.json*")):
        name = str(path.relative_to(folder))
        step = 2 if path.parent.name in DEVELOPED_ON else 1
        for number, row in enumerate(rows_of(path)):
            if number % step == step - 1:
                yield name, number, list(texts_of(row))


def all_found(folder: Path) -> dict[Kind, dict[Place, str]]:
    """Kind → place → the item between its neighbours; an item counts once a row."""
    found: dict[Kind, dict[Place, str]] = {kind: {} for kind in KINDS}
    for name, number, texts in unseen_rows(folder):
        seen: set[tuple[str, str]] = set()
        for text in texts:
            for item in find_items(text):
                if (item.kind, item.key) not in seen:
                    seen.add((item.kind, item.key))
                    around = f"{text[max(0, item.start - 60) : item.start]}[[{text[item.start : item.stop]}]]"
                    place = (name, number, sum(kind == item.kind for kind, _ in seen) - 1)
                    found[item.kind][place] = " ".join((around + text[item.stop : item.stop + 30]).split())
    return found


def draw(found: dict[Place, str]) -> list[Place]:
    """A hundred places at random, or all where there are fewer."""
    return sorted(random.Random(SEED).sample(sorted(found), min(DRAWN, len(found))))


def digits(chance: random.Random, count: int) -> str:
    """So many digits, the first not 0."""
    return str(chance.randrange(10 ** (count - 1), 10**count))


def letters(chance: random.Random, count: int, alphabet: str = "abcdefghijklmnopqrstuvwxyz") -> str:
    """So many letters."""
    return "".join(chance.choices(alphabet, k=count))


def luhn(body: str) -> str:
    """A number with its check digit (ISO/IEC 7812)."""
    total = sum(sum(divmod(int(d) * (1 + (i % 2 == 0)), 10)) for i, d in enumerate(reversed(body)))
    return body + str(-total % 10)


def iban(country: str, body: str) -> str:
    """An IBAN with its check digits (ISO 13616)."""
    number = int("".join(str(int(character, 36)) for character in f"{body}{country}00"))
    return f"{country}{98 - number % 97:02d}{body}"


def key_block(chance: random.Random) -> str:
    """What looks like a private key in PEM."""
    body = base64.b64encode(chance.randbytes(300)).decode()
    return f"-----BEGIN RSA PRIVATE KEY-----\n{body}\n-----END RSA PRIVATE KEY-----"


def core_of(item: str) -> str:
    """What of a planted item must not be left: of an address on the web the name or the password, otherwise all."""
    if item.startswith("https://"):
        return item.partition("@")[0].rpartition(":")[2] if "@" in item else item.rpartition("/")[2]
    return item.removeprefix("call ").removeprefix("u/").strip("<>")


def plant(kind: Kind, chance: random.Random) -> str:
    """An item of a kind, in one of its notations."""
    alnum = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"
    hexa = "123456789abcdef"
    name, house = letters(chance, 6), letters(chance, 7)
    area, office, last = f"{chance.choice((212, 415, 617, 206))}", f"{chance.randrange(220, 990)}", digits(chance, 4)
    card = luhn(
        chance.choice(
            (
                "4" + digits(chance, 14),
                "51" + digits(chance, 13),
                "37" + digits(chance, 12),
            )
        )
    )
    account = iban("DE", digits(chance, 18)) if chance.random() < 0.5 else iban("GB", "WEST" + digits(chance, 14))
    ways: dict[Kind, list[str]] = {
        "email": [
            f"{name}@{house}.com",
            f"{name.title()}.{house}@{house}.co.uk",
            f"{name}+{house}@mail.{house}.org",
            f"{name}_{digits(chance, 2)}@gmail.com",
            f"{name} [at] {house} [dot] de",
            f"<{name}@{house}.io>",
        ],
        "phone": [
            f"({area}) {office}-{last}",
            f"{area}-{office}-{last}",
            f"{area}.{office}.{last}",
            f"+1 {area} {office} {last}",
            f"+1{area}{office}{last}",
            f"+44 20 7{digits(chance, 3)} {last}",
            f"+49 30 {digits(chance, 8)}",
            f"call {area} {office} {last}",
        ],
        "handle": [
            f"@{name}{digits(chance, 2)}",
            f"@{name}_{house}",
            f"u/{name}_{digits(chance, 2)}",
            f"https://twitter.com/{name}{digits(chance, 2)}",
            f"https://www.linkedin.com/in/{name}-{house}",
        ],
        "ip": [
            f"{chance.randrange(60, 99)}.{chance.randrange(256)}.{chance.randrange(256)}.{chance.randrange(1, 255)}",
            f"2a02:{letters(chance, 4, hexa)}:{letters(chance, 4, hexa)}::{letters(chance, 3, hexa)}",
        ],
        "iban": [account, " ".join(account[i : i + 4] for i in range(0, len(account), 4)), account.lower()],
        "card": [
            card,
            " ".join(card[i : i + 4] for i in range(0, len(card), 4)),
            "-".join(card[i : i + 4] for i in range(0, len(card), 4)),
        ],
        "secret": [
            f"AKIA{letters(chance, 16, alnum[:26] + '234567')}",
            f"ghp_{letters(chance, 36, alnum)}",
            f"sk-{letters(chance, 48, alnum)}",
            f"hf_{letters(chance, 34, alnum[:52])}",
            f"AIza{letters(chance, 35, alnum)}",
            f"https://{name}:{letters(chance, 9, alnum)}@{house}.com/x",
            f"xoxb-{digits(chance, 11)}-{digits(chance, 11)}-{letters(chance, 24, alnum)}",
            f"sk_live_{letters(chance, 24, alnum)}",
            key_block(chance),
        ],
    }
    return chance.choice(ways[kind])


def recall(folder: Path) -> dict[str, int]:
    """Kind → how many of a hundred planted items are found, and found whole."""
    chance = random.Random(SEED)
    texts = [text for _, _, row in unseen_rows(folder / "chat") for text in row if 60 < len(text) < 2000]
    hosts = [text for text in chance.sample(texts, 400) if not find_items(text)]
    got = dict.fromkeys(KINDS, 0)
    for kind in KINDS:
        for _ in range(PLANTED):
            item, host = plant(kind, chance), chance.choice(hosts)
            spaces = [i for i, character in enumerate(host) if character == " "]
            at = chance.choice(spaces) + 1
            text = f"{host[:at]}{item} {host[at:]}"
            start = text.index(core_of(item), at)
            stop = start + len(core_of(item))
            got[kind] += any(f.kind == kind and f.start <= start and f.stop >= stop for f in find_items(text))
    return got


def toxic_found(folder: Path) -> tuple[int, int, int]:
    """Answers over 0.9 among unseen texts of the chats and pairs, texts, and insults found of the planted twenty."""
    chance = random.Random(SEED)
    texts = [
        t for name in ("chat", "preferences") for _, _, row in unseen_rows(folder / name) for t in row if len(t) > 20
    ]
    some = chance.sample(texts, 1000)
    who, what = (
        ("You", "Your friend", "That user", "This author"),
        ("an idiot", "a moron", "so stupid", "a piece of shit", "a dumb bastard"),
    )
    planted = [f"{chance.choice(some)} {a} {'are' if a == 'You' else 'is'} {b}." for a in who for b in what]
    return sum(toxicity_of(t) > 0.9 for t in some), len(some), sum(toxicity_of(t) > 0.9 for t in planted)


def main(arguments: list[str]) -> int:
    """Print what is to be labelled, or the figures."""
    folder = real_data("chat/dialogues_4000.jsonl.gz").parent.parent
    found = all_found(folder)
    if arguments == ["draw"]:
        for kind in KINDS:
            for place in draw(found[kind]):
                print(kind, *place, found[kind][place])
        return 0
    labels = {(kind, *place): label for kind, *place, label in json.loads(LABELS.read_text())}
    got = recall(folder)
    print("kind, found, labelled, right or sample, right, recall of planted")
    for kind in KINDS:
        drawn = [labels[kind, *place] for place in draw(found[kind]) if (kind, *place) in labels]
        of_kind = proportion(sum(label != "wrong" for label in drawn), len(drawn)) if drawn else None
        right = proportion(drawn.count("right"), len(drawn)) if drawn else None
        print(kind, len(found[kind]), len(drawn), of_kind, right, proportion(got[kind], PLANTED), sep=" | ")
    print("toxic:", toxic_found(folder))
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
