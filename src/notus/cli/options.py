"""Commands made from the settings of steps: each setting is declared once, in its step, and is an option here.

The help of an option is the docstring of the setting, its default that of the step. What is nested deeper than a
command should show is set by ``--set key.below=value``, as in a recipe. Owns the making of commands; which there are is
said in ``cli.main``.
"""

import inspect
import sys
import types
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import typer
from typer.core import TyperCommand, TyperGroup

__all__ = [
    "AsJson",
    "Command",
    "LazyGroup",
    "Out",
    "Preview",
    "Sets",
    "StepCommand",
    "command_from",
    "group_of",
    "with_sets",
]

Out = Annotated[Path | None, typer.Option("--out", help="Run directory; by default a folder below runs/.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print the result as JSON.")]
Sets = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="Lay a setting over the others: dpo.loss.beta=0.05."),
]
Preview = Annotated[
    int | None,
    typer.Option(
        min=1, metavar="N", help="Print N rows as the model will read them, token by token, and train nothing."
    ),
]
_CheckedOnly = Annotated[
    bool, typer.Option("--dry-run", help="Check all that can be checked without the weights, and train nothing.")
]
_Seed = Annotated[int | None, typer.Option("--seed", min=0, help="Decides all that is drawn; 0 by default.")]
_NAMES = {
    "layout": "Name of the format, where it is not to be detected.",
    "map": "What is what in a file of no known format: prompt=question, or a YAML file of such lines; may be repeated. "
    "'notus formats FILE' prints one to try.",
}
"""Help of options whose settings are told otherwise in a recipe."""
_OF_SEVERAL = {
    "weights": "Of several sources: the share of each in an epoch, such as 2,1; by default each row is taken once.",
    "caps": "Of several sources: at most so many rows of each, such as 10000,; nothing between commas is no cap.",
}
"""Options of the sources of a mixture, and their help."""


@dataclass(frozen=True)
class Command:
    """A command that is written by hand: where its function is, and what the list of commands says of it."""

    help: str
    target: str
    """``module:function``."""
    example: str

    def make(self, name: str) -> Any:
        """The command, imported now."""
        return command_from(_function_of(self.target), name, self.help, self.example)


@dataclass(frozen=True)
class StepCommand:
    """A command that does one step, made from the step's settings."""

    help: str
    step: str
    """Name of the step type."""
    example: str
    arguments: tuple[str, ...] = ("data",)
    """Settings that are arguments, in their order."""
    several: str | None = None
    """The argument that may name several sources, each with a weight and a cap."""
    metavars: Mapping[str, str] = field(default_factory=dict)
    """Setting → what its argument is called."""
    names: Mapping[str, str] = field(default_factory=dict)
    """Setting → its option, where that is not its own name."""
    flatten: tuple[str, ...] = ()
    """Settings whose own settings are options, as if they were the step's."""
    hide: tuple[str, ...] = ()
    """Settings that are set by ``--set`` alone."""
    also: Mapping[str, tuple[str, str]] = field(default_factory=dict)
    """Further options: name → the step type and the setting that it is one of."""
    flags: Mapping[str, tuple[str, str, str]] = field(default_factory=dict)
    """Short forms: option → the setting, its value, the help."""
    examples: Mapping[str, str] = field(default_factory=dict)
    """Option of the form KEY=VALUE → an example, for errors."""
    settings_file: bool = False
    """Whether ``--settings`` takes a YAML file of settings under the options."""
    prepare: str | None = None
    """``module:function`` that is given the command's name, the settings, the further options and the run directory,
    and returns the step type, the settings, and the runs in which the data were read, if any."""
    show: str = "notus.cli.terminal:show_step"
    """``module:function`` that prints the run."""
    run_name: str | None = None
    """Begins the name of the default run directory; null takes that of the step."""

    def make(self, name: str) -> Any:
        """The command, its step imported now."""
        from notus.steps.registry import step_class

        return command_from(_step_function(self, step_class(self.step), name), name, self.help, self.example)


