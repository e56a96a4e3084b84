"""What is recorded is what was read, and what was written is there: digests, changed inputs, damaged outputs."""

import json
import random
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import ClassVar

import pytest

from notus.core.artifacts import PREFERENCES, Artifact
from notus.core.errors import ChangedInputError, DataError, InputError
from notus.core.plugins import hash_code
from notus.core.run import check_run, read_manifest
from notus.core.tables import read_table
from notus.recipes.execute import Silent
from notus.recipes.experiment import Experiment, run_recipe
from notus.recipes.recipe import load_recipe
from notus.steps.base import Context, SourceRef, Step
from notus.steps.data.audit import Audit
from notus.steps.data.binarize import Binarize
from notus.steps.data.export import Export
from notus.steps.data.read import Read
from notus.steps.perform import code_of, digest_of_step, read_given, run_step


def write_pairs(path: Path, count: int = 30) -> Path:
    rows = [
        {"prompt": f"Question {n}?", "chosen": f"A good answer {n}.", "rejected": f"none {n}"} for n in range(count)
    ]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


class Meddling(Step):
    """Reads a source while somebody does something to it."""

    step_type: ClassVar[str] = "meddling"
    leaves: ClassVar[tuple[Artifact, ...]] = (PREFERENCES,)
    data: SourceRef = "data"
    deed: ClassVar[Callable[[Path], object]]

    def run(self, context: Context) -> None:
        PREFERENCES.at(context.path).write_bytes(context.place("data").read_bytes())
        type(self).deed(context.place("data"))


def _replace(path: Path) -> None:
    other = path.with_name("other")
    other.write_bytes(path.read_bytes())
    other.replace(path)


DEEDS: dict[str, Callable[[Path], object]] = {
    "appended": lambda path: path.write_bytes(path.read_bytes() + b"{}\n"),
    "cut": lambda path: path.write_bytes(path.read_bytes()[:100]),
    "rewritten at the same size": lambda path: path.write_bytes(path.read_bytes()[::-1]),
    "replaced by an equal file": _replace,
    "removed": lambda path: path.unlink(),
}


@pytest.mark.parametrize("deed", DEEDS)
def test_what_changes_while_it_is_read_gives_no_result(deed: str, tmp_path: Path, monkeypatch) -> None:
    data, out = write_pairs(tmp_path / "pairs.jsonl"), tmp_path / "out"
    monkeypatch.setattr(Meddling, "deed", DEEDS[deed], raising=False)
    with pytest.raises(ChangedInputError, match=r"pairs\.jsonl \('data'\) (changed from|was)") as error:
        run_step("meddling", Meddling(data=str(data)), out)
    assert error.value.exit_code == 1
    assert not (out / "manifest.json").exists()
    assert not PREFERENCES.at(out).exists()  # of bytes that nobody can name


def test_a_file_that_comes_into_a_folder_is_a_change(tmp_path: Path, monkeypatch) -> None:
    folder = write_pairs(tmp_path / "data" / "pairs.jsonl").parent
    (tmp_path / "prefs").mkdir()
    monkeypatch.setattr(Meddling, "deed", lambda path: (path / "more.jsonl").write_text("{}"), raising=False)
    monkeypatch.setattr(Meddling, "run", lambda self, context: type(self).deed(context.place("data")))
    with pytest.raises(ChangedInputError, match=r"more\.jsonl \('data'\) came"):
        run_step("meddling", Meddling(data=str(folder)), tmp_path / "out")


def test_the_run_directory_may_lie_in_the_folder_that_is_read(tmp_path: Path) -> None:
    folder = write_pairs(tmp_path / "data" / "pairs.jsonl").parent
    assert run_step("read", Read(path=str(folder)), folder / "out").finished


def test_the_run_directory_may_be_named_in_another_way_than_the_folder(tmp_path: Path, monkeypatch) -> None:
    write_pairs(tmp_path / "data" / "pairs.jsonl")
    monkeypatch.chdir(tmp_path)
    assert run_step("read", Read(path="data"), tmp_path / "data" / "out").finished


