"""lm-eval with our engine, held against lm-eval's own model of the same weights."""

import json
import string
from types import SimpleNamespace

import pytest
from lm_eval.api.instance import Instance
from lm_eval.models.huggingface import HFLM
from tokenizers.processors import TemplateProcessing
from transformers import AutoTokenizer

from notus.clean.benchmarks import read_plain_rows
from notus.core.errors import ConfigError, DataError, RunError
from notus.engine.load import build_model, train_tokenizer
from notus.engine.settings import Limits, Shape
from notus.engine.text.encoder import Encoder
from notus.evaluate.harness.model import Engine
from notus.evaluate.harness.run import LOCAL, TASKS, AnsweredQuestion, mean_metrics, run_task
from tests.helpers.families import FAMILIES, save_family_model
from tests.helpers.paths import SHARED as SHARED_FOLDER

DATA = SHARED_FOLDER / "data" / "benchmarks"
TINY = {"vocabulary": 600, "width": 32, "layers": 2, "heads": 4, "kv_heads": 2, "ffn": 64}
WORDS = ["sun", "moon", "river", "stone", "bread", "glass", "horse", "lamp"]
WORDS += ["winter", "garden", "copper", "thread", "ladder", "basket", "mirror", "button"]


@pytest.fixture(scope="module")
def tokenizer():
    return train_tokenizer([f"Question: what is the {a} of a {b}?\nAnswer: {b}" for a in WORDS for b in WORDS], 600)


@pytest.fixture(scope="module")
def model(tokenizer):
    return build_model(Shape(**TINY, positions=2048), tokenizer, 0).eval()


@pytest.fixture
def sides(model, tokenizer):
    return Engine(model, tokenizer, max_tokens=512), HFLM(pretrained=model, tokenizer=tokenizer, batch_size=4)


def rows(task):
    """Thirty questions of our own in the hub's layout; more than any task has shots."""
    for n in range(30):
        a, b, c, d = (WORDS[(n * step + step) % 16] for step in (1, 3, 5, 7))
        targets = {"choices": [f"No {a}.", f"Some {b} {a}.", f"Some {b}."], "labels": [1, 0, 1]}
        yield {
            "arc_challenge": {"query": f"Question: Which {a} is {b}, number {n}?", "choices": [a, b, c], "gold": n % 3},
            "arc_easy": {"query": f"Question: Which {a} is {b}, number {n}?", "choices": [a, b, c], "gold": n % 3},
            "mmlu": {
                "split": "dev" if n % 15 < 5 else "val",
                "subject": "anatomy" if n < 15 else "virology",
                "question": f"Which {a}, number {n}?",
                "choices": [a, b, c, d],
                "answer": "ABCD"[n % 4],
            },
            "truthfulqa_mc1": {"question": f"Is {a} {n}?", "mc1_targets": targets, "mc2_targets": targets},
            "truthfulqa_mc2": {"question": f"Is {a} {n}?", "mc1_targets": targets, "mc2_targets": targets},
            "hellaswag": {
                "activity_label": a,
                "ctx_a": f"A {b} holds {n} of",
                "ctx_b": "it",
                "endings": [f"is a {c}.", f"was a {d}.", f"[x] has a {a}."],
                "label": str(n % 3),
            },
            "winogrande": {
                "sentence": f"The {a} hit the {b} {n} times, so the _ broke.",
                "option1": a,
                "option2": b,
                "answer": str(n % 2 + 1),
            },
            "gsm8k": {"question": f"How many {a}s are {n} {b}s?", "answer": f"There are {n}.\n#### {n}"},
            "drop": {
                "query_id": str(n),
                "passage": f"The {a} had {n} {b}s.",
                "question": f"How many {b}s?",
                "answer": {"number": str(n), "date": {"day": "", "month": "", "year": ""}, "spans": []},
                "validated_answers": {"number": [], "date": [], "spans": []},
            },
        }[task]