class LazyGroup(TyperGroup):
    """A group that makes a command when it is called, and for its own help only names them."""

    table: Mapping[str, "Command | StepCommand | tuple[str, Mapping[str, Any]]"] = {}
    _naming = False

    def list_commands(self, ctx: Any) -> list[str]:
        """Names, in the order of the table."""
        del ctx
        return list(self.table)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """The command of that name, made now; its name and help alone where all are listed."""
        entry = self.table.get(cmd_name)
        if entry is None:
            return None
        if self._naming:
            return TyperCommand(cmd_name, help=entry[0] if isinstance(entry, tuple) else entry.help)
        groups, above = [cmd_name], ctx
        while above.parent is not None:  # the program itself may have been called by any name
            groups.insert(0, above.info_name)
            above = above.parent
        whole = " ".join(groups)
        return group_of(*entry, name=cmd_name) if isinstance(entry, tuple) else entry.make(whole)

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """The command that the words begin with; of a wrong name, the one that was meant."""
        if args and args[0] not in self.table and not args[0].startswith("-"):
            from notus.core.errors import nearest

            ctx.fail(f"no command '{args[0]}'; {nearest(args[0], self.table)}")
        return super().resolve_command(ctx, args)

    def shell_complete(self, ctx: Any, incomplete: str) -> Any:
        """What a word may become, without importing the commands."""
        self._naming = True
        try:
            return super().shell_complete(ctx, incomplete)
        finally:
            self._naming = False

    def format_help(self, ctx: Any, formatter: Any) -> None:
        """List the commands without importing them."""
        self._naming = True
        try:
            super().format_help(ctx, formatter)
        finally:
            self._naming = False


def group_of(help_: str, table: Mapping[str, Any], name: str) -> Any:
    """A group of commands below another."""
    made = type(f"{name.capitalize()}Group", (LazyGroup,), {"table": table})
    app = typer.Typer(cls=made, help=help_, no_args_is_help=True, add_completion=False, **_STYLE)
    app.callback()(_no_action)
    group = typer.main.get_command(app)
    group.name = name
    return group


def command_from(function: Callable[..., Any], name: str, help_: str, example: str) -> Any:
    """The command that calls a function, with an example below its help."""
    app = typer.Typer(add_completion=False, **_STYLE)
    app.command(name.rpartition(" ")[2], help=help_, epilog=f"Example: {example}")(function)
    return typer.main.get_command(app)


_STYLE: dict[str, Any] = {
    "pretty_exceptions_enable": False,
    "context_settings": {"help_option_names": ["-h", "--help"]},
}


def with_sets(given: Mapping[str, Any], sets: Sequence[str] | None, step: str = "") -> dict[str, Any]:
    """Settings with what ``--set`` lays over them.

    Of the settings of a step one may begin with its name, as it does in a recipe: ``dpo.loss.beta=0.05``.

    Raises:
        ConfigError: if one is not written key=value.
    """
    from notus.core.config import parse_override, set_path

    laid = dict(given)
    for text in sets or ():
        key, value = parse_override(text, example="ranking.selection=bubble")
        key = key.removeprefix(f"{step}.") if step else key
        head, _, below = key.partition(".")
        if below and (name := laid.get(head) or _usual_name(step, head)) and isinstance(name, str):
            laid[head] = {"name": name}  # an option of what is named, such as a loss
        laid = set_path(laid, key, value)
    return laid


def _usual_name(step: str, setting: str) -> str | None:
    """The name of what a setting of a step holds by default, such as a loss; None where that has no name."""
    from notus.steps.registry import step_class

    info = step_class(step).model_fields.get(setting) if step else None
    name = getattr(info.default, "name", None) if info else None
    return name if isinstance(name, str) else None


def _no_action() -> None:
    """A group does nothing itself."""


def _step_function(spec: StepCommand, step: Any, name: str) -> Callable[..., None]:
    """The function of a step's command, with the parameters that typer reads."""
    offered = dict(_settings_on_offer(spec, step))

    def function(**given: Any) -> None:
        if not given.get("checked_only"):
            work(given)
            return
        with _function_of("notus.core.plugins:without_code")():
            work(given)

    def work(given: Mapping[str, Any]) -> None:
        from notus.cli.live import LiveLine
        from notus.core.columns import without_pandas
        from notus.core.text import visible
        from notus.steps.base import refs_of
        from notus.steps.perform import run_step
        from notus.steps.registry import step_class

        where = f"notus {name}"
        out, sets, file = given["out"], given["sets"], given.get("settings_file")
        below = _from_file(file) if file else {}
        settings = with_sets(_merge_settings(below, _settings(spec, offered, given)), sets, spec.step)
        also = {key: given[key] for key in spec.also}
        chosen, before = spec.step, ()
        if spec.prepare:
            chosen, settings, before = _function_of(spec.prepare)(where, settings, also, out)
            for run in () if given["as_json"] else before:
                _function_of("notus.cli.terminal:show_reading")(run)
        kind = step_class(chosen)
        if not kind.computes:  # libraries for training may have a Series; a command on data has none
            without_pandas()
        typed = {key: option for key, option in spec.names.items() if not option.startswith("-n")}
        config = kind.parse(settings, where=where, typed=typed)
        if given.get("preview") is not None:
            _function_of("notus.cli.preview:show_step_preview")(
                config, given["preview"], given.get("seed"), as_json=given["as_json"]
            )
            return
        found = _function_of("notus.recipes.check:check_step")(kind.step_type, config)
        _function_of("notus.recipes.check:refuse_faults")(found, where)
        if given.get("checked_only"):
            for line in _function_of("notus.steps.train.data:decided_lines")(config, refs_of(config)):
                print(visible(line))
            print("A dry run: nothing speaks against it that can be seen without the weights; nothing was trained.")
            return
        with LiveLine(quiet=given["as_json"]):
            run = run_step(spec.run_name or kind.step_type, config, out, given.get("seed"))
        _function_of(spec.show)(run, before, as_json=given["as_json"])

    parameters = [parameter for _, parameter in _parameters(spec, step, offered)]
    function.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    function.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    return function


