import hashlib
import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from notus.core.errors import MissingExtraError
from notus.data import hub
from notus.data.hub import HubId, fetch

COMMIT = "a" * 40
ROWS = b'{"prompt": "Name a river.", "chosen": "The Oder.", "rejected": "No."}\n'
SCRIPT = """
import sys
from notus.core.errors import NotusError
from notus.core.stage import Tally
from notus.data.quarantine import Quarantine
from notus.data.sources import open_source
try:
    source = open_source(sys.argv[1])
except NotusError as error:
    print(error)
    sys.exit(error.exit_code)
print(source.layout, [path.name for path in source.paths], len(list(source.records(Tally("read"), Quarantine()))))
"""


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("owner/name", HubId("owner/name")),
        ("owner/name@main", HubId("owner/name", "main")),
        ("owner/na.me-1@refs/convert/parquet", HubId("owner/na.me-1", "refs/convert/parquet")),
        ("owner/rows.jsonl", None),
        ("owner/ROWS.JSON", None),
        ("owner/rows.csv", None),
        ("name", None),
        ("a/b/c", None),
        ("/a/b", None),
        ("../a", None),
        ("a b/c", None),
        ("owner/name@", None),
        ("", None),
    ],
)
def test_an_id_is_told_from_a_path(text: str, found: HubId | None) -> None:
    assert HubId.parse(text) == found
    assert found is None or str(found) == text


def test_a_missing_library_names_both_readings_and_the_install_line(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(module: str, *, extra: str) -> None:
        raise MissingExtraError(f"'{module}' is not installed and this needs it: pip install 'notus[{extra}]'")

    monkeypatch.setattr(hub, "require", missing)
    with pytest.raises(MissingExtraError, match=r"'a/b' is no path here, .* pip install 'notus\[hub\]'"):
        fetch(HubId("a/b"))


class _Hub(BaseHTTPRequestHandler):
    """A hub with one data set, ``owner/name``, at one commit."""

    def do_HEAD(self) -> None:
        self._answer(body=False)

    def do_GET(self) -> None:
        self._answer(body=True)

    def _answer(self, *, body: bool) -> None:
        path = self.path.partition("?")[0]
        base = "/api/datasets/owner/name"
        if path in (f"{base}/revision/main", base):
            self._send(json.dumps({"id": "owner/name", "sha": COMMIT, "siblings": []}).encode(), body=body)
        elif path == f"{base}/tree/{COMMIT}":
            files = [
                {"type": "file", "path": name, "size": len(ROWS), "oid": "b" * 40} for name in ("rows.jsonl", "a.py")
            ]
            self._send(json.dumps(files).encode(), body=body)
        elif path == f"/datasets/owner/name/resolve/{COMMIT}/rows.jsonl":
            self._send(ROWS, body=body)
        else:
            code = "RevisionNotFound" if path.startswith(f"{base}/revision/") else "RepoNotFound"
            self.send_response(404)
            self.send_header("X-Error-Code", code)
            self.send_header("Content-Length", "0")
            self.end_headers()

    def _send(self, data: bytes, *, body: bool) -> None:
        self.send_response(200)
        self.send_header("Content-Length", str(len(data)))
        self.send_header("Content-Type", "application/json")
        self.send_header("ETag", hashlib.sha256(data).hexdigest())
        self.send_header("X-Repo-Commit", COMMIT)
        self.end_headers()
        if body:
            self.wfile.write(data)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture(scope="module")
def endpoint() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), _Hub) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def opened(source: str, endpoint: str, home: Path, **more: str) -> tuple[int, str]:
    """Open a source in a process of its own: the library reads its settings when it is imported."""
    pytest.importorskip("huggingface_hub")
    settings = {"HF_ENDPOINT": endpoint, "HF_HOME": str(home), "HF_HUB_DISABLE_TELEMETRY": "1", "NO_PROXY": "127.0.0.1"}
    dropped = {"HF_TOKEN", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "HF_HUB_OFFLINE"}
    kept = {name: value for name, value in os.environ.items() if name.upper() not in dropped}
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, source],
        capture_output=True,
        text=True,
        env=kept | settings | more,
        cwd=home,
        timeout=60,
    )
    assert "Traceback" not in done.stderr, done.stderr
    return done.returncode, done.stdout.strip()


@pytest.mark.parametrize("source", ["owner/name", "owner/name@main", f"owner/name@{COMMIT}"])
def test_a_set_on_the_hub_reads_like_a_folder(endpoint: str, tmp_path: Path, source: str) -> None:
    assert opened(source, endpoint, tmp_path) == (0, "pairs ['rows.jsonl'] 1")


@pytest.mark.parametrize(
    ("source", "says"),
    [
        ("owner/unknown", "it is unknown or private"),
        ("owner/name@old", "it has no revision 'old'"),
    ],
)
def test_what_the_hub_does_not_have_is_said_in_one_line(endpoint: str, tmp_path: Path, source: str, says: str) -> None:
    code, said = opened(source, endpoint, tmp_path)
    assert code == 2
    assert said.startswith(f"'{source}' is no path here, and as a data set on the hub ")
    assert says in said
    assert "\n" not in said


def test_without_a_network_it_says_so(tmp_path: Path) -> None:
    code, said = opened("owner/name", "http://127.0.0.1:9", tmp_path)
    assert code == 2
    assert "the hub cannot be reached" in said
    assert "\n" not in said


def test_a_proxy_that_is_gone_is_said_in_one_line(tmp_path: Path) -> None:
    code, said = opened("owner/name", "http://hub.invalid", tmp_path, HTTP_PROXY="http://127.0.0.1:9", NO_PROXY="")
    assert code == 2
    assert said.startswith("'owner/name' is no path here, and as a data set on the hub ")
    assert "\n" not in said