@pytest.fixture
def file(tmp_path):
    def write(task):
        path = tmp_path / f"{task}.jsonl"
        path.write_text("".join(json.dumps(row) + "\n" for row in rows(task)))
        return path

    return write


def asked(*pairs):
    return [Instance("loglikelihood", {}, pair, number) for number, pair in enumerate(pairs)]


def close(ours, theirs):
    """Same verdicts, and log-probabilities that agree to 1e-4."""
    assert [greedy for _, greedy in ours] == [greedy for _, greedy in theirs]
    assert [logp for logp, _ in ours] == pytest.approx([logp for logp, _ in theirs], abs=1e-4)


def same(ours, theirs):
    for one, other in zip(ours, theirs, strict=True):
        assert (one.task, one.number, one.prompt_id, one.read_by) == (
            other.task,
            other.number,
            other.prompt_id,
            other.read_by,
        )
        assert one.metrics == pytest.approx(other.metrics, abs=1e-4)
        if isinstance(one.responses[0], tuple):
            close(one.responses, other.responses)
        else:
            assert one.responses == other.responses


@pytest.mark.parametrize("task", sorted(LOCAL))
def test_each_task_scores_as_with_lm_evals_own_model(task, sides, file):
    limit = 2 if task in ("gsm8k", "drop") else 6
    ours, theirs = (run_task(side, task, data=file(task), shots=None, limit=limit) for side in sides)
    same(ours, theirs)
    first = mean_metrics(ours, TASKS[task].metric, TASKS[task].read_by)[0]
    assert first.n == limit * (2 if task == "mmlu" else 1)
    assert first.metric == TASKS[task].metric
    if task not in ("gsm8k", "drop"):
        assert 0 < sides[0].tokens_run < sides[0].tokens_apart


@pytest.mark.parametrize(
    ("task", "name", "limit"),
    [
        ("arc_easy", "arc_easy.jsonl", 40),
        ("truthfulqa_mc1", "truthfulqa_mc.json.gz", 12),
        ("truthfulqa_mc2", "truthfulqa_mc.json.gz", 12),
        ("mmlu", "mmlu_dev_val.jsonl.gz", 2),
    ],
)
def test_real_questions_score_as_with_lm_evals_own_model(task, name, limit, sides, tmp_path):
    path = DATA / name
    if not path.is_file():
        pytest.skip(f"there is no {name}")
    if task == "mmlu":  # few subjects: lm-eval's own model takes its time over five shots
        rows = [row for row in read_plain_rows(path) if row["subject"] in ("anatomy", "marketing", "global_facts")]
        path = tmp_path / "mmlu.jsonl"
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    ours, theirs = (run_task(side, task, data=path, shots=None, limit=limit) for side in sides)
    same(ours, theirs)
    assert len(ours) == (6 if task == "mmlu" else limit)


BESIDE = {"arc_easy", "truthfulqa_mc1"}
"""Tasks that are known beside the seven of the leaderboard."""


def test_the_seven_come_with_their_shots():
    assert {name: (task.shots, task.metric) for name, task in TASKS.items() if name not in BESIDE} == {
        "arc_challenge": (25, "acc_norm"),
        "hellaswag": (10, "acc_norm"),
        "mmlu": (5, "acc"),
        "truthfulqa_mc2": (0, "acc"),
        "winogrande": (5, "acc"),
        "gsm8k": (5, "exact_match"),
        "drop": (3, "f1"),
    }


def test_shots_are_examples_in_front_and_never_the_question_itself(sides, file):
    def prompts(shots):
        seen = []

        class Watched(Engine):
            def loglikelihood(self, requests, **options):
                seen.extend(request.args[0] for request in requests)
                return super().loglikelihood(requests, **options)

        watched = Watched(sides[0].model, sides[0].tokenizer, max_tokens=512)
        run_task(watched, "arc_challenge", data=file("arc_challenge"), shots=shots, limit=3)
        return seen[::3]

    assert [prompt.count("Question:") for prompt in prompts(0)] == [1, 1, 1]
    for prompt in prompts(None):
        questions = [part.partition("\n")[0] for part in prompt.split("Question: ")[1:]]
        assert len(questions) == len(set(questions)) == 26


