"""Words that do not change what a prompt asks for, language by language: small lists of our own.

A ``Lexicon`` names the *free* words (articles, forms of "be", fillers), phrases that only *frame* a request ("could you
please"; "Question: … Answer:"), number words, negations, *relations* (prepositions, question words, pronouns: one may
be lacking, but one may not stand for another), and the verbs that ask for the same thing. English has all of them;
other languages have free words, frames, number words and negations; a language without a list has none, and there each
word counts.

Owns the lists. How two prompts are compared by them is the business of ``clean.difference``.
"""

import re
import unicodedata
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cache, cached_property

from notus.clean.words import FUNCTION_WORDS, REQUESTS, words_of

__all__ = ["LEXICONS", "MENTIONS", "NOTHING", "SPELLINGS", "Lexicon", "Phrase", "language_of", "subject_of"]


@dataclass(frozen=True)
class Phrase:
    """A phrase, in the words of ``clean.words`` between single blanks."""

    source: str
    """A regular expression."""
    instead: str
    """What it is replaced by."""

    @cached_property
    def pattern(self) -> re.Pattern[str]:
        """The expression, ready to be used: of most languages no set holds a prompt."""
        return re.compile(self.source)


Phrases = tuple[Phrase, ...]

MENTIONS = re.compile(
    r" (?:(?:the|this|that|these|following|given|each|every|which|what|a|an|english)"
    r" (?:words?|sentences?|phrases?|letters?)"
    r"|verbs?|nouns?|adjectives?|adverbs?|pronouns?|plural|singular|tense|spell(?:ing|ed)?|misspell(?:ing|ed)|typos?"
    r"|synonyms?|antonyms?|rhym(?:e|es|ing)|gerund|suffix|prefix|anagrams?|palindromes?|conjugate|pronounce|syllables?"
    r"|grammar|grammatical(?:ly)?|translat(?:e|es|ing|ion)|rewrit(?:e|ing)|rephras(?:e|ing)|paraphras(?:e|ing)|reword"
    r"|proofread|punctuation|capitali[sz]e|polite(?:ly)?|(?:more|less|very) (?:in)?formal"
    r"|übersetze|traduce|traduis|译|訳)(?= )"
)
"""What prompts say that are about words, or bring the text to work on: there small words and forms of words count."""
SPELLINGS = re.compile(
    r" (?:spell(?:ing|ed)?|misspell(?:ing|ed)|typos?|letters?|characters?|vowels?|consonants?|anagrams?|palindromes?"
    r"|syllables?|rhym(?:e|es|ing)|proofread|punctuation|capitali[sz]e|grammar|grammatical(?:ly)?|errors?|mistakes?"
    r"|correct|edit|plural|singular)(?= )"
)
"""What prompts say in which a slip of the pen may be what is asked about."""


@dataclass(frozen=True)
class Lexicon:
    """The lists of a language."""

    free: frozenset[str] = frozenset()
    articles: frozenset[str] = frozenset()
    """Free words that are free even in a prompt that is about words."""
    contractions: Phrases = ()
    """Short forms and what they stand for."""
    openings: Phrases = ()
    """Frames where a prompt begins …"""
    closings: Phrases = ()
    """… and where it ends."""
    frames: Phrases = ()
    """Frames anywhere, but in a prompt that is about words."""
    numbers: Mapping[str, int] = field(default_factory=dict)
    negations: frozenset[str] = frozenset()
    relations: Mapping[str, tuple[str, str]] = field(default_factory=dict)
    """Word → its kind and what it says there: two of a kind that say different things are a difference."""
    verbs: Mapping[str, str] = field(default_factory=dict)
    """Verb that a request begins with → what it asks for."""
    droppable: frozenset[str] = frozenset()
    """What a verb asks for where it may be lacking altogether."""
    same: Mapping[str, str] = field(default_factory=dict)
    """Word → the one that it is compared as: another spelling, a unit's short form."""
    decimal_comma: bool = True

    @cached_property
    def known(self) -> frozenset[str]:
        """Each word that some list holds."""
        lists = (self.free, self.numbers, self.negations, self.relations, self.verbs, self.same, self.same.values())
        phrases = (*self.contractions, *self.openings, *self.closings, *self.frames)
        return frozenset().union(*lists, *(_words_in(phrase.source) | {phrase.instead.strip()} for phrase in phrases))


def _words_in(pattern: str) -> frozenset[str]:
    """The words of a pattern, those with an optional last letter in both forms."""
    shorter = re.sub(r"[^ )]\?", "", pattern)
    return frozenset(re.findall(r"[^\W\d_]+", f"{pattern} {shorter}"))


