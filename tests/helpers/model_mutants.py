"""Damaged and hostile folders of models: a seeded generator, and what must come of each.

A mutant is a small model with one to three changes. ``judge`` loads it as a command does, and gives the kind of ending:
``loaded``, ``refused``, or what may not be: anything raised that is no line of Notus, or a refusal that names no file.
A soak of as many as there is time for is this module run by hand, and goes on where it was stopped::

    python -m tests.helpers.model_mutants OUT.json --most 10000
"""

import argparse
import json
import random
import resource
import shutil
import signal
import struct
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file

from notus.core.errors import InputError, NotusError
from notus.core.records import Message
from notus.engine.adapters import add_adapter
from notus.engine.generate import sample_model
from notus.engine.load import build_model, fit_vocabulary, load_model, load_tokenizer, save_model, train_tokenizer
from notus.engine.settings import Limits, Lora, Sampling, Shape
from notus.engine.text.encoder import Encoder
from notus.rankers.pairrm import load_pairrm
from notus.rankers.reward import load_reward_model
from tests.helpers.pairrm_examples import save_blender, save_hf, small
from tests.helpers.tiny_families import tiny

FAMILIES = ("Gemma2", "Bloom", "Mamba2", "GPT-OSS", "Falcon", "MPT")
KINDS = ("model", "adapter", "reward", "pairrm", "blender", *FAMILIES)
TEXTS = [f"The opposite of {a} is {b}, number {n}." for n, (a, b) in enumerate([("hot", "cold"), ("up", "down")] * 20)]
SHAPE = Shape(vocabulary=300, width=16, layers=2, heads=2, kv_heads=1, ffn=16, positions=64)
SECONDS = 10.0
"""Of CPU that a mutant may take."""
ASKED = (Message(role="user", content="What is the opposite of hot?"),)


def make_seeds(folder: Path) -> dict[str, Path]:
    """A whole model of each kind, in folders below one."""
    tokenizer = train_tokenizer(TEXTS, SHAPE.vocabulary)
    save_model(build_model(SHAPE, tokenizer, 0), tokenizer, folder / "model")
    base = load_model(str(folder / "model"))
    save_model(add_adapter(base, Lora(rank=2), 0), tokenizer, folder / "adapter")
    config = build_model(SHAPE, tokenizer, 0).config
    config.num_labels = 1
    from transformers import MistralForSequenceClassification

    torch.manual_seed(0)
    save_model(MistralForSequenceClassification(config), tokenizer, folder / "reward")
    (folder / "pairrm").mkdir()
    save_hf(*small(), folder / "pairrm")
    save_blender(*small(), folder / "blender")
    for name in FAMILIES:
        of_family = tiny(name)
        fit_vocabulary(of_family, tokenizer)
        save_model(of_family, tokenizer, folder / name)
    return {kind: folder / kind for kind in KINDS}


# Changes. Each takes the folder and draws from ``random``; it gives what it did, and whether loading must be refused.


def _choose(random_: random.Random, folder: Path, *suffixes: str) -> Path | None:
    names = sorted(path for path in folder.rglob("*") if path.is_file() and path.name.endswith(suffixes))
    return random_.choice(names) if names else None


def cut(random_: random.Random, folder: Path) -> tuple[str, bool]:
    """A file cut somewhere."""
    path = _choose(random_, folder, "")
    assert path
    data = path.read_bytes()
    path.write_bytes(data[: random_.randrange(len(data))] if data else b"")
    return f"cut {path.name}", path.suffix == ".safetensors"


def flip(random_: random.Random, folder: Path) -> tuple[str, bool]:
    """Some bytes of a file of text changed."""
    path = _choose(random_, folder, ".json", ".jinja")
    if path is None:
        return "nothing", False
    data = bytearray(path.read_bytes())
    for _ in range(random_.choice([1, 1, 3, 20]) if data else 0):
        data[random_.randrange(len(data))] = random_.randrange(256)
    path.write_bytes(bytes(data))
    return f"bytes of {path.name}", False


_VALUES: tuple[Callable[[random.Random], Any], ...] = (
    lambda _: None,
    lambda _: True,
    lambda _: "",
    lambda _: "abc",
    lambda _: [],
    lambda _: {},
    lambda _: [1, "a", None],
    lambda _: {"a": {"b": [1]}},
    lambda _: -1,
    lambda _: 0,
    lambda _: 1.5,
    lambda _: float("nan"),
    lambda _: float("inf"),
    lambda r: 10 ** r.choice([3, 5, 7, 9, 12, 20, 60]),
    lambda r: r.randrange(64),
    lambda _: "../../etc/passwd",
    lambda _: "a/b",
    lambda _: "\ud800",
    lambda _: "x" * 100_000,
    lambda _: [0] * 1000,
    lambda _: "llama",
    lambda _: "{{ messages }}",
)


