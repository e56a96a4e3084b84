from pathlib import Path

import pytest

from notus.core.text import HubId, counted, format_list, guard_formula, one_line, read_guarded


@pytest.mark.parametrize(
    ("text", "name", "revision"),
    [
        ("mistralai/Mistral-7B-v0.1", "mistralai/Mistral-7B-v0.1", None),
        ("Qwen/Qwen2.5-0.5B", "Qwen/Qwen2.5-0.5B", None),
        ("owner/name@v1.0", "owner/name", "v1.0"),
        ("openbmb/UltraFeedback@40b4", "openbmb/UltraFeedback", "40b4"),
    ],
)
def test_ids_of_the_hub(text, name, revision):
    found = HubId.parse(text)
    assert found == HubId(name, revision)
    assert str(found) == text


@pytest.mark.parametrize(
    "text", ["a", "a/b/c", "./a/b", "/a/b", "a/b.jsonl", "data/pairs.parquet", "a/b@", "", "a b/c", "a/c.csv"]
)
def test_what_is_none(text):
    assert HubId.parse(text) is None


@pytest.mark.parametrize(
    ("count", "said"), [(0, "0 prompts"), (1, "1 prompt"), (2, "2 prompts"), (2000, "2,000 prompts")]
)
def test_a_count_has_its_noun(count: int, said: str) -> None:
    assert counted(count, "prompt") == said


def test_a_plural_of_its_own() -> None:
    assert counted(1, "pair is", "pairs are") == "1 pair is"
    assert counted(3, "pair is", "pairs are") == "3 pairs are"


def test_a_list_says_how_many_more_there_are() -> None:
    assert format_list(["a", "b"], 2) == "a, b"
    assert format_list(["a", "b", "c", "d"], 2) == "a, b, and 2 more"
    assert format_list(["a", "b", "c"], 2, "; ") == "a; b; and 1 more"


def test_a_text_on_one_line_is_no_longer_than_asked() -> None:
    assert one_line(" two\n\twords ", 9) == "two words"
    assert one_line("two words", 8) == "two wor…"


@pytest.mark.parametrize(
    "text",
    [
        "=1+1",
        "+cmd|' /C calc'!A0",
        "-2+3",
        "@SUM(A1)",
        "\t=1",
        "\r=1",
        "=",
        "-",
        "--5",
        "-1.5.2",
        "+",
        "=HYPERLINK(1)",
        "-x",
    ],
)
def test_a_formula_stands_behind_an_apostrophe(text):
    assert guard_formula(text) == f"'{text}"
    assert read_guarded(guard_formula(text)) == text


@pytest.mark.parametrize("text", ["", "a", "-1", "+2.5", "-1.5e-7", "-.5", "-3%", "'=1", "'a", "a=1", " =1", "1-2"])
def test_what_is_no_formula_stays(text):
    assert guard_formula(text) == text
    assert read_guarded(text) == (text[1:] if text == "'=1" else text)


def test_a_hub_id_whose_owner_is_a_folder_here_is_a_mistaken_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("runs/pairs", "runs/audit"):
        (tmp_path / name).mkdir(parents=True)

    def fault(text: str) -> str:
        found = HubId.parse(text)
        assert found is not None
        return found.path_fault()

    assert "did you mean 'runs/pairs'" in fault("runs/pair")
    assert "has no 'sft' (it holds audit, pairs)" in fault("runs/sft")
    assert fault("runs/sft@main") == ""
    assert fault("argilla/notus-7b-v1") == ""