def _set(words: str) -> frozenset[str]:
    return frozenset(words.split())


def _phrases(lines: str, pattern: str = " (?:{})(?= )", *, spaced: bool = True) -> Phrases:
    """Phrases, one a line, with ``=>`` before what they are replaced by; ``spaced``: whether words stand apart."""
    found = []
    for line in filter(None, map(str.strip, re.sub(r"\\\n\s*", "", lines).splitlines())):
        phrase, _, instead = (part.strip() for part in line.partition("=>"))
        phrase = phrase if spaced else " ".join(word.decode() for word in words_of(phrase))
        found.append(Phrase(pattern.format(phrase), f" {instead}" if instead else ""))
    return tuple(found)


_AT_START, _AT_END = r"\A (?:{})(?= )", r" (?:{}) \Z"


def _count(words: str, first: int = 1, step: int = 1) -> dict[str, int]:
    """Number words in order; several for one number are joined by commas."""
    return {
        word: number
        for place, together in enumerate(words.split())
        for word in together.split(",")
        if (number := first + step * place) and word != "-"
    }


def _relations(**kinds: str) -> dict[str, tuple[str, str]]:
    """``kind = "a,b c"``: a and b say the same, c something else."""
    return {
        word: (kind, together.split(",")[0])
        for kind, groups in kinds.items()
        for together in groups.split()
        for word in together.split(",")
    }


def _verbs(**groups: str) -> dict[str, str]:
    return {word: f"<{name}>" for name, words in groups.items() for word in words.split()}


def _same(groups: str) -> dict[str, str]:
    """``a,b c,d``: a and b are compared as a, c and d as c."""
    return {word: together.split(",")[0] for together in groups.split() for word in together.split(",")}


_THANKS = (
    r"(?:many )?(?:thanks|thank you)(?: very much| so much| a lot)?(?: in advance)?"
    r"(?: for (?:your|the) (?:help|time|answer))?"
)
_POLITE = rf"""
{_THANKS}
please|kindly|pls|plz
(?:hi|hello|hey|dear|good (?:morning|afternoon|evening|day))(?: there| chatgpt| assistant| everyone| all| friend)?
(?:i )?hope (?:that )?(?:you are|this finds you|all is|everything is) (?:doing )?(?:well|fine|good|great)
sorry (?:to bother you|for bothering you|to disturb you)(?: but)?|excuse me(?: but)?|pardon me
(?:do|would|could|can|will) you (?:mind|be able to|be so (?:kind|good) (?:as to|and)|be willing to|happen to know)
(?:could|can|would|will|might) (?:you|u)(?: please| kindly| possibly| maybe)?
be so (?:kind|good)(?: as to| and)?
(?:do|did) you know
i (?:am |was )?(?:wonder|wondering) (?:if|whether)(?: you)?(?: could| can| would)?
i (?:was |am )?(?:hope|hoping) (?:that )?you (?:could|can|will|would)
do you think (?:that )?you (?:could|can)
i (?:would|d) be (?:very |so |really |most )?(?:grateful|thankful|happy|glad|obliged|delighted) if(?: you)?(?: could\
| can| would)?
it would be (?:very |so |really )?(?:great|nice|helpful|kind|wonderful|good|lovely|appreciated) if(?: you)?(?: could\
| can| would)?
i (?:would |d )?(?:really |very much |greatly )?appreciate (?:it|that|this|your help|any help)(?: very much)?\
(?: if)?(?: you)?(?: could| can| would)?
i (?:would|d) (?:really |also )?(?:like|love|want)(?: for you| you)?(?: to)?(?: know)?
i (?:really )?(?:want|need|wanna|wish)(?: for you| you)?(?: to)?(?: know)?
i (?:will|ll) need(?: you)?(?: to)?
(?:would|is) it (?:be )?(?:possible|ok|okay|alright|all right)(?: for you)? (?:to|if you(?: could| can)?)
(?:may|could|can) i (?:please )?(?:ask|know|trouble|bother)(?: you)?(?: to| for)?
do me (?:a|the) favou?r(?: and| of)?
i have (?:a|one) (?:quick |short |simple )?question(?: for you)?
(?:some |your )?help(?: me| us)?(?: to| with| out)?
if (?:you (?:can|could|not mind|would|have (?:time|a moment))|possible)
if (?:that|it) is (?:not )?(?:ok|okay|possible|too much trouble|alright|all right|too much to ask)(?: with you)?
when(?:ever)? you (?:have|get|find) (?:a |the |some )?(?:moment|time|chance|minute|opportunity)
any help (?:is|would be|will be) (?:much |greatly |highly )?appreciated|much appreciated|cheers
have a (?:nice|great|good) (?:day|one)
"""

