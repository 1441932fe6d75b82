"""Presets: named sets of published settings, each value with its source. A preset describes a whole run, or
a method that changes some settings of any run.

Where the paper and the released recipe differ, the paper's value is used (docs/papers.md). The recipe is
verl-agent's scripts for ALFWorld and WebShop.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from hgpo.envs import (
    ENVIRONMENTS,
    AlfworldSuite,
    CraftingSuite,
    FrozenLakeSuite,
    SearchQASuite,
    SokobanSuite,
    WebshopSuite,
)
from hgpo.errors import SettingError
from hgpo.estimators import HGPO, GiGPO
from hgpo.training.config import TrainConfig, with_prompt_history

PAPER = "arXiv 2602.22817"
RECIPE = "released recipe"
VERL = "verl's default, kept by the recipe"
OURS = "ours"
DEFAULT = "default of hgpo train"


@dataclass(frozen=True)
class Preset:
    """The settings of a run, or those that a method changes, by dotted name, each with its source."""

    environment: str | None
    """Name of the environment; None for a method, which goes with any environment."""
    values: Mapping[str, tuple[Any, str]]
    """Value and source of each setting."""


def _preset(environment: str, model: str, steps: int, rows: int, **more: tuple[Any, str]) -> Preset:
    """A preset of the paper. They differ in environment, model size, step limit and mini-batch size."""
    values: dict[str, tuple[Any, str]] = {
        "model": (model, PAPER),
        "env.max_steps": (steps, PAPER),
        "env.success_reward": (10.0, PAPER),
        "iterations": (160, PAPER),
        "tasks_per_iteration": (16, PAPER),
        "group_size": (8, PAPER),
        "temperature": (1.0, PAPER),
        "evaluation_temperature": (0.4, PAPER),
        "prompt_history": (2, f"{PAPER} (or 4, with the estimator's)"),
        "response": ("think_action", PAPER),
        "max_prompt_tokens": (4096, PAPER),
        "max_response_tokens": (512, PAPER),
        "estimator.history_length": (2, f"{PAPER} (or 4, with the prompt's)"),
        "estimator.alpha": (1.0, PAPER),
        "estimator.discount": (0.95, PAPER),
        "estimator.normalization": ("mean_std", PAPER),
        "estimator.invalid_penalty": (0.1, RECIPE),
        "estimator.propagate_penalty": (False, RECIPE),
        "loss.clip_low": (0.2, VERL),
        "loss.clip_high": (0.2, VERL),
        "loss.dual_clip": (3.0, VERL),
        "loss.kl_coefficient": (0.01, PAPER),
        "loss.entropy_coefficient": (0.0, VERL),
        "loss.average": ("tokens", VERL),
        "learning_rate": (1e-6, PAPER),
        "learning_rate_warmup": (0, VERL),
        "learning_rate_decay.shape": ("constant", VERL),
        "learning_rate_decay.final": (0.0, VERL),
        "entropy_decay.shape": ("constant", VERL),
        "entropy_decay.final": (0.0, VERL),
        "ppo_epochs": (1, RECIPE),
        "mini_batch_rows": (rows, PAPER),
        "subsample_below": (0.0, f"{PAPER}: every row is used"),
        "reading.tasks": (0, f"{PAPER}: the model has been pretrained"),
        "warm_start.tasks": (0, f"{PAPER}: no warm start"),
        "max_gradient_norm": (1.0, VERL),
        "precision": ("bfloat16", VERL),
        "gradient_checkpointing": (True, RECIPE),
        "evaluate_every": (20, OURS),
        "checkpoint_every": (10, "ours: one takes tens of gigabytes"),
        **more,
    }
    return Preset(environment, values)


SMALL, LARGE = "Qwen/Qwen2.5-1.5B-Instruct", "Qwen/Qwen2.5-7B-Instruct"
PRESETS: dict[str, Preset] = {
    "alfworld-1.5b": _preset(AlfworldSuite.name, SMALL, steps=50, rows=256),
    "alfworld-7b": _preset(AlfworldSuite.name, LARGE, steps=50, rows=256),
    "webshop-1.5b": _preset(WebshopSuite.name, SMALL, steps=30, rows=64),
    "webshop-7b": _preset(WebshopSuite.name, LARGE, steps=30, rows=64),
}
"""The published runs by name."""


GSPO, CISPO, SAPO = "arXiv 2507.18071", "arXiv 2506.13585", "arXiv 2511.20347"
ARLARENA = "arXiv 2602.21534"
SCRIPTS = f"scripts of {ARLARENA}"
TABLE = f"{ARLARENA}, table S1"
MASK = f"{SCRIPTS}: e^−δ, δ = 0.003"
RECOMPUTED = ("recomputed", "verl's default; the sampler's are less exact")
"""Old log-probabilities are recomputed where the clip range may be as narrow as 1 ± 0.001: those of the
sampler may have a larger error than that."""

_GSPO: dict[str, tuple[Any, str]] = {
    "loss.ratio": ("sequence", GSPO),
    "loss.clip": ("ppo", GSPO),
    "loss.clip_low": (3e-4, GSPO),
    "loss.clip_high": (4e-4, GSPO),
    "loss.average": ("rows", GSPO),
    "loss.mask_below": (0.0, f"{GSPO}: no mask"),
    "old_logprobs": RECOMPUTED,
}

METHODS: dict[str, Preset] = {
    "gspo": Preset(None, _GSPO),
    "cispo": Preset(
        None,
        {
            "loss.ratio": ("token", CISPO),
            "loss.clip": ("cispo", CISPO),
            "loss.clip_low": (1.0, f"{CISPO}: no lower bound"),
            "loss.clip_high": (0.2, TABLE),
            "loss.average": ("tokens", CISPO),
            "loss.mask_below": (0.997, MASK),
            "old_logprobs": RECOMPUTED,
        },
    ),
    "sapo": Preset(
        None,
        {
            "loss.ratio": ("token", SAPO),
            "loss.clip": ("sapo", SAPO),
            "loss.gate_positive": (1.0, SAPO),
            "loss.gate_negative": (1.05, SAPO),
            "loss.average": ("rows", SAPO),
            "loss.mask_below": (0.997, MASK),
            "old_logprobs": RECOMPUTED,
        },
    ),
    "sampo": Preset(
        None,
        {
            "estimator": (GiGPO(), ARLARENA),
            "estimator.step_weight": (1.0, TABLE),
            "estimator.discount": (0.95, TABLE),
            "estimator.normalization": ("mean_std", TABLE),
            "estimator.invalid_penalty": (0.1, TABLE),
            **{name: (value, f"{ARLARENA}: as in GSPO") for name, (value, _) in _GSPO.items()},
            "loss.clip_low": (3e-3, f"{TABLE}: GSPO on ALFWorld (WebShop: 3e-2)"),
            "loss.clip_high": (4e-3, f"{TABLE}: GSPO on ALFWorld (WebShop: 4e-2)"),
            "old_logprobs": RECOMPUTED,
            "dynamic_sampling_rounds": (3, f"{TABLE}: DAPO's"),
        },
    ),
}
"""Published methods by name. Each can be applied to any run: it changes the loss, and SAMPO also changes the
advantages and how tasks are sampled. Each sets everything in the loss that its ratio and clip use, and the
mask, so that nothing of another method remains."""


def combined(names: Sequence[str]) -> Preset:
    """Merge presets into one: at most one of a run, and any methods. Later methods override earlier ones.

    Raises:
        SettingError: if a name is unknown, or if more than one preset describes a whole run.
    """
    known = PRESETS | METHODS
    for name in names:
        if name not in known:
            raise SettingError(
                f"no preset {name!r}: choose from {', '.join(PRESETS)} for a run, and from "
                f"{', '.join(METHODS)} for methods applied to it"
            )
    runs = [name for name in names if name in PRESETS]
    if len(runs) > 1:
        raise SettingError(
            f"{' and '.join(runs)} are presets of whole runs: give only one of them; the methods "
            f"{', '.join(METHODS)} can be added to it"
        )
    values: dict[str, tuple[Any, str]] = {}
    for name in (*runs, *(name for name in names if name in METHODS)):
        if "estimator" in known[name].values:
            # The settings of one estimator have no meaning for another.
            values = {setting: told for setting, told in values.items() if not _of_estimator(setting)}
        values.update(known[name].values)
    return Preset(PRESETS[runs[0]].environment if runs else None, values)


def preset_config(*names: str) -> TrainConfig:
    """The settings of a run given by a preset, changed by any methods among the names.

    Raises:
        SettingError: if a name is unknown, if no preset describes a whole run, or if the data of its
            environment is missing.
    """
    preset = combined(names)
    if preset.environment is None:
        raise SettingError(f"{', '.join(names)}: add the preset of a run: {', '.join(PRESETS)}")
    env = ENVIRONMENTS[preset.environment]()
    if isinstance(env, WebshopSuite) and env.synthetic:
        raise SettingError(
            f"preset {names[0]} is published for WebShop's own products: set $WEBSHOP_DATA to the folder of "
            "its two data files"
        )
    return _changed(TrainConfig(env=env, estimator=HGPO.paper()), preset)


def model_config(model: str) -> TrainConfig:
    """The default settings for training a given language model: the published ones, except the settings of
    the environment and the precision, which depends on the device.
    """
    published = PRESETS["alfworld-1.5b"].values
    values = {name: value for name, (value, _) in published.items() if not name.startswith("env.")}
    values["precision"] = "auto"
    return replaced(TrainConfig(estimator=HGPO.paper()), {**values, "model": model})


GENERATED: dict[str, Any] = {
    # What is seen tells everything, and the shorter prompt is read much sooner.
    "prompt_history": 0,
    "tiny.merges": 0,
    "reading.tasks": 0,
    "warm_start.tasks": 100,
    # More different tasks: these games are small, and are learned by heart otherwise.
    "tasks_per_iteration": 32,
    "group_size": 8,
    "learning_rate": 1e-3,
    "loss.entropy_coefficient": 0.01,
    "iterations": 150,
}
"""Settings of models trained from scratch in suites of generated games."""

TINY_MODEL: dict[str, dict[str, Any]] = {
    # A model this small learns from coordinates; of a grid it learns little but its training levels.
    SokobanSuite.name: {**GENERATED, "env": SokobanSuite(form="coordinates")},
    FrozenLakeSuite.name: {
        **GENERATED,
        "env": FrozenLakeSuite(form="coordinates"),
        # Every second lake is won by walking straight to the goal: to see holes takes exploring.
        "warm_start.tasks": 50,
        "loss.entropy_coefficient": 0.05,
        "iterations": 300,
    },
    CraftingSuite.name: {
        **GENERATED,
        # Finding a recipe in the task, and what is lacking in an answer, takes thousands of examples.
        "reading.tasks": 6000,
        # Recipes are drawn at random: nothing in them can be predicted.
        "reading.prompt_weight": 0.0,
        "warm_start.tasks": 60,
        "warm_start.epochs": 2,
        "warm_start.prompt_weight": 0.0,
        "loss.entropy_coefficient": 0.02,
        "iterations": 120,
    },
    # Which article is to be searched next depends on those that were found. To copy names from them has to be
    # learned first.
    SearchQASuite.name: {**GENERATED, "prompt_history": 2, "warm_start.tasks": 1200, "iterations": 100},
    WebshopSuite.name: {
        # Pages do not show which options are chosen. Most things have two, so the last two steps show both.
        "prompt_history": 2,
        "max_prompt_tokens": 768,
        # A number is one token; the command it refers to has six or more.
        "response": "number",
        "max_response_tokens": 8,
        "tiny.merges": 0,
        "reading.tasks": 0,
        "warm_start.tasks": 400,
        "warm_start.epochs": 5,
        # The policy soon forgets how to write search words: smaller steps, and no entropy bonus.
        "learning_rate": 4e-4,
        "learning_rate_warmup": 5,
        "learning_rate_decay.shape": "constant",
        "learning_rate_decay.final": 0.0,
        "num_minibatches": 2,
        "loss.entropy_coefficient": 0.0,
        "entropy_decay.shape": "constant",
        "entropy_decay.final": 0.0,
        "loss.kl_coefficient": 0.01,
        "subsample_below": 0.2,
        "iterations": 130,
    },
}
"""Settings of models trained from scratch that differ from those for household tasks, by environment."""


def tiny_config(games: str) -> TrainConfig:
    """The default settings for training a small model from scratch in an environment."""
    config = replaced(TrainConfig(), TINY_MODEL.get(games, {}))
    return with_prompt_history(config, config.prompt_history)


def starting_config(
    presets: Sequence[str] = (),
    model: str | None = None,
    games: str = "",
    prompt_history: int | None = None,
) -> TrainConfig:
    """The settings of a run in which everything else has its default.

    Args:
        presets: names of presets. If none of them describes a whole run, they change the model's defaults.
        model: the language model; None is a small one, trained from scratch.
        games: name of the environment, for a model trained from scratch.
        prompt_history: number of past steps that the prompt shows; HGPO's depth K is set to the same number.
            None keeps the value of the preset or the default.

    Raises:
        SettingError: if a preset is unknown, or if the data of its environment is missing.
    """
    preset = combined(presets)
    if preset.environment is not None:
        config = preset_config(*presets)
    else:
        config = _changed(tiny_config(games) if model is None else model_config(model), preset)
    return config if prompt_history is None else with_prompt_history(config, prompt_history)


def explained(*names: str) -> Iterator[tuple[str, Any, str]]:
    """Each setting in order: its dotted name, its value and the source of the value.

    If one of the names is the preset of a run, all settings of that run are listed; for methods alone, only
    the settings that they change.

    Raises:
        SettingError: if a name is unknown, or if more than one preset describes a whole run.
    """
    preset = combined(names)
    if preset.environment is None:
        for setting, (value, source) in preset.values.items():
            yield setting, type(value).__name__ if setting == "estimator" else value, source
        return
    defaults = _flat(ENVIRONMENTS[preset.environment]())
    of_games = {f"env.{setting}": (value, DEFAULT) for setting, value in defaults}
    of_games.update({setting: told for setting, told in preset.values.items() if setting in of_games})
    rest = {setting: told for setting, told in preset.values.items() if setting not in of_games}
    config = _changed(TrainConfig(estimator=HGPO.paper()), Preset(None, rest))
    yield "env", preset.environment, PAPER
    yield "estimator", type(config.estimator).__name__, preset.values.get("estimator", (None, PAPER))[1]
    for setting, (value, source) in of_games.items():
        yield setting, value, source
    for setting, value in _flat(config):
        if not setting.startswith("env."):
            yield setting, value, preset.values.get(setting, (None, DEFAULT))[1]


def _of_estimator(setting: str) -> bool:
    return setting.partition(".")[0] == "estimator"


def _changed(config: TrainConfig, preset: Preset) -> TrainConfig:
    """The settings, with the values of a preset replacing their own."""
    return replaced(config, {setting: value for setting, (value, _) in preset.values.items()})


def replaced(config: Any, values: Mapping[str, Any]) -> Any:
    """A copy of the dataclass with some values changed; fields of nested dataclasses have dotted names."""
    inner: dict[str, dict[str, Any]] = {}
    own: dict[str, Any] = {}
    for setting, value in values.items():
        head, dot, rest = setting.partition(".")
        if dot:
            inner.setdefault(head, {})[rest] = value
        else:
            own[head] = value
    for head, rest in inner.items():
        own[head] = replaced(own.get(head, getattr(config, head)), rest)
    return dataclasses.replace(config, **own)


def _flat(config: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Each setting's dotted name and value."""
    for field in dataclasses.fields(config):
        if not field.init:
            continue
        value = getattr(config, field.name)
        if dataclasses.is_dataclass(value):
            yield from _flat(value, f"{prefix}{field.name}.")
        else:
            yield f"{prefix}{field.name}", value
