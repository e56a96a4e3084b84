"""Pairs with a planted rule that a small ranker can learn: the polite answer is chosen, whatever its length."""

import random

from notus.core.records import Message, Preference
from notus.engine.settings import Shape
from notus.rankers.settings import EncoderShape
from notus.train.ranker_settings import RankerTraining

THINGS = ("hot", "cold", "big", "small", "old", "young", "wet", "dry", "up", "down", "near", "far")
SMALL = Shape(vocabulary=320, width=32, layers=1, heads=4, kv_heads=2, ffn=64, positions=128)
ENCODER = EncoderShape(width=32, layers=1, heads=4, ffn=64, buckets=16, positions=64)


def pair(prompt, chosen, rejected, **more):
    said = (Message(role="assistant", content=chosen),), (Message(role="assistant", content=rejected),)
    return Preference(prompt=(Message(role="user", content=prompt),), chosen=said[0], rejected=said[1], **more)


def polite_pairs(count, seed=0):
    """Either answer is now the longer one."""
    drawn = random.Random(seed)
    found = []
    for number in range(count):
        thing = drawn.choice(THINGS)
        tails = [" ".join(drawn.choices(THINGS, k=drawn.randint(1, 4))) for _ in range(2)]
        chosen, rejected = f"please {tails[0]}", f"no {tails[1]}"
        found.append(pair(f"{number} {thing}?", chosen, rejected, score_chosen=4.0, score_rejected=1.0))
    return found


def training(form="reward-model", **over):
    """Settings that learn the rule in a second or two."""
    given = {"form": form, "epochs": 4, "batch_size": 16, "learning_rate": 5e-3, "schedule": "linear", "log_every": 1}
    if form == "reward-model":
        given |= {"shape": SMALL.resolved(), "limits": {"max_length": 64, "max_prompt_length": 32}}
    else:
        given |= {"encoder": ENCODER.resolved(), "vocabulary": 320, "budget": {"source": 32, "candidate": 16}}
    return RankerTraining.parse(given | over, where="test")