_ENGLISH = Lexicon(
    free=_set(
        "a an the is are am be been being s d m re ll ve do does has have having it its this that these those there "
        "here than then so very just really quite actually basically simply also too exactly well like please kindly "
        "thanks thank hi hello hey following below however therefore thus hence indeed"
    ),
    articles=_set("a an the please s following below"),
    contractions=_phrases(
        """
        (?:can|could|do|does|did|is|are|was|were|would|should|will|has|have|had|must|need) not => not
        (?:do|does|did|is|are|was|were|wo|would|ca|could|should|has|have|had|must|need|ai)n t|can t => not
        cannot|dont|doesnt|cant|wont|isnt|didnt|couldnt|shouldnt|wouldnt => not
        what s => what is
        who s => who is
        where s => where is
        when s => when is
        how s => how is
        that s => that is
        it s => it is
        there s => there is
        he s => he is
        she s => she is
        here s => here is
        let s => let us
        what d => what would
        i m => i am
        you re => you are
        we re => we are
        they re => they are
        whats => what is
        gonna => going to
        & => and
        ll => will
        ve => have
        """
    ),
    openings=_phrases(
        _POLITE
        + r"""
        inst|s inst|< s > inst|< s >
        (?:my |the |here is (?:my|a|the|your|one) )?(?:question|q|instructions?|prompt|task|user|human|query|request\
        |problem)(?: is)?
        below is an instruction that describes a task(?: paired with an input that provides further context)?
        write a response that appropriately completes the request
        you are (?:a |an )?(?:very )?(?:(?:helpful|friendly|useful|knowledgeable|smart|intelligent|good|polite\
        |honest|harmless|respectful|ai|and) )*(?:assistant|chatbot|ai|language model)
        as an? (?:ai|language model|ai language model|assistant)
        act as an? (?:helpful )?(?:ai|assistant)
        (?:answer|respond to|reply to|consider|read|solve|complete|look at|follow) (?:the |this |these |my )?\
        (?:following |next )?(?:questions?|prompts?|requests?|instructions?|tasks?|problems?|query)(?: below)?\
        (?: (?:as best as you can|carefully|correctly|truthfully|accurately|for me))*
        tell (?:me|us)(?= (?:what|which|who|when|where|why|how|if|whether|can|could|the))
        in (?:great |full |some |more )?detail|step by step
        """,
        _AT_START,
    ),
    closings=_phrases(
        _POLITE
        + r"""
        inst|/ inst|< / s >
        (?:and )?(?:answer|respond|reply|explain|elaborate|write|describe|do)?(?: it| this| that| everything\
        | your answer)? ?(?:with|in) (?:as much |full |great |more |some |sufficient |enough |much )?details?\
        (?: as (?:possible|you can))?
        (?:and )?(?:give|provide|write)(?: me)? (?:a |an |your )?(?:very )?(?:(?:detailed|thorough|complete|full\
        |comprehensive|clear|good|helpful|long|short|brief|concise|and) )*(?:answers?|response|explanation)
        (?:and )?(?:give|provide|include|add|use|with)\
        (?: me)? (?:as much |more |some |a lot of |plenty of )?details?(?: as (?:possible|you can))?
        (?:and )?be (?:as )?(?:very )?(?:detailed|specific|thorough|precise|clear|complete|concise|brief|accurate)\
        (?: as possible| as you can)?
        (?:and )?(?:answer|explain|respond|reply)(?: it| this)? (?:as )?(?:briefly|thoroughly|clearly|carefully\
        |completely|accurately|concisely|fully)(?: as possible| as you can)?
        (?:and )?(?:let us )?(?:think|work|go|explain|solve|answer)(?: it| this)?(?: out| through)? step by step
        (?:and )?(?:explain|show|justify|describe) your (?:reasoning|work|working|steps|answer|thinking|thoughts)
        (?:and )?make sure (?:that )?(?:it|your answer|the answer) is (?:correct|right|clear|complete|accurate|detailed)
        (?:your |the )?(?:answer|a|response|assistant|output|solution|reply)(?: is)?
        """,
        _AT_END,
    ),
    frames=_phrases(
        _POLITE
        + r"""
        tell (?:me|us)(?= (?:what|which|who|when|where|why|how|if|whether|can|could|the))
        i am (?:looking|searching) (?:for|to find) => find
        (?:look|search|looking|searching) (?:for|up) => find
        i am (?:trying|going|about) to
        your (?:task|job) is to|you are to|you should|you must|you need to|your task
        (?:let|make) (?:me|us) (?:know|understand) => tell
        (?:for|to) (?:me|us)
        come up with => write
        work out => calculate
        how (?:can|could|do|would|should|might|to) (?:i|we|you|one|someone) => how
        how to => how
        what (?:are|would be)(?= (?:some|the|\d+|two|three|four|five|six|seven|eight|nine|ten) \w*[^\Ws]s ) => list
        (?:list|name|give)(?= the \w+(?<!s) of ) => what
        percent|per cent => %
        in order to|so as to => to
        due to|owing to|on account of => because of
        with (?:respect|regards?) to|in regards? to|in terms of => about
        for (?:instance|example)|e g => for example
        i e => that is
        prior to => before
        such as => like
        even though|though => although
        by means of|by using|through the use of => using
        as well as|along with|together with|plus(?= [^\W\d]) => and
        more than(?= \d)|above(?= \d) => over
        (?:less|fewer) than(?= \d)|below(?= \d) => under
        (?:no|not) less than|a minimum of => at least
        (?:no|not) more than|a maximum of|up to => at most
        (?:about|around)(?= \d) => approximately
        apart from|other than|with the exception of|excluding|aside from|except for => except
        with no => without
        in spite of => despite
        in addition to => besides
        in place of|in lieu of => instead of
        in the course of => during
        subsequent to => after
        provided that|assuming that => if
        in the middle of|amid => between
        (?:as|so) long as => if
        in which => where
        the (?:way|manner) (?:in which|that|to)|the best way to => how
        (?:have|has|need|needs|got) to|ought to => must
        is able to|are able to => can
        in the vicinity of => near
        most of|the majority of => most
        all of => all
        the entire|the whole => whole
        begins?|commence|begin => start
        require => need
        obtain => get
        assist => help
        enough => sufficient
        a (?:lot|number) of|lots of|plenty of|numerous => many
        in case => if
        rather than => instead of
        close to|next to => near
        at (?:the moment|present) => now
        """
    ),
    numbers=_count(
        "one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen "
        "eighteen nineteen"
    )
    | _count("twenty thirty forty fifty sixty seventy eighty ninety", 20, 10)
    | {"zero": 0, "dozen": 12, "hundred": 100, "thousand": 1_000, "million": 1_000_000, "billion": 1_000_000_000},
    negations=_set("not no never none nor neither without except unless nothing nobody nowhere non lacks lack avoid"),
    relations=_relations(
        on="on,upon",
        place="of,in,at,for,within,inside,to,into,onto,toward,towards as from,out by with,using,via "
        "about,regarding,concerning against",
        question="what,which who,whom,whose",
        person="i,me,my,mine,myself you,your,yours,u,ur he,him,his she,her,hers we,us,our they,them,their one",
        amount="some,any,few,several,various,multiple each,every,all,per",
        joined="and,but,yet",
        may="can,could,may,might",
    ),
    verbs=_verbs(
        find="find finding search searching locate locating look looking seek seeking get getting",
        give="give giving provide providing tell telling state show showing supply return output say answer",
        name="name list naming listing enumerate",
        write="write writing compose composing generate generating create creating make making produce producing draft "
        "drafting craft construct constructing",
        explain="explain explaining describe describing elaborate",
        calculate="calculate calculating compute computing determine determining solve",
        reword="rewrite rewriting rephrase rephrasing reword paraphrase restate",
        change="change changing convert converting transform transforming turn turning alter modify",
        correct="correct correcting fix fixing edit",
        classify="classify classifying categorize categorizing",
        suggest="suggest suggesting recommend recommending propose",
        book="book booking reserve reserving",
        buy="buy buying purchase purchasing",
        summarize="summarize summarizing",
    ),
    droppable=frozenset(("<find>", "<give>", "<calculate>")),
    same=_same(
        "kilometer,km,kms,kilometers,kilometre,kilometres centimeter,cm,centimeters millimeter,mm,millimeters "
        "kilogram,kg,kgs,kilograms milliliter,ml,milliliters hour,hr,hrs,hours minute,min,mins,minutes pound,lb,lbs "
        "foot,ft,feet $,usd,dollar,dollars €,euro,euros versus,vs ok,okay film,movie,movies,films "
        "picture,photo,photos,pictures largest,biggest larger,bigger large,big child,kid,kids,children "
        "use,utilize,utilise using,utilizing,employing 1st,first 2nd,second 3rd,third 4th,fourth 5th,fifth 6th,sixth "
        "7th,seventh 8th,eighth 9th,ninth 10th,tenth aluminum,aluminium tire,tyre tires,tyres plow,plough "
        "check,cheque checks,cheques jewelry,jewellery mustache,moustache sulfur,sulphur airplane,aeroplane "
        "pajamas,pyjamas donut,doughnut donuts,doughnuts license,licence practice,practise story,storey "
        "judgment,judgement aging,ageing enroll,enrol fulfill,fulfil skillful,skilful installment,instalment "
        "gray,grey mom,mum maneuver,manoeuvre skeptical,sceptical curb,kerb draft,draught while,whilst among,amongst "
        "until,till,til anyone,anybody everyone,everybody someone,somebody approximately,roughly,approx maybe,perhaps "
        "near,nearby,beside example,eg because,since whether,if when,whenever where,wherever "
        "through,throughout,across entire,whole under,beneath,underneath etc,etcetera"
    ),
    decimal_comma=False,
)


