"""Small changes of the source that a test should notice: where they can be made, and a sample that stays the same.

A change replaces one expression or statement of a function by another; nothing is changed in docstrings, annotations,
decorators, messages and texts. Owns the kinds of changes and the draw; what tests say of them is ``__main__``'s.
"""

import ast
import hashlib
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

__all__ = ["Change", "changed", "find_changes", "sample"]

SWAPPED: dict[type[ast.AST], type[ast.AST]] = {
    ast.Lt: ast.LtE,
    ast.LtE: ast.Lt,
    ast.Gt: ast.GtE,
    ast.GtE: ast.Gt,
    ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq,
    ast.Is: ast.IsNot,
    ast.IsNot: ast.Is,
    ast.In: ast.NotIn,
    ast.NotIn: ast.In,
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.Div,
    ast.Div: ast.Mult,
    ast.FloorDiv: ast.Mult,
    ast.And: ast.Or,
    ast.Or: ast.And,
}
OTHER_NAME = {"min": "max", "max": "min", "any": "all", "all": "any", "sorted": "list"}
SILENT = ("log", "metric", "tell", "debug", "info", "warning")
"""Calls that say something and do nothing: no test holds every word that is said on the way."""


@dataclass(frozen=True)
class Change:
    """One change of one file."""

    file: str
    """Below ``src/notus``."""
    where: str
    """Class and function in which it stands."""
    kind: str
    old: str
    new: str
    number: int
    """Of the places in this function that would be changed alike, which one, from 0."""
    line: int
    start: int
    """Of the old text in the file, in bytes."""

    @property
    def id(self) -> str:
        """What tells it from all others as long as its function stands as it does."""
        return hashlib.sha256(f"{self.file}|{self.where}|{self.old}|{self.new}|{self.number}".encode()).hexdigest()[:12]

    def __str__(self) -> str:
        return f"{self.file}:{self.line} {self.where}: {_short(self.old)} → {_short(self.new)}"


def changed(source: bytes, change: Change) -> bytes:
    """The file with the change made."""
    old = change.old.encode()
    assert source[change.start : change.start + len(old)] == old
    return source[: change.start] + change.new.encode() + source[change.start + len(old) :]


def find_changes(path: Path, root: Path) -> list[Change]:
    """All changes that can be made in a file."""
    source = path.read_bytes()
    tree = ast.parse(source)
    starts = [0]
    for line in source.splitlines(keepends=True):
        starts.append(starts[-1] + len(line))
    found: list[Change] = []
    seen: Counter[tuple[str, str, str]] = Counter()
    for node, where in _places(tree, ()):
        start = starts[node.lineno - 1] + node.col_offset
        old = source[start : starts[node.end_lineno - 1] + node.end_col_offset].decode()
        for kind, new in _replacements(node):
            # A second way to write the same thing is no change.
            if new == ast.unparse(node):
                continue
            key = (where, old, new)
            change = Change(path.relative_to(root).as_posix(), where, kind, old, new, seen[key], node.lineno, start)
            seen[key] += 1
            found.append(change)
    return found


def sample(changes: list[Change], count: int, seed: int) -> list[Change]:
    """So many of the changes, a kind at a time in turn, so that rare kinds are there too.

    The order is that of hashes of the changes themselves: where the source grows, most of the sample stays.
    """
    order: dict[str, list[Change]] = defaultdict(list)
    for change in sorted(changes, key=lambda change: hashlib.sha256(f"{seed}|{change.id}".encode()).digest()):
        order[change.kind].append(change)
    drawn: list[Change] = []
    while len(drawn) < count and any(order.values()):
        drawn += [order[kind].pop(0) for kind in sorted(order) if order[kind]]
    return drawn[:count]


def _places(
    node: ast.AST, names: tuple[str, ...], in_function: bool = False
) -> Iterator[tuple[ast.expr | ast.stmt, str]]:
    """Every expression and statement inside a function that may be changed, with the function's name."""
    if in_function and isinstance(node, ast.expr | ast.stmt):
        yield node, ".".join(names)
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        names, in_function = (*names, node.name), not isinstance(node, ast.ClassDef)
        # What a function is called with by default is part of it; its annotations and decorators are not.
        inside: list[ast.AST] = [*node.body]
        if not isinstance(node, ast.ClassDef):
            inside += [value for value in (*node.args.defaults, *node.args.kw_defaults) if value is not None]
    elif isinstance(node, ast.AnnAssign):
        inside = [node.value] if node.value is not None else []
    elif isinstance(node, ast.JoinedStr | ast.Raise | ast.Import | ast.ImportFrom | ast.Assert):
        inside = []
    else:
        inside = list(ast.iter_child_nodes(node))
    for child in inside:
        yield from _places(child, names, in_function)


