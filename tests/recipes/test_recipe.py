import pytest

from notus.core.config import difference
from notus.core.errors import ConfigError
from notus.recipes.recipe import BUILT_IN, find_recipe, load_recipe, make_plan
from notus.steps.base import refs_of
from notus.steps.data.binarize import Binarize
from notus.steps.registry import STEPS, step_class

SMALL = """
name: small
seeds: [0, 1]
data: {do: miniature, world: {prompts: 20, sft_examples: 40, held_out: 10, facts: 8}}
audit: {}
create: {}
sft: {limits: {max_length: 64, max_prompt_length: 32}}
binarize: {}
dpo: {start: sft, loss: {name: sigmoid, beta: 0.5}}
success: {}
arms:
  sft: {dpo: null, success: {model: sft}}
  faulty: {binarize: {strategy: critique}}
  mean: {}
"""


@pytest.fixture
def write(tmp_path):
    def written(text):
        path = tmp_path / "recipe.yaml"
        path.write_text(text)
        return path

    return written


@pytest.mark.parametrize("path", sorted(BUILT_IN.glob("*.yaml")), ids=lambda path: path.stem)
def test_every_recipe_parses(path):
    recipe = load_recipe(path)
    assert recipe.head.name == path.stem
    assert recipe.head.title
    assert recipe.head.description
    assert make_plan(recipe).steps


def test_arms_share_what_they_have_in_common(write):
    plan = make_plan(load_recipe(write(SMALL)))
    # per seed: data, audit, create, sft, 3 × success, 2 × binarize (the sft arm's is that of mean), 2 × dpo
    assert len(plan.steps) == 2 * 11
    assert len(plan.arms) == 6
    for seed in (0, 1):
        assert plan.arms["sft", seed]["sft"] == plan.arms["mean", seed]["sft"]
        assert plan.arms["faulty", seed]["binarize"] != plan.arms["mean", seed]["binarize"]
        assert plan.arms["faulty", seed]["data"] == plan.arms["mean", seed]["data"]
    assert plan.arms["mean", 0]["dpo"] != plan.arms["mean", 1]["dpo"]


def test_steps_come_after_what_they_need(write):
    plan = make_plan(load_recipe(write(SMALL)))
    seen = set()
    for digest, step in plan.steps.items():
        assert seen.issuperset(step.needs.values())
        seen.add(digest)


def test_a_change_redoes_what_depends_on_it_and_nothing_else(write):
    path = write(SMALL)
    old, new = (make_plan(load_recipe(path, sets)).arms["mean", 0] for sets in ([], ["dpo.loss.beta=0.1"]))
    assert difference(old, new).keys() == {"dpo", "success"}
    threads = make_plan(load_recipe(path, ["threads=2"])).arms["mean", 0]
    assert difference(old, threads).keys() == {"create", "sft", "dpo", "success"}


def test_a_pinned_seed_is_shared_by_the_replicates(write):
    plan = make_plan(load_recipe(write(SMALL), ["data.seed=7"]))
    assert plan.arms["mean", 0]["data"] == plan.arms["mean", 1]["data"]
    assert plan.arms["mean", 0]["sft"] != plan.arms["mean", 1]["sft"]


def test_a_given_file_counts_by_its_content(write, tmp_path):
    (tmp_path / "a.jsonl").write_text("1")
    path = write(f"name: r\nread: {{path: {tmp_path}/a.jsonl}}\n")
    first = list(make_plan(load_recipe(path)).steps)
    assert list(make_plan(load_recipe(path)).steps) == first
    (tmp_path / "a.jsonl").write_text("2")
    assert list(make_plan(load_recipe(path)).steps) != first


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ("bianrize: {}", ["'bianrize' is no step", "did you mean 'binarize'"]),
        ("other: {do: smt}", ["'smt' is no step"]),
        ("audit: {datas: data}", ["step 'audit'", "'datas'", "did you mean 'data'"]),
        ("dpo: {los: {name: sigmoid}}", ["arm 'faulty'", "step 'dpo'", "did you mean 'loss'"]),
        ("dpo: {loss: {name: sigmoid, bta: 1}}", ["has no option 'bta'", "did you mean 'beta'"]),
        ("dpo: {loss: {name: sigmod}}", ["sigmod", "sigmoid"]),
        ("dpo: {loss: {name: sigmoid, beta: -1}}", ["beta' is -1", "greater than 0"]),
        ("dpo: {limits: {max_lenght: 3}}", ["'limits.max_lenght'", "did you mean 'max_length'"]),
        ("data: {do: miniature, world: {promts: 3}}", ["'world.promts'", "did you mean 'prompts'"]),
        ("audit: 3", ["'audit' is 3", "a mapping"]),
        ("arms: {}", ["'arms'"]),
        ("arms: {a: {dop: {}}}", ["'dop' is no step of this recipe", "did you mean 'dpo'"]),
        ("arms: {a: 3}", ["arm 'a' is 3"]),
        ("seeds: [1, 1]", ["a seed stands twice"]),
        ("seeds: []", ["'seeds'"]),
        ("name: Not Good", ["'name'"]),
        ("baseline: x", ["baseline 'x' is no arm"]),
        ("audit: {data: nothing-here}", ["step 'audit', 'data'", "'nothing-here' is no file"]),
        ("create: {data: sft}", ["step 'create': 'data' is 'sft', which leaves model", "dialogues"]),
    ],
)
def test_a_fault_in_a_recipe_is_one_line_that_helps(write, change, words):
    key = change.partition(":")[0]
    lines = SMALL.splitlines()
    if key == "arms":
        lines = lines[: lines.index("arms:")]
    text = "\n".join([line for line in lines if not line.startswith(f"{key}:")] + [""])
    arms = text.find("arms:")
    text = text[:arms] + change + "\n" + text[arms:] if arms >= 0 else text + change + "\n"
    with pytest.raises(ConfigError) as caught:
        make_plan(load_recipe(write(text)))
    message = str(caught.value)
    assert "\n" not in message
    assert all(word in message for word in words), message