def _other(
    *,
    free: str = "",
    contractions: str = "",
    frames: str = "",
    numbers: Mapping[str, int] | None = None,
    negations: str = "",
    same: str = "",
    spaced: bool = True,
) -> Lexicon:
    """A lexicon of the lists that languages other than English have."""
    return Lexicon(
        free=_set(free),
        articles=_set(free),
        contractions=_phrases(contractions, spaced=spaced),
        same=_same(same),
        openings=_phrases(frames, _AT_START, spaced=spaced),
        closings=_phrases(frames, _AT_END, spaced=spaced),
        frames=_phrases(frames, spaced=spaced),
        numbers=numbers or {},
        negations=_set(negations),
    )


def _german_numbers() -> dict[str, int]:
    ones = _count("ein zwei drei vier fünf sechs sieben acht neun")
    tens = _count("zwanzig dreißig vierzig fünfzig sechzig siebzig achtzig neunzig", 20, 10)
    tens |= {word.replace("ß", "ss"): number for word, number in tens.items()}
    joined = {f"{one}und{ten}": a + b for one, a in ones.items() for ten, b in tens.items()}
    teens = _count("eins zwei drei vier fünf sechs sieben acht neun zehn elf zwölf dreizehn vierzehn fünfzehn sechzehn")
    return joined | tens | teens | {"siebzehn": 17, "achtzehn": 18, "neunzehn": 19, "hundert": 100, "tausend": 1000}