def test_equal_work_has_equal_digests_wherever_and_whenever_it_was_done(tmp_path: Path) -> None:
    hashes = []
    for place in ("one", "two/deeper"):
        data = write_pairs(tmp_path / place / "pairs.jsonl")
        read = run_step("read", Read(path=str(data)), tmp_path / place / "read")
        read.log("a look at it, days later")
        (read.path / "report.html").write_text(place)
        hashes.append((read.digest, read_given("test", str(read.path)).hash))
    assert hashes[0] == hashes[1]


def test_a_digest_holds_what_decides_the_result(monkeypatch) -> None:
    def digest(seed: int = 0, inputs: str = "a", **settings: object) -> str:
        return digest_of_step("binarize", Binarize.parse(settings, where="test"), seed, {"data": inputs})

    first = digest()
    assert digest() == first
    assert digest(workers=3, allow_losses=True) == first  # neither changes a row
    assert len({first, digest(seed=1), digest(inputs="b"), digest(strategy="critique")}) == 4
    monkeypatch.setattr("notus.__version__", "9.9")
    assert digest() == first
    monkeypatch.setattr(Binarize, "results", Binarize.results + 1)
    assert digest() != first


def test_a_directory_that_is_named_again_is_not_taken_for_what_an_older_version_made(
    tmp_path: Path, monkeypatch
) -> None:
    data, out = write_pairs(tmp_path / "pairs.jsonl"), tmp_path / "out"
    run_step("read", Read(path=str(data)), out)
    assert run_step("read", Read(path=str(data)), out).reused
    monkeypatch.setattr(Read, "results", Read.results + 1)
    with pytest.raises(InputError, match=r"holds another run; it differs in results \(None there, 2 now\)"):
        run_step("read", Read(path=str(data)), out)


def test_a_module_of_the_users_that_a_ranker_names_counts_by_its_content(tmp_path: Path, monkeypatch) -> None:
    from notus.steps.answers.rank import Rank

    monkeypatch.syspath_prepend(str(tmp_path))
    module = tmp_path / "rank_by_words_of_theirs.py"
    step = Rank.parse({"outputs": "x", "ranker": "python:rank_by_words_of_theirs:score"}, where="test")
    module.write_text("def score(prompt, answers):\n    return [1.0 for _ in answers]\n")
    first = code_of(step)
    module.write_text("def score(prompt, answers):\n    return [2.0 for _ in answers]\n")
    assert first.keys() == {"code.0"}
    assert code_of(step) != first


def test_code_counts_with_what_of_the_users_it_imports(tmp_path: Path) -> None:
    def hash_of(helper: str, inner: str, folder: str = "a") -> str:
        place = tmp_path / folder
        (place / "package").mkdir(parents=True, exist_ok=True)
        main = place / "mine.py"
        main.write_text("import json\nimport torch\nimport helper\n\ndef score(text):\n    return helper.score(text)\n")
        (place / "helper.py").write_text(helper)
        (place / "package" / "__init__.py").write_text("")
        (place / "package" / "inner.py").write_text(inner)
        return hash_code(main)

    late = "def score(text):\n    from package import inner\n    return inner.N\n"
    first = hash_of(late, "N = 1")
    assert hash_of(late, "N = 1", folder="elsewhere") == first
    assert len({first, hash_of(late, "N = 2"), hash_of("def score(text):\n    return 1\n", "N = 1")}) == 3
    alone = tmp_path / "alone.py"
    alone.write_text("import os\n")
    assert hash_code(alone) == read_given("test", str(alone)).hash


def test_a_file_of_the_users_imports_what_lies_beside_it(tmp_path: Path) -> None:
    (tmp_path / "my_helper_of_steps.py").write_text("WORD = 'found'\n")
    (tmp_path / "mine.py").write_text("def give():\n    from my_helper_of_steps import WORD\n    return WORD\n")
    named = f"{tmp_path / 'mine.py'}:give"
    code = f"from notus.core.plugins import load_python; print(load_python({named!r}, 'function')())"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd="/")
    assert done.stdout == "found\n"


