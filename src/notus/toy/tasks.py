"""The tasks of the toy world: short prompts, each with one right answer.

Owns the facts, the families of tasks, their phrasings, and the split: of each fact two of six phrasings are held out,
and of the lists to be counted about a fifth. Facts and split are fixed: no seed or config changes what is true, or on
which side a prompt stands. Words are chosen so that each has one answer here, and so that no answer is a word of the
polite phrases in ``toy.models``. Does not own the answers that models give (``toy.models``) or their marking
(``toy.checker``).
"""

import random
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache

from notus.core.records import digest

__all__ = [
    "CAPITALS",
    "COUNTING",
    "FAMILIES",
    "GROUPS",
    "LIST_WORDS",
    "NUMBERS",
    "OPPOSITES",
    "PASTS",
    "PLURALS",
    "Family",
    "Task",
    "accepted",
    "fact_tasks",
    "find",
    "list_task",
    "wrong_answers",
]


def _pairs(text: str) -> tuple[tuple[str, str], ...]:
    """Read ``a:b c:d`` into pairs."""
    return tuple((left, right) for left, _, right in (item.partition(":") for item in text.split()))


_ANTONYMS = _pairs("""
    hot:cold big:small tall:short fast:slow young:old light:dark open:closed up:down left:right wet:dry full:empty
    hard:soft rich:poor strong:weak thick:thin wide:narrow deep:shallow high:low near:far clean:dirty loud:quiet
    happy:sad love:hate win:lose buy:sell push:pull start:stop day:night north:south east:west summer:winter
    first:last true:false safe:dangerous easy:difficult cheap:expensive sharp:blunt smooth:rough sweet:sour alive:dead
    awake:asleep war:peace friend:enemy remember:forget arrive:leave laugh:cry above:below before:after inside:outside
    always:never front:back top:bottom accept:reject attack:defend borrow:lend build:destroy catch:throw float:sink
    freeze:melt lock:unlock tight:loose straight:crooked public:private ancient:modern guilty:innocent fresh:stale
    raw:cooked tame:wild odd:even import:export urban:rural increase:decrease victory:defeat
""")

OPPOSITES: tuple[tuple[str, str], ...] = tuple(fact for a, b in _ANTONYMS for fact in ((a, b), (b, a)))
"""(word, its opposite); every pair stands in both directions."""

CAPITALS: tuple[tuple[str, str], ...] = _pairs("""
    France:Paris Germany:Berlin Italy:Rome Spain:Madrid Portugal:Lisbon Austria:Vienna Belgium:Brussels
    Denmark:Copenhagen Sweden:Stockholm Norway:Oslo Finland:Helsinki Iceland:Reykjavik Ireland:Dublin Poland:Warsaw
    Hungary:Budapest Greece:Athens Turkey:Ankara Russia:Moscow Ukraine:Kyiv Romania:Bucharest Bulgaria:Sofia
    Serbia:Belgrade Croatia:Zagreb Slovenia:Ljubljana Slovakia:Bratislava Czechia:Prague Switzerland:Bern
    Estonia:Tallinn Latvia:Riga Lithuania:Vilnius Albania:Tirana Malta:Valletta Cyprus:Nicosia Georgia:Tbilisi
    Armenia:Yerevan Egypt:Cairo Morocco:Rabat Algeria:Algiers Tunisia:Tunis Libya:Tripoli Kenya:Nairobi Uganda:Kampala
    Ghana:Accra Nigeria:Abuja Senegal:Dakar Mali:Bamako Angola:Luanda Zambia:Lusaka Zimbabwe:Harare Namibia:Windhoek
    Rwanda:Kigali Somalia:Mogadishu Japan:Tokyo China:Beijing Thailand:Bangkok Vietnam:Hanoi Laos:Vientiane
    Nepal:Kathmandu Bhutan:Thimphu Bangladesh:Dhaka Pakistan:Islamabad Iran:Tehran Iraq:Baghdad Syria:Damascus
    Lebanon:Beirut Jordan:Amman Oman:Muscat Qatar:Doha Australia:Canberra Canada:Ottawa Cuba:Havana Jamaica:Kingston
    Peru:Lima Chile:Santiago Ecuador:Quito Colombia:Bogota Venezuela:Caracas Brazil:Brasilia Uruguay:Montevideo
    Paraguay:Asuncion Nicaragua:Managua Fiji:Suva Belarus:Minsk
""")
"""(country, its capital), both of one word and without accents."""

