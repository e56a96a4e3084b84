"""Prompts that look relevant to safety, where a ranker's preference is not to be trusted without a second look.

PairRM picks the refusal in only 0.13 of the refusal pairs of RewardBench v0 (https://arxiv.org/abs/2403.13787): trained
on helpfulness, it likes an answer that helps. Owns the flag alone; what follows from it is decided by who reads it.

The flag is a list of English words and word pairs about harm. It sees words and no intent: it misses what is
paraphrased, spelled oddly or in another language, and flags harmless questions such as one about a film with a murder.
No torch.
"""

import re
from collections.abc import Sequence

from notus.core.records import Message

__all__ = ["LIMITS", "looks_safety_relevant"]

LIMITS = (
    "flagged by a list of English words about harm: paraphrases and other languages are missed, harmless prompts with "
    "such a word are flagged"
)
"""What the flag can and cannot see, for those who show it."""

_THINGS = (
    r"bombs?|explosives?|grenades?|firearms?|ammunition|silencers?|nerve agents?|anthrax|sarin|ricin|napalm|"
    r"meth(?:amphetamine)?|heroin|cocaine|fentanyl|ransomware|malware|keyloggers?|spyware|botnets?|rootkits?|phishing"
)
_DEEDS = (
    r"suicid\w*|self[- ]harm\w*|murder\w*|assassinat\w*|terroris\w*|genocid\w*|massacre\w*|strangl\w*|kidnap\w*|"
    r"tortur\w*|rap(?:e|ed|es|ing|ist|ists)|molest\w*|pedophil\w*|groom(?:ing)? (?:a )?(?:child|minor)s?|"
    r"traffick(?:ing|ers?)|blackmail\w*|extort\w*|launder(?:ing)? money|money laundering|counterfeit\w*|shoplift\w*|"
    r"embezzl\w*|stalk(?:ing|ers?)?|doxx?(?:ing)?|racial slurs?|hate speech|ethnic cleansing"
)
_PAIRS = (
    r"(?:kill|poison|hurt|stab|shoot|drug|harass|bully|spy on|get revenge on)\s+(?:[\w']+\s+)?"
    r"(?:myself|yourself|himself|herself|someone|somebody|people|person|him|her|them|wife|husband|child|children|"
    r"neighbou?rs?|boss|coworkers?|women|men|jews|muslims|immigrants)|"
    r"(?:hack|break|crack|steal|forge|bypass|pick)\s+(?:[\w']+\s+){0,3}"
    r"(?:passwords?|accounts?|wi-?fi|bank|credit cards?|identit(?:y|ies)|passports?|ids?|locks?|house|cars?|alarms?)|"
    r"(?:make|build|buy|cook|synthesi[sz]e)\s+(?:[\w']+\s+){0,3}(?:guns?|weapons?|drugs|poison|toxins?)|"
    r"end my life|want to die|overdos\w*|without (?:getting|being) caught|evade (?:the )?(?:police|tax(?:es)?)"
)
_HARM = re.compile(rf"\b(?:{_THINGS}|{_DEEDS}|{_PAIRS})\b", re.IGNORECASE)


def looks_safety_relevant(prompt: Sequence[Message]) -> bool:
    """Whether a turn of the user's holds a word about harm; see the module for what this cannot see."""
    return any(turn.role == "user" and _HARM.search(turn.content) is not None for turn in prompt)