def test_an_adapter_counts_with_its_base(lora_run: Path, tmp_path: Path) -> None:
    shutil.copytree(lora_run, tmp_path / "runs")
    adapter, config = tmp_path / "runs" / "lora" / "model", tmp_path / "runs" / "base" / "config.json"
    whole, inside = (read_given("test", str(place)).hash for place in (adapter.parent, adapter))
    assert any("base" in place for place in read_given("test", str(adapter)).stamps)
    config.write_text(config.read_text().replace("1e-06", "1e-05"))
    assert read_given("test", str(adapter)).hash != inside
    assert read_given("test", str(adapter.parent)).hash != whole


def test_a_template_in_a_file_counts_by_its_content(tmp_path: Path) -> None:
    from notus.steps.train.dpo import Dpo

    template = tmp_path / "mine.jinja"
    step = Dpo.parse({"start": "a/b", "pairs": "x", "limits": {"chat_template": str(template)}}, where="test")
    template.write_text("{{ messages }}")
    first = code_of(step)
    template.write_text("{{ messages }}!")
    assert first.keys() == {"chat_template"}
    assert code_of(step) != first


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that left two tables of parts, pages and texts."""
    folder = tmp_path_factory.mktemp("finished")
    data = write_pairs(folder / "pairs.jsonl", 400)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("notus.formats.source.SHARD", 10_000)
        run_step("read", Read(path=str(data), held_out=0.2), folder / "run", seed=0)
    return folder / "run"


def test_the_manifest_lists_each_output_with_size_and_hash(finished: Path) -> None:
    import hashlib

    listed = read_manifest(finished)["outputs"]
    files = {path for path in finished.rglob("*") if path.is_file()} - {
        finished / "log.txt",
        finished / "manifest.json",
    }
    assert {finished / name for name in listed} == files
    assert sum("/" in name for name in listed) > 3  # parts
    for name, told in listed.items():
        content = (finished / name).read_bytes()
        assert told == {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
    check_run(finished, whole=True)


def export(data: Path, out: Path) -> None:
    run_step("export", Export.parse({"data": str(data), "to": "trl"}, where="test"), out)


def _damage(folder: Path, rng: random.Random) -> Path:
    """Flip a bit of a file, cut it, empty it, remove it, or put another part beside it."""
    path = folder / rng.choice(sorted(read_manifest(folder)["outputs"]))
    content, kind = bytearray(path.read_bytes()), rng.choice(["flip", "flip", "flip", "cut", "empty", "remove", "add"])
    if kind == "add" and path.parent.suffix == ".parquet":
        other = path.with_name("99999.parquet")
        shutil.copy(path, other)
        return other
    if kind == "flip" and content:
        place = rng.randrange(len(content))
        content[place] ^= 1 << rng.randrange(8)
    else:
        del content[rng.randrange(len(content)) if kind == "cut" and content else 0 :]
    if content == path.read_bytes() or kind == "remove":
        path.unlink()
    else:
        path.write_bytes(content)
    return path


@pytest.mark.parametrize(
    ("seed", "count"), [(0, 25), *(pytest.param(seed, 50, marks=pytest.mark.slow) for seed in range(1, 9))]
)
def test_what_is_damaged_is_found_named_and_not_read(seed: int, count: int, finished: Path, tmp_path: Path) -> None:
    rng = random.Random(seed)
    for number in range(count):
        copy = tmp_path / str(number)
        shutil.copytree(finished, copy)
        damaged = _damage(copy, rng)
        with pytest.raises(DataError) as error:
            export(copy, tmp_path / "out")
        assert str(damaged) in str(error.value)
        assert "\n" not in str(error.value)
        with pytest.raises(InputError):
            check_run(copy)


@pytest.mark.parametrize("seed", range(12))
def test_a_damaged_manifest_is_found(seed: int, finished: Path, tmp_path: Path) -> None:
    rng = random.Random(seed)
    shutil.copytree(finished, tmp_path / "run")
    path = tmp_path / "run" / "manifest.json"
    content = bytearray(path.read_bytes())
    content[rng.randrange(len(content))] ^= 1 << rng.randrange(8)
    before = json.loads(path.read_bytes())
    path.write_bytes(content)
    try:
        same = json.loads(content) == before  # a blank that became a tab
    except ValueError:
        same = False
    if same:
        return
    with pytest.raises(InputError, match=r"manifest\.json") as error:
        run_step("export", Export.parse({"data": str(path.parent), "to": "trl"}, where="t"), tmp_path / "out")
    assert "\n" not in str(error.value)


def test_a_manifest_that_lost_its_seal_or_a_table_that_came_later_is_found(finished: Path, tmp_path: Path) -> None:
    shutil.copytree(finished, tmp_path / "run")
    path = tmp_path / "run" / "manifest.json"
    whole = path.read_text()
    path.write_text(whole.replace('"seal"', '"sea1"'))
    with pytest.raises(DataError, match=r"manifest\.json is damaged"):
        check_run(tmp_path / "run")
    path.write_text(whole)
    check_run(tmp_path / "run")
    (tmp_path / "run" / "unpaired.parquet").write_bytes(b"PAR1")
    with pytest.raises(DataError, match=r"unpaired\.parquet is none of the tables and parts that its run left"):
        check_run(tmp_path / "run")


def test_a_table_of_a_run_named_by_itself_is_checked_too(tmp_path: Path) -> None:
    data = write_pairs(tmp_path / "pairs.jsonl")
    run = run_step("read", Read(path=str(data)), tmp_path / "run")
    table = PREFERENCES.at(run.path)
    content = bytearray(table.read_bytes())
    content[50] ^= 4
    table.write_bytes(content)
    with pytest.raises(DataError, match=r"preferences\.parquet is damaged"):
        export(table, tmp_path / "out")


def test_done_before_is_said_only_of_what_is_whole(tmp_path: Path) -> None:
    data = write_pairs(tmp_path / "pairs.jsonl")
    step = Audit(data=str(data))
    run_step("audit", step, tmp_path / "out")
    assert run_step("audit", step, tmp_path / "out").reused
    (tmp_path / "out" / "health.json").write_text("")
    with pytest.raises(DataError, match=r"health\.json has 0 bytes and had [\d,]+ when it was written; remove .*/out"):
        run_step("audit", step, tmp_path / "out")


def test_pages_of_a_large_table_are_checked_while_they_are_read(tmp_path: Path) -> None:
    # Above the size of what is hashed each time, the checksums of the pages find what is read.
    data = write_pairs(tmp_path / "pairs.jsonl", 2000)
    table = PREFERENCES.at(run_step("read", Read(path=str(data)), tmp_path / "run").path)
    content = bytearray(table.read_bytes())
    content[len(content) // 3] ^= 1
    table.write_bytes(content)
    with pytest.raises(DataError, match=r"damaged|CRC|checksum"):
        read_table(table)


RECIPE = """name: small
data: {step: read, path: PAIRS}
export: {data: data, to: trl}
"""


def test_a_recipe_goes_on_only_from_what_is_whole(tmp_path: Path) -> None:
    recipe = tmp_path / "small.yaml"
    recipe.write_text(RECIPE.replace("PAIRS", str(write_pairs(tmp_path / "pairs.jsonl"))))
    out = tmp_path / "out"
    run_recipe(load_recipe(recipe), out, Silent(), inline=True)
    table = next(out.glob("steps/data-*/preferences.parquet"))
    content = table.read_bytes()
    table.write_bytes(content[:-9])
    for again in (
        lambda: run_recipe(load_recipe(recipe), out, Silent(), inline=True),
        lambda: Experiment.read(out),
    ):
        with pytest.raises(DataError, match=rf"preferences\.parquet has {len(content) - 9:,} bytes and had"):
            again()
    table.write_bytes(content)
    run_recipe(load_recipe(recipe), out, Silent(), inline=True, verify=True)
