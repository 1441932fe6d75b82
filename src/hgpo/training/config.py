"""The settings of a training run, checked before anything is created, and their file in the run's folder."""

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
)
from hgpo.estimators.depth import as_deep_as_shown
from hgpo.files import atomic_write
from hgpo.gateway.settings import GatewaySettings
from hgpo.gateway.suite import AgentSuite
from hgpo.policies.settings import CriticTraining, Lora, Precision, TinyModel, check_source
from hgpo.registry import load_class, spelling_of
from hgpo.rollouts.prompts import RESPONSE_FORMATS, require_choices
from hgpo.rollouts.rollout import Batching
from hgpo.runs.old_names import current_settings
from hgpo.runs.trackers import TrackerName, check_trackers
from hgpo.training.choices import EstimatorChoice, SuiteChoice, default_estimator
from hgpo.training.losses import PolicyLoss
from hgpo.training.reward_shaping import OverlongShaping
from hgpo.training.schedules import Decay, EntropyTarget

AS_PROMPTED: Any = None
"""Stands for the default estimator, whose depth K follows `prompt_history`."""


if TYPE_CHECKING:
    from hgpo.policies.compute import Compute

ResponseFormatName = Literal["number", "text", "think_action"]
EngineName = Literal["transformers", "vllm"]
AdvantageScale = Literal["own", "match"]
OldLogprobs = Literal["sampler", "recomputed"]


@dataclass(frozen=True)
class Imitation:
    """How a policy is trained by cross-entropy on played episodes."""

    tasks: int
    """Number of training tasks that are played for the texts; 0 skips this phase."""
    epochs: int = 5
    """Number of passes over the texts."""
    batch_rows: int = 32
    """Steps per mini-batch."""
    learning_rate: float = 3e-3
    """Peak learning rate; it rises over the first tenth of the steps and falls linearly to 0."""
    prompt_weight: float = 0.3
    """Weight of the mean loss over the prompt tokens: a model made from scratch must also learn to read."""


@dataclass(frozen=True)
class ReadingSettings(Imitation):
    """Reading: a model made from scratch is first trained on random play with titles given in hindsight."""

    tasks: int = 2000
    """Number of training tasks that are played at random; 0 skips this phase, as does an environment without
    readings."""
    epochs: int = 1
    batch_rows: int = 64
    other_weight: float = 0.1
    """Weight of an answer that shares no word with the title; all other answers have weight 1."""


@dataclass(frozen=True)
class WarmStart(Imitation):
    """Warm start: the policy imitates walkthroughs. 0 tasks skip it."""

    tasks: int = 60
    """Number of training tasks with a walkthrough to imitate."""


