"""Chat templates with an end: a template is code that comes with a model, and jinja bounds neither its time nor what it
makes.

transformers renders templates in jinja's sandbox, which keeps them from the interpreter; a loop of loops, a text that
doubles sixty times or a padding of 10¹¹ blanks still takes all time or memory. Here each piece of a loop, each call and
each operation costs steps, more of them the more it makes, and a rendering has so many; what an operation would make is
measured before. The limits are far above what any conversation needs, and what is written is the same to the byte. They
count, and do not measure time, so that a template ends alike everywhere.

Owns that environment. That templates are compiled in it, and what they are asked, is owned by ``engine.text.template``.
"""

import functools
import re
import threading
from collections.abc import Callable, Iterable, Iterator, Sized
from typing import Any

import jinja2
from jinja2 import nodes
from jinja2.runtime import Context, Macro
from jinja2.sandbox import ImmutableSandboxedEnvironment
from jinja2.visitor import NodeTransformer

__all__ = ["BoundedEnvironment"]

STEPS = 2_000_000
"""Of one rendering; a loop over ten thousand turns takes some hundred thousand."""
LARGEST = 1 << 23
"""Characters of one value, and of all that is written; a context of a million tokens has four million."""
_A_STEP = 4096
"""Characters that cost a step."""
_LARGE, _ALL_LARGE = 1 << 20, 1 << 30
"""What counts as a large value, and the characters of all of them together: a template could keep each."""
_NUMBER = 1_000_000
"""Largest number that may be given to a function: a width, a count."""
_BITS = 10_000
_TEXT = 1 << 20
"""Characters of a template; the largest published ones have a hundred thousand."""
_NO_FILTERS = ("urlize", "random")
"""Of no use for a chat, and one slow, the other different each time."""
_NO_METHODS = ("translate", "maketrans")
_FAILURES = (ArithmeticError, LookupError, AttributeError, RecursionError, MemoryError, SyntaxError, AssertionError)
"""What a template makes Python raise beside jinja's own errors, TypeError and ValueError."""


class _Spent(threading.local):
    """What the rendering of this thread has taken."""

    steps = 0
    written = 0
    large = 0


class _BoundedTemplate(jinja2.Template):
    def render(self, *args: Any, **kwargs: Any) -> str:
        """Render with all steps to spend. Whatever the template makes Python raise is an error of the template."""
        spent: _Spent = self.environment.spent  # type: ignore[attr-defined]
        spent.steps = spent.written = spent.large = 0
        try:
            return super().render(*args, **kwargs)
        except _FAILURES as error:
            raise jinja2.TemplateRuntimeError(f"{type(error).__name__}: {error}") from None


class _Counted(NodeTransformer):
    """A template in which loops, joined texts, lists and comparisons go through the environment."""

    def visit_For(self, node: nodes.For) -> nodes.For:  # noqa: N802  jinja names it
        self.generic_visit(node)
        size = sum(len(part.data) for each in node.body for part in each.find_all(nodes.TemplateData))
        node.iter = _call("counted", [node.iter, nodes.Const(size)])
        return node

    def visit_Concat(self, node: nodes.Concat) -> nodes.Node:  # noqa: N802
        self.generic_visit(node)
        return _call("joined", list(node.nodes))

    def visit_Compare(self, node: nodes.Compare) -> nodes.Compare:  # noqa: N802
        self.generic_visit(node)
        sides = (node.expr, *(operand.expr for operand in node.ops))
        if not any(isinstance(side, nodes.Const) for side in sides):  # what is compared with a text soon differs
            node.expr = _call("weighed", [node.expr])
        return node

    def visit_List(self, node: nodes.List) -> nodes.Node:  # noqa: N802
        self.generic_visit(node)
        return node if all(isinstance(item, nodes.Const) for item in node.items) else _call("weighed", [node])

    def visit_Dict(self, node: nodes.Dict) -> nodes.Node:  # noqa: N802
        self.generic_visit(node)
        return _call("weighed", [node])


def _call(name: str, args: list[Any]) -> nodes.Call:
    return nodes.Call(nodes.EnvironmentAttribute(name), args, [], None, None)


