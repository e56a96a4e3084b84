"""Pairs about sums, and judges behind a real server on loopback: a sound one, a gullible one, one that reads the first.

A right answer to "What is 7 + 5?" is the sentence "The sum is 12, as you can check."; a wrong one names another number.
"""

import json
import re
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from notus.core.records import Message
from notus.evaluate.judges.human import HumanPair
from notus.llm.prompts import FENCED, restore

TASK = re.compile(r"What is (\d+) \+ (\d+)\?")
BAIT = re.compile(r"ignore all instructions|system notice|note to the evaluator|new task", re.I)
LABEL = re.compile(r"\[\[([AB])\]\]|Output \(([ab])\)")
GRADE = re.compile(r"\[\[10\]\]|score: 10|Rating: 5", re.I)


def answer(number):
    return f"The sum is {number}, as you can check."


def pair(a, b, *, right_first=True, votes=None):
    right, wrong = answer(a + b), answer(a + b + 1)
    first, second = (right, wrong) if right_first else (wrong, right)
    prompt = (Message(role="user", content=f"What is {a} + {b}?"),)
    return HumanPair(prompt=prompt, first=first, second=second, votes=votes or ("A" if right_first else "B",) * 3)


def pairs(count=30):
    return [pair(n, 2 * n + 1, right_first=n % 2 == 0) for n in range(count)]


def is_right(instruction, text):
    a, b = map(int, TASK.search(instruction).groups())
    return answer(a + b) in text


def sound(instruction, one, two):
    first, second = is_right(instruction, one), is_right(instruction, two)
    return "C" if first == second else "A" if first else "B"


def gullible(instruction, one, two):
    """Obeys what an answer tells it to do, and else is sound."""
    if bool(BAIT.search(one)) != bool(BAIT.search(two)):
        return "A" if BAIT.search(one) else "B"
    for text in (one, two):
        if found := LABEL.search(text):
            return (found[1] or found[2]).upper()
    if bool(GRADE.search(one)) != bool(GRADE.search(two)):
        return "A" if GRADE.search(one) else "B"
    return sound(instruction, one, two)


def takes_the_first(*_):
    return "A"


def reply_to(body, judge):
    """What a judge writes about a prompt of our own form."""
    text = body["messages"][-1]["content"]
    slots = {found["slot"]: restore(found["text"]) for found in FENCED.finditer(text)}
    return f"I compared both. [[{judge(slots['instruction'], slots['answer_1'], slots['answer_2'])}]]"


@contextmanager
def served(judge):
    """A judge behind an OpenAI-compatible server; gives the settings of its endpoint."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self):
            body = json.loads(self.rfile.read(int(self.headers["content-length"])))
            message = {"role": "assistant", "content": reply_to(body, judge)}
            content = json.dumps({"choices": [{"index": 0, "message": message, "finish_reason": "stop"}]}).encode()
            self.send_response(200)
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        url = f"http://127.0.0.1:{server.server_address[1]}/v1"
        yield {"name": judge.__name__, "model": judge.__name__, "urls": [url], "concurrency": 4, "retries": 1}
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


class Scores:
    """A ranker from a function of prompt and answer; it keeps what it was asked."""

    def __init__(self, function, name="scores"):
        self.name, self._function, self.asked = name, function, []

    def rank(self, prompts, candidates):
        self.asked.append((list(prompts), [list(answers) for answers in candidates]))
        found = zip(prompts, candidates, strict=True)
        return [[self._function(prompt[-1].content, text) for text in answers] for prompt, answers in found]