def test_odd_texts_become_tokens_as_in_lm_evals_own_model(sides):
    requests = asked(
        ("", "river stone"),  # nothing in front: the model's first token stands there
        ("", "<s>river"),
        ("<s>Question: moon", " bread"),  # a first token that is there already is not put twice
        ("Question: moon  \n", " bread"),  # spaces at the end belong to the answer
        ("Question: moon", " "),
        ("naïve 日本語", " 👩‍👩‍👧"),
    )
    close(*(side.loglikelihood(requests) for side in sides))


@pytest.mark.parametrize("add_bos", [False, True])
def test_tokens_around_a_text_are_those_of_the_tokenizer(add_bos):
    """With a tokenizer that opens each text, the fast encoder's ids get the same opening."""
    opening = train_tokenizer(WORDS * 4, 400)
    if add_bos:
        single = TemplateProcessing(single="<s> $A", special_tokens=[("<s>", opening.bos_token_id)])
        opening.backend_tokenizer.post_processor = single
    other = build_model(Shape(**{**TINY, "vocabulary": 400}, positions=256), opening, 1).eval()
    requests = asked(*((f"the {a} and {b}", f" {c}") for a in WORDS for b in WORDS[:4] for c in WORDS[:3]))
    ours, theirs = Engine(other, opening, max_tokens=256), HFLM(pretrained=other, tokenizer=opening, batch_size=16)
    assert (ours.tok_encode("sun")[0] == opening.bos_token_id) is add_bos
    close(ours.loglikelihood(requests), theirs.loglikelihood(requests, disable_tqdm=True))


def test_a_long_context_is_cut_on_the_left(model, tokenizer):
    ours = Engine(model, tokenizer, max_tokens=512, max_length=24)
    theirs = HFLM(pretrained=model, tokenizer=tokenizer, batch_size=4, max_length=24)
    long = " ".join(WORDS * 3)
    requests = asked((long, " sun"), (long, " moon river stone"), (long, " moon river lamp"))
    close(ours.loglikelihood(requests), theirs.loglikelihood(requests, disable_tqdm=True))
    assert len(tokenizer.encode(long)) > 24
    with pytest.raises(DataError, match="from 1 to 24 tokens"):
        ours.loglikelihood(asked(("sun", " " + long)))


def test_whole_texts_are_scored_in_windows(model, tokenizer):
    requests = [Instance("loglikelihood_rolling", {}, (" ".join(WORDS[n:] * 3),), n) for n in range(3)]
    ours = Engine(model, tokenizer, max_tokens=512, max_length=16).loglikelihood_rolling(requests)
    theirs = HFLM(pretrained=model, tokenizer=tokenizer, batch_size=4, max_length=16)
    assert ours == pytest.approx(theirs.loglikelihood_rolling(requests, disable_tqdm=True), abs=1e-3)


def test_texts_are_generated_until_they_stop(sides):
    requests = [
        Instance("generate_until", {}, (f"Question: {word}", {"until": ["\n", "e"], "max_gen_toks": 12}), n)
        for n, word in enumerate(WORDS[:5])
    ]
    ours, theirs = (side.generate_until(requests, disable_tqdm=True) for side in sides)
    assert ours == theirs
    assert not any("e" in text for text in ours)


def test_the_padded_engine_is_for_models_that_the_packed_one_refuses(model, tokenizer):
    requests = asked((" ".join(WORDS), " sun"), (" ".join(WORDS), " moon"))
    before = model.config.sliding_window
    model.config.sliding_window = 4
    try:
        with pytest.raises(ConfigError, match="set 'engine: padded'"):
            Engine(model, tokenizer, max_tokens=512).loglikelihood(requests)
        padded = Engine(model, tokenizer, max_tokens=None).loglikelihood(requests)
    finally:
        model.config.sliding_window = before
    assert len(padded) == 2