def _function_of(target: str) -> Callable[..., Any]:
    """A function by ``module:function``, imported now."""
    module, _, attribute = target.partition(":")
    found: Callable[..., Any] = getattr(__import__(module, fromlist=[attribute]), attribute)
    return found


def _settings_on_offer(spec: StepCommand, step: Any) -> Iterator[tuple[str, tuple[tuple[str, ...], Any]]]:
    """Parameter → the path of its setting and the setting's field; what all that read a source share comes last."""
    from notus.steps.base import Reads

    shared = Reads.model_fields
    _read_docs(step)
    for key, info in sorted(step.model_fields.items(), key=lambda item: item[0] in shared):
        if key in spec.flatten:
            inner = info.annotation
            _read_docs(inner)
            yield from ((below, ((key, below), of)) for below, of in inner.model_fields.items())
        elif key == spec.several or (key not in spec.hide and key != "seed" and _plain(info.annotation) is not None):
            yield key, ((key,), info)


def _parameters(
    spec: StepCommand, step: Any, offered: Mapping[str, tuple[tuple[str, ...], Any]]
) -> Iterator[tuple[str, inspect.Parameter]]:
    def parameter(name: str, annotation: Any, default: Any = None) -> tuple[str, inspect.Parameter]:
        return name, inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=annotation)

    for key in spec.arguments:
        info = offered[key][1]
        metavar = spec.metavars.get(key, "SOURCE" if key == "data" else key.upper())
        kind: Any = list[str] if key == spec.several else str
        yield parameter(key, Annotated[kind, typer.Argument(metavar=metavar, help=_help(key, info))], ...)
    for key, (_, info) in offered.items():
        if key not in spec.arguments:
            yield parameter(key, _option(spec.names.get(key), key, info))
    for key, told in (_OF_SEVERAL if spec.several else {}).items():
        yield parameter(key, Annotated[str | None, typer.Option(f"--{key}", metavar="N,N,…", help=told)])
    for key, (of, setting) in spec.also.items():
        from notus.steps.registry import step_class

        _read_docs(step_class(of))
        yield parameter(key, _option(None, key, step_class(of).model_fields[setting]))
    yield from (parameter(*each) for each in _about_the_run(spec, step))
    further = "A further setting, also one below another: key.below=value."
    yield parameter("sets", Annotated[list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help=further)])
    beside = "Run directory; data that are read for it go beside it, into OUT-data. By default a folder below runs/."
    yield parameter("out", Annotated[Path | None, typer.Option("--out", help=beside)] if "map" in spec.also else Out)
    yield parameter("as_json", AsJson, False)


def _about_the_run(spec: StepCommand, step: Any) -> Iterator[tuple[str, Any, Any]]:
    """Name, annotation and default of the options that say how a step is done, and not what it does."""
    for number, (option, (_, _, help_)) in enumerate(spec.flags.items()):
        yield f"flag_{number}", Annotated[bool, typer.Option(option, help=help_)], False
    if spec.settings_file:
        told = "YAML file of settings, under the options."
        yield "settings_file", Annotated[Path | None, typer.Option("--settings", help=told)], None
    if step.draws:
        yield "seed", _Seed, None
    if hasattr(step, "preview"):
        yield "preview", Preview, None
        yield "checked_only", _CheckedOnly, False


