"""Splits and configurations: which files are read, and what is said of the others."""

import json
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from notus.core.errors import ConfigError, DataError
from notus.core.records import Preference
from notus.core.stage import Tally
from notus.core.tables import write_records
from notus.formats.quarantine import Quarantine
from notus.formats.source import Source, open_source
from notus.formats.splits import choose_tables, list_tables, split_of


def pairs(name: str, count: int) -> list[dict[str, str]]:
    return [{"prompt": f"{name} {n}?", "chosen": "Yes.", "rejected": "No."} for n in range(count)]


def lines(path: Path, name: str, count: int = 2) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in pairs(name, count)))


def prompts(source: Source) -> list[str]:
    return [
        record.prompt[0].content
        for record in source.records(Tally("read"), Quarantine())
        if isinstance(record, Preference)
    ]


@pytest.mark.parametrize(
    ("name", "split"),
    [
        ("train.jsonl", "train"),
        ("data/train-00000-of-00002.parquet", "train"),
        ("data/train_prefs-00000-of-00001.parquet", "train_prefs"),
        ("data/odd.name-00000-of-00001.parquet", "odd.name"),
        ("test_iteration_1.jsonl", "test_iteration_1"),
        ("train_1.jsonl", "train"),
        ("train-2.jsonl.gz", "train"),
        ("my-dev.csv", "validation"),
        ("helpful-base/test.jsonl.gz", "test"),
        ("valid/part-3.jsonl", "validation"),
        ("Eval.JSON", "test"),
        ("contest.jsonl", ""),
        ("training_wheels/rows.jsonl", "train"),
        ("restrained.csv", ""),
        ("pairs.jsonl", ""),
        ("latest.jsonl", ""),
    ],
)
def test_a_name_says_its_split(name: str, split: str) -> None:
    assert split_of(name) == split


def test_train_is_the_default_and_the_others_are_said(tmp_path: Path) -> None:
    for name, count in (("train-1", 3), ("train-2", 2), ("test", 1), ("dev", 1)):
        lines(tmp_path / f"{name}.jsonl", name, count)
    source = open_source(str(tmp_path))
    assert len(prompts(source)) == 5
    assert source.not_read == "split validation (1 table), split test (1 table)"
    for asked, count in (("test", 1), ("val", 1), ("dev+test", 2), ("all", 7), ("train", 5)):
        chosen = open_source(str(tmp_path), split=asked)
        assert len(prompts(chosen)) == count
        assert ("split" in chosen.not_read) == (count < 7)
    with pytest.raises(ConfigError, match="no split 'tets'; did you mean 'test'"):
        open_source(str(tmp_path), split="tets")


def test_without_train_the_list_is_shown(tmp_path: Path) -> None:
    lines(tmp_path / "data" / "train_sft-00000-of-00001.jsonl", "a")
    lines(tmp_path / "data" / "test_prefs-00000-of-00001.jsonl", "b")
    lines(tmp_path / "more.jsonl", "c")
    with pytest.raises(DataError) as caught:
        open_source(str(tmp_path))
    for part in ("split train_sft (1 table)", "split test_prefs", "1 table of no split", "--split NAME", "--split all"):
        assert part in str(caught.value)
    assert "\n" not in str(caught.value)
    assert len(prompts(open_source(str(tmp_path), split="train_sft"))) == 2
    assert len(prompts(open_source(str(tmp_path), split="all"))) == 6


CARD = """---
license: mit
configs:
- config_name: helpful
  data_files:
  - split: train
    path: ["h/*.jsonl", "more/one.jsonl"]
  - split: heldout
    path: h-test/**
- config_name: harmless
  data_files: "x?.jsonl"
%s---
# About
"""


@pytest.fixture
def carded(tmp_path: Path) -> Path:
    for name in ("h/a", "h/b", "h/below/c", "more/one", "h-test/deep/d", "x1", "x22", "stray"):
        lines(tmp_path / f"{name}.jsonl", name)
    return tmp_path