def _nested(random_: random.Random, value: Any) -> tuple[Any, Any]:
    """A container somewhere within a value, and one of its keys."""
    while True:
        keys = list(value) if isinstance(value, dict) else range(len(value))
        key = random_.choice(list(keys))
        inner = value[key]
        if not isinstance(inner, dict | list) or not inner or random_.random() < 0.3:
            return value, key
        value = inner


def setting(random_: random.Random, folder: Path) -> tuple[str, bool]:
    """A setting of a JSON file changed, taken out or doubled."""
    path = _choose(random_, folder, ".json")
    try:
        found = json.loads(path.read_text()) if path else {}
    except (ValueError, RecursionError):
        return "nothing", False
    if not found or not isinstance(found, dict | list):
        return "nothing", False
    assert path
    inside, key = _nested(random_, found)
    what = random_.choice(["change", "change", "change", "remove", "rename"])
    if what == "change":
        inside[key] = random_.choice(_VALUES)(random_)
    elif what == "remove":
        del inside[key]
    elif isinstance(inside, dict):
        inside[f"{key}_"] = inside.pop(key)
    path.write_text(json.dumps(found))
    return f"{what} of {path.name}: {str(key)[:30]}", False


def whole(random_: random.Random, folder: Path) -> tuple[str, bool]:
    """A file replaced by something else."""
    path = _choose(random_, folder, "")
    assert path
    text = random_.choice(
        [
            b"",
            b"[]",
            b"null",
            b"3",
            b'"a"',
            b"{}",
            b"[" * 100_000,
            b'{"a":' * 5000 + b"1" + b"}" * 5000,
            b"\xff\xfe{}\0",
        ]
    )
    path.write_bytes(text)
    return f"{path.name} is {text[:8]!r}", path.suffix == ".safetensors" or path.name == "tokenizer.json"


def gone(random_: random.Random, folder: Path) -> tuple[str, bool]:
    """A file removed, or a folder or a pipe in its place."""
    path = _choose(random_, folder, "")
    assert path
    path.unlink()
    if random_.random() < 0.3:
        path.mkdir()
    return f"without {path.name}", path.suffix == ".safetensors"


def _weights(folder: Path) -> Path:
    found = sorted(folder.glob("*.safetensors"))
    return found[0] if found else folder / "model.safetensors"


def header(random_: random.Random, folder: Path) -> tuple[str, bool]:
    """The header of safetensors that lies."""
    path = _weights(folder)
    try:
        data = path.read_bytes()
        size = struct.unpack("<Q", data[:8])[0]
        found = json.loads(data[8 : 8 + size])
    except (OSError, ValueError, RecursionError, struct.error):
        return "nothing", False
    names = [name for name in found if name != "__metadata__"]
    name = random_.choice(names)
    what = random_.choice(["size", "offsets", "type", "shape", "garbage", "name", "extra"])
    if what == "size":
        path.write_bytes(
            struct.pack("<Q", random_.choice([0, 1, size - 1, size + 1, 1 << 40, (1 << 64) - 1])) + data[8:]
        )
        return "header's size", True
    if what == "garbage":
        path.write_bytes(data[:8] + bytes(random_.randrange(256) for _ in range(size)) + data[8 + size :])
        return "header of garbage", True
    if what == "offsets":
        found[name]["data_offsets"] = [random_.randrange(1 << 40), random_.choice([0, 1 << 40, -1])]
    elif what == "type":
        found[name]["dtype"] = random_.choice(["I32", "F64", "U8", "BOOL", "X9", "I64"])
    elif what == "shape":
        found[name]["shape"] = random_.choice([[], [-1], [1 << 62, 1 << 62], [2, 2, 2, 2], [0], "a"])
    elif what == "extra":
        found[name]["data_offsets"][1] += 4
    else:
        found[f"{name}.x"] = found.pop(name)
    text = json.dumps(found).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + data[8 + size :])
    return f"header: {what} of {name}", what != "shape"


