"""What is installed, what the machine has, and what is missing for which work: the facts of ``notus doctor``.

What a part of Notus needs is read from the package's own metadata, so that nothing is listed twice. Nothing goes over
the network, and no key or token is shown, only whether there is one. Owns the facts; how they look is owned by
``doctor``.
"""

import os
import platform
import shutil
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path
from typing import Any

from packaging.requirements import Requirement

from notus import __version__
from notus.core.errors import InputError, format_bytes
from notus.core.parallel import usable_cores

__all__ = ["EXTRAS", "Checkup", "Fact", "Part", "check_up", "parts_of_notus", "requirements_of"]

EXTRAS = {
    "": "data: read, audit, repair, clean, binarize, export",
    "train": "models: train, generate, rank, evaluate",
    "review": "the review page, arena on a page",
    "collect": "feedback from endpoints",
    "hub": "data and models by hub id",
    "files": "Excel and OpenDocument",
    "eval": "academic tasks by lm-eval",
    "privacy": "personal data and secrets in texts",
    "postgres": "decisions of a team in PostgreSQL",
    "trackers": "curves in TensorBoard, wandb, trackio",
    "serve": "a model behind an endpoint",
}
"""Extra of the package → what it is for; the empty one is what every installation has."""
_KEYS = ("OPENAI_API_KEY", "ANTHROPIC_API_KEY", "HF_TOKEN", "WANDB_API_KEY")
_PLACES = ("HF_HOME", "HF_HUB_OFFLINE", "HF_ENDPOINT", "NOTUS_CPU_KERNELS", "OMP_NUM_THREADS", "CUDA_VISIBLE_DEVICES")


@dataclass(frozen=True)
class Part:
    """A part of Notus, and whether all that it needs is installed."""

    extra: str
    """Name of the extra; empty for the core."""
    work: str
    """What it is for."""
    have: dict[str, str]
    """Package → installed version, of those that fit."""
    missing: tuple[str, ...]
    """Requirements that are not met, as ``torch>=2.11`` or ``torch>=2.11 (2.4 is installed)``."""

    @property
    def ready(self) -> bool:
        """Whether nothing is missing."""
        return not self.missing

    @property
    def remedy(self) -> str:
        """The command that installs what is missing; empty where nothing is."""
        return "" if self.ready else f"pip install '{'notus' + (f'[{self.extra}]' if self.extra else '')}'"


@dataclass(frozen=True)
class Fact:
    """Something about the machine or the setting, and whether it asks for a look."""

    name: str
    value: str
    warning: bool = False


@dataclass(frozen=True)
class Checkup:
    """All that is known of an installation."""

    parts: tuple[Part, ...]
    machine: tuple[Fact, ...]
    access: tuple[Fact, ...]
    """Logins, keys and variables that are read."""

    def as_json(self) -> dict[str, Any]:
        """As plain values."""

        def facts(these: Sequence[Fact]) -> dict[str, str]:
            return {fact.name: fact.value for fact in these}

        parts = [
            {"extra": part.extra, "for": part.work, "ready": part.ready, "have": part.have, "missing": part.missing}
            | {"remedy": part.remedy}
            for part in self.parts
        ]
        return {"notus": __version__, "parts": parts, "machine": facts(self.machine), "access": facts(self.access)}


def check_up(place: Path) -> Checkup:
    """Look at this installation and machine.

    Args:
        place: folder whose disk is asked for its room.
    """
    return Checkup(parts_of_notus(), tuple(_machine(place)), tuple(_access()))


def requirements_of(extra: str, package: str = "notus") -> list[Requirement]:
    """What an extra asks for on this machine, with what other extras of the same package bring; the core for none.

    Raises:
        InputError: if the package is not installed, so that nobody knows what it needs.
    """
    found: dict[str, Requirement] = {}
    try:
        texts = requires(package) or ()
    except PackageNotFoundError:
        raise InputError(f"{package} is run without being installed; 'pip install -e .' in its folder does") from None
    for text in texts:
        requirement = Requirement(text)
        if requirement.marker is not None and not requirement.marker.evaluate({"extra": extra}):
            continue
        if extra and (requirement.marker is None or "extra" not in str(requirement.marker)):
            continue  # of the core
        if requirement.name == package:
            for below in requirement.extras:
                found |= {each.name: each for each in requirements_of(below, package)}
        else:
            found[requirement.name] = requirement
    return list(found.values())