def test_the_card_says_what_belongs_together(carded: Path) -> None:
    (carded / "README.md").write_text(CARD % "")
    with pytest.raises(DataError, match="several configurations: helpful, harmless; choose one with --config"):
        open_source(str(carded))
    source = open_source(str(carded), config="helpful")
    assert [path.relative_to(carded).as_posix() for path in source.paths] == [
        "h/a.jsonl",
        "h/b.jsonl",
        "more/one.jsonl",
    ]
    said = "split heldout (1 table), configuration harmless (1 table), 3 files of no configuration"
    assert source.not_read == said
    assert prompts(open_source(str(carded), config="helpful", split="heldout")) == [
        "h-test/deep/d 0?",
        "h-test/deep/d 1?",
    ]
    assert prompts(open_source(str(carded), config="harmless")) == ["x1 0?", "x1 1?"]
    with pytest.raises(ConfigError, match="no configuration 'helpfull'; did you mean 'helpful'"):
        open_source(str(carded), config="helpfull")


def test_the_default_of_a_card_is_read(carded: Path) -> None:
    (carded / "README.md").write_text(CARD % "  default: true\n")
    assert prompts(open_source(str(carded))) == ["x1 0?", "x1 1?"]
    (carded / "README.md").write_text((CARD % "").replace("harmless", "default"))
    assert prompts(open_source(str(carded))) == ["x1 0?", "x1 1?"]


@pytest.mark.parametrize(
    "head", ["# no head", "---\nlicense: mit\n---\n", "---\nconfigs:\n- config_name: x\n  data_files: gone/*\n---\n"]
)
def test_a_card_that_says_nothing_leaves_it_to_the_names(tmp_path: Path, head: str) -> None:
    lines(tmp_path / "train.jsonl", "a")
    lines(tmp_path / "test.jsonl", "b")
    (tmp_path / "README.md").write_text(head)
    assert open_source(str(tmp_path)).not_read == "split test (1 table)"


def test_a_card_with_a_broken_head_is_said_in_one_line(tmp_path: Path) -> None:
    lines(tmp_path / "train.jsonl", "a")
    (tmp_path / "README.md").write_text("---\nconfigs: [\n---\n")
    with pytest.raises(DataError, match=r"head of README\.md is no YAML") as caught:
        open_source(str(tmp_path))
    assert "\n" not in str(caught.value)


def test_the_datasets_library_reads_the_same_files(carded: Path) -> None:
    datasets = pytest.importorskip("datasets")
    (carded / "README.md").write_text(CARD % "")
    cache = str(carded / ".cache")
    for config in ("helpful", "harmless"):
        theirs = datasets.load_dataset(str(carded), config, cache_dir=cache)
        assert theirs
        for split, rows in theirs.items():
            assert sorted(prompts(open_source(str(carded), config=config, split=split))) == sorted(rows["prompt"])


def test_a_folder_chooses_where_no_card_does(tmp_path: Path) -> None:
    for folder in ("helpful", "harmless"):
        for split in ("train", "test"):
            lines(tmp_path / folder / f"{split}.jsonl", f"{folder} {split}", 2)
    assert len(prompts(open_source(str(tmp_path)))) == 4
    source = open_source(str(tmp_path), config="harmless", split="test")
    assert prompts(source) == ["harmless test 0?", "harmless test 1?"]
    assert source.not_read == "split train (1 table), 2 files outside harmless"


def saved(datasets: Any, name: str, count: int) -> Any:
    return datasets.Dataset.from_list(pairs(name, count))


