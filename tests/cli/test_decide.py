"""``notus decide export`` and ``import`` as somebody meets them: what is printed, and what a wrong word is answered."""

import json

import pytest

from notus.cli.main import main
from notus.decisions.store import open_store

PAIRS = [{"prompt": f"What {n}?", "chosen": f"Yes {n}.", "rejected": f"No {n}."} for n in range(6)]


@pytest.fixture
def notus(monkeypatch, capsys, tmp_path):
    """The command line in this process and in a folder of its own: exit code, what it printed, what it said wrong."""

    def call(*words):
        monkeypatch.setattr("sys.argv", ["notus", *map(str, words)])
        with pytest.raises(SystemExit) as ended:
            main()
        said = capsys.readouterr()
        return ended.value.code or 0, said.out, said.err

    monkeypatch.chdir(tmp_path)
    (tmp_path / "pairs.jsonl").write_text("\n".join(map(json.dumps, PAIRS)))
    return call


def decided(path, *decisions):
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    for row, filled in zip(rows, decisions, strict=False):
        row.update(filled)
    path.write_text("\n".join(map(json.dumps, rows)))
    return rows


def test_out_and_in_again(notus, tmp_path):
    code, out, _ = notus("decide", "export", "pairs.jsonl", "--top", 4, "--out", "queue.jsonl")
    assert code == 0
    assert "pairs.jsonl: 6 rows, in the order of the source, for no audit orders it" in out
    assert "Written: queue.jsonl (4 records, jsonl)" in out
    assert "Next: notus decide import queue.jsonl --decisions decisions.sqlite --who NAME" in out
    rows = decided(tmp_path / "queue.jsonl", {"decision": "swap", "why": "w"}, {"decision": "delete"}, {"id": "pair:x"})
    code, out, _ = notus("decide", "import", "queue.jsonl", "--decisions", "d.sqlite", "--who", "ana")
    assert code == 0
    assert "queue.jsonl: 4 rows: 1 decision, 1 not decided, 1 unreadable, 1 unknown" in out
    assert "unreadable: row 2: the decision is 'delete'; write keep, drop, swap, cannot-tell, or nothing" in out
    assert "unknown: row 3: pair:x is not the id that went out with this key" in out
    assert "1 decision added to d.sqlite (ana 1)" in out
    with open_store("d.sqlite") as store:
        assert [f"pair:{each.target}" for each in store.rulings()] == [rows[0]["id"]]
    code, out, _ = notus("decide", "import", "queue.jsonl", "--decisions", "d.sqlite", "--who", "ana")
    assert "Nothing added; 1 were there already" in out
    code, out, _ = notus("decide", "export", "pairs.jsonl", "--decisions", "d.sqlite", "--out", "more.jsonl", "--json")
    told = json.loads(out)
    assert (told["items"], told["left_out"], told["of"]) == (5, 1, 6)
    code, out, _ = notus("decide", "export", "pairs.jsonl", "--decisions", "d.sqlite", "--out", "third.jsonl")
    assert "Next: notus decide import third.jsonl --decisions d.sqlite --who NAME" in out


def test_json_tells_all(notus, tmp_path):
    notus("decide", "export", "pairs.jsonl", "--random", 2, "--top", 1, "--out", "queue.jsonl")
    decided(tmp_path / "queue.jsonl", {"decision": "keep"}, {"prompt": "other"})
    code, out, _ = notus("decide", "import", "queue.jsonl", "--decisions", "d.sqlite", "--who", "ana", "--json")
    told = json.loads(out)
    assert code == 0
    assert (told["decisions"], told["added"], told["known"], told["by"]) == (1, 1, 0, {"ana": 1})
    assert len(told["changed"]) == 1


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (
            ("export", "pairs.jsonl", "--out", "q.txt"),
            "'--out' is q.txt, which does not say which form it is; add --to",
        ),
        (("export", "pairs.jsonl", "--out", "q", "--to", "excel"), "'--to' is excel; known: xlsx, csv, jsonl, argilla"),
        (("export", "nothing.jsonl", "--out", "q.csv"), "'nothing.jsonl' does not exist as a file or folder"),
        (("export", "pairs.jsonl", "--out", "q.csv", "--decisions", "no.sqlite"), "there is no store of decisions"),
        (("import", "nothing.csv", "--decisions", "d.sqlite"), "cannot read nothing.csv"),
        (("import", "pairs.jsonl", "--decisions", "d.sqlite"), "pairs.jsonl has no column 'id', and is none of"),
    ],
)
def test_what_is_wrong_is_one_line(notus, words, told):
    code, _, err = notus("decide", *words)
    assert code == 2
    assert err.startswith(f"notus: {told}")
    assert err.count("\n") == 1


@pytest.mark.parametrize("kept", [0.4, 0.8, 0.995])
def test_a_list_that_breaks_off_adds_nothing(notus, tmp_path, kept):
    notus("decide", "export", "pairs.jsonl", "--out", "queue.jsonl")
    rows = [json.loads(line) | {"decision": "keep"} for line in (tmp_path / "queue.jsonl").read_text().splitlines()]
    text = json.dumps(rows)
    whole, broken = tmp_path / "decisions.json", tmp_path / "broken.json"
    whole.write_text(text)
    broken.write_text(text[: int(len(text) * kept)])
    code, out, err = notus("decide", "import", "broken.json", "--decisions", "d.sqlite", "--who", "ana")
    assert (code, out) == (2, "")
    assert err.startswith("notus: broken.json breaks off before the end of its list, and nothing of it is taken")
    assert not (tmp_path / "d.sqlite").exists()
    broken.write_text(text[:-1])  # all rows are there, and the bracket alone is missing
    assert notus("decide", "import", "broken.json", "--decisions", "d.sqlite", "--who", "ana")[0] == 2
    code, out, _ = notus("decide", "import", "decisions.json", "--decisions", "d.sqlite", "--who", "ana")
    assert (code, "6 decisions added" in out) == (0, True)


def test_nobody_decided_is_an_error_and_nothing_taken_too(notus, tmp_path):
    notus("decide", "export", "pairs.jsonl", "--out", "queue.jsonl")
    decided(tmp_path / "queue.jsonl", {"decision": "keep"})
    code, _, err = notus("decide", "import", "queue.jsonl", "--decisions", "d.sqlite")
    assert (code, "name them: --who NAME" in err) == (2, True)
    decided(tmp_path / "queue.jsonl", {"decision": "kept"})
    code, _, err = notus("decide", "import", "queue.jsonl", "--decisions", "d.sqlite", "--who", "ana")
    assert code == 2
    assert "nothing of the 6 rows of queue.jsonl can be taken. row 1: the decision is 'kept'" in err
    assert not (tmp_path / "d.sqlite").exists()