def test_an_unknown_recipe_names_the_nearest():
    with pytest.raises(ConfigError, match="did you mean 'demo'"):
        find_recipe("demoo")
    assert find_recipe("demo").is_file()


def test_a_circle_is_named(write):
    with pytest.raises(ConfigError, match="in a circle: a → b → a"):
        make_plan(load_recipe(write("name: r\na: {step: repair, data: b}\nb: {step: repair, data: a}\n")))


def test_do_is_read_as_step(write):
    old, new = "name: r\na: {do: miniature}\n", "name: r\na: {step: toy}\n"
    plans = [make_plan(load_recipe(write(text))) for text in (old, new)]
    assert list(plans[0].steps) == list(plans[1].steps)


def test_steps_are_named_as_they_are_written():
    for name in STEPS.names:
        assert step_class(name).step_type == name
    assert refs_of(Binarize()) == {"data": "data"}


@pytest.mark.parametrize("name", ["mistralai/Mistral-7B-v0.1", "Qwen/Qwen2.5-0.5B", "owner/name@v1.0"])
def test_models_of_the_hub_can_be_named(write, name):
    step = make_plan(load_recipe(write(SMALL), [f"sft.start={name}"])).arms["mean", 0]["sft"]
    assert step


@pytest.mark.parametrize("seed", [-1, 2**32])
def test_a_seed_that_no_library_takes_is_refused(write, seed):
    with pytest.raises(ConfigError, match="seed"):
        load_recipe(write(SMALL), [f"seeds=[{seed}]"])


def test_a_setting_is_overridden_under_any_of_its_names(write):
    """By ``--set`` and by an arm, in the names of transformers and TRL, over ours and the other way round."""
    text = SMALL.replace("dpo: {start: sft,", "dpo: {start: sft, batch_size: 8, num_train_epochs: 2,").replace(
        "mean: {}", "mean: {dpo: {per_device_train_batch_size: 4, loss_type: ipo}}"
    )
    recipe = load_recipe(write(text), ["dpo.epochs=3", "dpo.beta=0.2", "sft.max_length=48"])
    faulty, mean = recipe.arms["faulty"], recipe.arms["mean"]
    assert (faulty["dpo"].epochs, faulty["dpo"].batch_size, faulty["sft"].limits.max_length) == (3, 8, 48)
    assert faulty["dpo"].loss.resolved() == {"name": "sigmoid", "beta": 0.2}
    assert mean["dpo"].loss.resolved() == {"name": "ipo_mean", "beta": 0.1}
    assert mean["dpo"].batch_size == 4
    both = SMALL.replace("dpo: {start: sft,", "dpo: {start: sft, epochs: 1, num_train_epochs: 2,")
    with pytest.raises(ConfigError, match=r"step 'dpo': 'epochs' and 'num_train_epochs' are two names"):
        load_recipe(write(both))
    with pytest.raises(ConfigError, match=r"recipe.yaml: step 'dpo': 'warmup_steps'"):
        load_recipe(write(SMALL), ["dpo.warmup_steps=100"])


def test_a_loss_of_the_users_counts_by_what_its_file_holds(write, tmp_path):
    mine = tmp_path / "mine.py"

    def digest(loss):
        return make_plan(load_recipe(write(SMALL), [f"dpo.loss={loss}"])).arms["mean", 0]["dpo"]

    found = []
    for factor in (1, 1, 2):
        mine.write_text(f"def mine(pairs, *, beta=0.1):\n    return -{factor} * beta * pairs.ratio_gaps\n")
        found.append([digest(f"python:{mine}:mine"), digest(f"[{{loss: nll}}, {{loss: 'python:{mine}:mine'}}]")])
    assert found[0] == found[1]
    assert all(one != other for one, other in zip(found[0], found[2], strict=True))


def test_requirements_are_checked_when_a_recipe_is_read(write):
    lines = ["mean - sft > 0", "success: mean > 40 %"]
    assert load_recipe(write(SMALL), settings={"require": lines}).head.require == tuple(lines)
    for line, told in (
        ("mean - stf > 0", "no arm 'stf'; did you mean 'sft'"),
        ("sucess: mean > 0", "no evaluation 'sucess'; did you mean 'success'"),
        ("mean better sft", "is no requirement"),
    ):
        with pytest.raises(ConfigError, match=told):
            load_recipe(write(SMALL), settings={"require": [line]})