_MEMBERS = {
    "animals": "dog cat horse cow pig sheep lion tiger rabbit bear wolf goat",
    "birds": "eagle owl sparrow crow duck swan robin hawk parrot gull",
    "fish": "salmon trout cod shark tuna herring eel carp perch pike",
    "fruits": "apple pear plum banana cherry lemon peach grape mango fig",
    "colours": "red blue green yellow black white brown purple grey pink",
    "tools": "hammer saw axe drill spade wrench pliers chisel rake file",
    "vehicles": "car bus train truck van tram bicycle lorry taxi tractor",
    "instruments": "piano violin flute drum guitar harp trumpet cello organ banjo",
    "clothes": "shirt coat hat sock glove skirt scarf shoe belt dress",
    "furniture": "table chair sofa bed desk shelf bench stool cupboard wardrobe",
    "drinks": "water milk tea coffee juice wine beer cider cocoa lemonade",
    "metals": "iron gold silver copper tin lead zinc steel bronze nickel",
    "flowers": "rose tulip daisy lily violet poppy orchid iris primrose lilac",
}

GROUPS: tuple[tuple[str, str], ...] = tuple(
    # Round after round through the groups, so that the first n facts hold members of all groups.
    (words.split()[place], group)
    for place in range(max(len(words.split()) for words in _MEMBERS.values()))
    for group, words in _MEMBERS.items()
    if place < len(words.split())
)
"""(word, the group of things that it belongs to)."""

PLURALS: tuple[tuple[str, str], ...] = _pairs("""
    child:children man:men woman:women foot:feet tooth:teeth goose:geese mouse:mice ox:oxen leaf:leaves knife:knives
    wife:wives life:lives wolf:wolves half:halves loaf:loaves shelf:shelves thief:thieves calf:calves person:people
    city:cities baby:babies lady:ladies story:stories country:countries berry:berries party:parties fly:flies
    box:boxes bus:buses glass:glasses dish:dishes watch:watches church:churches fox:foxes brush:brushes
    tomato:tomatoes potato:potatoes hero:heroes echo:echoes cactus:cacti crisis:crises dog:dogs house:houses tree:trees
    book:books ship:ships star:stars door:doors hand:hands river:rivers garden:gardens
""")
"""(noun, its plural)."""

PASTS: tuple[tuple[str, str], ...] = _pairs("""
    go:went see:saw eat:ate drink:drank run:ran sing:sang swim:swam write:wrote drive:drove ride:rode
    rise:rose speak:spoke break:broke take:took give:gave come:came become:became know:knew grow:grew blow:blew
    throw:threw fly:flew draw:drew fall:fell feel:felt keep:kept sleep:slept sweep:swept leave:left meet:met
    think:thought bring:brought buy:bought fight:fought teach:taught catch:caught find:found stand:stood sell:sold
    tell:told make:made build:built send:sent spend:spent lend:lent lose:lost win:won sit:sat begin:began hide:hid
    bite:bit shake:shook wear:wore steal:stole choose:chose freeze:froze wake:woke
""")
"""(verb, its past tense)."""

LIST_WORDS: tuple[str, ...] = (
    "sun",
    "moon",
    "tree",
    "lamp",
    "door",
    "cup",
    "ball",
    "ship",
    "key",
    "ring",
    "boat",
    "hill",
    "road",
    "bell",
    "leaf",
    "rock",
    "sand",
    "wall",
    "book",
    "fork",
)
"""The words of the lists to be counted."""

