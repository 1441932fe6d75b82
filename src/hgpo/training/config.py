"""The settings of a training run, checked before anything is made, and their place in the run's folder."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, get_args

import tyro

from hgpo.envs import ENVIRONMENTS, TaskSuite
from hgpo.envs.processes import EnvironmentIsolation, isolated
from hgpo.errors import SettingError
from hgpo.estimators import (
    ENTROPY_CREDITS,
    ESTIMATORS,
    HBC,
    HGPO,
    CriticEstimator,
    EntropyCreditName,
    Estimator,
)
from hgpo.files import atomic_write
from hgpo.policies.settings import CriticTraining, Lora, Precision, TinyModel, check_source
from hgpo.registry import load_class, spelling_of
from hgpo.rollouts.prompts import RESPONSE_FORMATS
from hgpo.runs.old_names import current_settings
from hgpo.runs.trackers import TrackerName, check_trackers
from hgpo.training.choices import EstimatorChoice, SuiteChoice, default_estimator
from hgpo.training.losses import PolicyLoss
from hgpo.training.reward_shaping import OverlongShaping
from hgpo.training.schedules import Decay, EntropyTarget

AS_PROMPTED: Any = None
"""Stands for the default estimator; its depth K follows from the prompt's history."""


if TYPE_CHECKING:
    from hgpo.policies.compute import Compute

ResponseFormatName = Literal["number", "text", "think_action"]
EngineName = Literal["transformers", "vllm"]
AdvantageScale = Literal["own", "match"]
OldLogprobs = Literal["sampler", "recomputed"]


@dataclass(frozen=True)
class Imitation:
    """How a policy learns from texts of play by cross-entropy."""

    tasks: int
    """How many training tasks are played for them; 0 for none."""
    epochs: int = 5
    """How many times each step of them is learned from."""
    batch_rows: int = 32
    """Steps that share an optimizer step."""
    learning_rate: float = 3e-3
    """Peak learning rate; it rises over the first tenth of the steps and falls linearly to 0."""
    prompt_weight: float = 0.3
    """Weight of the mean loss of the prompts' own tokens: a model made from scratch has to learn to read."""


@dataclass(frozen=True)
class ReadingSettings(Imitation):
    """How long a model made from scratch reads before it acts: random play under titles in hindsight."""

    tasks: int = 3000
    """How many training tasks are played at random; a suite without readings has none, however many. 0 reads
    nothing."""
    epochs: int = 1
    batch_rows: int = 64
    other_weight: float = 0.1
    """Weight of an answer that shares no word with the title; the others weigh 1."""


@dataclass(frozen=True)
class WarmStart(Imitation):
    """How long a policy imitates walkthroughs. With 0 tasks it imitates none."""

    tasks: int = 60
    """How many training tasks give a walkthrough to imitate."""


