"""Whether a model that was loaded is the model that is stored, and can be computed with.

transformers fills what is missing at random, leaves out what it does not know, and takes numbers of any type; each of
these would be another model, without a word. So would weights that are no finite numbers. Owns these checks and their
lines; the files themselves are looked at by ``engine.files.folder``.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from notus.core.errors import ConfigError
from notus.engine.files.folder import Stored, bad_file
from notus.engine.files.pretrained import reading

__all__ = ["check_finite", "check_floating", "check_ids", "check_mismatched", "check_sound"]

_LAYER = re.compile(r"\.(\d+)\.")
_PARTS = (".weight", ".bias")
_PROBE = tuple(range(1, 17))


def check_mismatched(loaded: Mapping[str, Any], source: str, stored: Mapping[str, Stored]) -> None:
    """Refuse a model in which a weight is of another shape than the settings say.

    Args:
        loaded: what transformers says of the weights.
        source: folder or hub id.
        stored: headers of the weights; empty for a hub id.

    Raises:
        ConfigError: with the first such weight, and its file.
    """
    found = sorted(loaded.get("mismatched_keys", ()), key=lambda each: str(each[0]))
    if not found:
        return
    name, there, wanted = found[0]
    more = f" (and {len(found) - 1} more weights)" if len(found) > 1 else ""
    file = f"{stored[name].file.name} " if name in stored else ""
    raise ConfigError(
        f"the weights in {source!r} do not fit its config.json: {name} is {list(there)} in {file or 'its file '}and "
        f"{list(wanted)} by config.json{more}; get the model anew"
    )


def check_sound(
    model: PreTrainedModel, loaded: Mapping[str, Any], source: str, stored: Mapping[str, Stored], what: str = "a model"
) -> None:
    """Refuse a model that is another than the one stored, or cannot be computed with.

    Weights may not be left out, be anything but floating-point, or be no finite numbers; a few tokens are computed.

    What a checkpoint holds beside the model (a picture's encoder, a head for several tokens at once) is left out as
    transformers does; what stands within a layer that the model has, or in a further layer of it, is not.

    Args:
        model: as transformers has loaded it.
        loaded: what it says of the weights.
        source: folder or hub id.
        stored: headers of the weights; empty for a hub id.
        what: it is, for errors.

    Raises:
        ConfigError: with the first such weight, and its file.
    """
    if left := _left_out(model, loaded.get("unexpected_keys", ()), stored):
        file = f"{stored[left[0]].file.name} of " if left[0] in stored else ""
        raise ConfigError(
            f"{file}{source!r} holds {len(left)} weights that its config.json leaves out, the first is {left[0]}: the "
            "model would be another; get the model anew"
        )
    if getattr(model.config, "quantization_config", None) is None:
        floating = [name for name, weight in model.named_parameters() if weight.is_floating_point()]
        check_floating({name: stored[name] for name in floating if name in stored})
    check_finite(model.named_parameters(), source, stored)
    _try_forward(model, source, what)


def check_floating(stored: Mapping[str, Stored]) -> None:
    """Refuse weights that are stored as whole numbers or truth values.

    Raises:
        ConfigError: with the first such weight, and its file.
    """
    for name, weight in stored.items():
        if not weight.floating:
            raise bad_file(weight.file, f"{name} is of type {weight.type}, and weights are floating-point")


def _left_out(model: PreTrainedModel, unexpected: Iterable[str], stored: Mapping[str, Stored]) -> list[str]:
    """Weights that transformers left out and that belong to the layers of the model."""
    known = dict(model.named_modules())
    layers = {_LAYER.sub(".#.", name) for name in known}
    beyond = int(getattr(model.config, "num_nextn_predict_layers", 0) or 0)
    found = []
    for name in sorted(unexpected):
        shape = stored[name].shape if name in stored else ()
        if not name.endswith(_PARTS) or len(shape) > 3:  # a mask or positions, which older versions kept
            continue
        parent = name.rpartition(".")[0]
        place = _nearest(known, parent)
        within = bool(_LAYER.search(f"{place}.")) and place.rpartition(".")[2] not in ("layers", "h")
        further = parent not in known and not beyond and _LAYER.sub(".#.", parent) in layers
        beside = parent in known and next(known[parent].parameters(recurse=False), None) is not None
        if within or further or beside:
            found.append(name)
    return found


def _nearest(known: Mapping[str, Any], name: str) -> str:
    while name and name not in known:
        name = name.rpartition(".")[0]
    return name


def check_ids(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, rows: Iterable[Sequence[int]], name: str, remedy: str
) -> None:
    """Make sure that every token has an embedding: without one, work would stop when its row comes.

    Args:
        model: the plain one.
        tokenizer: that gave the ids.
        rows: ids.
        name: of the model, for errors.
        remedy: what to do.

    Raises:
        ConfigError: if one has none.
    """
    size = model.get_input_embeddings().weight.shape[0]
    if lost := {token for row in rows for token in row if token >= size}:
        first = tokenizer.convert_ids_to_tokens(min(lost))
        raise ConfigError(
            f"the tokenizer of {name!r} gives ids that its model has no embedding for: {len(lost)} of the data's "
            f"tokens, the first is {first!r} ({min(lost)}) of {size:,}; {remedy}"
        )


def check_finite(weights: Iterable[tuple[str, torch.Tensor]], source: str, stored: Mapping[str, Stored]) -> None:
    """Refuse weights that are no finite numbers.

    Raises:
        ConfigError: with the first such weight, and its file.
    """
    for name, weight in weights:
        # The smallest and the largest are NaN where any is; nothing as large as the weight is made.
        if weight.is_floating_point() and weight.numel() and weight.element_size() > 1:
            ends = torch.aminmax(weight.detach())
            if not bool(torch.isfinite(ends.min) & torch.isfinite(ends.max)):
                place = stored[name].file if name in stored else Path(source)
                raise bad_file(place, f"{name} holds what is no finite number (NaN or infinity)")


def _try_forward(model: PreTrainedModel, source: str, what: str) -> None:
    """Compute a few tokens: settings that cannot be computed with show here, before anything else is done.

    Raises:
        ConfigError: if it fails, or the outputs are no finite numbers.
    """
    ids = torch.tensor([_PROBE], device=model.device) % model.get_input_embeddings().weight.shape[0]
    with reading(source, what, lambda: "config.json"), torch.no_grad():
        logits = model(input_ids=ids, attention_mask=torch.ones_like(ids)).logits
        finite = bool(torch.isfinite(logits).all())
    if not finite:
        raise ConfigError(
            f"{source!r} gives what is no finite number (NaN or infinity) for a few tokens: its weights or config.json "
            "are damaged, or the precision is too narrow for it; get the model anew"
        )
