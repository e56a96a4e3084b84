"""What a recipe can do: the kinds of steps with their settings. What each does is in ``flow.steps``.

No torch and nothing heavy: a recipe is read and checked with this alone.
"""

from typing import ClassVar, Literal, Self

import pydantic

from notus.core.config import Config
from notus.data.clean import Cleaning
from notus.data.collect_settings import Collection, Conversation, Refinement
from notus.data.folds import Fold
from notus.data.presets import Preset, preset_named
from notus.data.selection import Rejected, Selection, Strategy
from notus.flow.alpacakinds import Alpaca, AlpacaJudge
from notus.flow.harnesskinds import Harness
from notus.flow.mtbenchkinds import MtBench
from notus.flow.rankertrainkinds import TrainRanker
from notus.flow.rankkinds import Rank
from notus.flow.roundskinds import BestOfN, Round
from notus.flow.samplekinds import Sample
from notus.flow.stepconfig import OptionalRef, Reads, Ref, Refs, Seed, Serving, StepConfig
from notus.flow.trialkinds import JudgeTrial, RewardCheck
from notus.miniature.world import WorldConfig
from notus.models.settings import Limits, Sampling, Shape
from notus.train.loss_settings import AnyObjective, Sigmoid
from notus.train.settings import Training

__all__ = [
    "KINDS",
    "Audit",
    "Binarize",
    "Clean",
    "Collect",
    "Converse",
    "Create",
    "Diff",
    "Dpo",
    "Export",
    "Miniature",
    "MiniatureJudge",
    "Read",
    "Refine",
    "Repair",
    "Rewards",
    "Sft",
    "Success",
]


class Miniature(StepConfig):
    """Write the miniature world: feedback in the raw UltraFeedback layout, dialogues, held-out prompts, the truth."""

    do: Literal["miniature"] = "miniature"
    seed: Seed | None = None
    """null takes the replicate's seed."""
    world: WorldConfig = WorldConfig()


class Read(Reads):
    """Read feedback or preference pairs from files or the hub."""

    draws: ClassVar[bool] = False
    do: Literal["read"] = "read"
    path: Ref
    """A file, a folder or a hub id, with ``@revision`` behind it if wanted."""
    held_out: float = pydantic.Field(default=0.0, ge=0, lt=1)
    """Share of the prompts that is kept for evaluation; for preference pairs."""
    fold: Fold | None = None
    """A fold of the prompts that is kept for evaluation instead, so that the model which is trained on the others can
    judge it; for preference pairs."""

    @pydantic.model_validator(mode="after")
    def _one_of_both(self) -> Self:
        if self.held_out and self.fold:
            raise ValueError("'held_out' and 'fold' both say what is kept for evaluation; leave one out")
        return self


class Audit(Reads):
    """Look for scores that are wrong, and at the health of the set."""

    draws: ClassVar[bool] = False
    do: Literal["audit"] = "audit"
    data: Ref = "data"
    rewards: Refs = pydantic.Field(default=(), exclude=True)
    """Reward checks of these pairs, each of other prompts: what their rewards contradict is looked for too."""
    truth: OptionalRef = None
    """The miniature world that the pairs were made of: what the rewards contradict is measured against its truth."""

    @pydantic.model_validator(mode="after")
    def _something_to_measure(self) -> Self:
        if self.truth and not self.rewards:
            raise ValueError(
                "'truth' measures what rewards contradict, and there are none; name reward checks under "
                "'rewards', or leave it out"
            )
        return self


class Repair(Reads):
    """Repair feedback by a rule, before it is binarized: each change is recorded, what is in doubt is queued."""

    draws: ClassVar[bool] = False
    do: Literal["repair"] = "repair"
    data: Ref = "data"
    rule: Literal["published"] = "published"
    """``published``: a 10 beside a mean rating of at most 2 becomes 1, see ``data.repair``."""


