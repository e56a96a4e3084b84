"""The texts behind scores of runs: which answer of which prompt a score is on, where the run still has them.

A run that draws answers itself holds them; one that scores stored answers names them among its inputs. Owns finding
them.
"""

from collections.abc import Iterator
from pathlib import Path

from notus.core.artifacts import OUTPUTS
from notus.core.records import Output
from notus.core.run import read_json
from notus.core.tables import read_records, table_exists
from notus.evaluate.people.labels import Texts
from notus.recipes.experiment import Gathered

__all__ = ["texts_of"]


def texts_of(gathered: Gathered) -> Texts:
    """(arm, seed, prompt, sample) → the text of the prompt and of the answer, of all that are found."""
    found: dict[tuple[str, int, str, int], tuple[str, str]] = {}
    for (_, arm, seed), folder in gathered.folders.items():
        for output in _outputs(folder):
            turns = output.prompt
            prompt = turns[0].content if len(turns) == 1 else "\n".join(f"{t.role}: {t.content}" for t in turns)
            found[arm, seed, output.prompt_id, output.sample] = (prompt, output.text)
    return found


def _outputs(folder: Path) -> Iterator[Output]:
    places = [OUTPUTS.at(folder)]
    inputs = read_json(folder / "inputs.json")
    for entry in inputs.values() if isinstance(inputs, dict) else ():
        if isinstance(entry, dict) and entry.get("path"):
            given = Path(entry["path"])
            places += [OUTPUTS.at(given) if given.is_dir() else given]
    for place in places:
        if place.name == OUTPUTS.file and table_exists(place):
            yield from read_records(place, Output)
            return