def test_mistakes_are_told(sides, file, tmp_path):
    ours = sides[0]
    with pytest.raises(ConfigError, match="asked with 0 shots"):
        run_task(ours, "truthfulqa_mc2", data=file("truthfulqa_mc2"), shots=3, limit=2)
    short = tmp_path / "short.jsonl"
    short.write_text("".join(json.dumps(row) + "\n" for row, _ in zip(rows("arc_easy"), range(3), strict=False)))
    with pytest.raises(DataError, match="holds 3 rows to draw 3 examples for 'arc_easy' from, and 4 are needed"):
        run_task(ours, "arc_easy", data=short, shots=3, limit=1)
    with pytest.raises(ConfigError, match="cannot come from a file of yours"):
        run_task(ours, "boolq", data=short, shots=None, limit=1)
    with pytest.raises(ConfigError, match="no task file"):
        run_task(ours, "there.yaml", data=None, shots=None, limit=1)
    unknown = tmp_path / "unknown.jsonl"
    unknown.write_text(json.dumps({**next(rows("mmlu")), "subject": "anatomi", "split": "test"}))
    with pytest.raises(DataError, match="did you mean 'mmlu_anatomy'"):
        run_task(ours, "mmlu", data=unknown, shots=0, limit=1)


def test_without_a_network_the_hub_is_told(sides, monkeypatch):
    def unreachable(*_, **__):
        raise ConnectionError("no route to the hub")

    monkeypatch.setattr("datasets.load_dataset", unreachable)
    with pytest.raises(RunError, match=r"questions of 'winogrande' could not be had: no route to the hub.*--data"):
        run_task(sides[0], "winogrande", data=None, shots=None, limit=1)


def test_a_task_file_of_ones_own(sides, tmp_path):
    (tmp_path / "mine.jsonl").write_text(
        "".join(json.dumps({"q": word, "a": n % 2}) + "\n" for n, word in enumerate(WORDS))
    )
    (tmp_path / "mine.yaml").write_text(
        string.Template(
            "task: mine\ndataset_path: json\ndataset_kwargs: {data_files: $folder/mine.jsonl, cache_dir: $folder/c}\n"
            "output_type: multiple_choice\ntest_split: train\ndoc_to_text: '{{q}}?'\ndoc_to_choice: ['no', 'yes']\n"
            "doc_to_target: a\nmetric_list: [{metric: acc, aggregation: mean, higher_is_better: true}]\n"
        ).substitute(folder=tmp_path)
    )
    ours, theirs = (run_task(side, str(tmp_path / "mine.yaml"), data=None, shots=None, limit=None) for side in sides)
    same(ours, theirs)
    assert len(ours) == 16
    assert ours[0].task == "mine"


def answered(task, number, value, read_by="none"):
    return AnsweredQuestion(task, number, f"{task}{number}", {"acc": value, "acc_norm": 1.0}, (), read_by)


def test_a_mean_comes_with_n_and_the_wider_interval():
    """Subjects that are all right or all wrong: over 40 questions ±0.16, over 4 subjects ±0.92."""
    items = [answered(f"mmlu_{subject}", n, float(subject % 2)) for subject in range(4) for n in range(10)]
    acc, norm = mean_metrics(items, "acc", None)
    assert (acc.n, acc.clusters, acc.mean) == (40, 4, 0.5)
    # se² = G/(G−1) · Σ_g (Σ e)² / n² = 4/3 · 4 · 5² / 40², t(.975, 3) = 3.182
    assert acc.interval.high - 0.5 == pytest.approx(3.182446 * (4 / 3 * 100 / 1600) ** 0.5, rel=1e-5)
    assert norm.mean == 1.0
    assert norm.interval.low < 1.0  # Wilson's: forty of forty do not prove certainty
    (single, _) = mean_metrics(items[:10], "acc", None)
    assert (single.clusters, single.interval.method) == (10, "wilson")


