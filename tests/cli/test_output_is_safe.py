"""No byte of the data steers the terminal: every command, to a pipe and to a terminal, on both streams."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from rich.color import ColorSystem

from notus.cli import main as cli
from notus.cli.terminal import ERR, OUT
from notus.core.text import visible
from tests.cli.test_main import completion

EVIL = "\x1b]0;TITLE\x07\x1b[2J\x1b[38;5;199mred\x9b31m\x85\x7f\x08\r\u202egnp\u2066\u200f"
"""A title, a cleared screen, a colour that is not ours, C1 and DEL, a carriage return, and turned writing."""
UNSEEN = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]")
OURS = re.compile(r"\x1b\[(?:\d+(?:;\d+)*)?m")
"""A colour or a style, as rich sends it."""


@pytest.fixture
def run(monkeypatch, capfdbinary):
    """Do a command in this process; both streams as one text, and the exit code."""

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["notus", *map(str, arguments)])
        capfdbinary.readouterr()
        with pytest.raises(SystemExit) as end:
            cli.main()
        return b"".join(capfdbinary.readouterr()).decode(), end.value.code

    return run


@pytest.fixture
def place(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    rows = [
        {
            "source": EVIL,
            "instruction": f"Name {EVIL} {n}.",
            "models": [EVIL, "b"],
            "correct_answers": ["None"],
            "incorrect_answers": ["None"],
            "completions": [completion(EVIL, f"Red {EVIL}.", 10.0, 1), completion("b", "No.", 4.0, 2)],
        }
        for n in range(6)
    ]
    broken = [{"instruction": EVIL, "completions": EVIL}]
    pairs = [
        {
            "prompt": f"{EVIL} {n}",
            "chosen": f"a {EVIL}",
            "rejected": f"b {n}",
            "source": EVIL,
            "chosen_model": EVIL,
            EVIL: EVIL,
        }
        for n in range(6)
    ]
    other = [{**pair, "chosen": pair["rejected"], "rejected": pair["chosen"]} for pair in pairs]
    for name, lines in (("feedback", rows + broken), ("pairs", pairs), ("other", other), ("strange", [{EVIL: EVIL}])):
        (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    (tmp_path / "recipe.yaml").write_text(
        "name: x\ntitle: " + json.dumps(EVIL) + "\ndata: {step: read, path: pairs.jsonl}\n"
        "binarize: {data: feedback.jsonl}\n"
    )
    (tmp_path / f"x{EVIL.replace('/', '')}.jsonl").write_text("{}\n")
    return tmp_path


COMMANDS = [
    ["formats", "feedback.jsonl"],
    ["formats", "pairs.jsonl"],
    ["formats", "strange.jsonl"],
    ["formats", "pairs.jsonl", "--layout", "ultrafeedback"],
    ["read", "feedback.jsonl"],
    ["read", "pairs.jsonl"],
    ["read", "strange.jsonl"],
    ["read", "strange.jsonl", "--map", f"prompt={EVIL}"],
    ["read", "feedback.jsonl", "--strict"],
    ["audit", "feedback.jsonl"],
    ["audit", "pairs.jsonl"],
    ["repair", "feedback.jsonl"],
    ["clean", "feedback.jsonl", "--dry-run"],
    ["clean", "pairs.jsonl"],
    ["binarize", "feedback.jsonl"],
    ["diff", "pairs.jsonl", "other.jsonl"],
    ["export", "feedback.jsonl"],
    ["export", "pairs.jsonl", "--layout", "h4"],
    ["rank", "length", "feedback.jsonl"],
    ["best-of-n", "length", "feedback.jsonl"],
    ["eval", "rewards", "length", "pairs.jsonl"],
    ["eval", "judges", "pairs.jsonl", "--ranker", "length"],
    ["run", "recipe.yaml", "--dry-run"],
    ["run", "recipe.yaml", "--set", f"data.{EVIL}=1"],
]
AS_JSON = [[*command, "--json"] for command in COMMANDS[1::2] if "--dry-run" not in command]


@pytest.fixture
def as_terminal(monkeypatch):
    for console in (OUT, ERR):
        monkeypatch.setattr(console, "_force_terminal", True)
        monkeypatch.setattr(console, "_color_system", ColorSystem.TRUECOLOR)


def check(text):
    """Nothing in the text steers a terminal, and it is no error of ours."""
    assert "notus: unexpected" not in text, text
    assert not UNSEEN.search(text), UNSEEN.findall(text)


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
@pytest.mark.usefixtures("place")
def test_a_pipe_gets_no_control_character(run, command):
    text, _ = run(*command)
    check(text)


@pytest.mark.parametrize("command", COMMANDS[::2], ids=" ".join)
@pytest.mark.usefixtures("place", "as_terminal")
def test_a_terminal_gets_only_our_colours(run, command):
    text, _ = run(*command)
    assert "\x1b[38;5;199m" not in text
    check(OURS.sub("", text).replace("\x1b[?25l", "").replace("\x1b[?25h", ""))


@pytest.mark.parametrize("command", AS_JSON, ids=" ".join)
@pytest.mark.usefixtures("place")
def test_json_escapes_them_and_says_the_same(run, command):
    text, code = run(*command)
    check(text)
    if code == 0 and "--strict" not in command:
        json.loads(text)


def test_what_explain_tells_of_a_record(place, run):
    assert run("audit", "feedback.jsonl", "--out", "audit")[1] == 0
    assert run("binarize", "feedback.jsonl", "--out", "pairs")[1] == 0
    from notus.core.records import Preference
    from notus.core.tables import read_records

    pair = next(iter(read_records(place / "pairs" / "preferences.parquet", Preference)))
    for more in ([], ["--json"]):
        text, code = run("explain", pair.id, "--run", "pairs", *more)
        check(text)
        assert code == 0
        assert "[2J" in text


def test_names_of_files_and_options_are_shown(place, run):
    (name,) = [path.name for path in place.iterdir() if "TITLE" in path.name]
    for command in (["read", name], ["read", f"./{name}"], ["audit", f"--{EVIL}"], ["audit", "a", EVIL], [EVIL]):
        text, code = run(*command)
        check(text)
        assert code == 2
        assert "TITLE" in text


@pytest.mark.parametrize("character", ["\x1b", "\x07", "\x00", "\r", "\x7f", "\x9b", "\x85", "\u202e", "\u2028"])
def test_a_character_is_shown_by_its_number(character):
    shown = visible(f"a{character}b\n\tc")
    number = f"\\x{ord(character):02x}" if ord(character) < 256 else f"\\u{ord(character):04x}"
    assert shown == f"a{number}b\n\tc"


def test_other_texts_stay_as_they_are():
    text = "Ä 汉字 🙂 👩‍👩‍👧 é שלום مرحبا\ttab\nline"
    assert visible(text) == text


def test_what_libraries_log_is_shown_and_their_bars_are_drawn(capfdbinary):
    import logging

    from notus.cli.streams import guarded_streams

    with guarded_streams():
        handler = logging.StreamHandler(sys.stderr)
        handler.emit(logging.LogRecord("x", 30, "x", 1, f"weights {EVIL}", None, None))
        sys.stderr.write("\rloading: 50%\x1b[A")
        sys.stdout.write(EVIL)
    out, err = (part.decode() for part in capfdbinary.readouterr())
    assert out == visible(EVIL)
    assert err.endswith("\rloading: 50%\x1b[A")
    assert not UNSEEN.search(err.removesuffix("\rloading: 50%\x1b[A").replace("\r", ""))


def start(arguments, **more):
    return subprocess.Popen([sys.executable, "-m", "notus", *arguments], stderr=subprocess.PIPE, **more)


def test_a_reader_who_leaves_is_no_failure():
    read, write = os.pipe()
    process = start(["formats", "--json"], stdout=write)
    os.close(write)
    os.close(read)
    assert process.communicate(timeout=60)[1] == b""
    assert process.returncode == 0


def test_a_full_disk_behind_the_output_is_one_line():
    with Path("/dev/full").open("wb") as full:
        process = start(["formats", "--json"], stdout=full)
    err = process.communicate(timeout=60)[1].decode()
    assert err == "notus: cannot write what was to be printed: No space left on device\n"
    assert process.returncode == 1


@pytest.mark.usefixtures("place")
def test_a_terminal_of_ascii_gets_escapes():
    environment = {**os.environ, "PYTHONIOENCODING": "ascii"}
    process = start(["formats", "feedback.jsonl"], stdout=subprocess.PIPE, env=environment)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 0, err
    assert b"\\xb7" in out
    assert out.isascii()
    process = start(["formats", "feedback.jsonl", "--json"], stdout=subprocess.PIPE, env=environment)
    out, err = process.communicate(timeout=60)
    assert out.isascii()
    assert " ".join(EVIL.split()) in json.loads(out)["columns"][0]["examples"]


def test_an_argument_that_is_no_text_is_refused(run):
    text, code = run("read", os.fsdecode(b"caf\xe9.jsonl"))
    assert code == 2
    assert text == "notus: the argument b'caf\\xe9.jsonl' is not UTF-8; rename the file or folder, or link to it\n"
