"""TRL's own trainers take what is exported for them: rows with tools and thoughts too.

TRL is of the extra ``test``. Where it is missing, another Python that has it may be named, as for the benchmarks:
``NOTUS_BENCH_TRL``; ``pip install torch trl==1.16.0 datasets peft`` makes one.
"""

import importlib.util
import json
import math
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from notus.core.records import Message, Preference, ToolCall
from notus.core.tables import write_records
from notus.engine.load import save_model
from notus.steps.data.export import Export
from notus.steps.perform import run_step

HELPER = Path(__file__).parents[1] / "helpers" / "trl_train.py"
TEMPLATE = (
    "{% if tools %}{{ '<|tools|>\n' + (tools | tojson) + eos_token + '\n' }}{% endif %}"
    "{% for message in messages %}{{ '<|' + message['role'] + '|>\n' }}"
    "{% if message.get('reasoning_content') %}{{ '[' + message['reasoning_content'] + ']' }}{% endif %}"
    "{{ message.get('content') or '' }}"
    "{% if message.get('tool_calls') %}{{ message['tool_calls'] | tojson }}{% endif %}"
    "{{ eos_token + '\n' }}{% endfor %}{% if add_generation_prompt %}{{ '<|assistant|>\n' }}{% endif %}"
)
TOOL = {"type": "function", "function": {"name": "opposite", "parameters": {"type": "object", "properties": {}}}}


def turn(role: Any, content: str, **more: Any) -> Message:
    return Message(role=role, content=content, **more)


def plain(number: int) -> Preference:
    return Preference(
        prompt=(turn("system", "Be kind."), turn("user", f"The opposite of hot, number {number}?")),
        chosen=(turn("assistant", "cold"),),
        rejected=(turn("assistant", "hot"),),
        score_chosen=5.0,
        score_rejected=1.5,
        source="opposites",
        extra={"user": f"u{number}"},
    )


def with_tools(number: int) -> Preference:
    call = ToolCall(name="opposite", arguments=f'{{"word":"big {number}"}}', id="c1")
    told = turn("tool", "small", tool_call_id="c1", name="opposite")
    return Preference(
        prompt=(turn("user", f"The opposite of big, number {number}?"),),
        chosen=(turn("assistant", "", tool_calls=(call,)), told, turn("assistant", "small", reasoning="it says small")),
        rejected=(turn("assistant", "big"),),
        extra={"tools": [TOOL]},
    )


JOBS = (
    *(("sft", "trl-sft"), ("sft", "trl-prompt-completion"), ("dpo", "trl"), ("dpo", "trl-implicit")),
    *(("kto", "trl-unpaired"), ("reward", "trl"), ("reward", "trl-implicit")),
)


@pytest.fixture(scope="module")
def peer() -> str:
    found = os.environ.get("NOTUS_BENCH_TRL") or (sys.executable if importlib.util.find_spec("trl") else None)
    if found is None:
        pytest.skip("no TRL: install the extra test, or set NOTUS_BENCH_TRL to a Python that has it")
    return found


@pytest.mark.slow
def test_trl_trains_on_what_is_exported_for_it(peer, model, tokenizer, tmp_path):
    template, tokenizer.chat_template = tokenizer.chat_template, TEMPLATE
    save_model(model, tokenizer, tmp_path / "model")
    tokenizer.chat_template = template
    wanted: dict[str, list[str]] = {}
    for kind, rows in {"plain": [plain(n) for n in range(4)], "tools": [with_tools(n) for n in range(4)]}.items():
        write_records(tmp_path / f"{kind}.parquet", rows, Preference)
    for kind in ("plain", "tools"):
        for trainer, layout in JOBS:
            out = tmp_path / kind / layout
            if not out.exists():
                run_step("export", Export(data=str(tmp_path / f"{kind}.parquet"), to=layout), out)
            texts = ["cold"] if kind == "plain" else ["small", "it says small", '"opposite"', "<|tool|>", "<|tools|>"]
            wanted[f"{trainer}={out / 'rows.jsonl'}"] = texts
    command = [peer, str(HELPER), str(tmp_path / "model"), str(tmp_path / "trl"), *wanted]
    environment = os.environ | {"HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    found = [json.loads(line) for line in done.stdout.splitlines() if line.startswith('{"')]
    refused = {each["job"]: each["error"] for each in found if "error" in each}
    assert refused == {}
    assert [each["job"] for each in found] == list(wanted)
    for each in found:
        assert each["updates"] == 2
        assert all(math.isfinite(loss) for loss in each["losses"])
        assert each["rows"] == (8 if each["job"].startswith("kto") else 4)
        text = "\n".join(each["texts"])
        missing = [part for part in wanted[each["job"]] if part not in text]
        assert missing == [], each["job"]
        if each["job"].startswith("sft"):  # what is imitated must not hold the rejected answer
            assert "\nhot<" not in text
            assert "\nbig<" not in text