def test_metrics_and_filters_are_named():
    items = [answered("t", n, 0.5, read) for n in range(4) for read in ("strict", "loose")]
    assert mean_metrics(items, None, None)[0].n == 4
    assert [each.metric for each in mean_metrics(items, "acc_norm", "loose")] == ["acc_norm", "acc"]
    with pytest.raises(ConfigError, match="did you mean 'acc_norm'"):
        mean_metrics(items, "acc_nrm", None)
    with pytest.raises(ConfigError, match="did you mean 'strict'"):
        mean_metrics(items, None, "strct")


def chat_sides(folder, name, **template):
    """A model of a family asked by its chat template, by our engine and by lm-eval's own model."""
    model = save_family_model(name, folder, max_position_embeddings=2048)
    plain = AutoTokenizer.from_pretrained(folder)
    if plain.pad_token is None:
        plain.pad_token = plain.eos_token
    encoder = Encoder(plain, Limits(max_length=2000, **template))
    theirs = HFLM(pretrained=model, tokenizer=plain, batch_size=4, add_bos_token=False)
    theirs.encoder = encoder  # so that it is asked by the template too
    return Engine(model, plain, max_tokens=512, encoder=encoder), theirs


@pytest.mark.parametrize("name", FAMILIES)
def test_what_lm_eval_asks_by_the_chat_template_has_the_ids_of_transformers(name, tmp_path):
    ours, theirs = chat_sides(tmp_path, name)
    talks = [
        [("user", "Name a river.")],
        [("user", " Größe? 日本語で\n"), ("assistant", "Ja — naïve ½ “fine”. "), ("user", "x = {'a': [1]}")],
        [("user", "a"), ("assistant", ""), ("user", "\n\nb"), ("assistant", " c"), ("user", "why? " * 30)],
    ]
    for talk in talks:
        turns = [{"role": role, "content": text} for role, text in talk]
        text = ours.apply_chat_template(turns)
        assert text == theirs.apply_chat_template(turns)
        ids = ours.tokenizer.apply_chat_template(turns, add_generation_prompt=True, return_dict=False)
        assert ours.tok_encode(text) == ids == ours._encode_all([(text, "")]).get(text, ids)
        assert ours.tok_batch_encode([text])[0][0].tolist() == ids
    assert set(ours.model.generation_config.eos_token_id) >= {ours.encoder.end.id}


CHATS = [("llama3", "arc_easy", 2), ("qwen2", "mmlu", 1), pytest.param("zephyr", "gsm8k", 1, marks=pytest.mark.slow)]


@pytest.mark.parametrize(("name", "task", "shots"), CHATS)
def test_tasks_by_the_chat_template_score_as_with_lm_evals_own_model(name, task, shots, tmp_path, file):
    found = [run_task(side, task, data=file(task), shots=shots, limit=2) for side in chat_sides(tmp_path, name)]
    same(*found)


def test_a_system_turn_and_options_reach_what_lm_eval_asks(tmp_path):
    ours, _ = chat_sides(tmp_path, "qwen3", system="Be brief.", template_options={"enable_thinking": False})
    text = ours.apply_chat_template([{"role": "user", "content": "a"}])
    assert text.startswith("<|im_start|>system\nBe brief.<|im_end|>")
    assert text.endswith("<|im_start|>assistant\n<think>\n\n</think>\n\n")


def test_without_an_encoder_or_for_an_answer_that_has_begun_the_template_is_lm_evals_own(monkeypatch):
    monkeypatch.setattr(HFLM, "apply_chat_template", lambda _, turns, opened: f"{len(turns)} {opened}")
    engine = object.__new__(Engine)
    turns = [{"role": "user", "content": "Why?"}]
    engine.encoder = None
    assert engine.apply_chat_template(turns) == "1 True"
    engine.encoder = SimpleNamespace(
        turns=lambda messages: [each.content for each in messages],
        template=SimpleNamespace(render=lambda turns, opened: [f"ours {turns} {opened}"]),
    )
    assert engine.apply_chat_template(turns, add_generation_prompt=False) == "1 False"
    assert engine.apply_chat_template(turns) == "ours [['Why?']] True"