def test_what_save_to_disk_leaves_is_read(tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets")
    saved(datasets, "one", 9).save_to_disk(tmp_path / "one", num_shards=3)
    assert prompts(open_source(str(tmp_path / "one"))) == [f"one {n}?" for n in range(9)]
    both = datasets.DatasetDict({"train": saved(datasets, "t", 5), "test": saved(datasets, "e", 2)})
    both.save_to_disk(tmp_path / "both")
    source = open_source(str(tmp_path / "both"))
    assert (len(prompts(source)), source.not_read) == (5, "split test (1 table)")
    assert len(prompts(open_source(str(tmp_path / "both"), split="test"))) == 2
    assert len(prompts(open_source(str(tmp_path / "both"), split="all"))) == 7
    (tmp_path / "both" / "train" / "cache-1.arrow").write_bytes(b"no data")
    assert len(prompts(open_source(str(tmp_path / "both")))) == 5
    (tmp_path / "one" / "data-00001-of-00003.arrow").unlink()
    with pytest.raises(DataError, match=r"state\.json names data-00001-of-00003\.arrow, which is missing"):
        open_source(str(tmp_path / "one"))


def test_lists_of_an_object_are_splits(tmp_path: Path) -> None:
    path = tmp_path / "set.json"
    path.write_text(json.dumps({"train": pairs("t", 3), "test": pairs("e", 2)}))
    source = open_source(str(path))
    records = list(source.records(Tally("read"), Quarantine()))
    assert source.not_read == "split test (1 table)"
    assert [(record.file, record.line) for record in records] == [("set.json#train", n) for n in (1, 2, 3)]
    assert len(prompts(open_source(str(tmp_path), split="test"))) == 2
    everything = open_source(str(path), split="all")
    assert len(prompts(everything)) == 5
    assert [len(list(shard.records(Tally("read"), Quarantine()))) for shard in everything.shards(1)] == [3, 2]


def test_a_single_table_has_no_splits(tmp_path: Path) -> None:
    lines(tmp_path / "pairs.jsonl", "a")
    with pytest.raises(ConfigError, match="single table and has no splits; leave --split out"):
        open_source(str(tmp_path / "pairs.jsonl"), split="test")
    with pytest.raises(ConfigError, match="no configuration 'x'"):
        open_source(str(tmp_path / "pairs.jsonl"), config="x")
    assert len(prompts(open_source(str(tmp_path / "pairs.jsonl"), split="all"))) == 2


def test_one_name_in_two_kinds_of_file_is_refused(tmp_path: Path) -> None:
    lines(tmp_path / "pairs.jsonl", "a")
    (tmp_path / "pairs.csv").write_text("prompt,chosen,rejected\na,b,c\n")
    with pytest.raises(DataError, match=r"pairs\.csv and pairs\.jsonl, which may be the same rows twice"):
        open_source(str(tmp_path))


def test_our_own_tables_are_read_together_as_ever(tmp_path: Path) -> None:
    lines(tmp_path / "rows.jsonl", "a")
    records = list(open_source(str(tmp_path / "rows.jsonl")).records(Tally("read"), Quarantine()))
    (tmp_path / "rows.jsonl").unlink()
    for name in ("train", "test"):
        write_records(tmp_path / f"{name}.parquet", records, Preference)  # type: ignore[arg-type]
    assert len(prompts(open_source(str(tmp_path)))) == 4
    assert len(prompts(open_source(str(tmp_path), split="test"))) == 2


def test_columns_of_a_text_table_are_parsed_only_where_a_format_needs_them(tmp_path: Path) -> None:
    import pandas as pd

    path = tmp_path / "rows.csv"
    answers = [{"model": "m", "response": "r", "gpt4_scores": [3], "gpt4_feedback": ["f"]}]
    pd.DataFrame({"instruction": ["[1, 2]?", "{}"], "completions": [json.dumps(answers)] * 2}).to_csv(path, index=False)
    source = open_source(str(path))
    found = [record.prompt[0].content for record in source.records(Tally("read"), Quarantine())]  # type: ignore[union-attr]
    assert (source.format, source.json_cells, found) == ("feedback", {"completions"}, ["[1, 2]?", "{}"])
    pd.DataFrame({"prompt": ["[1]"], "chosen": ['{"a": 1}'], "rejected": ["[]"]}).to_csv(path, index=False)
    (pair,) = open_source(str(path)).records(Tally("read"), Quarantine())
    assert isinstance(pair, Preference)
    assert [turns[0].content for turns in (pair.prompt, pair.chosen, pair.rejected)] == ["[1]", '{"a": 1}', "[]"]


def test_only_names_are_needed_to_choose() -> None:
    names = ["README.md", "data/train-00000-of-00001.parquet", "data/test-00000-of-00001.parquet", "a.py"]
    choice = choose_tables(list_tables(names, lambda _: b"# a card"), "owner/name", None, None)
    assert [table.file for table in choice.tables] == ["data/train-00000-of-00001.parquet"]
    assert choice.not_read == "split test (1 table)"


def test_a_parquet_set_with_splits_reads_what_arrow_reads(tmp_path: Path) -> None:
    import pyarrow as pa

    (tmp_path / "data").mkdir()
    for name, count in (("train", 5), ("test", 3)):
        pq.write_table(pa.Table.from_pylist(pairs(name, count)), tmp_path / "data" / f"{name}-00000-of-00001.parquet")
    for split in ("train", "test"):
        theirs = pq.read_table(tmp_path / "data" / f"{split}-00000-of-00001.parquet").column("prompt").to_pylist()
        assert prompts(open_source(str(tmp_path), split=split)) == theirs