@dataclass(frozen=True)
class TrainConfig:
    """All settings of a training run. With the defaults an agent learns household games on two cores."""

    env: SuiteChoice = field(default_factory=next(iter(ENVIRONMENTS.values())))
    """The environment."""
    estimator: EstimatorChoice = AS_PROMPTED
    """The method that computes advantages; by default HGPO with K equal to --prompt-history."""
    entropy_credit: EntropyCreditName = "none"
    """Also change the advantages by the entropy of each response, with any estimator: aem (arXiv 2605.00425)
    or empg (arXiv 2509.09265). This needs one more forward pass over every row."""
    loss: PolicyLoss = field(default_factory=lambda: PolicyLoss(kl_coefficient=0.0, entropy_coefficient=0.05))
    """The policy loss."""
    overlong: OverlongShaping = field(default_factory=OverlongShaping)
    """Penalty for responses near the length limit."""
    critic: CriticTraining = field(default_factory=CriticTraining)
    """How the critic is trained; only PPO has one."""
    reading: ReadingSettings = field(default_factory=ReadingSettings)
    """Training of a model made from scratch on random play, before the warm start."""
    warm_start: WarmStart = field(default_factory=WarmStart)
    """Imitation before reinforcement learning."""
    tiny: TinyModel = field(default_factory=TinyModel)
    """Shape of the model that is made from scratch if --model is not given."""
    model: Annotated[str | None, tyro.conf.arg(metavar="PATH_OR_NAME")] = None
    """A causal language model with its tokenizer: a folder in transformers' format, a GGUF file, or a name on
    the Hugging Face hub. None makes a tiny model from scratch."""
    lora: Lora = field(default_factory=Lora)
    """Train a low-rank adapter (LoRA) instead of all weights; this needs a learning rate at least ten times
    as high."""
    device: str | None = None
    """The model's device, in PyTorch's notation; None uses a GPU if there is one."""
    precision: Precision = "auto"
    """Precision of matrix products. auto: bfloat16 for --model on a GPU that supports it, else float32.
    Trained weights are always float32."""
    gradient_checkpointing: tyro.conf.FlagCreatePairsOff[bool] = False
    """Compute activations again in the backward pass instead of storing them: less memory, a third more
    time."""
    engine: EngineName = "transformers"
    """What samples the rollouts: the trained model itself (transformers), or vLLM, which receives its weights
    once per iteration (pip install 'hgpo[vllm]')."""
    engine_memory: float = 0.4
    """Share of the GPU's memory that vLLM may take; the update needs the rest."""
    seed: int = 0
    """Seed of everything random: weights, tasks, actions, mini-batches."""
    iterations: int = 370
    """Number of iterations, each with one rollout phase and one update."""
    budget_steps: Annotated[int | None, tyro.conf.arg(metavar="INT")] = None
    """End after the iteration in which the total of environment steps reaches this number, unless
    --iterations ends the run earlier; None: no limit."""
    tasks_per_iteration: int = 16
    """Tasks per iteration."""
    group_size: int = 16
    """N: number of rollouts per task; at least 2, because they are compared with one another."""
    dynamic_sampling_rounds: int = 1
    """Values above 1 switch on DAPO's dynamic sampling: groups whose returns are all equal are dropped and
    other tasks are tried instead, in at most this number of rounds."""
    temperature: float = 1.0
    """Sampling temperature of training rollouts."""
    prompt_history: int = 2
    """Number of past steps (observation and action) that the prompt shows. It is also the default of HGPO's
    depth K (--estimator.history-length)."""
    response: ResponseFormatName = "text"
    """The form of an answer: text (a listed command), number (its number), or think_action (a thought, then
    the command in tags, as chat models answer in published runs)."""
    constrain_answers: tyro.conf.FlagCreatePairsOff[bool] = False
    """Restrict the agent's answers to the listed commands, token by token, in training and evaluation, so
    that every action is valid. Otherwise the model may write anything."""
    max_prompt_tokens: int = 320
    """Longest prompt in tokens; the oldest steps are left out of a prompt that would be longer."""
    max_response_tokens: Annotated[int | None, tyro.conf.arg(metavar="INT")] = None
    """Longest response in tokens; None: as many as the longest answer needs."""
    learning_rate: float = 6e-4
    """AdamW's learning rate in reinforcement learning; 1e-6 for models of 1.5B parameters and more."""
    learning_rate_warmup: int = 5
    """Iterations of linear warm-up: Adam's first steps rest on poor estimates of the gradient's variance."""
    learning_rate_decay: Decay = field(default_factory=lambda: Decay("linear", 0.2))
    """How the learning rate falls after the warm-up."""
    entropy_decay: Decay = field(default_factory=lambda: Decay("linear", 0.6))
    """How --loss.entropy-coefficient changes over the run."""
    entropy_target: EntropyTarget = field(default_factory=EntropyTarget)
    """A target for the policy's entropy, held by adapting --loss.entropy-coefficient."""
    kl_decay: Decay = field(default_factory=Decay)
    """How --loss.kl-coefficient changes over the run."""
    ppo_epochs: int = 1
    """Number of passes over each iteration's rows."""
    num_minibatches: int = 4
    """Mini-batches per pass, with one optimizer step each."""
    mini_batch_rows: Annotated[int | None, tyro.conf.arg(metavar="INT")] = None
    """Rows per mini-batch; replaces --num-minibatches."""
    old_logprobs: OldLogprobs = "sampler"
    """The old log-probabilities in the loss: those of the sampler, or those recomputed by the trained model
    before the update. The metric logprob_mismatch measures the difference."""
    advantage_scale: AdvantageScale = "own"
    """own: advantages as the estimator gives them. match: in every iteration they are scaled to the root mean
    square of HGPO's advantages on the same rows, so that entropy bonus, KL penalty and subsampling have the
    same relative weight with every estimator."""
    subsample_below: float = 0.5
    """Rows whose absolute advantage is below this are kept with a probability proportional to it and weighted
    by its inverse; the gradient is the same in expectation and costs less. 0 keeps all rows."""
    max_gradient_norm: float = 1.0
    """Gradients with a larger norm are scaled down to this norm."""
    merge_rows: bool = True
    """Process rows with the same prompt and response only once; this does not change the gradient."""
    token_budget: int = 16_384
    """Largest number of tokens in one forward pass, which bounds the memory used."""
    weight_average_decay: float = 0.0
    """d: evaluations use a moving average of the policy's weights; after every iteration
    average ← d average + (1 − d) weights, for example with 0.9. Training is unaffected. 0 switches it off."""
    evaluate_every: int = 0
    """Iterations between evaluations on the held-out splits; 0 evaluates only before and after training."""
    evaluation_temperature: float = 0.4
    """Temperature of the sampled evaluation; the other evaluation is greedy."""
    evaluation_tasks: Annotated[int | None, tyro.conf.arg(metavar="INT")] = None
    """Only the first N tasks of each split; None plays all."""
    rollout_batching: Batching = "step"
    """step: all live episodes take a step together, so that equal prompts are read once. continuous: an
    episode goes on as soon as its own answer is there, which is faster if the lengths of answers differ or
    if environments wait. Both give the same episodes except for rounding."""
    overlap: int = 0
    """1: the next iteration's rollouts are sampled during the update, with the weights from before it, so
    that rollouts are one update old; this takes a second copy of the model. 0: one after the other."""
    environment_timeout: float = 60.0
    """Seconds that an environment may take per step, or an agent of your own between two requests; after that
    its trajectory fails and the rest of the group continues. 0 waits forever."""
    env_isolation: EnvironmentIsolation = "thread"
    """Where environments run: in threads of the run's process, or each in a process of its own, so that a
    crash or a leak costs only its own trajectory."""
    gateway: GatewaySettings = field(default_factory=GatewaySettings)
    """The server for an agent of your own (agent:MODULE:NAME); nothing else uses it."""
    information_prompts: int = 16
    """Number of prompts per iteration whose answers are also scored under each other's prompts, for the
    metric answer_information, which is near 0 when answers do not depend on the prompt. 0 leaves it out."""
    keep_rollouts: tyro.conf.FlagCreatePairsOff[bool] = False
    """Keep every iteration's rollouts in the run's folder, as rollouts/NUMBER.parquet."""
    checkpoint_every: int = 1
    """Iterations between checkpoints: at most the work of this number of iterations is lost if the run is
    killed."""
    sample_every: int = 20
    """Iterations between samples: transcripts, and the rollouts shown in the report."""
    track: tuple[TrackerName, ...] = ()
    """Experiment trackers that also receive the metrics: tensorboard and wandb write to the run's folder
    (wandb online with WANDB_MODE=online), trackio in its local database."""
    threads: Annotated[int | None, tyro.conf.arg(metavar="INT")] = None
    """Number of threads; None uses one per core. With the small model made from scratch, each thread computes
    a separate part of the update and the results do not depend on the number. With --model, all threads share
    each operation, and the last digits depend on the number."""

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
        self._check_overlap()
        self._check_constraint()
        self._check_agent()
        if not 0 < self.engine_memory < 1:
            raise SettingError(f"--engine-memory is {self.engine_memory}: expected a share between 0 and 1")
        if self.model is not None:
            check_source(self.model)
        if self.lora.rank and self.model is None:
            raise SettingError("--lora.rank needs --model: an adapter needs a pretrained model")
        if self.lora.rank and isinstance(self.estimator, CriticEstimator):
            raise SettingError("PPO needs --lora.rank 0: its critic is a second model, not an adapter")
        if self.model is None and self.warm_start.tasks == 0 and self.iterations > 0:
            raise SettingError(
                "--warm-start.tasks 0 needs --model: a model made from scratch never wins, and learns nothing"
            )

    def _check_imitation(self, group: str, settings: Imitation) -> None:
        for name, at_least in (("tasks", 0), ("epochs", 1), ("batch_rows", 1)):
            value = getattr(settings, name)
            if value < at_least:
                raise SettingError(f"{_flag(f'{group}.{name}')} is {value}: expected {at_least} or more")
        if not 0 < settings.learning_rate < float("inf"):
            flag = _flag(f"{group}.learning_rate")
            raise SettingError(f"{flag} is {settings.learning_rate}: expected a number above 0")

    def _check_constraint(self) -> None:
        if self.constrain_answers:
            require_choices(RESPONSE_FORMATS[self.response])
        if self.constrain_answers and self.engine != "transformers":
            raise SettingError(
                f"--constrain-answers needs --engine transformers: {self.engine} may write a command in "
                "other tokens than those that the update allows"
            )

    def _check_overlap(self) -> None:
        if self.overlap not in (0, 1):
            raise SettingError(f"--overlap is {self.overlap}: expected 0 or 1")
        if self.overlap and self.old_logprobs == "recomputed":
            raise SettingError(
                "--overlap 1 needs --old-logprobs sampler: the weights that sampled the responses are one "
                "update old, and the trained ones would recompute other probabilities"
            )

    def _check_agent(self) -> None:
        if not isinstance(self.env, AgentSuite):
            return
        if self.model is None:
            raise SettingError("an agent of your own needs a model that can write: give --model or --init")
        for setting, given in (
            ("--env-isolation process", self.env_isolation == "process"),
            ("--rollout-batching continuous", self.rollout_batching == "continuous"),
            ("--constrain-answers", self.constrain_answers),
            ("--warm-start.tasks", self.warm_start.tasks > 0),
            ("--reading.tasks", self.reading.tasks > 0),
        ):
            if given:
                raise SettingError(f"{setting} has no effect on an agent of your own: leave it out")

    def _check_schedules(self) -> None:
        if self.entropy_target.nats is not None and self.entropy_decay.shape != "constant":
            raise SettingError(
                "--entropy-target and --entropy-decay both set the entropy coefficient: give "
                "--entropy-decay.shape constant, or no target"
            )
        if self.entropy_target.nats is None and self.entropy_target.rate != EntropyTarget.rate:
            raise SettingError(
                f"--entropy-target.rate {self.entropy_target.rate} has no effect without a target: give "
                "--entropy-target.nats as well"
            )

    def playing_suite(self) -> TaskSuite:
        """The environment to play in, isolated according to --env-isolation."""
        return isolated(self.env, self.env_isolation, self.environment_timeout or None)

    def compute(self) -> Compute:
        """The device, precision and batch size of the run's computation.

        Raises:
            SettingError: if there is no such device.
        """
        # Reading and printing settings must not need torch.
        from hgpo.policies.compute import choose_compute, usable_cores

        # bfloat16 does not speed up the tiny model, and the figures in the README were measured with float32.
        precision = "float32" if self.model is None and self.precision == "auto" else self.precision
        return choose_compute(
            self.device,
            precision,
            token_budget=self.token_budget,
            recompute=self.gradient_checkpointing,
            threads=(self.threads or usable_cores()) if self.model is None else 1,
        )

    def set_threads(self) -> None:
        """Set the number of threads that PyTorch uses per operation, in the whole process.

        For the small model made from scratch it is 1: with such small operations threads mostly wait for one
        another and, on a busy machine, for other programs.
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


def with_prompt_history(config: TrainConfig, length: int) -> TrainConfig:
    """The settings with this prompt history, and with the same depth K for the estimator."""
    estimator = as_deep_as_shown(config.estimator, length)
    return dataclasses.replace(config, prompt_history=length, estimator=estimator)


def mini_batches_of(config: TrainConfig, rows: int) -> int:
    """Number of mini-batches in one epoch over the rows of an iteration."""
    if config.mini_batch_rows is None:
        return config.num_minibatches
    return -(-rows // config.mini_batch_rows)


def depth_warning(config: TrainConfig) -> str | None:
    """A warning if the estimator's K is larger than the prompt's history; None otherwise."""
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
"""The values that older runs used for settings that their config files do not name, where the default has
changed."""

_TYPES: dict[str, Any] = {
    cls.__name__: cls
    for cls in (
        *(TrainConfig, ReadingSettings, WarmStart, TinyModel, PolicyLoss, OverlongShaping),
        *(CriticTraining, Lora, Decay, EntropyTarget, GatewaySettings, AgentSuite),
        *ESTIMATORS.built_in.values(),
        *ENVIRONMENTS.built_in.values(),
    )
}
"""The package's own classes of settings by name; all others are identified by MODULE:CLASS."""