class Clean(Reads, Cleaning):
    """Take out prompts that repeat others or hold questions of benchmarks, and answers that nobody should learn."""

    draws: ClassVar[bool] = False
    do: Literal["clean"] = "clean"
    data: Ref = "data"
    against: Refs = pydantic.Field(default=(), exclude=True)
    """Files of questions of benchmarks, or folders of such files. What is in them counts, not where they lie."""
    controls: bool = True
    """Whether controls are looked for too, which the curve of the thresholds needs; it takes about as long again."""
    dry_run: bool = False
    """Whether only the evidence is written, and no cleaned data."""


class Binarize(Reads):
    """Turn feedback into preferences."""

    do: Literal["binarize"] = "binarize"
    data: Ref = "data"
    preset: str | None = None
    """A published binarization; a setting beside it that is not null takes the place of its own."""
    strategy: Strategy | None = None
    """The score that ranks the completions; null takes the preset's, or the mean rating."""
    weights: dict[str, float] | None = None
    """Aspect → weight, for the strategy ``weighted``."""
    rejected: Rejected | None = None
    """What is rejected; null takes the preset's, or a random lower one."""
    margin: float | None = pydantic.Field(default=None, ge=0)
    """Least difference of the scores of chosen and rejected, in the unit of the score."""
    questions: OptionalRef = None
    """A file of questions of a benchmark; prompts that equal one are left out."""
    test_size: int | None = pydantic.Field(default=None, ge=0)
    """Pairs of the test part, drawn as for the published sets; null takes the preset's."""
    held_out: float = pydantic.Field(default=0.0, ge=0, lt=1)
    """Share of the prompts that is kept for evaluation, where no test size is given."""
    seed: Seed | None = None

    @pydantic.model_validator(mode="after")
    def _fits(self) -> Self:
        preset = self.published()
        self.selection()
        if preset is not None and preset.without_questions and self.questions is None:
            raise ValueError(
                f"the preset '{self.preset}' leaves out prompts that equal a question of TruthfulQA; name the file "
                "of these (questions, --questions)"
            )
        if self.held_out and self.parts():
            raise ValueError("'held_out' and a test size exclude each other; set one of them to 0")
        return self

    def published(self) -> Preset | None:
        """The preset, if one is named."""
        return None if self.preset is None else preset_named(self.preset)

    def selection(self) -> Selection:
        """How pairs are made: the preset's settings, or the usual ones, under those that are given."""
        preset = self.published()
        base = preset.selection.resolved() if preset else {}
        given = {key: getattr(self, key) for key in ("strategy", "weights", "rejected", "margin")}
        over = {key: value for key, value in given.items() if value is not None}
        if over.get("strategy", base.get("strategy")) != base.get("strategy"):
            base |= {"missing": None}  # it belongs to the preset's own score
        return Selection.parse(base | over, where="binarize")

    def parts(self) -> int:
        """Pairs of the test part."""
        preset = self.published()
        return self.test_size if self.test_size is not None else preset.test_size if preset else 0


class Diff(Reads):
    """Compare two preference sets, made of the same feedback or not."""

    draws: ClassVar[bool] = False
    do: Literal["diff"] = "diff"
    a: Ref
    b: Ref


class Export(Reads):
    """Write feedback, pairs or dialogues in somebody else's layout."""

    draws: ClassVar[bool] = False
    do: Literal["export"] = "export"
    data: Ref = "data"
    to: Literal[
        "argilla", "argilla-cleaned", "h4", "trl", "trl-implicit", "trl-unpaired", "ultrachat", "ultrafeedback"
    ] = "trl"
    """Layout of the rows. What it cannot hold is dropped, with the reason."""
    format: Literal["jsonl", "parquet"] = "jsonl"
    strategy: Literal["mean-rating", "critique", "repaired-critique", "ranker"] = "mean-rating"
    """What ranks the completions where feedback becomes unpaired rows or dialogues."""
    top: int = pydantic.Field(default=1, ge=1)
    """How many of the best answers of a prompt become dialogues."""
    threshold: float | None = None
    """Score above which an answer is wanted, for unpaired rows; null takes the mean of the scores of its prompt."""


