"""Reading models, tokenizers and settings by transformers: the one place that calls it, and that tells its failures.

Nothing here runs code of a model's folder or of the hub: ``trust_remote_code`` is False in each call, so that
transformers neither runs it nor asks on the terminal whether it may. Weights are safetensors alone.

What a library raises over a damaged file has no common base (tokenizers raises plain ``Exception``, the libraries in
Rust panic), so that here, around a library's call and nothing of ours, everything is caught and becomes one line that
names the file. What can be seen without a library is refused before, by ``engine.files.folder``.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer
from transformers import AutoConfig, GenerationConfig
from transformers.utils import logging

from notus.core.errors import ConfigError, InputError, NotusError, system_error
from notus.core.text import HubId, one_line
from notus.engine.files.folder import bad_file, check_folder, is_there, read_headers
from notus.engine.files.memory import check_memory

__all__ = [
    "build_from_config",
    "check_size",
    "check_source",
    "describe_failure",
    "no_bars",
    "no_report",
    "read_config",
    "read_tokenizer_files",
    "read_weights",
    "reading",
]


_SHARED_LAYERS = 128
"""Layers that a model may have beyond the number of its weights: some share theirs."""
_MANY_TIMES = 8


def check_source(source: str) -> None:
    """Check that a name is a folder that is there, or has the form of a hub id.

    Raises:
        ConfigError: if it is neither, or a path to what is not in a folder that is there.
    """
    if is_there(source):
        return
    on_hub = HubId.parse(source)
    if on_hub is None:
        raise ConfigError(f"no model at {source!r}: it is neither a folder nor a hub id of the form owner/name")
    if fault := on_hub.path_fault():
        raise ConfigError(f"no model at {source!r}: {fault}")


def read_config(source: str, **options: Any) -> Any:
    """The configuration of a model, of the class that transformers has for it.

    Raises:
        ConfigError: if there is none, or it cannot be read.
    """
    name, options = _place(source, options, "config.json")
    with reading(source, "a model", lambda: "config.json"):
        return AutoConfig.from_pretrained(name, trust_remote_code=False, **options)


def build_from_config(kind: Any, config: Any, name: str) -> Any:
    """A model of an Auto class with weights as they are drawn; on the meta device without any.

    Raises:
        ConfigError: if none can be made of the configuration.
    """
    with reading(name, "a model", lambda: "config.json"):
        return kind.from_config(config, trust_remote_code=False)


def read_tokenizer_files(kind: Any, source: str, *needed: str, **options: Any) -> Any:
    """A tokenizer by a class of transformers.

    Args:
        kind: ``AutoTokenizer``, or a class of tokenizers.
        source: a folder or a hub id.
        needed: files one of which must be in a folder.
        options: of the class.

    Raises:
        ConfigError: if there is none, or it cannot be read or used.
    """
    name, options = _place(source, options, *needed)
    with reading(source, "a tokenizer", lambda: _bad_tokenizer_file(Path(source))):
        tokenizer = kind.from_pretrained(name, trust_remote_code=False, **options)
        # What a file says wrongly may show only when it is used.
        ids = tokenizer("a b\nc", add_special_tokens=True)["input_ids"]
        tokenizer.decode(ids)
        tokenizer.get_vocab()
        assert all(isinstance(id_, int) for id_ in ids), "it gives no ids"
        assert ids, "it gives no ids for a text"
    return tokenizer


def read_weights(kind: Any, source: str, what: str, **options: Any) -> tuple[Any, dict[str, Any]]:
    """A model by an Auto class of transformers, from safetensors.

    Args:
        kind: the Auto class.
        source: a folder or a hub id.
        what: it is, for errors: ``a model``, ``a reward model``.
        options: of the class, such as ``dtype`` and ``revision``.

    Returns:
        The model, and what transformers says of the weights: ``missing_keys``, ``unexpected_keys`` and
        ``mismatched_keys``, which it fills at random.

    Raises:
        ConfigError: if there is none, or it cannot be read.
    """
    name, options = _place(source, options, "config.json")
    if is_there(source):
        check_size(kind, source, options.get("dtype"))
    with reading(source, what, lambda: _bad_model_file(kind, Path(source))):
        model, loaded = kind.from_pretrained(
            name,
            trust_remote_code=False,
            use_safetensors=True,
            output_loading_info=True,
            ignore_mismatched_sizes=True,
            **options,
        )
    return model, loaded


def check_size(kind: Any, source: str, dtype: Any = None) -> None:
    """Make sure, before anything is made, that settings and weights speak of one model, and that it fits into memory.

    transformers makes room for what the settings say, and fills it at random where the files hold less.

    Args:
        kind: the Auto class that it will be read by.
        source: a folder.
        dtype: of the weights in memory; None, and ``auto``, take that of the files.

    Raises:
        ConfigError: if the settings speak of far more numbers or layers than there are.
        RunError: if it does not fit into memory.
    """
    folder = Path(source)
    stored, config = read_headers(folder), read_config(source)
    text = config.get_text_config()
    layers = getattr(text, "num_hidden_layers", 0)
    if isinstance(layers, int) and layers > max(len(stored), _SHARED_LAYERS):
        why = f"num_hidden_layers is {layers:,}, and the files hold {len(stored):,} weights in all"
        raise bad_file(folder / "config.json", why)
    numbers = sum(weight.numbers for weight in stored.values())
    size = dtype.itemsize if isinstance(dtype, torch.dtype) else None
    held = sum(weight.numbers * (size or weight.bytes_each) for weight in stored.values())
    if torch.accelerator.current_accelerator(check_available=True) is None:
        check_memory(held, f"the weights of {source}", "free some, take a smaller model, or dtype: bfloat16")
    if getattr(config, "quantization_config", None) is not None:
        return
    with torch.device("meta"):
        made = build_from_config(kind, config, source)
    wanted = sum(weight.numel() for weight in made.parameters())
    if wanted > _MANY_TIMES * numbers:
        odd = next(
            (
                f"; {name} would be {list(weight.shape)}, and is {list(stored[name].shape)}"
                for name, weight in made.named_parameters()
                if name in stored and weight.shape != stored[name].shape
            ),
            "",
        )
        why = f"it speaks of {wanted:,} numbers, and the files hold {numbers:,}{odd}"
        raise bad_file(folder / "config.json", f"the weights do not fit its config.json: {why}")


@contextmanager
def reading(
    source: str | Path, what: str, blamed: Callable[[], str], but: tuple[type[Exception], ...] = ()
) -> Iterator[None]:
    """Tell what a library raises while it reads files as one line.

    Args:
        source: what is read.
        what: it is.
        blamed: gives the name of the file that is at fault, when there is one.
        but: what is left as it is.

    Raises:
        ConfigError: in place of whatever is raised, but what the system refuses and what ends the process.
    """
    try:
        with no_bars(), no_report():
            yield
    except NotusError:
        raise
    except BaseException as error:
        # pyo3's PanicException, which cannot be imported, is no Exception.
        if not isinstance(error, Exception) and type(error).__name__ != "PanicException":
            raise
        if (refused := system_error(error, f"cannot load {what} from {source}")) is not None:
            raise refused from None
        if isinstance(error, but):
            raise
        raise _told(source, what, error, blamed) from None


def _told(source: str | Path, what: str, error: BaseException, blamed: Callable[[], str]) -> InputError:
    if "trust_remote_code" in str(error):
        return ConfigError(
            f"{source} needs code of its own ('auto_map' in its config.json), and Notus runs no code that comes with a "
            "model; take one of an architecture that transformers has"
        )
    reason = describe_failure(error)
    if not Path(source).is_dir():
        return ConfigError(f"cannot load {what} from {str(source)!r}: {reason}")
    try:
        return bad_file(Path(source) / blamed(), f"{what} cannot be made of it ({reason})")
    except ConfigError as found:
        return found


def describe_failure(error: BaseException) -> str:
    """What a library says, in a few words."""
    lines = str(error).strip().splitlines() or [""]
    # Libraries say first that something is wrong, and then what.
    text = lines[0] if len(lines[0]) > 30 and not lines[0].endswith(":") else " ".join(lines[:3])
    return one_line(text if isinstance(error, (OSError, ValueError)) else f"{type(error).__name__}: {text}", 200)


def _bad_tokenizer_file(folder: Path) -> str:
    """The file that makes a tokenizer fail: the library's own where it cannot be read alone, or the settings."""
    own = folder / "tokenizer.json"
    if own.is_file():
        with reading(folder, "a tokenizer", lambda: "tokenizer.json"):
            Tokenizer.from_file(str(own)).encode("a b\nc")
    if (folder / "config.json").is_file():
        read_config(str(folder))
    return "tokenizer_config.json" if (folder / "tokenizer_config.json").is_file() else "config.json"


