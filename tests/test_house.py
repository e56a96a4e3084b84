"""The rules of the house, checked: floors, the torch-free part, public names, recipes, commands, records of size."""

import ast
import importlib
import subprocess
import sys
from pathlib import Path

import pytest

SRC = Path(__file__).parent.parent / "src" / "notus"
FLOORS = {
    "core": 0,
    "models": 1,
    "data": 2,
    "miniature": 2,
    "train": 3,
    "evaluate": 3,
    "app": 4,
    "flow": 5,
    "terminal": 6,
    "commands": 7,
    "cli": 8,
    "__main__": 9,
}
MODULES = sorted(path for path in SRC.rglob("*.py") if path.name != "__init__.py")
TORCH_FREE = [
    "notus",
    "notus.cli",
    "notus.terminal",
    *(f"notus.models.{name}" for name in ("accounts", "client", "endpoint", "faults", "fleet", "ledger", "limits")),
    *(f"notus.models.{name}" for name in ("progress", "protocols", "replicas", "settings", "wire")),
    *(f"notus.models.{name}" for name in ("judge", "judge_text", "prompts")),
    *(
        f"notus.models.{name}"
        for name in ("ranker", "ranker_settings", "ranker_safety", "ranker_judge", "ranker_pairs")
    ),
    "notus.flow.rankkinds",
    "notus.flow.ranksteps",
    "notus.flow.serving",
    "notus.flow.collectsteps",
    "notus.train.settings",
    "notus.train.loss_settings",
    *(
        f"notus.{package}.{path.stem}"
        for package in ("core", "data", "miniature", "evaluate", "app", "commands")
        for path in sorted((SRC / package).glob("*.py"))
        if path.stem != "__init__"
    ),
    "notus.flow.kinds",
    "notus.flow.recipe",
    "notus.flow.execute",
]


def name_of(path: Path) -> str:
    return ".".join(["notus", *path.relative_to(SRC).with_suffix("").parts])


def package_of(path: Path) -> str:
    return path.relative_to(SRC).with_suffix("").parts[0]


def imports_of(path: Path) -> set[str]:
    """Modules of Notus that a file imports anywhere, in functions too."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names if alias.name.startswith("notus")}
        elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith("notus"):
            assert node.level == 0
            for alias in node.names:
                whole = f"{node.module}.{alias.name}"
                is_module = (SRC / Path(*whole.split(".")[1:])).with_suffix(".py").exists()
                found.add(whole if is_module else str(node.module))
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
    return found - {"notus"}


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_imports_point_down(path):
    here = package_of(path)
    for target in imports_of(path):
        there = target.split(".")[1]
        assert there == here or FLOORS[there] < FLOORS[here], f"{name_of(path)} imports {target}"


def test_no_circle_of_imports():
    edges = {name_of(path): imports_of(path) for path in MODULES}
    done: set[str] = set()

    def visit(name: str, trail: tuple[str, ...]) -> None:
        assert name not in trail, f"circle: {' → '.join([*trail, name])}"
        if name not in done:
            for target in edges.get(name, set()):
                visit(target, (*trail, name))
            done.add(name)

    for name in edges:
        visit(name, ())


def test_the_torch_free_part_imports_no_torch():
    code = f"import sys, importlib\nfor name in {TORCH_FREE!r}: importlib.import_module(name)\n"
    code += "heavy = {'torch', 'transformers', 'tokenizers', 'accelerate'} & set(sys.modules)\nassert not heavy, heavy"
    subprocess.run([sys.executable, "-W", "error", "-c", code], check=True)


def test_importing_notus_is_silent():
    done = subprocess.run([sys.executable, "-W", "error", "-c", "import notus"], capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_public_names_equal_all(path):
    module = importlib.import_module(name_of(path))
    tree = ast.parse(path.read_text())
    defined = {
        node.name
        for node in tree.body
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef) and not node.name.startswith("_")
    }
    exported = set(module.__all__)
    assert defined <= exported, f"public but not in __all__: {sorted(defined - exported)}"
    assert all(hasattr(module, name) for name in exported)
    assert list(module.__all__) == sorted(
        module.__all__, key=lambda name: (not name.isupper(), not name[0].isupper(), name)
    )


@pytest.mark.parametrize("path", [*SRC.rglob("*.py")], ids=lambda path: str(path.relative_to(SRC)))
def test_files_and_functions_are_small(path):
    text = path.read_text()
    assert text.count("\n") <= 420
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            assert (node.end_lineno or 0) - node.lineno + 1 <= 60, f"{path.name}: {node.name}"


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_every_module_says_what_it_is(path):
    assert ast.get_docstring(ast.parse(path.read_text()))


def test_nobody_catches_everything_but_the_command_line():
    for path in MODULES:
        # The tops of the two kinds of processes, and the call of the user's own code, which may raise anything.
        if path.name in ("cli.py", "execute.py", "ranker_function.py"):
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ExceptHandler):
                caught = ast.unparse(node.type) if node.type else "everything"
                assert caught != "everything", path
                assert caught != "Exception", path