@dataclass(frozen=True)
class TrainConfig:
    """All settings of a training run; the defaults make an agent learn household games on two cores."""

    env: SuiteChoice = field(default_factory=next(iter(ENVIRONMENTS.values())))
    """The games."""
    estimator: EstimatorChoice = AS_PROMPTED
    """How advantages are computed; if not given, by HGPO, as deep as the prompt shows."""
    entropy_credit: EntropyCreditName = "none"
    """Change the advantages by the entropy of each response, on top of any estimator: aem (arXiv 2605.00425)
    or empg (arXiv 2509.09265). The policy reads every row once more for that."""
    loss: PolicyLoss = field(default_factory=lambda: PolicyLoss(kl_coefficient=0.0, entropy_coefficient=0.05))
    """The policy's objective."""
    overlong: OverlongShaping = field(default_factory=OverlongShaping)
    """What a response costs for being too long."""
    critic: CriticTraining = field(default_factory=CriticTraining)
    """How the critic learns; PPO alone has one."""
    reading: ReadingSettings = field(default_factory=ReadingSettings)
    """What a model made from scratch reads before the warm start."""
    warm_start: WarmStart = field(default_factory=WarmStart)
    """Imitation before reinforcement learning."""
    tiny: TinyModel = field(default_factory=TinyModel)
    """Shape of the model that is made where --model is not given."""
    model: Annotated[str | None, tyro.conf.arg(metavar="PATH_OR_NAME")] = None
    """A causal LM with its tokenizer: a folder in transformers' format, a GGUF file, or a name on the Hugging
    Face hub; None makes a tiny one here."""
    lora: Lora = field(default_factory=Lora)
    """Train a low-rank adapter of the model instead of all its weights; it wants a learning rate ten times as
    high or more."""
    device: str | None = None
    """Where the model is, as PyTorch names it; None: a GPU if there is one."""
    precision: Precision = "auto"
    """Of the model's products; auto: bfloat16 for --model on a GPU that has it, else float32. Weights that
    learn are float32 always."""
    gradient_checkpointing: tyro.conf.FlagCreatePairsOff[bool] = False
    """Compute what a gradient needs of a layer twice rather than keep it: less memory, a third more time."""
    engine: EngineName = "transformers"
    """What samples in rollouts: the model that learns, or vLLM, which takes over its weights once per
    iteration (pip install 'hgpo[vllm]')."""
    engine_memory: float = 0.4
    """Share of the GPU's memory that vLLM may take; the update needs the rest."""
    seed: int = 0
    """Fixes everything that is drawn: weights, tasks, actions, batches."""
    iterations: int = 300
    """Rounds of rollout and update."""
    budget_steps: Annotated[int | None, tyro.conf.arg(metavar="INT")] = None
    """End after the iteration in which this number of environment steps is reached, if --iterations does not
    end the run earlier; None: no such limit."""
    tasks_per_iteration: int = 16
    """Tasks per iteration."""
    group_size: int = 16
    """N: how many rollouts try each task; at least 2, because they are compared with one another."""
    dynamic_sampling_rounds: int = 1
    """DAPO's dynamic sampling with more than 1: groups of equal returns are dropped and other tasks are
    tried instead, for at most this number of rounds."""
    temperature: float = 1.0
    """Of sampling in training rollouts."""
    prompt_history: int = 2
    """How many of the last observations and actions the prompt shows. HGPO's depth K
    (--estimator.history-length) is as large unless it is given."""
    response: ResponseFormatName = "text"
    """Whether the agent answers with a listed command's text, with its number, or, as chat models do in
    published runs, with a thought and then the command in tags."""
    max_prompt_tokens: int = 320
    """The oldest history is left out of a longer prompt."""
    max_response_tokens: Annotated[int | None, tyro.conf.arg(metavar="INT")] = None
    """None: as many as the longest answer needs."""
    learning_rate: float = 6e-4
    """Of AdamW in reinforcement learning; 1e-6 for models of 1.5B parameters and more."""
    learning_rate_warmup: int = 5
    """Iterations before the learning rate is reached; Adam's first steps know little of the noise."""
    learning_rate_decay: Decay = field(default_factory=lambda: Decay("linear", 0.2))
    """How the learning rate falls after the warm-up."""
    entropy_decay: Decay = field(default_factory=lambda: Decay("linear", 0.6))
    """How --loss.entropy-coefficient changes over the run."""
    entropy_target: EntropyTarget = field(default_factory=EntropyTarget)
    """The entropy to hold by changing --loss.entropy-coefficient."""
    kl_decay: Decay = field(default_factory=Decay)
    """How --loss.kl-coefficient changes over the run."""
    ppo_epochs: int = 1
    """Times that each iteration's rows are used."""
    num_minibatches: int = 4
    """Mini-batches that the rows are dealt into at each pass, one optimizer step each."""
    mini_batch_rows: Annotated[int | None, tyro.conf.arg(metavar="INT")] = None
    """Rows of the iteration for each mini-batch, in place of --num-minibatches."""
    old_logprobs: OldLogprobs = "sampler"
    """Where the log-probabilities come from that the policy's are compared with: from what sampled, or
    recomputed by the model that learns before the update. The metric logprob_mismatch says how far they are
    apart."""
    advantage_scale: AdvantageScale = "own"
    """"own" takes advantages as the estimator gives them. "match" scales those of every iteration to the root
    mean square that HGPO has on the same rows, so that entropy bonus, KL penalty and subsampling weigh the
    same whatever the estimator."""
    subsample_below: float = 0.5
    """Rows with a smaller advantage are kept at random, in proportion to it, and weigh that much more; the
    gradient is the same on average and costs less. 0 keeps all rows."""
    max_gradient_norm: float = 1.0
    """Longer gradients are scaled down to this norm."""
    merge_rows: bool = True
    """Read rows with the same prompt and response once; the gradient is the same without."""
    token_budget: int = 16_384
    """Most tokens in one forward pass: what bounds the memory."""
    weight_average_decay: float = 0.0
    """d: evaluations play with a moving average of the policy's weights, such as 0.9; after every iteration
    average ← d average + (1 − d) weights. Training is the same. 0 switches it off."""
    evaluate_every: int = 0
    """Iterations between evaluations on the held-out splits; 0 evaluates before and after only."""
    evaluation_temperature: float = 0.4
    """Of the sampled evaluation; the other one is greedy."""
    evaluation_tasks: Annotated[int | None, tyro.conf.arg(metavar="INT")] = None
    """Only the first N tasks of each split; None plays all."""
    environment_timeout: float = 60.0
    """Seconds that an environment may take for a step; then its trajectory fails, and the group goes on
    without it. 0 waits for ever."""
    env_isolation: EnvironmentIsolation = "thread"
    """Where environments run: in threads of the run's process, or each in a process of its own, so that one
    that crashes or leaks costs its trajectory alone."""
    information_prompts: int = 16
    """Prompts of each iteration whose answers are scored under one another's prompts, for the metric
    answer_information: it is near 0 when answers no longer depend on what is read. 0 leaves it out."""
    keep_rollouts: tyro.conf.FlagCreatePairsOff[bool] = False
    """Keep every iteration's rollouts in the run's folder, as rollouts/NUMBER.parquet."""
    checkpoint_every: int = 1
    """Iterations between checkpoints: what is lost at most if the run is killed."""
    sample_every: int = 20
    """Iterations between samples: transcripts, and the rollouts that the report shows."""
    track: tuple[TrackerName, ...] = ()
    """Experiment trackers that get the metrics, too: tensorboard and wandb keep them in the run's folder
    (wandb online with WANDB_MODE=online), trackio in its local database."""
    threads: Annotated[int | None, tyro.conf.arg(metavar="INT")] = None
    """Threads of the model's arithmetic; None takes one per core. With the small model that is made here each
    thread computes a part of the update by itself, and the numbers are the same for any number of them; with
    --model all threads share each sum, and the last digits depend on it."""

    def __post_init__(self) -> None:
        self._check_positive("seed", "prompt_history", at_least=0)
        if self.estimator is AS_PROMPTED:
            estimator = as_deep_as_shown(default_estimator(HGPO), self.prompt_history)
            object.__setattr__(self, "estimator", estimator)
        self._check_positive(
            *("iterations", "evaluate_every", "sample_every", "learning_rate_warmup", "information_prompts"),
            at_least=0,
            reason="0 switches it off",
        )
        self._check_positive(
            *("tasks_per_iteration", "max_prompt_tokens", "ppo_epochs", "num_minibatches", "token_budget"),
            *(
                "checkpoint_every",
                "max_response_tokens",
                "evaluation_tasks",
                "threads",
                "dynamic_sampling_rounds",
                "budget_steps",
                "mini_batch_rows",
            ),
            at_least=1,
        )
        self._check_positive(
            "group_size", at_least=2, reason="the rollouts of a task are compared with one another"
        )
        for name in ("temperature", "learning_rate", "max_gradient_norm"):
            value = getattr(self, name)
            if not 0 < value < float("inf"):
                raise SettingError(f"{_flag(name)} is {value}: expected a number above 0")
        for name in ("evaluation_temperature", "subsample_below", "environment_timeout"):
            value = getattr(self, name)
            if not 0 <= value < float("inf"):
                raise SettingError(f"{_flag(name)} is {value}: expected a number of at least 0")
        if self.response not in RESPONSE_FORMATS:
            known = ", ".join(RESPONSE_FORMATS)
            raise SettingError(f"--response is {self.response!r}: expected one of {known}")
        if self.entropy_credit not in ENTROPY_CREDITS:
            known = ", ".join(ENTROPY_CREDITS)
            raise SettingError(f"--entropy-credit is {self.entropy_credit!r}: expected one of {known}")
        check_trackers(self.track)
        if not 0 <= self.weight_average_decay < 1:
            raise SettingError(
                f"--weight-average-decay is {self.weight_average_decay}: expected a number of at least 0 and "
                "below 1"
            )
        self._check_imitation("reading", self.reading)
        self._check_imitation("warm_start", self.warm_start)
        self._check_schedules()
        if not 0 < self.engine_memory < 1:
            raise SettingError(f"--engine-memory is {self.engine_memory}: expected a share between 0 and 1")
        if self.model is not None:
            check_source(self.model)
        if self.lora.rank and self.model is None:
            raise SettingError("--lora.rank needs --model: an adapter adapts a model that is there")
        if self.lora.rank and isinstance(self.estimator, CriticEstimator):
            raise SettingError("PPO needs --lora.rank 0: its critic is a second model, not an adapter")
        if self.model is None and self.warm_start.tasks == 0 and self.iterations > 0:
            raise SettingError(
                "--warm-start.tasks 0 needs --model: a model made from scratch wins nothing to learn from"
            )

    def _check_imitation(self, group: str, settings: Imitation) -> None:
        for name, at_least in (("tasks", 0), ("epochs", 1), ("batch_rows", 1)):
            value = getattr(settings, name)
            if value < at_least:
                raise SettingError(f"{_flag(f'{group}.{name}')} is {value}: expected {at_least} or more")
        if not 0 < settings.learning_rate < float("inf"):
            flag = _flag(f"{group}.learning_rate")
            raise SettingError(f"{flag} is {settings.learning_rate}: expected a number above 0")

    def _check_schedules(self) -> None:
        if self.entropy_target.nats is not None and self.entropy_decay.shape != "constant":
            raise SettingError(
                "--entropy-target and --entropy-decay both set the entropy coefficient: give "
                "--entropy-decay.shape constant, or no target"
            )

    def playing_suite(self) -> TaskSuite:
        """The games whose environments are played, isolated as the settings say."""
        return isolated(self.env, self.env_isolation, self.environment_timeout or None)

    def compute(self) -> Compute:
        """Where and how the run's model computes.

        Raises:
            SettingError: if there is no such device.
        """
        # Settings are read and shown without torch.
        from hgpo.policies.compute import choose_compute, usable_cores

        # The tiny model gains nothing by short numbers, and its README's figures are of long ones.
        precision = "float32" if self.model is None and self.precision == "auto" else self.precision
        return choose_compute(
            self.device,
            precision,
            token_budget=self.token_budget,
            recompute=self.gradient_checkpointing,
            threads=(self.threads or usable_cores()) if self.model is None else 1,
        )

    def set_threads(self) -> None:
        """Set how many threads PyTorch computes one sum with, in the whole process.

        It is one for the small model that is made here: threads that share sums as small as its own wait for
        one another most of the time, and on a busy machine for other programs, too.
        """
        import torch

        if self.model is None:
            torch.set_num_threads(1)
        elif self.threads is not None:
            torch.set_num_threads(self.threads)

    def _check_positive(self, *names: str, at_least: int, reason: str = "") -> None:
        for name in names:
            value = getattr(self, name)
            if value is not None and value < at_least:
                because = f" ({reason})" if reason else ""
                raise SettingError(f"{_flag(name)} is {value}: expected {at_least} or more{because}")