def _bad_model_file(kind: Any, folder: Path) -> str:
    """The file that makes a model fail: each is tried alone."""
    config = read_config(str(folder))
    if (folder / "generation_config.json").is_file():
        with reading(folder, "settings for generating", lambda: "generation_config.json"):
            GenerationConfig.from_pretrained(str(folder))
    with torch.device("meta"):
        build_from_config(kind, config, str(folder))
    return next(iter(read_headers(folder).values())).file.name


def _place(source: str, options: dict[str, Any], *needed: str) -> tuple[str, dict[str, Any]]:
    """A source as transformers takes it: a folder whose files were looked at, or a hub id with its revision."""
    check_source(source)
    if is_there(source):
        path = Path(source)
        if needed and not any((path / name).is_file() for name in needed):
            raise InputError(f"{source} holds no model: it has no {needed[0]}")
        check_folder(path)
        return source, options
    on_hub = HubId.parse(source)
    assert on_hub is not None, "it was checked"
    return on_hub.name, {"revision": on_hub.revision, **options} if on_hub.revision else options


@contextmanager
def no_bars() -> Iterator[None]:
    """Keep transformers from drawing a bar for each file: how the work goes on is told by who asked for it."""
    shown = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            logging.enable_progress_bar()


@contextmanager
def no_report() -> Iterator[None]:
    """Keep transformers from listing what a model lacks: that is an error, which is told in one line."""
    before = logging.get_verbosity()
    logging.set_verbosity_error()
    try:
        yield
    finally:
        logging.set_verbosity(before)