class Create(StepConfig):
    """Make a tokenizer from the texts of the data, and a small model with random weights."""

    computes: ClassVar[bool] = True
    do: Literal["create"] = "create"
    data: Ref = "data"
    shape: Shape = Shape()
    seed: Seed | None = None


class Sft(StepConfig, Training):
    """Supervised fine-tuning on dialogues, or on the chosen answers of preferences."""

    computes: ClassVar[bool] = True
    do: Literal["sft"] = "sft"
    start: Ref = "create"
    """Model to start from: a step, a folder or a hub id."""
    data: Ref = "data"
    seed: Seed | None = None


class Dpo(StepConfig, Training):
    """Preference optimisation, by pairs or by single rows."""

    computes: ClassVar[bool] = True
    do: Literal["dpo"] = "dpo"
    start: Ref = "sft"
    reference: OptionalRef = None
    """The reference policy; null takes the model that training starts from."""
    pairs: Ref = "binarize"
    """Preference pairs; unpaired rows for the losses ``kto`` and ``bco_unpaired``, which make two of a pair."""
    loss: AnyObjective = Sigmoid()
    """A loss with its options, or a list of ``{weight, loss}`` that is summed."""
    seed: Seed | None = None


class Success(StepConfig):
    """Sample answers to held-out prompts of the miniature, and check each exactly."""

    computes: ClassVar[bool] = True
    do: Literal["success"] = "success"
    model: Ref = "dpo"
    data: Ref = "data"
    sampling: Sampling = Sampling()
    limits: Limits = Limits()
    seed: Seed | None = None


class Rewards(StepConfig):
    """Accuracy of a policy's implicit reward on held-out preferences; a tie counts ½."""

    draws: ClassVar[bool] = False
    computes: ClassVar[bool] = True
    do: Literal["rewards"] = "rewards"
    policy: Ref = "dpo"
    reference: Ref = "sft"
    pairs: Ref = "data"
    max_tokens: int | None = pydantic.Field(default=2048, ge=16)
    """Tokens of one forward pass in the packed form; null computes padded, for models that the packed form refuses."""
    limits: Limits = Limits()


class MiniatureJudge(Config):
    """The judge of the miniature world, behind a loopback server that the step starts."""

    noise: float = pydantic.Field(default=0.8, ge=0)
    """Standard deviation of each rating's noise, in points."""
    malformed: float = pydantic.Field(default=0.1, ge=0, le=1)
    """Probability that a reply cannot be read."""


class Collect(Reads, Serving, Collection):
    """Collect feedback: answers of several models to the prompts of a source, and what a judge says of them."""

    do: Literal["collect"] = "collect"
    data: Ref = "data"
    miniature_judge: MiniatureJudge | None = None
    """Asked under the endpoint name ``miniature``; for prompts of the miniature world."""
    seed: Seed | None = None


class Converse(StepConfig, Serving, Conversation):
    """Collect dialogues that a teacher has with itself."""

    do: Literal["converse"] = "converse"
    seed: Seed | None = None


class Refine(Reads, Serving, Refinement):
    """Collect instructions that a teacher rewrites in the light of an answer."""

    do: Literal["refine"] = "refine"
    data: Ref = "data"
    seed: Seed | None = None


KINDS: dict[str, type[StepConfig]] = {
    "miniature": Miniature,
    "read": Read,
    "audit": Audit,
    "repair": Repair,
    "clean": Clean,
    "binarize": Binarize,
    "diff": Diff,
    "export": Export,
    "collect": Collect,
    "converse": Converse,
    "refine": Refine,
    "create": Create,
    "sft": Sft,
    "dpo": Dpo,
    "success": Success,
    "rewards": Rewards,
    "reward-check": RewardCheck,
    "judges": JudgeTrial,
    "train-ranker": TrainRanker,
    "harness": Harness,
    "sample": Sample,
    "best-of-n": BestOfN,
    "round": Round,
    "rank": Rank,
    "mtbench": MtBench,
    "alpaca": Alpaca,
    "alpaca-judge": AlpacaJudge,
}
"""Name of each kind of step, as ``do`` has it."""