NUMBERS: dict[int, str] = {2: "two", 3: "three", 4: "four", 5: "five", 6: "six"}
"""The lengths of the lists to be counted, as words."""


COUNTING = "counting"
"""Name of the one family whose prompts are not a closed list."""

LISTS_HELD_OUT = 5
"""One list in so many is held out."""


@dataclass(frozen=True)
class Family:
    """Tasks of one kind: how they are asked and answered, and which answers there are."""

    name: str
    phrasings: tuple[str, ...]
    """Prompts with a place ``{s}`` for the subject."""
    statements: tuple[str, ...]
    """Sentences that give an answer ``{a}``. None repeats the subject: so small a model does not learn to copy."""
    facts: Mapping[str, str]
    """Subject → right answer. Empty for counting, where the subject is a list of words."""
    options: Mapping[str, str]
    """Every form of every answer, in lower case → the answer as it is written in statements."""


@dataclass(frozen=True)
class Task:
    """A prompt whose right answer is known."""

    family: str
    subject: str
    prompt: str
    answer: str
    held_out: bool
    """True: the prompt is for evaluation, and no training data holds it."""

    def statement(self, answer: str, form: int) -> str:
        """A sentence that gives ``answer``, right or wrong, in one of the family's forms."""
        statements = FAMILIES[self.family].statements
        return statements[form % len(statements)].format(a=answer)


def fact_tasks(facts: int) -> tuple[Task, ...]:
    """All prompts, train and held-out, of the first ``facts`` facts of each family."""
    return tuple(
        _fact_task(family, subject, phrasing)
        for family in FAMILIES.values()
        for subject in list(family.facts)[:facts]
        for phrasing in range(len(family.phrasings))
    )


def list_task(rng: random.Random, *, held_out: bool) -> Task:
    """Draw a list to be counted from the train or from the held-out side; lengths are uniform."""
    length = rng.choice(list(NUMBERS))
    while True:
        words = tuple(rng.sample(LIST_WORDS, length))
        if _list_held_out(words) == held_out:
            return _list_task(words, rng.randrange(len(FAMILIES[COUNTING].phrasings)))


def find(prompt: str) -> Task | None:
    """The task that a prompt asks, or None for a text that is no prompt of this world."""
    return _tasks_by_prompt().get(prompt) or _find_list(prompt)


def accepted(task: Task) -> frozenset[str]:
    """The forms, in lower case, in which the right answer may be given."""
    options = FAMILIES[task.family].options
    return frozenset(form for form, answer in options.items() if answer == task.answer)


def wrong_answers(task: Task) -> tuple[str, ...]:
    """Plausible wrong answers: the other answers of the family."""
    family = FAMILIES[task.family]
    answers = family.facts.values() if family.facts else NUMBERS.values()
    return tuple(dict.fromkeys(answer for answer in answers if answer not in (task.answer, task.subject)))


def _fact_task(family: Family, subject: str, phrasing: int) -> Task:
    held_out = phrasing in _phrasings_held_out(family, subject)
    prompt = family.phrasings[phrasing].format(s=subject)
    return Task(family.name, subject, prompt, family.facts[subject], held_out)


def _phrasings_held_out(family: Family, subject: str) -> tuple[int, int]:
    """Two of the family's phrasings, others for other subjects."""
    n = len(family.phrasings)
    further, first = divmod(int(digest(family.name, subject), 16), n)
    return first, (first + 1 + further % (n - 1)) % n


def _list_task(words: tuple[str, ...], phrasing: int) -> Task:
    subject = ", ".join(words)
    prompt = FAMILIES[COUNTING].phrasings[phrasing].format(s=subject)
    return Task(COUNTING, subject, prompt, NUMBERS[len(words)], _list_held_out(words))


def _list_held_out(words: tuple[str, ...]) -> bool:
    return int(digest(*words), 16) % LISTS_HELD_OUT == 0


