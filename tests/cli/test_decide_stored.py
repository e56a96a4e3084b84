"""``notus decide list`` and ``undo``: what is decided, shown and taken back."""

import json

import pytest

from notus.cli.decide.stored import list_, undo
from notus.cli.options import command_from
from notus.core.errors import ConfigError, InputError
from notus.decisions.ruling import Ruling, in_force
from notus.decisions.store import open_store


@pytest.fixture
def store(tmp_path):
    path = tmp_path / "d.sqlite"
    with open_store(path, create=True) as opened:
        opened.add(
            [
                Ruling(target="aaaa1111", of="pair", what="swap", who="ana", why="the [bold]other[/bold]"),
                Ruling(target="bbbb2222", of="pair", what="drop", who="ana"),
                Ruling(target="bbbb2222", of="pair", what="keep", who="ben"),
                Ruling(
                    target="cccc3333", of="completion", what="set-score", who="ana", field="overall_score", value=1.0
                ),
                Ruling(target="dddd4444", of="row", what="edit", who="ben", field="answer", value="new\ntext"),
            ]
        )
        opened.undo([1], "ben")
    return path


def call(function, *words):
    command = command_from(function, "x", "help", "example")
    command(list(map(str, words)), standalone_mode=False)


def test_what_counts_is_listed(store, capsys):
    call(list_, store)
    shown = capsys.readouterr().out
    assert "5 decisions were made; 1 is taken back, 4 count: ana 2, ben 2" in shown
    assert "Persons differ on 1 record" in shown
    assert "bbbb2222" in shown
    assert "aaaa1111" not in shown
    call(list_, store, "--undone")
    shown = capsys.readouterr().out
    assert "aaaa1111" in shown
    assert "[bold]" in shown  # a text, and no markup


@pytest.mark.parametrize(
    ("words", "numbers"),
    [
        ((), [2, 3, 4, 5]),
        (("--undone",), [1, 2, 3, 4, 5, 6]),
        (("--who", "ana"), [2, 4]),
        (("--on", "bbbb"), [2, 3]),
        (("--what", "edit"), [5]),
        (("--conflicts",), [2, 3]),
        (("--last", "1"), [5]),
    ],
)
def test_some_are_listed(store, capsys, words, numbers):
    call(list_, store, "--json", *words)
    told = json.loads(capsys.readouterr().out)
    assert [row["number"] for row in told["rows"]] == numbers
    assert [row["number"] for row in told["rows"] if row["counts"]] == [n for n in numbers if n not in (1, 6)]
    assert (told["decisions"], told["in_force"], told["taken_back"]) == (5, 4, 1)
    assert told["conflicts"] == [{"target": "bbbb2222", "of": "pair", "on": ["verdict"]}]


def test_what_persons_differ_on_is_named_or_counted(store, capsys):
    with open_store(store) as opened:
        for number in range(6):
            opened.add([Ruling(target=f"more{number}", of="pair", what="drop", who="ana")])
            opened.add([Ruling(target=f"more{number}", of="pair", what="keep", who="ben")])
    call(list_, store)
    shown = " ".join(capsys.readouterr().out.split())
    assert "Persons differ on 7 records" in shown
    assert "bbbb2222, more0, more1, more2, more3, and 2 more;" in shown


def test_taking_back_and_redoing(store, capsys):
    call(undo, store, 2, 4, "--who", "cat")
    assert capsys.readouterr().out.splitlines() == [
        "7: took back 4, set-score by ana (completion cccc3333)",
        "8: took back 2, drop by ana (pair bbbb2222)",
    ]
    call(undo, store, 6, "--who", "cat")
    assert "took back 6, decision 1 counts again (pair aaaa1111)" in capsys.readouterr().out
    with open_store(store) as opened:
        assert [each.number for each in in_force(opened.rulings())] == [1, 3, 5]
    call(undo, store, 2, 3, "--who", "cat")
    assert "taken back already: 2" in capsys.readouterr().out
    with pytest.raises(InputError, match="has no decision 77"):
        call(undo, store, 77, "--who", "cat")
    with pytest.raises(ConfigError, match="there is no decision 'dropp'; did you mean 'drop'"):
        call(list_, store, "--what", "dropp")
    with pytest.raises(InputError, match="there is no store of decisions"):
        call(undo, store.with_name("none.sqlite"), 1, "--who", "cat")
