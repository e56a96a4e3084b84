"""What the commands below ``notus train`` share: settings by ``--set``, and a run directory of what is trained on."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

__all__ = ["data_run", "with_sets"]

_TABLES = ("dialogues.parquet", "preferences.parquet", "unpaired.parquet")


def with_sets(given: Mapping[str, Any], sets: Sequence[str] | None) -> dict[str, Any]:
    """Settings with what ``--set`` lays over them.

    Raises:
        ConfigError: if one is not written key=value.
    """
    from notus.core.config import parse_override, set_path

    laid = dict(given)
    for text in sets or ():
        laid = set_path(laid, *parse_override(text, example="learning_rate=1e-5"))
    return laid


def data_run(source: str, held_out: float, out: Path | None) -> str:
    """The run directory of the data: the source itself where it is one, and otherwise that of a step 'read'.

    It lies beside the training's own directory, under its name with ``-data`` behind it.

    Raises:
        ConfigError: if a run directory is to be divided: what it holds out was decided when it was made.
    """
    from notus.core.errors import ConfigError
    from notus.core.tables import table_exists
    from notus.flow.experiment import run_step
    from notus.flow.kinds import Read

    if any(table_exists(Path(source) / name) for name in _TABLES):
        if held_out:
            raise ConfigError(
                f"'--held-out' is {held_out:g}, but {source} is a run directory, and what it holds out was decided "
                "when it was made; leave the option out, or make that run anew"
            )
        return source
    config = Read.parse({"path": source, "held_out": held_out}, where="notus train")
    return str(run_step("read", config, out and out.with_name(f"{out.name}-data")).path)
