"""A made-up help desk behind a real server on loopback: two writers, and a judge that goes by a rule, not by a model.

The model's name in a request says who is asked: ``writer-a`` names the part and a next step, ``writer-b`` does not,
``my-judge`` judges by the rubric of docs/own-judge.md. ``reply`` may be another judge: a function of the fenced texts
and the whole prompt. The server speaks the chat API and, under ``/v1/messages``, Anthropic's.
"""

import json
import re
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from notus.llm.prompts import FENCED, restore


def careful(part):
    return f"Look at the {part} first. Then tighten it, and ride a few metres."


def hasty(part):
    return f"Hard to say, it may be many things, and the {part} is old. Sorry. We cannot know. Good luck. Bye."


def question(part):
    return f"My {part} makes a noise. What now?"


def part_of(text):
    return re.search(r"[Mm]y (\w+) makes a noise", text)[1]


def scores_of(answer, part):
    """What the rule makes of an answer: facts, tone, next-step, short, no-promise."""
    good = "first" in answer and part in answer
    return {"facts": 5 if good else 2, "tone": 6.5 if good else 3, "next-step": "Then" in answer, "short": good}


def judged(slots, prompt):
    """The judge's reply: to a pair a verdict, to one answer its grades, in words or in JSON as it is asked."""
    part = part_of(slots["instruction"])
    if "answer_1" in slots:
        one, two = (sum(scores_of(slots[name], part).values()) for name in ("answer_1", "answer_2"))
        return f"I weighed the points. [[{'A' if one > two else 'B' if two > one else 'C'}]]"
    found = scores_of(slots["answer"], part)
    words = {name: {True: "yes", False: "no"}.get(value, value) for name, value in found.items()} | {
        "no-promise": "N/A"
    }
    if "JSON" in prompt:
        return json.dumps({"critique": f"It speaks of the {part}.", "scores": words})
    lines = "\n".join(f"{name}: {value}" for name, value in words.items())
    return f"<think>facts: 1, or is it?</think>It speaks of the {part}.\n\n{lines}"


def answer_to(body, reply=judged):
    """The text, and why it ended."""
    prompt = body["messages"][-1]["content"]
    if body["model"].startswith("writer"):
        return {"writer-a": careful, "writer-b": hasty}[body["model"]](part_of(prompt)), "stop"
    slots = {found["slot"]: restore(found["text"]) for found in FENCED.finditer(prompt)}
    given = reply(slots, prompt)
    return given if isinstance(given, tuple) else (given, "stop")


def chat_completion(body, reply=judged):
    """The answer of the chat API to a body."""
    text, finish = answer_to(body, reply)
    choice = {"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": finish}
    return {"choices": [choice], "usage": {"prompt_tokens": 100, "completion_tokens": 20, "total_tokens": 120}}


@contextmanager
def served(reply=judged, messages=None):
    """The server; gives its base URL and the list of what came: path, headers, body.

    Args:
        reply: the judge.
        messages: answers ``/v1/messages``: a function of the body that gives the status, the headers and the value.
    """
    came = []

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self):
            body = json.loads(self.rfile.read(int(self.headers["content-length"])))
            came.append((self.path, dict(self.headers.items()), body))
            status, headers, value = 200, {}, None
            if self.path.endswith("/messages"):
                status, headers, value = messages(body)
            else:
                value = chat_completion(body, reply)
            content = json.dumps(value).encode()
            self.send_response(status)
            for name, each in {"content-type": "application/json", "content-length": len(content), **headers}.items():
                self.send_header(name, str(each))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}/v1", came
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
