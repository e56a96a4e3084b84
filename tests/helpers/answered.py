"""Stored answers of a run, as sampling leaves them."""

from notus.core.artifacts import OUTPUTS
from notus.core.records import Message, Output
from notus.core.tables import write_records


def answers(folder, model, count=40, samples=1, text=None):
    """Write the answers of a model to so many prompts into a folder, and give it back."""
    folder.mkdir(parents=True, exist_ok=True)
    rows = [
        Output(
            prompt=(Message(role="user", content=f"Name river {n}."),),
            text=text(n, k) if text else f"{model} says river {n}, {k}",
            model=model,
            sample=k,
        )
        for n in range(count)
        for k in range(samples)
    ]
    write_records(OUTPUTS.at(folder), rows, Output)
    return folder