def as_deep_as_shown(estimator: Estimator, prompt_history: int) -> Estimator:
    """The estimator, HGPO and HBC with as many levels of history as the prompt shows.

    Deeper groups separate steps that the agent cannot tell apart, and have fewer peers.
    """
    if not isinstance(estimator, HGPO | HBC):
        return estimator
    return dataclasses.replace(estimator, history_length=prompt_history)


def with_prompt_history(config: TrainConfig, length: int) -> TrainConfig:
    """The settings with prompts of this history, and an estimator that compares by as much."""
    estimator = as_deep_as_shown(config.estimator, length)
    return dataclasses.replace(config, prompt_history=length, estimator=estimator)


def depth_warning(config: TrainConfig) -> str | None:
    """The warning that steps are compared by more history than the agent is shown; None if they are not."""
    estimator = config.estimator
    if not isinstance(estimator, HGPO | HBC) or estimator.history_length <= config.prompt_history:
        return None
    return (
        f"WARNING: {type(estimator).__name__} compares steps by up to {estimator.history_length} earlier "
        f"states (--estimator.history-length), but the prompt shows only {config.prompt_history} "
        "(--prompt-history): its deepest groups separate steps that the agent cannot tell apart, and have "
        "fewer peers"
    )


def _flag(name: str) -> str:
    return "--" + name.replace("_", "-")