def parts_of_notus() -> tuple[Part, ...]:
    """Each part of Notus with what it has and what it lacks."""
    parts = []
    for extra, work in EXTRAS.items():
        have, missing = {}, []
        for requirement in requirements_of(extra):
            installed = _version(requirement.name)
            asked = f"{requirement.name}{requirement.specifier}"
            if installed is None:
                missing.append(asked)
            elif not requirement.specifier.contains(installed, prereleases=True):
                missing.append(f"{asked} ({installed} is installed)")
            else:
                have[requirement.name] = installed
        parts.append(Part(extra, work, have, tuple(missing)))
    return tuple(parts)


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def _machine(place: Path) -> Iterator[Fact]:
    yield Fact("Python", f"{platform.python_version()} at {sys.executable}")
    yield Fact("System", f"{platform.system()} {platform.release()}, {platform.machine()}")
    cores, all_cores = usable_cores(), os.cpu_count() or 1
    yield Fact("Cores", f"{cores}" if cores == all_cores else f"{cores} of {all_cores} may be used")
    yield from _memory()
    free = shutil.disk_usage(place).free
    yield Fact("Disk", f"{format_bytes(free)} free where runs would go ({place})", warning=free < 1 << 30)
    yield from _devices()


def _memory() -> Iterator[Fact]:
    from notus.engine.files.memory import available_memory

    known = available_memory()
    if known is None:
        yield Fact("Memory", "not known on this system; nothing is refused for lack of it")
    else:
        yield Fact("Memory", f"{format_bytes(known)} may be taken", warning=known < 2 << 30)


def _devices() -> Iterator[Fact]:
    """The accelerator of torch, and how the CPU computes; nothing where torch is not installed."""
    if _version("torch") is None:
        yield Fact("Devices", "torch is not installed; data work does not need it")
        return
    try:
        import torch
    except (ImportError, OSError, RuntimeError) as error:  # a broken installation is what a doctor is asked about
        yield Fact("Devices", f"torch cannot be imported: {type(error).__name__}: {error}", warning=True)
        return
    from notus.engine.cpu.switch import find_reason

    if torch.accelerator.is_available():
        kind = torch.accelerator.current_accelerator()
        for index in range(torch.accelerator.device_count()):
            yield Fact(f"{kind}:{index}", _device(torch, index))
    else:
        yield Fact("Accelerator", "none that torch can use; models run on the CPU")
    reason = find_reason()
    yield Fact("CPU kernels", reason or "on", warning=reason is not None)


def _device(torch: Any, index: int) -> str:
    if not torch.cuda.is_available():
        return "there"
    known = torch.cuda.get_device_properties(index)
    return f"{known.name}, {format_bytes(known.total_memory)}"


def _access() -> Iterator[Fact]:
    if _version("huggingface-hub") is None:
        yield Fact("Hub", "huggingface-hub is not installed")
    else:
        from huggingface_hub import constants, get_token

        login = "a token is there" if get_token() else "no token: public sets and models only"
        offline = ", offline (HF_HUB_OFFLINE)" if constants.HF_HUB_OFFLINE else ""
        yield Fact("Hub", f"{login}{offline}; kept in {constants.HF_HOME}")
    for name in _KEYS:
        yield Fact(name, "set" if os.environ.get(name, "").strip() else "not set")
    for name in _PLACES:
        if name in os.environ:
            yield Fact(name, _without_login(os.environ[name]))


def _without_login(value: str) -> str:
    """A URL without the name and password that may stand in it."""
    head, mark, rest = value.partition("://")
    return f"{head}{mark}{rest.rpartition('@')[2]}" if mark else value