LEXICONS: Mapping[str, Lexicon] = {
    "en": _ENGLISH,
    "de": _other(
        free="der die das den dem des ein eine einen einem einer eines ist sind bin bist seid bitte mal doch denn auch",
        contractions="""
        gibt s|gibts => gibt es
        geht s|gehts => geht es
        was s => was ist
        wie s => wie ist
        im => in dem
        ins => in das
        am => an dem
        zum => zu dem
        zur => zu der
        beim => bei dem
        vom => von dem
        fürs => für das
        ums => um das
        aufs => auf das
        hab => habe
        ne => eine
        nen => einen
        s => es
        """,
        frames="""
        (?:erkläre?|antworte?|beschreibe?)?(?: (?:es|das|mir))? ?(?:ausführlich|im detail|in dem detail|genau\
        |schritt für schritt)
        wäre es möglich|es wäre (?:nett|schön|toll) wenn(?: du| sie)?|ich wäre dankbar wenn(?: du| sie)?|entschuldigung
        (?:könntest du|könnten sie|kannst du|können sie|würdest du|würden sie)(?: mir)?(?: bitte)?(?: (?:helfen|sagen))?
        ich (?:möchte|will|würde gerne?|hätte gerne?)(?: dass du| wissen)?
        bitte|(?:vielen )?(?:dank|danke)(?: im voraus| schön)?|hallo|guten tag|hi
        frage|antwort|aufgabe|lösung
        """,
        numbers=_german_numbers(),
        negations="nicht kein keine keinen keinem keiner nie niemals ohne weder",
    ),
    "es": _other(
        free="el la los las un una unos unas es son está están favor",
        contractions="""
        al => a el
        del => de el
        """,
        frames="""
        (?:explica(?:lo)?|responde|describe)? ?(?:con (?:todo )?detalle|en detalle|detalladamente|paso a paso)
        sería posible|te agradecería (?:si|que)|disculpa|perdona
        (?:me )?(?:podrías|podría|puedes|puede)(?: usted)?(?: por favor)?(?: decirme| ayudarme a)?
        por favor|(?:me )?gustaría(?: que)?|quiero que|quisiera|(?:muchas )?gracias(?: de antemano)?|hola|buenos días
        pregunta|respuesta|tarea
        """,
        numbers=_count(
            "uno dos tres cuatro cinco seis siete ocho nueve diez once doce trece catorce quince dieciséis diecisiete "
            "dieciocho diecinueve veinte veintiuno veintidós veintitrés veinticuatro veinticinco veintiséis veintisiete"
        )
        | _count("treinta cuarenta cincuenta sesenta setenta ochenta noventa cien", 30, 10),
        negations="no nunca sin ningún ninguna nada nadie tampoco",
    ),
    "fr": _other(
        free="le la les l un une est sont stp svp",
        contractions="""
        qu est ce => que est ce
        qu => que
        c est => ce est
        j => je
        d => de
        du => de le
        au => à le
        t => tu
        s il => si il
        y a => il y a
        lorsqu => lorsque
        jusqu => jusque
        puisqu => puisque
        m => me
        """,
        frames="""
        (?:explique[zr]?|réponds|répondez|décri[sv]e?z?)? ?(?:en détail|de façon détaillée|étape par étape)
        serait il possible(?: de)?|excusez moi|je vous serais reconnaissant de
        (?:pourriez vous|peux tu|pouvez vous|pourrais tu)(?: m aider à| me dire)?
        (?:s|si) il (?:vous|te) plaît|je (?:voudrais|veux|souhaite)(?: que)?
        merci(?: beaucoup)?(?: d avance| de avance)?|bonjour|salut|que est ce que|est ce que
        question|réponse|tâche
        """,
        numbers=_count("- deux trois quatre cinq six sept huit neuf dix onze douze treize quatorze quinze seize")
        | _count("vingt trente quarante cinquante soixante", 20, 10)
        | {"cent": 100, "mille": 1000},
        negations="ne pas n jamais sans aucun aucune rien personne non",
    ),
    "it": _other(
        free="il lo la i gli le l un uno una è sono",
        frames="""
        (?:mi )?(?:potresti|puoi|può|potrebbe)(?: per favore)?(?: dirmi| aiutarmi a)?
        per (?:favore|piacere)|vorrei(?: che)?|grazie(?: mille| in anticipo)?|ciao|buongiorno
        domanda|risposta
        """,
        numbers=_count("- due tre quattro cinque sei sette otto nove dieci undici dodici")
        | _count("venti trenta quaranta cinquanta sessanta settanta ottanta novanta cento", 20, 10),
        negations="non no mai senza nessun nessuno nessuna niente",
    ),
    "nl": _other(
        free="de het een is zijn alstublieft",
        frames="""
        (?:kunt u|kun je|kan je|zou je|zou u)(?: mij| me)?(?: alstublieft| alsjeblieft)?(?: helpen)?
        alsjeblieft|alstublieft|ik (?:wil|zou graag)|(?:alvast )?bedankt|dank je(?: wel)?|hallo
        vraag|antwoord
        """,
        numbers=_count("- twee drie vier vijf zes zeven acht negen tien elf twaalf")
        | _count("twintig dertig veertig vijftig zestig zeventig tachtig negentig honderd", 20, 10),
        negations="niet geen nooit zonder niets niemand",
    ),
    "pl": _other(
        free="jest są to",
        frames="""
        proszę|czy (?:możesz|mógłbyś|mogłabyś|może pan|może pani)|chciałbym|chciałabym
        dziękuję(?: z góry| bardzo)?|cześć|dzień dobry
        """,
        numbers=_count("jeden dwa trzy cztery pięć sześć siedem osiem dziewięć dziesięć jedenaście dwanaście"),
        negations="nie nigdy bez nic nikt żaden",
    ),
    "pt": _other(
        free="o a os as um uma uns umas é são está",
        frames="""
        (?:você )?(?:me )?(?:poderia|pode)(?: por favor)?(?: me dizer| me ajudar a)?
        por favor|(?:eu )?gostaria(?: de| que)?|(?:muito )?obrigad[oa](?: desde já)?|olá
        pergunta|resposta
        """,
        numbers=_count("- dois,duas três quatro cinco seis sete oito nove dez onze doze")
        | _count("vinte trinta quarenta cinquenta sessenta setenta oitenta noventa cem", 20, 10),
        negations="não nunca sem nenhum nenhuma nada ninguém",
    ),
    "ru": _other(
        free="это же ли",
        frames="""
        (?:ответь|ответьте|объясни|объясните|расскажи|опиши)? ?(?:подробно|в подробностях|шаг за шагом)
        извините|простите|будьте добры|не затруднит ли вас|скажите|скажи
        пожалуйста|(?:не )?могли бы вы|(?:не )?мог бы ты|можешь(?: ли ты)?|можете(?: ли вы)?
        (?:большое )?спасибо(?: заранее| большое)?|заранее спасибо|здравствуйте|привет|добрый день|я хочу чтобы ты\
        |подскажите
        вопрос|ответ|задание
        """,
        numbers=_count("один два,две три четыре пять шесть семь восемь девять десять одиннадцать двенадцать")
        | _count("двадцать тридцать сорок пятьдесят шестьдесят семьдесят восемьдесят девяносто сто", 20, 10),
        negations="не нет без никогда ничего никто ни нельзя",
    ),
    "ar": _other(
        free="هو هي هل",
        frames="""
        (?:اشرح|أجب|مع الشرح)?(?: ذلك)? ?(?:بالتفصيل|خطوة بخطوة|بشكل مفصل)
        من فضلك|لو سمحت|رجاء|رجاءً|هل يمكنك(?: أن)?|هل بإمكانك(?: أن)?|شكرا(?: لك| جزيلا| مقدما)?|شكرًا(?: لك\
        | جزيلاً)?|مرحبا|مرحبًا
        سؤال|السؤال|الجواب|الإجابة
        """,
        numbers=_count(
            "واحد اثنان,اثنين ثلاثة,ثلاث أربعة,أربع خمسة,خمس ستة,ست سبعة,سبع ثمانية,ثماني تسعة,تسع عشرة,عشر"
        ),
        negations="لا ليس ليست لم لن بدون غير دون ما",
    ),
    "hi": _other(
        free="है हैं हो जी",
        frames="""
        (?:कृपया )?(?:विस्तार से|विस्तारपूर्वक|चरण दर चरण)(?: (?:बताएं|बताइए|बताओ|समझाएं|समझाइए|समझाओ|उत्तर दें))?
        (?:बताएं|बताइए|बताइये)
        कृपया|कृपा करके|धन्यवाद|शुक्रिया|नमस्ते|क्या आप(?: मुझे)?|मुझे
        प्रश्न|उत्तर|सवाल|जवाब
        """,
        numbers=_count(
            "एक दो तीन चार पाँच,पांच छह,छः,छे सात आठ नौ दस ग्यारह बारह तेरह चौदह पंद्रह,पन्द्रह सोलह सत्रह अठारह उन्नीस"
        )
        | {"पच्चीस": 25, "हज़ार": 1000, "हजार": 1000}
        | _count("बीस तीस चालीस पचास साठ सत्तर अस्सी नब्बे सौ", 20, 10),
        negations="नहीं न मत बिना ना",
    ),
    "th": _other(
        frames="""
        ช่วยบอกหน่อยครับว่า
        ช่วยบอกหน่อยค่ะว่า
        ช่วยบอกหน่อยว่า
        ช่วยบอก
        อธิบายอย่างละเอียด
        อย่างละเอียด
        โดยละเอียด
        ช่วยกรุณา
        ได้หรือไม่
        ให้หน่อย
        ให้ที
        หน่อยนะ
        นะครับ
        นะคะ
        ขอบคุณมาก
        ขอบคุณล่วงหน้า
        กรุณา
        โปรด
        ช่วย
        หน่อย
        ได้ไหม
        ขอบคุณ
        ครับ
        ค่ะ
        คะ
        สวัสดี
        คำถาม
        คำตอบ
        รบกวน
        """,
        spaced=False,
    ),
    "ko": _other(
        free="은 는",
        frames="안녕하세요|감사합니다|고맙습니다|부탁드립니다|부탁해요|질문|답변|답",
        numbers=_count("하나 둘 셋 넷 다섯 여섯 일곱 여덟 아홉 열"),
        negations="안 못 없이 아니 않",
    ),
    "zh": _other(
        contractions="""
        由于 => 因 为
        有关 => 关 于
        如何 => 怎 么
        怎样 => 怎 么
        为何 => 为 什 么
        哪些 => 什 么
        使用 => 用
        以及 => 和
        假如 => 如 果
        并且 => 并
        但是 => 但
        """,
        same="和,与,跟,及 里,中",
        free="的 了 吧 吗 呢 啊",
        frames="""
        请详细说明
        请详细回答
        详细说明
        详细解释
        详细回答
        一步一步
        请问
        能不能请你
        能不能
        可以请你
        请帮我
        请你
        请您
        麻烦你
        麻烦您
        请
        你能
        您能
        你可以
        可以帮我
        帮我
        谢谢您
        谢谢你
        谢谢
        你好
        您好
        问题
        答案
        回答
        """,
        numbers=_count("一 二,两 三 四 五 六 七 八 九"),
        negations="不 没 无 非 未 别 勿",
        spaced=False,
    ),
    "ja": _other(
        contractions="""
        に関して => に つ い て
        どうやって => ど の よ う に
        どうして => な ぜ
        何故 => な ぜ
        """,
        free="か ね よ",
        frames="""
        詳しく説明してください
        詳しく
        していただけますか
        てもらえますか
        てください
        でください
        て下さい
        ください
        下さい
        お願いいたします
        お願いします
        を教え
        教え
        ですか
        です
        ありがとうございます
        こんにちは
        すみませんが
        質問
        回答
        """,
        numbers=_count("一 二 三 四 五 六 七 八 九"),
        negations="な 無 不 非",
        spaced=False,
    ),
}
"""Language (ISO 639-1) → its lexicon."""
NOTHING = Lexicon()
"""The lexicon of a language that has none: each word counts."""
_SCRIPTS = (
    ("ja", "\u3040", "\u30ff"),
    ("zh", "\u4e00", "\u9fff"),
    ("ko", "\uac00", "\ud7a3"),
    ("th", "\u0e00", "\u0e7f"),
    ("hi", "\u0900", "\u097f"),
    ("ar", "\u0600", "\u06ff"),
    ("ru", "\u0400", "\u04ff"),
)
"""Languages that are told by their script alone, roughly: Ukrainian is read as Russian, Persian as Arabic."""