def to_json(config: Any) -> Any:
    """A config as JSON values; each dataclass is an object that names its class under "type".

    JSON's own lists are tuples; a list is an object with its values, a dictionary one with its items.

    Raises:
        SettingError: if a class that the user wrote could not be loaded again.
    """
    if isinstance(config, tuple):
        return tuple(to_json(each) for each in config)
    if isinstance(config, list):
        return {"type": "list", "values": [to_json(each) for each in config]}
    if isinstance(config, dict):
        return {"type": "dict", "values": [to_json(item) for item in config.items()]}
    if not dataclasses.is_dataclass(config):
        return config
    cls = type(config)
    values = {f.name: to_json(getattr(config, f.name)) for f in dataclasses.fields(config) if f.init}
    return {"type": cls.__name__ if _TYPES.get(cls.__name__) is cls else spelling_of(cls), **values}


def from_json(value: Any) -> Any:
    """The config from which `to_json` made the value.

    Raises:
        SettingError: if a class or a setting is unknown, as in a file of another version, or if a class that
            the user wrote cannot be loaded.
    """
    if isinstance(value, list):
        return tuple(map(from_json, value))
    if not isinstance(value, dict):
        return value
    kind = value.get("type", "")
    if kind == "list":
        return [from_json(each) for each in value["values"]]
    if kind == "dict":
        return dict(from_json(item) for item in value["values"])
    values = {name: from_json(inner) for name, inner in value.items() if name != "type"}
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
        raise SettingError(f"no run in {path.parent}: it has no {path.name}") from None
    except json.JSONDecodeError as error:
        raise SettingError(f"{path} is not JSON: {error}") from None
    if not isinstance(config, TrainConfig):
        raise SettingError(f"{path} holds no training configuration")
    return config


assert set(get_args(ResponseFormatName)) == set(RESPONSE_FORMATS)