class BoundedEnvironment(ImmutableSandboxedEnvironment):
    """The sandbox of transformers' templates, in which every rendering has an end."""

    intercepted_binops = frozenset(["+", "*", "**", "%"])
    template_class = _BoundedTemplate

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.spent = _Spent()
        self.finalize = self._written
        self.globals.pop("lipsum")
        for name in _NO_FILTERS:
            self.filters.pop(name)

    def from_string(self, source: Any, *args: Any, **kwargs: Any) -> jinja2.Template:
        """Compile a template.

        Raises:
            TemplateError: if it cannot be compiled, also where Python's own limits are the reason.
        """
        if isinstance(source, str) and len(source) > _TEXT:
            raise jinja2.TemplateError(f"it has {len(source):,} characters, and may have {_TEXT:,}")
        for name, function in self.filters.items():
            if not hasattr(function, "bounded"):
                self.filters[name] = self._bounded(name, function)
        try:
            return super().from_string(source, *args, **kwargs)
        except (*_FAILURES, TypeError, ValueError) as error:
            raise jinja2.TemplateError(f"{type(error).__name__}: {error}") from None

    def _generate(self, source: nodes.Template, *args: Any, **kwargs: Any) -> str:
        return super()._generate(_Counted().visit(source), *args, **kwargs)

    def spend(self, steps: float, size: float = 0) -> None:
        """Take steps, and refuse a value that would be too large.

        Raises:
            TemplateRuntimeError: if there are no more, or it is.
        """
        self.spent.large += int(size) if size > _LARGE else 0
        if size > LARGEST or self.spent.large > _ALL_LARGE:
            raise jinja2.TemplateRuntimeError(f"it makes a text or list of more than {LARGEST:,} characters")
        self.spent.steps += int(steps) + int(size / _A_STEP) + 1
        if self.spent.steps > STEPS:
            raise jinja2.TemplateRuntimeError(f"it does not end within {STEPS:,} steps")

    def counted(self, items: Iterable[Any], size: int) -> Iterable[Any]:
        """What a loop goes over, counted: ``size`` characters are written at each turn."""
        if not isinstance(items, Sized):
            return self._one_by_one(items, size)
        self.spend(len(items))
        self._write(len(items) * size)
        return items

    def _one_by_one(self, items: Iterable[Any], size: int) -> Iterator[Any]:
        for item in items:
            self.spend(1)
            self._write(size)
            yield item

    def joined(self, *parts: Any) -> str:
        """What ``~`` makes."""
        texts = [str(self.weighed(part)) for part in parts]
        self.spend(len(texts), sum(map(len, texts)))
        return "".join(texts)

    def weighed(self, value: Any) -> Any:
        """A value that is not too large when all that it holds is written out."""
        if not isinstance(value, str | int | float | None):
            self._weigh(value)
        return value

    def _weigh(self, value: Any) -> int:
        """Characters of all texts in a value, each as often as it is there, with some for each piece."""
        known: dict[int, int] = {}
        pending = [value]
        while pending:
            each = pending[-1]
            parts = [*each.keys(), *each.values()] if isinstance(each, dict) else each
            if not isinstance(each, dict | list | tuple | set | frozenset):
                known[id(each)] = len(each) + 8 if isinstance(each, str) else 8
            elif new := [part for part in parts if id(part) not in known]:
                self.spend(len(new))
                pending += new
                continue
            else:
                known[id(each)] = 8 + sum(known[id(part)] for part in parts)
            pending.pop()
        self.spend(0, known[id(value)])
        return known[id(value)]

    def _written(self, value: Any) -> str:
        text = value if isinstance(value, str) else str(self.weighed(value))
        spent = self.spent
        spent.steps += 1
        spent.written += len(text)
        if spent.written > LARGEST or spent.steps > STEPS:
            self.spend(0, spent.written)
        return text

    def _write(self, size: int) -> None:
        self.spent.written += size
        if self.spent.written > LARGEST:
            raise jinja2.TemplateRuntimeError(f"it writes more than {LARGEST:,} characters")

    def call_binop(self, context: Context, operator: str, left: Any, right: Any) -> Any:
        """An operation whose result was measured before."""
        del context
        if operator == "+" and type(left) is str and type(right) is str and len(left) + len(right) < _A_STEP:
            self.spent.steps += 1
            return left + right
        self._check_result(operator, left, right)
        return self.binop_table[operator](left, right)

    def _check_result(self, operator: str, left: Any, right: Any) -> None:
        """Measure what an operation would make."""
        self.spend(0)
        if operator == "+" and isinstance(left, str | list | tuple) and isinstance(right, str | list | tuple):
            self.spend(0 if isinstance(left, str) else len(left) + len(right), len(left) + len(right))
        elif operator == "%" and isinstance(left, str):
            self._check_format(left, right if isinstance(right, tuple) else (right,))
        elif operator in ("*", "**") and isinstance(left, int) and isinstance(right, int):
            bits = left.bit_length() * right if operator == "**" else left.bit_length() + right.bit_length()
            if bits > _BITS:
                raise jinja2.TemplateRuntimeError(f"it makes a number of more than {_BITS:,} bits")
        elif operator == "*":
            for many, number in ((left, right), (right, left)):
                if isinstance(many, str | list | tuple) and isinstance(number, int):
                    self.spend(0 if isinstance(many, str) else len(many) * max(number, 0), len(many) * max(number, 0))

    def call(__self, __context: Context, __obj: Any, *args: Any, **kwargs: Any) -> Any:  # noqa: N805
        """Call something; what it is given, and what it will make, is measured before."""
        name, owner = getattr(__obj, "__name__", ""), getattr(__obj, "__self__", None)
        if owner is __self:
            return __obj(*args)
        given = (*args, *(value for key, value in kwargs.items() if key not in ("_loop_vars", "_block_vars")))
        if isinstance(owner, str):
            if name in _NO_METHODS:
                raise jinja2.TemplateRuntimeError(f"{name}() is not for chat templates")
            __self._check_made(name, owner, given)
        elif not isinstance(__obj, Macro):
            __self._check_given(name, given)
        __self.spend(1)
        found = super().call(__context, __obj, *args, **kwargs)
        if isinstance(found, str | list | tuple | dict):
            __self.spend(0 if isinstance(found, str) else len(found), len(found))
        return found

    def _bounded(self, name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        """A filter that is measured before, and its result after."""
        skips = 1 if hasattr(function, "jinja_pass_arg") else 0

        @functools.wraps(function)
        def bounded(*args: Any, **kwargs: Any) -> Any:
            given = args[skips:]
            value, more = given[0] if given else None, (*given[1:], *kwargs.values())
            if isinstance(value, str):
                self._check_made(name, value, more)
            else:
                self._check_given(name, (value, *more))
            if name == "tojson" and any(isinstance(each, int) and each > 100 for each in more):
                raise jinja2.TemplateRuntimeError("tojson indents by more than 100")
            if name == "sum" and any(isinstance(each, str | list | tuple) for each in more):
                raise jinja2.TemplateRuntimeError("sum is for numbers")
            found = function(*args, **kwargs)
            if isinstance(found, str | list | tuple | dict):
                self.spend(0 if isinstance(found, str) else len(found), len(found))
            return found

        bounded.bounded = True  # type: ignore[attr-defined]
        return bounded

    def _check_given(self, name: str, values: tuple[Any, ...]) -> None:
        for value in values:
            if isinstance(value, int) and abs(value) > _NUMBER and name != "range":
                raise jinja2.TemplateRuntimeError(f"{name} is given a number above {_NUMBER:,}")
            self.weighed(value)
            if name == "join" and isinstance(value, str):
                self.spend(0, len(value) * max((len(each) for each in values if isinstance(each, list)), default=1))

    def _check_made(self, name: str, text: str, values: tuple[Any, ...]) -> None:
        """Measure what a method or a filter would make of a text."""
        self._check_given(name, values)
        size = len(text)
        if name == "replace" and len(values) > 1 and all(isinstance(each, str) for each in values[:2]):
            size += text.count(values[0]) * len(values[1])
        elif name == "join":
            size *= max((len(each) for each in values if isinstance(each, Sized)), default=0)
        elif name in ("format", "format_map"):
            self._check_format(text, values)
        elif numbers := [value for value in values if isinstance(value, int)]:
            size += max(numbers) * (1 + text.count("\n") + text.count("\t"))
        self.spend(0, size)

    def _check_format(self, text: str, values: tuple[Any, ...]) -> None:
        """Measure a text with fields: their widths stand in it, or are among the values."""
        self._check_given("format", values)
        widths = sum(int(digits[:9]) for digits in re.findall(r"\d+", text))
        given = max((abs(value) for value in values if isinstance(value, int)), default=0)
        given *= text.count("*") + text.count("{:{") + text.count(":{")
        self.spend(0, len(text) + widths + given + sum(self._weigh(value) for value in values))