def _replacements(node: ast.AST) -> Iterator[tuple[str, str]]:
    """Kinds of change of a node, with what would stand in its place."""
    for kinds, replace in _REPLACES:
        if isinstance(node, kinds):
            yield from replace(node)


def _of_comparison(node: ast.Compare) -> Iterator[tuple[str, str]]:
    if len(node.ops) == 1 and type(node.ops[0]) in SWAPPED:
        edge = isinstance(node.ops[0], ast.Lt | ast.LtE | ast.Gt | ast.GtE)
        swapped = ast.Compare(node.left, [SWAPPED[type(node.ops[0])]()], node.comparators)
        yield ("boundary" if edge else "comparison"), f"({ast.unparse(swapped)})"


def _of_sum(node: ast.BinOp) -> Iterator[tuple[str, str]]:
    texts = [part for part in (node.left, node.right) if isinstance(part, ast.JoinedStr | ast.List | ast.Tuple)]
    texts += [
        part for part in (node.left, node.right) if isinstance(part, ast.Constant) and isinstance(part.value, str)
    ]
    if type(node.op) in SWAPPED and not texts and not isinstance(node.op, ast.Div | ast.FloorDiv):
        yield "arithmetic", f"({ast.unparse(ast.BinOp(node.left, SWAPPED[type(node.op)](), node.right))})"
    # A path has / too: of a quotient it is the numbers' names that tell, so that the divisor is left out instead.
    if isinstance(node.op, ast.Div | ast.FloorDiv) and not texts:
        yield "arithmetic", f"({ast.unparse(node.left)})"


def _of_logic(node: ast.BoolOp) -> Iterator[tuple[str, str]]:
    yield "logic", f"({ast.unparse(ast.BoolOp(SWAPPED[type(node.op)](), node.values))})"


def _of_negation(node: ast.UnaryOp) -> Iterator[tuple[str, str]]:
    if isinstance(node.op, ast.Not | ast.USub | ast.Invert):
        yield "negation", f"({ast.unparse(node.operand)})"


def _of_choice(node: ast.IfExp) -> Iterator[tuple[str, str]]:
    yield "negation", f"({ast.unparse(ast.IfExp(node.test, node.orelse, node.body))})"


def _of_constant(node: ast.Constant) -> Iterator[tuple[str, str]]:
    if isinstance(node.value, bool):
        yield "constant", str(not node.value)
    elif isinstance(node.value, int):
        yield "constant", f"({node.value + 1})"
    elif isinstance(node.value, float):
        yield "constant", f"({node.value * 1.5 or 0.5})"


def _of_name(node: ast.Name) -> Iterator[tuple[str, str]]:
    if node.id in OTHER_NAME:
        yield "name", OTHER_NAME[node.id]


def _of_return(node: ast.Return) -> Iterator[tuple[str, str]]:
    if node.value is not None and not (isinstance(node.value, ast.Constant) and node.value.value is None):
        yield "return", "return None"


def _of_statement(node: ast.Expr) -> Iterator[tuple[str, str]]:
    if isinstance(node.value, ast.Call) and not (
        isinstance(node.value.func, ast.Attribute) and node.value.func.attr in SILENT
    ):
        yield "removed", "pass"


def _of_update(_: ast.AugAssign) -> Iterator[tuple[str, str]]:
    yield "removed", "pass"


def _of_filter(node: ast.If) -> Iterator[tuple[str, str]]:
    """What is done on a condition is not done, or, where it leaves a loop's turn, always done."""
    body = "\n".join(ast.unparse(statement) for statement in node.body)
    if "\n" not in body and not node.orelse:
        yield "condition", f"if True: {body}" if body in ("continue", "break") else "pass"


_REPLACES: tuple[tuple[type[ast.AST], Callable[..., Iterator[tuple[str, str]]]], ...] = (
    (ast.Compare, _of_comparison),
    (ast.BinOp, _of_sum),
    (ast.BoolOp, _of_logic),
    (ast.UnaryOp, _of_negation),
    (ast.IfExp, _of_choice),
    (ast.Constant, _of_constant),
    (ast.Name, _of_name),
    (ast.Return, _of_return),
    (ast.Expr, _of_statement),
    (ast.AugAssign, _of_update),
    (ast.If, _of_filter),
)


def _short(text: str, most: int = 100) -> str:
    plain = " ".join(text.split())
    return plain if len(plain) <= most else plain[: most - 1] + "…"
