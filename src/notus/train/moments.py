"""When something is done while a model trains: every so many updates, epochs or minutes. No torch.

Owns how that is written in a setting. What is done then is owned by ``train.run``.
"""

import re
from dataclasses import dataclass
from typing import Any, Literal

__all__ = ["Every", "read_every"]

_WRITTEN = re.compile(r"(\d+(?:\.\d+)?)\s*([a-z]*)")
_SECONDS = {"s": 1, "sec": 1, "second": 1, "min": 60, "minute": 60, "h": 3600, "hour": 3600}
_NO_TIME = "it is a number of updates, or of epochs as '1 epoch'"
_ANY = "it is a number of updates, epochs as '1 epoch', a time as '10 min', or 'auto' or 'never'"


@dataclass(frozen=True)
class Every:
    """Every so many updates, epochs or seconds; ``auto`` leaves it to who does it, ``never`` does not."""

    unit: Literal["updates", "epochs", "seconds", "auto", "never"]
    number: float = 0

    @classmethod
    def read(cls, text: str) -> "Every":
        """Read what a setting says.

        Raises:
            ValueError: if it is none of the forms.
        """
        if text == "auto":
            return cls("auto")
        if text in ("never", "0"):
            return cls("never")
        found = _WRITTEN.fullmatch(text.strip().lower())
        number, unit = (float(found[1]), found[2]) if found else (0.0, "")
        short = unit.removesuffix("s") or unit
        if short in _SECONDS and number > 0:
            return cls("seconds", number * _SECONDS[short])
        if number < 1 or number != int(number) or short not in ("", "update", "step", "epoch"):
            raise ValueError(_ANY)
        return cls("epochs" if short == "epoch" else "updates", number)

    def falls_on(self, update: int, in_epoch: int) -> bool:
        """Whether it is due behind an update, counted from 1, of which an epoch has ``in_epoch``; False for times."""
        if self.unit == "updates":
            return update % int(self.number) == 0
        return self.unit == "epochs" and update % (int(self.number) * in_epoch) == 0


def read_every(value: Any, *, times: bool = True) -> Any:
    """A setting as text, checked; for a validator that stands before pydantic's own.

    Args:
        value: a number or a text; null stays null.
        times: whether a time and ``auto`` have a meaning.

    Raises:
        ValueError: if it is none of the forms.
    """
    if value is None:
        return None
    text = str(value) if isinstance(value, str | int) and not isinstance(value, bool) else ""
    try:
        unit = Every.read(text).unit
    except ValueError:
        raise ValueError(_ANY if times else _NO_TIME) from None
    if not times and unit not in ("updates", "epochs"):
        raise ValueError(_NO_TIME)
    return text