BEFORE: dict[str, dict[str, Any]] = {
    "TrainConfig": {
        "reading": ReadingSettings(tasks=0),
        "learning_rate_decay": Decay(),
        "entropy_decay": Decay(),
    },
    "TinyModel": {"merges": 0},
}
"""What runs did that are older than a setting and do not name it, where that is not its default."""

_TYPES: dict[str, Any] = {
    cls.__name__: cls
    for cls in (
        *(TrainConfig, ReadingSettings, WarmStart, TinyModel, PolicyLoss, OverlongShaping),
        *(CriticTraining, Lora, Decay, EntropyTarget),
        *ESTIMATORS.built_in.values(),
        *ENVIRONMENTS.built_in.values(),
    )
}
"""The package's own classes of settings by name; all others are known by MODULE:CLASS."""


def to_json(config: Any) -> Any:
    """A config as JSON values; each dataclass is an object that names its class under "type".

    Raises:
        SettingError: if a class of the user's own could not be loaded again.
    """
    if not dataclasses.is_dataclass(config):
        return config
    cls = type(config)
    values = {f.name: to_json(getattr(config, f.name)) for f in dataclasses.fields(config) if f.init}
    return {"type": cls.__name__ if _TYPES.get(cls.__name__) is cls else spelling_of(cls), **values}


