"""Judges' replies and a generator for the tests: a real object that answers from a function."""

from notus.llm.protocol import Failure, Model, Reply


class Scripted:
    """A generator whose answers a function gives: a text, a ``(text, finish)``, or a failure's kind as an exception."""

    def __init__(self, answer, names=("judge",), schema=False):
        self.models = {name: Model(name=name, schema=schema) for name in names}
        self.asked = []
        self._answer = answer

    def answer(self, requests):
        for request in requests:
            self.asked.append(request)
            given = self._answer(request)
            if isinstance(given, Exception):
                yield request, Failure(key=request.key, kind=str(given), detail="as the test wants it")
                continue
            text, finish = given if isinstance(given, tuple) else (given, "stop")
            n = request.decoding.n
            yield (
                request,
                Reply(key=request.key, texts=(text,) * n, finish=(finish,) * n, tokens_in=1, tokens_out=1),
            )


def blocks(grades, *, typed=False):
    """A reply with a rating for each answer, in the form that the prompts ask for."""
    types = "Type: 1, 2\nRationale: so it is\n" if typed else ""
    return "\n\n".join(
        f"Answer {n}\n{types}Rating: {grade}\nRationale: grade {grade}" for n, grade in enumerate(grades, start=1)
    )