def _option(option: str | None, key: str, info: Any) -> Any:
    """What typer reads of an option: its type, name, bounds and help."""
    plain = _plain(info.annotation)
    names = [option or f"--{key.replace('_', '-')}"]
    if plain is bool and info.default is not False:
        names = [f"{names[0]}/--no-{names[0].removeprefix('--')}"]
    bounds: dict[str, Any] = {}
    if plain in (int, float):
        for bound in info.metadata:
            low = getattr(bound, "ge", None)
            high = getattr(bound, "le", None)
            bounds |= ({"min": low} if low is not None else {}) | ({"max": high} if high is not None else {})
    if known := _choices(info.annotation):
        bounds["autocompletion"] = lambda: known
    renamed = f" In a recipe: {key}." if option and option != f"--{key.replace('_', '-')}" else ""
    return Annotated[Union[plain, None], typer.Option(*names, help=_help(key, info) + renamed, **bounds)]  # noqa: UP007


def _plain(annotation: Any) -> Any:
    """The type that an option of a setting has: text, number, switch, or a list of texts; None if it is no option."""
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return _plain(arguments[0])
    if origin in (Union, types.UnionType):
        inner = [_plain(each) for each in arguments if each is not type(None)]
        return inner[0] if len(inner) == 1 else None
    if origin is Literal:
        return str
    if origin is tuple:
        return list[str] if _plain(arguments[0]) is str else None
    if origin is dict:
        return list[str] if arguments[0] is str and (arguments[1] is Any or _plain(arguments[1])) else None
    return annotation if annotation in (str, int, float, bool) else None


def _read_docs(cls: Any) -> None:
    """Give the fields of a config their docstrings, where help was asked for: their source is read for that."""
    if {"-h", "--help"}.isdisjoint(sys.argv):
        return
    from notus.core.config import field_docs

    for key, doc in field_docs(cls).items():
        if key in cls.model_fields:
            cls.model_fields[key].description = doc


def _help(key: str, info: Any) -> str:
    """The docstring of a setting, with its choices and its default."""
    text = " ".join((_NAMES.get(key) or info.description or "").split()).replace("``", "")
    known = _choices(info.annotation)
    if known and not all(choice in text for choice in known):
        text = f"{text} One of {', '.join(known)}.".strip()
    default = info.default
    if isinstance(default, str | int | float) and not isinstance(default, bool) and default != "":
        text = f"{text} [default: {default}]".strip()
    return text


def _choices(annotation: Any) -> list[str]:
    if get_origin(annotation) is Literal:
        return [str(choice) for choice in get_args(annotation)]
    return [choice for argument in get_args(annotation) for choice in _choices(argument)]


def _settings(
    spec: StepCommand, offered: Mapping[str, tuple[tuple[str, ...], Any]], given: Mapping[str, Any]
) -> dict[str, Any]:
    """What was typed, as nested settings; what was not typed is left to the step."""
    from notus.core.config import parse_override
    from notus.formats.mapping.targets import read_options

    found: dict[str, Any] = {}
    for key, (path, info) in offered.items():
        value = given.get(key)
        if value is None:
            continue
        if key == "map":
            value = read_options(value)
        elif key == spec.several:
            value = _sources(value, given)
        elif get_origin(info.annotation) is dict or any(get_origin(each) is dict for each in get_args(info.annotation)):
            option = spec.names.get(key, f"--{key.replace('_', '-')}")
            value = dict(parse_override(each, option, spec.examples.get(key, "key=value")) for each in value)
        found = _merge_settings(found, {path[0]: {path[1]: value} if len(path) > 1 else value})
    for number, (key, value, _) in enumerate(spec.flags.values()):
        if given.get(f"flag_{number}"):
            found[key] = value
    return found


def _sources(names: Sequence[str], given: Mapping[str, Any]) -> str | list[dict[str, Any]]:
    """One source by its name, or several with their weights and caps.

    Raises:
        ConfigError: if there are not as many as sources, or one is no number.
    """
    from notus.core.errors import ConfigError

    found: list[dict[str, Any]] = [{"source": name} for name in names]
    for option, read in (("weights", float), ("caps", int)):
        text = given.get(option)
        parts = [part.strip() for part in text.split(",")] if text is not None else []
        if parts and len(parts) != len(names):
            raise ConfigError(f"'--{option}' is {text}, {len(parts)} for {len(names)} sources; give one for each")
        for number, part in enumerate(parts):
            try:
                found[number] |= {option.removesuffix("s"): read(part)} if part else {}
            except ValueError:
                raise ConfigError(f"'--{option}' is {text}, and {part!r} is no number") from None
    return names[0] if len(found) == 1 and len(found[0]) == 1 else found


def _merge_settings(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    from notus.core.config import merge

    return merge(base, over)


def _from_file(path: Path) -> dict[str, Any]:
    from notus.core.config import load_yaml

    return {key: value for key, value in load_yaml(path).items() if key not in ("step", "do")}
