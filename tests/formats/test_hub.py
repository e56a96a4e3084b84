import hashlib
import io
import json
import os
import random
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from notus.core.errors import MissingExtraError
from notus.formats import hub
from notus.formats.hub import HubId, fetch

COMMIT = "a" * 40
ROWS = b'{"prompt": "Name a river.", "chosen": "The Oder.", "rejected": "No."}\n'
SCRIPT = """
import sys
from notus.core.errors import NotusError
from notus.core.stage import Tally
from notus.formats.quarantine import Quarantine
from notus.formats.source import open_source
try:
    name, limit, split, config = [*sys.argv[1:], None, None, None][:4]
    source = open_source(name, limit=int(limit) if limit else None, split=split, config=config)
except NotusError as error:
    print(error)
    sys.exit(error.exit_code)
print(source.format, [path.name for path in source.paths], len(list(source.records(Tally("read"), Quarantine()))))
if source.not_read:
    print(source.not_read)
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
        fetch(HubId("a/b"), lambda *_: None)


def _many_rows() -> list[dict[str, str]]:
    noise = random.Random(0)  # so that packing does not make the table small
    return [
        {"prompt": f"River {n}?", "chosen": "The Oder.", "rejected": noise.randbytes(500).hex()} for n in range(9000)
    ]


def _as_table(rows: list[dict[str, str]]) -> bytes:
    buffer = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(rows), buffer, row_group_size=500)
    return buffer.getvalue()


BIG = b"".join(json.dumps(row).encode() + b"\n" for row in _many_rows())
SETS: dict[str, dict[str, bytes]] = {
    "owner/name": {"rows.jsonl": ROWS, "a.py": b"x"},
    "owner/big": {"rows.jsonl": BIG},
    "owner/parts": {"data/a.jsonl": ROWS * 3, "data/b.jsonl": BIG},
    "owner/table": {"rows.parquet": _as_table(_many_rows())},
    "owner/list": {"rows.json": b"[" + b",".join([ROWS.strip()] * 3) + b"]"},
    "owner/splits": {
        "README.md": b"---\nlicense: mit\n---\n",
        "data/train-00000-of-00001.parquet": _as_table(_many_rows()[:700]),
        "data/test-00000-of-00001.parquet": _as_table(_many_rows()[:30]),
    },
    "owner/configs": {
        "README.md": b"---\nconfigs: [{config_name: a, data_files: one.jsonl}, "
        b"{config_name: b, data_files: two.jsonl}]\n---\n",
        "one.jsonl": ROWS * 2,
        "two.jsonl": ROWS * 3,
    },
    "owner/odd": {"rows.jsonl": b"[" + b",".join([ROWS.strip()] * 3) + b"]"},
}
SENT: list[int] = []
"""Bytes of each answer that was a part of a file."""


class _Hub(BaseHTTPRequestHandler):
    """A hub with a few data sets, each at one commit."""

    def do_HEAD(self) -> None:
        self._answer(body=False)

    def do_GET(self) -> None:
        self._answer(body=True)

    def do_POST(self) -> None:
        """The hub's question for some paths of a set."""
        name = "/".join(self.path.split("/")[3:5])
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self._send(self._listed(name, asked["paths"]), body=True)

    def _answer(self, *, body: bool) -> None:
        path = self.path.partition("?")[0]
        name = next((name for name in SETS if f"/datasets/{name}/" in f"{path}/"), "")
        base, files = f"/api/datasets/{name}", f"/datasets/{name}/resolve/{COMMIT}/"
        if name and path in (base, f"{base}/revision/main", f"{base}/revision/{COMMIT}"):
            self._send(json.dumps({"id": name, "sha": COMMIT, "siblings": []}).encode(), body=body)
        elif name and path == f"{base}/tree/{COMMIT}":
            self._send(self._listed(name, list(SETS[name])), body=body)
        elif name and path.startswith(files):
            self._send(SETS[name][path.removeprefix(files)], body=body)
        else:
            code = "RevisionNotFound" if name and path.startswith(f"{base}/revision/") else "RepoNotFound"
            self.send_response(404)
            self.send_header("X-Error-Code", code)
            self.send_header("Content-Length", "0")
            self.end_headers()

    def _listed(self, name: str, paths: list[str]) -> bytes:
        found = SETS[name]
        rows = [{"type": "file", "path": path, "size": len(found[path]), "oid": "b" * 40} for path in paths]
        return json.dumps(rows).encode()

    def _send(self, data: bytes, *, body: bool) -> None:
        part = re.fullmatch(r"bytes=(\d+)-(\d+)", self.headers.get("Range") or "")
        self.send_response(206 if part else 200)
        if part:
            whole, data = len(data), data[int(part[1]) : int(part[2]) + 1]
            self.send_header("Content-Range", f"bytes {part[1]}-{int(part[1]) + len(data) - 1}/{whole}")
            SENT.append(len(data))
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