@cache
def _tasks_by_prompt() -> dict[str, Task]:
    return {task.prompt: task for task in fact_tasks(max(len(family.facts) for family in FAMILIES.values()))}


def _find_list(prompt: str) -> Task | None:
    for phrasing, form in enumerate(FAMILIES[COUNTING].phrasings):
        before, _, after = form.partition("{s}")
        match = re.fullmatch(f"{re.escape(before)}([a-z, ]+){re.escape(after)}", prompt)
        words = tuple(match[1].split(", ")) if match else ()
        if len(words) in NUMBERS and set(words) <= set(LIST_WORDS):
            return _list_task(words, phrasing)
    return None


def _closed_family(
    name: str,
    facts: tuple[tuple[str, str], ...],
    phrasings: tuple[str, ...],
    statements: tuple[str, ...],
    ending: str = "",
) -> Family:
    """A family whose options are the right answers of its facts, with and without ``ending`` ("tool" for "tools")."""
    answers = {answer for _, answer in facts}
    options = {form.lower(): answer for answer in sorted(answers) for form in (answer, answer.removesuffix(ending))}
    return Family(name, phrasings, statements, dict(facts), options)


_NUMERALS = dict(enumerate(("one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten"), start=1))

FAMILIES: dict[str, Family] = {
    family.name: family
    for family in (
        _closed_family(
            "opposite",
            OPPOSITES,
            (
                "What is the opposite of {s}?",
                "Give me the opposite of {s}.",
                "Which word means the opposite of {s}?",
                "Find a word that is opposite to {s}.",
                "Name the word that is the opposite of {s}.",
                "Tell me the opposite of the word {s}.",
            ),
            ("The opposite is {a}.", "It is {a}.", "The word is {a}."),
        ),
        _closed_family(
            "capital",
            CAPITALS,
            (
                "What is the capital of {s}?",
                "Name the capital of {s}.",
                "Which city is the capital of {s}?",
                "Tell me the capital city of {s}.",
                "I want to know the capital of {s}.",
                "{s} has which city as its capital?",
            ),
            ("The capital is {a}.", "It is {a}.", "The city is {a}."),
        ),
        _closed_family(
            "group",
            GROUPS,
            (
                "Which group does the word {s} belong to?",
                "What kind of thing is meant by {s}?",
                "Name the group of the word {s}.",
                "In which group would you put {s}?",
                "Tell me what kind of thing {s} is.",
                "Where does {s} belong?",
            ),
            ("It is one of the {a}.", "The group is {a}.", "It belongs to the {a}."),
            ending="s",
        ),
        _closed_family(
            "plural",
            PLURALS,
            (
                "What is the plural of {s}?",
                "Write the plural form of {s}.",
                "Give me the plural of the word {s}.",
                "Which word stands for many of {s}?",
                "What do you call many of the thing {s}?",
                "Put the noun {s} into the plural.",
            ),
            ("The plural is {a}.", "It is {a}.", "The plural form is {a}."),
        ),
        _closed_family(
            "past",
            PASTS,
            (
                "What is the past tense of {s}?",
                "Put the verb {s} into the past tense.",
                "Give me the past form of {s}.",
                "How do you say {s} for yesterday?",
                "Write the past tense of the verb {s}.",
                "Tell me the past of {s}.",
            ),
            ("The past tense is {a}.", "It is {a}.", "The past form is {a}."),
        ),
        Family(
            COUNTING,
            (
                "How many words are in this list: {s}?",
                "Count the words: {s}.",
                "Give me the number of words in {s}.",
                "What is the length of the list {s}?",
                "How long is the list {s}?",
                "Here is a list: {s}. How many words?",
            ),
            ("There are {a} words.", "The list has {a} words.", "It is {a}."),
            {},
            {form: word for number, word in _NUMERALS.items() for form in (word, str(number))},
        ),
    )
}
"""The families by name."""