def tensor(random_: random.Random, folder: Path) -> tuple[str, bool]:
    """A weight that is lost, of another shape or type, or no number."""
    path = _weights(folder)
    try:
        found = load_file(path)
    except Exception:  # noqa: BLE001  an earlier change broke it
        return "nothing", False
    name = random_.choice(sorted(name for name in found if "position_ids" not in name))
    what = random_.choice(["lost", "wider", "integer", "nan", "infinite", "empty"])
    if what in ("nan", "infinite") and not found[name].is_floating_point():
        what = "lost"  # a whole number is never none
    if what == "lost":
        del found[name]
    elif what == "wider":
        found[name] = torch.cat([found[name], found[name]], 0)
    elif what == "integer":
        found[name] = found[name].to(torch.int32)
    elif what == "empty":
        found[name] = found[name][:0]
    else:
        found[name] = found[name].clone()
        found[name].view(-1)[-1] = float(what[:3])
    save_file({key: value.contiguous() for key, value in found.items()}, path, {"format": "pt"})
    # A PairRM of the layout 'blender' takes its vocabulary from the weights.
    return f"weight {what}: {name}", (what, name.split(".")[-2]) != ("wider", "word_embeddings")


def shards(random_: random.Random, folder: Path) -> tuple[str, bool]:
    """The weights in two parts with an index that lies."""
    path = folder / "model.safetensors"
    try:
        found = load_file(path)
    except Exception:  # noqa: BLE001  an earlier change broke it, or it is an adapter
        return "nothing", False
    names = sorted(found)
    parts = {"a.safetensors": names[::2], "b.safetensors": names[1::2]}
    for part, of in parts.items():
        save_file({name: found[name] for name in of}, folder / part, {"format": "pt"})
    path.unlink()
    index: dict[str, Any] = {name: part for part, of in parts.items() for name in of}
    what = random_.choice(
        ["whole", "lost", "outside", "absolute", "swapped", "number", "empty", "pickle", "null", "dir"]
    )
    name = random_.choice(names)
    odd: dict[str, Any] = {
        "outside": f"../{folder.name}/a.safetensors",
        "absolute": "/etc/passwd",
        "number": 3,
        "pickle": "pytorch_model.bin",
        "null": "a\0.safetensors",
        "dir": ".",
    }
    if what == "lost":
        (folder / "b.safetensors").unlink()
    elif what == "swapped":
        index[name] = {"a.safetensors": "b.safetensors"}.get(index[name], "a.safetensors")
    elif what == "empty":
        index = {}
    elif what in odd:
        index[name] = odd[what]
    (folder / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": index}))
    return f"shards: {what}", what != "whole"


TEMPLATES = (
    "{% for i in range(99999) %}{% for j in range(99999) %}{% for k in range(99999) %}"
    "{% endfor %}{% endfor %}{% endfor %}",
    "{% for i in range(10000000000) %}a{% endfor %}",
    "{{ 'a' * 100000000000 }}",
    "{{ 10 ** 10 ** 10 }}",
    "{{ 'a'.center(100000000000) }}",
    "{{ 'a' | center(100000000000) }}",
    "{{ '%100000000000d' % 1 }}",
    "{{ '%*d' % (100000000000, 1) }}",
    "{{ '{:>100000000000}'.format(1) }}",
    "{{ 'a' | indent(100000000000) }}",
    "{{ [1, 2] | tojson(indent=100000000000) }}",
    "{% set n = namespace(x='a') %}{% for i in range(60) %}{% set n.x = n.x ~ n.x %}{% endfor %}{{ n.x }}",
    "{% set n = namespace(x='a') %}{% for i in range(60) %}{% set n.x = n.x + n.x %}{% endfor %}{{ n.x }}",
    "{% set n = namespace(x=[1]) %}{% for i in range(60) %}{% set n.x = n.x + n.x %}{% endfor %}{{ n.x }}",
    "{% set n = namespace(x='a') %}{% for i in range(60) %}{% set n.x = n.x.replace('a', 'aa') %}{% endfor %}{{ n.x }}",
    "{% set n = namespace(x='a') %}{% for i in range(60) %}{% set n.x = n.x | replace('a', 'aa') %}"
    "{% endfor %}{{ n.x }}",
    "{% set n = namespace(x='a') %}{% for i in range(60) %}{% set n.x = n.x | format %}"
    "{% set n.x = [n.x, n.x] | join %}{% endfor %}{{ n.x }}",
    "{% set n = namespace(x=2) %}{% for i in range(99999) %}{% set n.x = n.x * n.x %}{% endfor %}{{ n.x }}",
    "{% macro f(x) %}{{ f(x) }}{% endmacro %}{{ f(1) }}",
    "{% macro f(x) %}{% if x %}{{ f(x - 1) }}{{ f(x - 1) }}{% endif %}{% endmacro %}{{ f(60) }}",
    "{% for x in [1] recursive %}{{ loop([1]) }}{{ loop([1]) }}{% endfor %}",
    "{% for i in range(99999) %}{{ messages }}{% for j in range(99999) %}{{ messages }}{% endfor %}{% endfor %}",
    "{{ lipsum(n=100000000) }}",
    "{{ ''.__class__.__mro__[1].__subclasses__() }}",
    "{{ messages.__class__.__init__.__globals__ }}",
    "{{ ().__class__.__bases__[0].__subclasses__() }}",
    "{{ cycler.__init__.__globals__.os.popen('id').read() }}",
    "{{ namespace.__init__.__globals__ }}",
    "{% include 'config.json' %}",
    "{% import '/etc/passwd' as p %}",
    "{% extends 'x' %}",
    "{% for %}",
    "{{ 1 / 0 }}",
    "{{ messages[100] }}",
    "{{ messages[0]['content']['x']['y'] }}",
    "{{ messages + 1 }}",
    "{{ raise_exception('no') }}",
    "{{ undefined_function() }}",
    "{{ bos_token * 3 }}",
    "{{ messages | groupby('role') | batch(100000000000, 1) | list }}",
    "{{ [1] | batch(100000000000, 1) | list }}",
    "{{ 'a' | wordwrap(0) }}",
    "{{ range(0, 10, 0) }}",
    "{{ {}['a'] }}",
    "{{ strftime_now(3) }}",
    "{{ strftime_now('%Y' * 100000) }}",
    "{{ dict(a=1) | xmlattr }}",
    "{{ messages | map(attribute='__class__') | list }}",
    "{{ messages | sum }}",
    "{{ '\\ud800' }}",
    "{{ messages | random }}",
    "{% break %}",
    "{% generation %}",
    "",
    "just text",
    "{{ messages }}" * 1000,
    "{% if true %}" * 2000 + "{% endif %}" * 2000,
    "{{ " + "(" * 5000 + ")" * 5000 + " }}",
    "{{ " + "1+" * 20000 + "1 }}",
    "{{ " + "not " * 20000 + "1 }}",
)
"""What no template may do: run without end, grow without bound, reach the interpreter, break."""
HARMLESS = ("{{ messages }}" * 1000,)
"""Those of them that write what is said, in a way of their own."""


def template(random_: random.Random, folder: Path) -> tuple[str, bool]:
    """A chat template that is hostile or damaged, in either of its places."""
    text = random_.choice(TEMPLATES)
    path = folder / "tokenizer_config.json"
    try:
        found = json.loads(path.read_text())
    except (OSError, ValueError, RecursionError):
        found = None
    if random_.random() < 0.5 or not isinstance(found, dict):
        if not (folder / "chat_template.jinja").is_dir():
            (folder / "chat_template.jinja").write_text(text)
    else:
        if (folder / "chat_template.jinja").is_file():
            (folder / "chat_template.jinja").unlink()
        path.write_text(
            json.dumps(found | {"chat_template": random_.choice([text, text, [{"name": "x", "template": text}], 3])})
        )
    return f"template {text[:50]}", False


def foreign(random_: random.Random, folder: Path) -> tuple[str, bool]:
    """Code of its own: ``auto_map``, pickles, classes by other names."""
    (folder / "evil.py").write_text("raise SystemExit('foreign code ran')\n")
    what = random_.choice(["config", "tokenizer", "generation", "class"])
    name = {"tokenizer": "tokenizer_config.json", "generation": "generation_config.json"}.get(what, "config.json")
    path = folder / name
    try:
        found = json.loads(path.read_text())
        assert isinstance(found, dict)
    except (OSError, ValueError, RecursionError, AssertionError):
        found = {}
    if what == "class":
        found["architectures"] = random_.choice([["EvilForCausalLM"], "Evil", [], [3], None])
    else:
        classes = ["AutoConfig", "AutoModelForCausalLM", "AutoTokenizer", "AutoModelForSequenceClassification"]
        found["auto_map"] = random_.choice(
            [
                dict.fromkeys(classes, "evil.Evil") | {"AutoTokenizer": ["evil.Evil", None]},
                "evil",
                3,
                {"AutoConfig": 3},
            ]
        )
        if random_.random() < 0.6:
            found["model_type"] = "evil"
        if random_.random() < 0.4:
            found["tokenizer_class"] = "Evil"
    if not path.is_dir():
        path.write_text(json.dumps(found))
    return f"foreign {what}", False


CHANGES: tuple[Callable[[random.Random, Path], tuple[str, bool]], ...] = (
    cut,
    flip,
    setting,
    setting,
    setting,
    whole,
    gone,
    header,
    tensor,
    shards,
    template,
    foreign,
)


def make_mutant(seed: int, seeds: dict[str, Path], folder: Path) -> tuple[str, list[str], bool]:
    """A mutant in a folder.

    Returns:
        Its kind, what was changed, and whether it must be refused.
    """
    random_ = random.Random(seed)
    kind = random_.choice(
        ("model", "model", "adapter", "adapter", "reward", "pairrm", "blender", random_.choice(FAMILIES))
    )
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(seeds[kind], folder)
    if kind == "adapter":
        path = folder / "adapter_config.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | {"base_model_name_or_path": str(seeds["model"])}))
    changes, must = [], False
    for _ in range(random_.choice([1, 1, 1, 2, 3])):
        if not any(path.is_file() for path in folder.iterdir()):
            break
        change = random_.choice(CHANGES)
        told, refused = change(random_, folder)
        changes.append(f"{change.__name__}: {told}")
        # A later change may mend or hide an earlier one.
        must = refused and len(changes) == 1
    return kind, changes, must and len(changes) == 1


def load_mutant(kind: str, folder: Path) -> None:
    """Load and use a model as the commands do."""
    source = str(folder)
    if kind == "reward":
        load_reward_model(source)
        return
    if kind in ("pairrm", "blender"):
        load_pairrm(source)
        return
    encoder = Encoder(load_tokenizer(source), Limits(max_length=64, max_prompt_length=48))
    encoder.examples([(ASKED, "It is cold.")])
    sample_model(source, [ASKED], Sampling(samples=1, max_new_tokens=2), name="mutant", seed=0)


def judge(kind: str, folder: Path, must: bool) -> tuple[str, str]:
    """How loading ends, in a word, and the line that is told."""
    begun = time.process_time()
    try:
        load_mutant(kind, folder)
        ending, line = ("silent" if must else "loaded"), ""
    except InputError as error:
        ending, line = "refused", str(error)
        if "\n" in line or len(line) > 1500:
            ending = "long line"
        elif str(folder) not in line and folder.name not in line:
            ending = "nameless"
    except NotusError as error:
        ending, line = f"exit {error.exit_code}", str(error)
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # noqa: BLE001  this is what is looked for
        ending, line = f"unexpected {type(error).__name__}", "".join(traceback.format_exception(error)[-4:])
    if time.process_time() - begun > SECONDS:
        ending = "slow"
    return ending, line


GOOD = ("loaded", "refused")


def keep(path: Path, counts: dict[str, Any]) -> None:
    """Write the counts so that whoever is stopped meanwhile finds those of before."""
    part = path.with_suffix(".part")
    part.write_text(json.dumps(counts, indent=1))
    part.replace(path)


def main() -> None:
    """Judge mutants until there are enough, or it is stopped; counts and what failed are kept in a file."""
    parser = argparse.ArgumentParser()
    parser.add_argument("out", type=Path)
    parser.add_argument("--most", type=int, default=10_000)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--show", action="store_true", help="each ending")
    args = parser.parse_args()
    kept = json.loads(args.out.read_text()) if args.out.is_file() else {"next": args.first, "endings": {}, "bad": []}
    endings = Counter(kept["endings"])
    if kept.get("trying"):  # it ended the process
        kept["bad"].append([*kept["trying"], "hang or crash", ""])
        endings["hang or crash"] += 1
    resource.setrlimit(resource.RLIMIT_AS, (12 << 30, 12 << 30))
    with tempfile.TemporaryDirectory() as scratch:
        seeds = make_seeds(Path(scratch) / "seeds")
        while kept["next"] < args.most:
            seed = kept["next"]
            kind, changes, must = make_mutant(seed, seeds, Path(scratch) / "mutant")
            # What never ends is counted by who starts this again: the seed is passed before it is tried.
            signal.alarm(120)
            kept["next"] += 1
            kept["trying"] = [seed, kind, changes]
            keep(args.out, kept | {"endings": endings})
            ending, line = judge(kind, Path(scratch) / "mutant", must)
            signal.alarm(0)
            endings[f"{kind}: {ending}"] += 1
            if args.show:
                sys.stdout.write(f"{seed} {kind} {changes} {ending}: {line[:300]}\n")
            if ending not in GOOD:
                kept["bad"].append([seed, kind, changes, ending, line])
                sys.stderr.write(f"{seed} {kind} {changes} {ending} {line[-300:]}\n")
        keep(args.out, kept | {"endings": endings, "trying": None})
    sys.stdout.write(json.dumps(endings, indent=1) + "\n")


if __name__ == "__main__":
    main()
