"""The rules of the house, one test a rule: layers, circles, sizes of rooms, torch-free reading, public names, sizes."""

import ast
import importlib
import subprocess
import sys
import tomllib
from collections import Counter
from pathlib import Path

import notus

SRC = Path(notus.__file__).parent
LAYERS = (
    *("core", "stats", "llm", "formats", "checks", "decisions", "engine", "preferences", "clean", "toy", "collect"),
    *("audit", "rankers", "provenance", "evaluate", "train", "report", "publish", "serve", "review", "steps"),
    *("recipes", "api", "cli", "__main__"),
)
"""Each room imports only rooms that stand before it, and itself."""
MODULES = sorted(path for path in SRC.rglob("*.py") if path.name != "__init__.py")
NEEDS_TORCH = (
    *("notus.engine", "notus.rankers.pairrm", "notus.rankers.reward", "notus.rankers.classifier", "notus.train"),
    "notus.evaluate.harness",
)
"""What may import torch when it is imported; all else must not."""
TORCH_FREE_INSIDE = (
    "notus.engine.settings",
    "notus.train.settings",
    "notus.train.ranker_settings",
    "notus.train.losses",
    "notus.train.run.health",
    "notus.train.run.progress",
    "notus.train.run.trackers",
)
TOPS = {"cli/main.py", "recipes/execute.py", "core/plugins.py"}
"""Where everything may be caught: the tops of the two kinds of processes, and the call of the user's own code."""
READS_MODELS = "engine/files/pretrained.py"
"""The one place that has transformers read files, so that no call can let foreign code run."""


def name_of(path: Path) -> str:
    return ".".join(["notus", *path.relative_to(SRC).with_suffix("").parts])


def room_of(name: str) -> str:
    return name.split(".")[1]


def is_module(name: str) -> bool:
    place = SRC / Path(*name.split(".")[1:])
    return place.with_suffix(".py").exists() or (place / "__init__.py").exists()


def imports_of(path: Path) -> set[str]:
    """Modules of Notus that a file imports anywhere, in functions too."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names if alias.name.startswith("notus.")}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            if (node.module or "").split(".")[0] == "notus":
                wholes = [f"{node.module}.{alias.name}" for alias in node.names]
                found |= {whole if is_module(whole) else str(node.module) for whole in wholes}
    return found - {"notus"}


EDGES = {name_of(path): imports_of(path) for path in MODULES}


def test_every_room_is_in_the_plan():
    assert {room_of(name) for name in EDGES} <= set(LAYERS)


def test_imports_point_down():
    order = {room: number for number, room in enumerate(LAYERS)}
    upward = [
        (here, there) for here, to in EDGES.items() for there in to if order[room_of(there)] > order[room_of(here)]
    ]
    assert upward == []


def test_no_circle_of_imports():
    done: set[str] = set()

    def visit(name: str, trail: tuple[str, ...]) -> None:
        assert name not in trail, f"circle: {' → '.join([*trail, name])}"
        if name not in done:
            for target in EDGES.get(name, set()):
                visit(target, (*trail, name))
            done.add(name)

    for name in EDGES:
        visit(name, ())


def test_a_room_has_at_most_twelve_modules():
    assert {room: size for room, size in Counter(path.parent for path in MODULES).items() if size > 12} == {}


def test_the_torch_free_part_imports_no_torch():
    free = [name for name in EDGES if not name.startswith(NEEDS_TORCH) or name.startswith(TORCH_FREE_INSIDE)]
    names = [name for name in free if name != "notus.__main__"]
    code = f"import sys, importlib\nfor name in {names!r}: importlib.import_module(name)\n"
    code += "heavy = {'torch', 'transformers', 'tokenizers', 'accelerate'} & set(sys.modules)\nassert not heavy, heavy"
    subprocess.run([sys.executable, "-W", "error", "-c", code], check=True)


def test_importing_notus_is_silent():
    done = subprocess.run([sys.executable, "-W", "error", "-c", "import notus"], capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_public_names_equal_all():
    for path in MODULES:
        module = importlib.import_module(name_of(path))
        tree = ast.parse(path.read_text())
        defined = {
            node.name
            for node in tree.body
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef) and not node.name.startswith("_")
        }
        exported = list(module.__all__)
        assert defined <= set(exported), f"{path}: public but not in __all__: {sorted(defined - set(exported))}"
        assert all(hasattr(module, name) for name in exported), path
        assert exported == sorted(exported, key=lambda name: (not name.isupper(), not name[0].isupper(), name)), path


def test_functions_are_short():
    for path in MODULES:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                assert (node.end_lineno or 0) - node.lineno + 1 <= 60, f"{name_of(path)}: {node.name}"


def test_long_files_say_why():
    long = [path for path in MODULES if path.read_text().count("\n") > 800]
    silent = [name_of(path) for path in long if "# Long because" not in path.read_text()]
    assert silent == [], "over 800 lines: divide it by meaning, or say why it is long in a comment '# Long because …'"


def test_every_module_says_what_it_is():
    assert [name_of(path) for path in MODULES if not ast.get_docstring(ast.parse(path.read_text()))] == []


def test_packages_run_no_code():
    assert [path for path in SRC.rglob("__init__.py") if path.parent != SRC and path.read_text()] == []


def test_nobody_catches_everything_but_the_tops():
    for path in MODULES:
        if str(path.relative_to(SRC)) in TOPS:
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ExceptHandler):
                caught = ast.unparse(node.type) if node.type else "everything"
                assert caught not in ("everything", "Exception"), path


def test_one_place_reads_models_and_runs_no_foreign_code():
    """Each call of transformers that makes something of files says that code beside them is not run."""
    calls = []
    for path in MODULES:
        for node in ast.walk(ast.parse(path.read_text())):
            named = node.func.attr if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) else ""
            if named not in ("from_pretrained", "from_config", "from_dict", "pipeline"):
                continue
            said = {word.arg: ast.unparse(word.value) for word in node.keywords}
            calls.append((str(path.relative_to(SRC)), ast.unparse(node.func), said.get("trust_remote_code")))
    unsafe = {(place, call) for place, call, trusts in calls if (place, trusts) != (READS_MODELS, "False")}
    assert len(calls) - len(unsafe) >= 4
    # These take settings alone, and no class of their own: peft's, and those of transformers for settings.
    assert {call for _, call in unsafe} <= {
        "LoraConfig.from_pretrained",
        "PeftModel.from_pretrained",
        "GenerationConfig.from_pretrained",
        "type(model.config).from_dict",
    }


def test_pickles_are_read_without_their_code():
    """``torch.load`` stands where our own checkpoints are read, and takes tensors and plain values alone."""
    loads = []
    for path in MODULES:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and ast.unparse(node.func) in ("torch.load", "pickle.load", "pickle.loads"):
                said = {word.arg: ast.unparse(word.value) for word in node.keywords}
                loads.append((str(path.relative_to(SRC)), ast.unparse(node.func), said.get("weights_only")))
    assert loads == [("train/run/resumable.py", "torch.load", "True")]


def test_kept_changes_of_the_source_fit_it():
    """A change that ``make mutants`` makes is found where it is to be made, once; else it would be tried no more."""
    kept = tomllib.loads((Path(__file__).parent / "mutants" / "kept.toml").read_text())["mutant"]
    assert [each["name"] for each in kept if (SRC / each["file"]).read_text().count(each["old"]) != 1] == []
