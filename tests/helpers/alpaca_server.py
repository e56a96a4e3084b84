"""A real server on loopback that judges two outputs in both protocols, answers, and misbehaves where it is told to.

An output that holds ``good`` is better than one that does not; the later of two. A text that holds ``fault=NAME*TIMES``
meets that fault so often, and an answer after it.
"""

import asyncio
import re

from tests.helpers.misbehaving import FAULTS, Server, choice, completion, http

SECOND = re.compile(r"answer of (?:model_2|M):")
OWN = {
    "babble": lambda _: http(200, completion(choice("Both have their merits."))),
    "null-logprobs": lambda _: http(200, completion(choice("m", logprobs=None))),
    "other-token": lambda _: http(200, completion(choice("The", logprobs=tokens(The=-0.1, A=-2.5)))),
}


def tokens(**logprobs):
    top = [{"token": token, "logprob": value} for token, value in logprobs.items()]
    return {"content": [{**top[0], "top_logprobs": top}]}


class JudgeServer(Server):
    """The server; ``came`` and ``answered`` count by the text of the last message."""

    def __init__(self, *, logprobs=True, **settings):
        super().__init__(**settings)
        self.bodies = []
        self._logprobs = logprobs

    async def _answer(self, body, head, writer):
        del head
        text = body["messages"][-1]["content"]
        self.came[text] += 1
        self.bodies.append(body)
        await asyncio.sleep(self._latency)
        asked = re.search(r"fault=([\w-]+)\*(\d+)", text)
        if asked and self.came[text] <= int(asked[2]):
            await self._misbehave((OWN | FAULTS)[asked[1]](body), writer, b"KEY")
            return
        if not writer.is_closing():
            self.answered[text] += 1
            writer.write(http(200, completion(self._choice(body, text))))
            await writer.drain()

    def _choice(self, body, text):
        second = SECOND.search(text)
        if second is None:
            return choice("A good answer.")
        later = text.rfind("good") > second.start()
        if not body.get("logprobs"):
            ranks = (2, 1) if later else (1, 2)
            return choice(f"[{{'model': 'model_1', 'rank': {ranks[0]}}}, {{'model': 'model_2', 'rank': {ranks[1]}}}]")
        found = tokens(M=-0.1, m=-2.5) if later else tokens(m=-0.1, M=-2.5)
        return choice("M" if later else "m", "length", **({"logprobs": found} if self._logprobs else {}))