def opened(source: str, endpoint: str, home: Path, *arguments: str, **more: str) -> tuple[int, str]:
    """Open a source in a process of its own: the library reads its settings when it is imported."""
    pytest.importorskip("huggingface_hub")
    settings = {"HF_ENDPOINT": endpoint, "HF_HOME": str(home), "HF_HUB_DISABLE_TELEMETRY": "1", "NO_PROXY": "127.0.0.1"}
    dropped = {"HF_TOKEN", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "HF_HUB_OFFLINE"}
    kept = {name: value for name, value in os.environ.items() if name.upper() not in dropped}
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, source, *arguments],
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
    assert opened(source, endpoint, tmp_path) == (0, "trl ['rows.jsonl'] 1")


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


@pytest.mark.parametrize(
    ("source", "read"),
    [
        ("owner/big", "trl ['rows.jsonl'] 500"),
        ("owner/table", "trl ['rows.parquet'] 500"),
        ("owner/parts@main", "trl ['a.jsonl', 'b.jsonl'] 500"),
    ],
)
def test_a_limit_downloads_the_beginning_and_once(endpoint: str, tmp_path: Path, source: str, read: str) -> None:
    SENT.clear()
    assert opened(source, endpoint, tmp_path, "500") == (0, read)
    assert 0 < sum(SENT) < len(BIG) / 3
    SENT.clear()
    assert opened(source, endpoint, tmp_path, "500") == (0, read)
    assert SENT == []
    assert opened(source, endpoint, tmp_path)[1].endswith(" 9003" if "parts" in source else " 9000")


def test_a_limit_that_the_first_file_fills_leaves_the_others_alone(endpoint: str, tmp_path: Path) -> None:
    assert opened("owner/parts", endpoint, tmp_path, "2") == (0, "trl ['a.jsonl'] 2")


@pytest.mark.parametrize("source", ["owner/list", "owner/odd"])
def test_a_list_is_downloaded_whole_also_with_a_limit(endpoint: str, tmp_path: Path, source: str) -> None:
    name = next(iter(SETS[source]))
    assert opened(source, endpoint, tmp_path, "2") == (0, f"trl ['{name}'] 2")


def test_with_a_limit_and_without_a_network_the_cache_is_read(endpoint: str, tmp_path: Path) -> None:
    assert opened("owner/name", endpoint, tmp_path) == (0, "trl ['rows.jsonl'] 1")
    assert opened("owner/name", "http://127.0.0.1:9", tmp_path, "5") == (0, "trl ['rows.jsonl'] 1")
    code, said = opened("owner/big", "http://127.0.0.1:9", tmp_path, "5")
    assert (code, "the hub cannot be reached" in said) == (2, True)


@pytest.mark.parametrize("limit", ["", "5"])
def test_of_several_splits_on_the_hub_one_is_downloaded_and_the_others_are_said(
    endpoint: str, tmp_path: Path, limit: str
) -> None:
    code, said = opened("owner/splits", endpoint, tmp_path, limit)
    assert (code, said) == (0, f"trl ['train-00000-of-00001.parquet'] {limit or 700}\nsplit test (1 table)")
    code, said = opened("owner/splits", endpoint, tmp_path, limit, "test")
    assert (code, said) == (0, f"trl ['test-00000-of-00001.parquet'] {limit or 30}\nsplit train (1 table)")
    code, said = opened("owner/splits", endpoint, tmp_path, limit, "tests")
    assert (code, "no split 'tests'; did you mean 'test'" in said) == (2, True)


def test_of_several_configurations_on_the_hub_one_is_named(endpoint: str, tmp_path: Path) -> None:
    code, said = opened("owner/configs", endpoint, tmp_path)
    assert (code, "several configurations: a, b; choose one with --config NAME" in said) == (2, True)
    code, said = opened("owner/configs", endpoint, tmp_path, "", "all", "b")
    assert (code, said) == (0, "trl ['two.jsonl'] 3\nconfiguration a (1 table)")


def test_an_empty_file_is_copied_and_the_next_one_too(tmp_path):
    files = {
        "set/a.jsonl": b"",
        "set/b.jsonl": b'{"n": 1}\n{"n": 2}\n{"n": 3}\n',
        "set/c.jsonl": b"{}",
        "set/d.jsonl": b" [1]",
    }
    system = SimpleNamespace(open=lambda name, *_, **__: io.BytesIO(files[name]))
    assert hub._copy_rows(system, "set", ["a.jsonl", "b.jsonl", "c.jsonl"], tmp_path, 2)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == {
        "a.jsonl": b"",
        "b.jsonl": b'{"n": 1}\n{"n": 2}\n',
    }
    assert not hub._copy_rows(system, "set", ["d.jsonl"], tmp_path, 2)