def from_json(value: Any) -> Any:
    """The config that `to_json` was given.

    Raises:
        SettingError: if a class or a setting is unknown, as in a file of another version, or if a class of
            the user's own cannot be loaded.
    """
    if isinstance(value, list):
        return tuple(map(from_json, value))
    if not isinstance(value, dict):
        return value
    values = {name: from_json(inner) for name, inner in value.items() if name != "type"}
    kind = value.get("type", "")
    if ":" in kind:
        try:
            return load_class(kind)(**values)
        except TypeError as error:
            raise SettingError(f"{kind} has changed since its settings were written: {error}") from None
    try:
        return _TYPES[kind](**{**BEFORE.get(kind, {}), **current_settings(kind, values)})
    except (KeyError, TypeError) as error:
        raise SettingError(f"this is not a configuration of this version of hgpo: {error}") from None


def save_config(config: TrainConfig, path: Path) -> None:
    """Write the config as JSON."""
    atomic_write(path, json.dumps(to_json(config), indent=2) + "\n")


def load_config(path: Path) -> TrainConfig:
    """Read a config that `save_config` wrote."""
    try:
        config = from_json(json.loads(path.read_text()))
    except FileNotFoundError:
        raise SettingError(f"no run in {path.parent}: {path.name} is missing there") from None
    except json.JSONDecodeError as error:
        raise SettingError(f"{path} is not JSON: {error}") from None
    if not isinstance(config, TrainConfig):
        raise SettingError(f"{path} holds no training configuration")
    return config


assert set(get_args(ResponseFormatName)) == set(RESPONSE_FORMATS)
