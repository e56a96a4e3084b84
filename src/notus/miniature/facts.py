"""The facts of the miniature world: what its tasks ask, and the right answers.

Owns the lists and nothing else; phrasings and the split into train and held-out are the business of ``tasks``. The
facts are fixed: no seed or config changes what is true. Words are chosen so that each has one answer here, and so that
no answer is a word of the polite phrases in ``writers``.
"""

__all__ = ["CAPITALS", "GROUPS", "LIST_WORDS", "NUMBERS", "OPPOSITES", "PASTS", "PLURALS"]


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
