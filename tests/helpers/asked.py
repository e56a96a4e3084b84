"""A server of the toy world that counts what it is asked: it judges as the toy world's judge, and answers the rest.

Two requests are the same where their bodies are: a body holds all that determines an answer.
"""

import io
import json
import threading
import time
from collections import Counter

from notus.toy.server import JudgeServer, _Handler
from tests.helpers.misbehaving import text_for


class Asked(JudgeServer):
    """The server; a context manager.

    Args:
        latency: seconds before each answer.
    """

    def __init__(self, latency=0.0):
        super().__init__()
        self.came = Counter()
        """Body → how often it came."""
        counting = threading.Lock()
        asked = self

        class Handler(_Handler):
            def do_POST(self):  # noqa: N802
                body = self.rfile.read(int(self.headers["content-length"]))
                with counting:
                    asked.came[body] += 1
                time.sleep(latency)
                whole, self.rfile = self.rfile, io.BytesIO(body)
                self.body = json.loads(body)
                try:
                    super().do_POST()
                except ConnectionError:  # whoever asked was killed
                    self.close_connection = True
                finally:
                    self.rfile = whole

            def _send(self, status, value):
                if status == 400:  # no prompt of a judge: a model is asked for an answer
                    message = {"role": "assistant", "content": text_for(self.body)}
                    status, value = 200, {"choices": [{"index": 0, "message": message, "finish_reason": "stop"}]}
                super()._send(status, value)

        self._server.RequestHandlerClass = Handler
        self._server.handle_error = lambda *_: None  # connections of killed processes

    @property
    def repeated(self):
        """Requests beyond the first of each body."""
        return self.came.total() - len(self.came)


CONCURRENCY = 8
RECIPE = """
name: asked
seeds: [0]
world: {{step: toy, world: {{facts: 8, prompts: {prompts}, sft_examples: 1, held_out: 4}}}}
collect:
  data: world
  ledger: {ledger}
  endpoints:
    - {{name: m, model: m, urls: ["{url}"], concurrency: {concurrency}, price_in: 1.0, price_out: 1.0}}
  pool:
    - {{name: warm, endpoint: m}}
    - {{name: hot, endpoint: m, sampling: {{temperature: 1.5}}}}
  completions: 2
  sampling: {{max_tokens: 20}}
  judge: {{endpoint: m, tries: 3}}
"""


def write_recipe(path, url, ledger, prompts=12):
    """A recipe that asks the server for two answers to each prompt, four ratings of both and a critique of each."""
    path.write_text(RECIPE.format(prompts=prompts, ledger=ledger, url=url, concurrency=CONCURRENCY))
    return path