@cache
def _languages_of_word() -> dict[str, tuple[str, ...]]:
    found: dict[str, list[str]] = {}
    for language, words in FUNCTION_WORDS.items():
        for word in {*words.split(), *LEXICONS[language].numbers, *LEXICONS[language].free}:
            found.setdefault(word, []).append(language)
    return {word: tuple(languages) for word, languages in found.items()}


def language_of(words: Iterable[str]) -> str:
    """The language whose function words a prompt holds most of; "" where the lists know none of its words."""
    distinct = set(words)
    known = _languages_of_word()
    counts = dict.fromkeys(FUNCTION_WORDS, 0)
    for word in distinct:
        for language in known.get(word, ()):
            counts[language] += 1
    text = "".join(distinct)
    if not text.isascii() and counts["en"] < 3:
        counts["en"] -= 1  # of equals, the one that has such letters
    best = max(counts, key=lambda language: counts[language])  # the first of equals: English
    if counts[best] > 1 or (counts[best] == 1 and text.isascii()) or (counts[best] > 0 and best == "en"):
        return best
    if text.isascii():
        return "en"
    of_script = (name for name, first, last in _SCRIPTS if any(first <= char <= last for char in text))
    return next(of_script, best if counts[best] > 0 else "")


@cache
def _framing() -> frozenset[str]:
    """Words that only frame what is asked for, in any of the languages."""
    phrases = (*_ENGLISH.openings, *_ENGLISH.closings)
    framing = _words_in(" ".join(phrase.source for phrase in phrases)) - {"language", "model"}
    shortened = "don doesn didn isn aren wasn weren won wouldn can couldn shouldn hasn haven hadn mustn will s t"
    unspaced = (phrase.source for name in ("zh", "ja") for phrase in LEXICONS[name].contractions)
    framing |= _words_in(" ".join(unspaced)) | set(LEXICONS["zh"].same)
    return framing.union(shortened.split(), REQUESTS.split(), *(words.split() for words in FUNCTION_WORDS.values()))


@cache
def _numbers() -> frozenset[str]:
    return frozenset(word for lexicon in LEXICONS.values() for word in lexicon.numbers)


def subject_of(word: str) -> str:
    """What a word says of what a prompt is about, the same for its spellings and most slips; "" for frames and numbers.

    Two words that it takes for one need not be the same: it serves to propose pairs.
    """
    if word in _framing() or word in _numbers() or not any(map(str.isalpha, word)):
        return ""
    word = _ENGLISH.same.get(word, word)
    if not word.isascii():
        bare = "".join(char for char in unicodedata.normalize("NFD", word) if not unicodedata.combining(char))
        word = bare if bare.isascii() else word
    if len(word) < 4 or not word.isalpha():
        return word
    for ending in ("ing", "ed", "es", "s"):
        if word.endswith(ending) and len(word) - len(ending) > 2:
            word = word[: -len(ending)]
            break
    letters = sorted(set(word).difference("aeiouyhwаеёиоуыэюяьъ"))
    return word[0] + "".join(letters).replace("z", "s") if letters else word
