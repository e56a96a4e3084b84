"""A run of requests in a process of its own, for those who kill it: ``LEDGER OUT REQUESTS CONCURRENCY URL …``.

What is answered is written to OUT, in the order of the requests.
"""

import json
import sys
from pathlib import Path

from notus.core.records import Message
from notus.llm.endpoint import Endpoint
from notus.llm.ledger import Ledger
from notus.llm.pool import EndpointPool
from notus.llm.protocol import Decoding, Reply, Request, ordered

if __name__ == "__main__":
    path, out, count, concurrency, *urls = sys.argv[1:]
    settings = {"timeout": 5.0, "backoff": 0.02, "retries": 3, "price_in": 1.0, "price_out": 2.0}
    judge = Endpoint(name="judge", model="m", urls=tuple(urls), concurrency=int(concurrency), **settings)
    with Ledger(Path(path)) as ledger, EndpointPool([judge], ledger) as pool:
        requests = (
            Request(
                model=pool.models["judge"],
                messages=(Message(role="user", content=f"Question {number}?"),),
                decoding=Decoding(temperature=0.0),
            )
            for number in range(int(count))
        )
        answers = [(request.key, outcome) for request, outcome in ordered(pool, requests)]
    assert all(isinstance(outcome, Reply) for _, outcome in answers)
    Path(out).write_text(json.dumps([[key, outcome.text, outcome.price] for key, outcome in answers]))
