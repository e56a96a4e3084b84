"""The order in which a command's files reach the disk, as strace tells it: what a power cut would leave.

A power cut may take any write that was not synced, and any name that was given in a folder which was not synced behind
it. So at the moment at which a manifest gets its name, all that it speaks for must be synced: the bytes of each file,
the name of each file in its folder, and the folders' own names.
"""

import re
import shutil
import subprocess
from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path

STRACE = shutil.which("strace")
_CALLS = (
    *("openat", "open", "creat", "write", "pwrite64", "writev", "pwritev", "ftruncate", "fallocate", "sendfile"),
    *("copy_file_range", "fsync", "fdatasync", "rename", "renameat", "renameat2", "mkdir", "mkdirat", "link", "linkat"),
)
_WRITES = ("write", "pwrite64", "writev", "pwritev", "ftruncate", "fallocate")
_LINE = re.compile(r"(?P<pid>\d+) +(?P<name>\w+)\((?P<rest>.*)")
_RESUMED = re.compile(r"(?P<pid>\d+) +<\.\.\. \w+ resumed>(?P<rest>.*)")
_FD = re.compile(r"\d+<(?P<path>/[^>]*)>")
_NAME = re.compile(r'"(?P<path>[^"]*)"')
_EXEMPT = ("log.txt", "server.log", "manifest.json")
"""What the manifest does not speak for, and itself."""


def can_trace() -> bool:
    """Whether there is a strace that may look at processes here."""
    return (
        STRACE is not None and subprocess.run([STRACE, "-o", "/dev/null", "true"], capture_output=True).returncode == 0
    )


def trace(command: Sequence[str], into: Path, **options) -> subprocess.CompletedProcess:
    """Run a command, its calls in a file."""
    words = [STRACE, "-f", "--seccomp-bpf", "-y", "-s", "0", "-e", f"trace={','.join(_CALLS)}", "-o", str(into)]
    return subprocess.run([*words, *command], capture_output=True, text=True, **options)


def read_calls(into: Path) -> Iterator[tuple[str, str]]:
    """Name and arguments, with the result, of each call that went well, in the order in which they ended."""
    open_calls: dict[str, tuple[str, str]] = {}
    for line in into.read_text(errors="replace").splitlines():
        if resumed := _RESUMED.match(line):
            name, begun = open_calls.pop(resumed["pid"], ("", ""))
            whole = begun + resumed["rest"]
        elif call := _LINE.match(line):
            name, whole = call["name"], call["rest"]
            if whole.endswith("<unfinished ...>"):
                open_calls[call["pid"]] = name, whole.removesuffix("<unfinished ...>")
                continue
        else:
            continue
        if name and not re.search(r"\) += -1 ", whole):
            yield name, whole


class Disk:
    """What of a folder's files is on the disk."""

    def __init__(self) -> None:
        self.unsynced: set[str] = set()
        """Files whose last bytes are not."""
        self.unnamed: defaultdict[str, set[str]] = defaultdict(set)
        """Folder → names that it was given since it was synced."""

    def follow(self, name: str, whole: str) -> None:
        """Take a call into account."""
        if name in ("openat", "open", "creat"):
            found = _FD.search(whole.rpartition(" = ")[2])
            if found and (name == "creat" or re.search("O_WRONLY|O_RDWR", whole)):
                self.unsynced.add(found["path"])
                if "O_CREAT" in whole or name == "creat":
                    self._name(found["path"])
        elif name in _WRITES or name in ("sendfile", "copy_file_range"):
            places = [found["path"] for found in _FD.finditer(whole)]
            self.unsynced.update(places[:1] if name != "copy_file_range" else places[1:2])
        elif name in ("fsync", "fdatasync"):
            path = _FD.search(whole)["path"]
            self.unsynced.discard(path)
            self.unnamed.pop(path, None)
        elif name in ("mkdir", "mkdirat"):
            self._name(_NAME.search(whole)["path"])
        else:
            old, new = (found["path"] for found in _NAME.finditer(whole))
            self._rename(old, new, moved=name.startswith("rename"))

    def not_on_it(self, files: Sequence[Path], root: Path) -> list[str]:
        """Those of some files that a power cut might take, with the reason; ``root`` lies on the disk already."""
        found = []
        for file in files:
            if str(file) in self.unsynced:
                found.append(f"{file.relative_to(root)}: its bytes")
            for path in (file, *file.parents):
                if path == root:
                    break
                if path.name in self.unnamed[str(path.parent)]:
                    found.append(f"{path.relative_to(root)}: its name")
        return sorted(set(found))

    def _name(self, path: str) -> None:
        folder, _, last = path.rpartition("/")
        self.unnamed[folder].add(last)

    def _rename(self, old: str, new: str, *, moved: bool) -> None:
        self._name(new)
        for path in [path for path in self.unsynced if path == old or path.startswith(f"{old}/")]:
            self.unsynced.add(new + path.removeprefix(old))
            if moved:
                self.unsynced.discard(path)
        for folder in [folder for folder in self.unnamed if folder == old or folder.startswith(f"{old}/")]:
            self.unnamed[new + folder.removeprefix(old)] |= self.unnamed.pop(folder) if moved else self.unnamed[folder]


def lost_by_a_power_cut(calls: Path, run: Path) -> list[str]:
    """What a power cut might take of a finished run: at the moment its manifest gets its name, and of the manifest."""
    files = [file for file in sorted(run.rglob("*")) if file.is_file() and not file.name.startswith(".")]
    files = [file for file in files if file.name not in _EXEMPT]
    manifest, disk, lost = run / "manifest.json", Disk(), None
    for name, whole in read_calls(calls):
        if lost is None and name.startswith("rename") and whole.partition(") = ")[0].endswith(f'"{manifest}"'):
            lost = disk.not_on_it(files, run.parent)
        disk.follow(name, whole)
    assert lost is not None, "the manifest was not renamed into place"
    return [*lost, *disk.not_on_it([manifest], run.parent)]
