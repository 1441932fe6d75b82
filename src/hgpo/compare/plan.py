"""What a comparison consists of: methods, losses, seeds, and the settings that all runs share."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hgpo.errors import SettingError
from hgpo.estimators import ESTIMATORS, HBC, HGPO, Estimator
from hgpo.files import atomic_write
from hgpo.training.choices import default_estimator
from hgpo.training.config import TrainConfig, as_deep_as_shown, from_json, to_json
from hgpo.training.presets import METHODS as PUBLISHED
from hgpo.training.presets import replaced


def _hgpo(**settings: Any) -> HGPO:
    return dataclasses.replace(default_estimator(HGPO), **settings)


DEPTHS: dict[str, Estimator] = {f"hgpo-k{depth}": _hgpo(history_length=depth) for depth in (0, 1, 4)}
"""HGPO with a fixed depth; the K of all others follows the prompt's history."""

STATES_ONLY: dict[str, Estimator] = {
    "hbc-k0": dataclasses.replace(default_estimator(HBC), history_length=0),
}
"""HBC on states without history."""

ABLATIONS: dict[str, Estimator] = {
    **DEPTHS,
    "hgpo-alpha0": _hgpo(alpha=0.0),
    "hgpo-alpha2": _hgpo(alpha=2.0),
    "hgpo-episode": _hgpo(episode_level=True),
    "hgpo-others": _hgpo(peers="other_trajectories"),
}
"""HGPO (α = 1) with one setting changed. The prompts' history stays as long as in all other runs."""

VARIANTS: dict[str, Estimator] = {
    **ABLATIONS,
    **STATES_ONLY,
    "hgpo-reliability": _hgpo(level_weights="reliability"),
    "hgpo-size": _hgpo(level_weights="size"),
}
"""Variants of two estimators, by name."""


def estimator_of(method: str) -> Estimator:
    """What a method is: a variant, or an estimator by its name or spelling, as training has it by default.

    Raises:
        SettingError: if there is no such method.
    """
    if method in VARIANTS:
        return VARIANTS[method]
    if ":" not in method and method not in ESTIMATORS:
        known = ", ".join([*ESTIMATORS, *VARIANTS])
        raise SettingError(f"no method {method!r} to compare: choose from {known}, or MODULE:CLASS")
    return default_estimator(ESTIMATORS.find(method, "--estimators"))


def _loss_of(name: str) -> dict[str, Any]:
    """What a published method changes of the loss; its estimator and its sampling of tasks are left out."""
    values = PUBLISHED[name].values
    return {
        setting: value
        for setting, (value, _) in values.items()
        if setting.startswith("loss.") or setting == "old_logprobs"
    }


LOSSES: dict[str, dict[str, Any]] = {
    "own": {},
    "clip-higher": {"loss.clip_high": 0.28},
    "sequence": {"loss.ratio": "sequence"},
    "masked": {"loss.mask_below": _loss_of("cispo")["loss.mask_below"]},
    **{name: _loss_of(name) for name in ("gspo", "cispo", "sapo")},
}
"""Losses by name, each as what it changes of the settings that all runs share. "own" changes nothing;
clip-higher is DAPO's upper bound (arXiv 2503.14476), sequence GSPO's ratio without its narrow bounds, and
masked the mask alone; the others are the presets of these names."""


@dataclass(frozen=True)
class Plan:
    """A comparison. Each method has one run for each seed, or, where losses are compared, for each seed and
    loss. A method with a loss is an *arm*, named METHOD+LOSS; a method by itself is an arm, too.
    """

    methods: tuple[str, ...]
    seeds: int
    """Seeds 0, 1, … of the runs."""
    settings: TrainConfig
    """Of all runs, except for estimator, loss and seed."""
    losses: tuple[str, ...] = ()
    """Names in `LOSSES`; the first is what the others are compared with. None: the loss of the settings."""

    def __post_init__(self) -> None:
        for method in self.methods:
            estimator_of(method)
        if unknown := [name for name in self.losses if name not in LOSSES]:
            raise SettingError(f"no loss {unknown[0]!r} to compare: choose from {', '.join(LOSSES)}")
        for kind, names in (("method", self.methods), ("loss", self.losses)):
            if len(set(names)) < len(names):
                raise SettingError(f"to compare: {', '.join(names)}: name each {kind} once")
        if not self.methods:
            raise SettingError("no method is named to compare: expected one or more")
        if self.seeds < 1:
            raise SettingError(f"--seeds is {self.seeds}: expected 1 or more")

    @property
    def arms(self) -> tuple[str, ...]:
        """The names of what is compared, method by method."""
        if not self.losses:
            return self.methods
        return tuple(f"{method}+{loss}" for method in self.methods for loss in self.losses)

    @property
    def reference(self) -> str:
        """What arms are compared with, as tables name it: a method, or a loss of the same method."""
        if self.losses:
            return self.losses[0]
        return "hgpo" if "hgpo" in self.methods else self.methods[-1]

    def reference_of(self, arm: str) -> str:
        """The arm that this one is compared with; for some arms it is the arm itself."""
        method, loss = self._parts(arm)
        return f"{method}+{self.reference}" if loss else self.reference

    def _parts(self, arm: str) -> tuple[str, str]:
        """The method and the loss of an arm; "" for the loss of the settings."""
        method, _, loss = arm.rpartition("+")
        return (method, loss) if self.losses else (arm, "")

    def config(self, arm: str, seed: int) -> TrainConfig:
        """The settings of one run, which has one thread: the runs share the cores."""
        method, loss = self._parts(arm)
        estimator = estimator_of(method)
        if method not in DEPTHS | STATES_ONLY:
            estimator = as_deep_as_shown(estimator, self.settings.prompt_history)
        settings: TrainConfig = replaced(self.settings, LOSSES[loss] if loss else {})
        return dataclasses.replace(settings, estimator=estimator, seed=seed, threads=1)

    def save(self, path: Path) -> None:
        """Write the plan as JSON."""
        plan = {
            "methods": self.methods,
            "losses": self.losses,
            "seeds": self.seeds,
            "settings": to_json(self.settings),
        }
        atomic_write(path, json.dumps(plan, indent=2) + "\n")


def load_plan(path: Path) -> Plan:
    """Read a plan that `Plan.save` wrote.

    Raises:
        SettingError: if there is none.
    """
    try:
        plan = json.loads(path.read_text())
        # Plans of older versions compare no losses.
        losses = tuple(plan.get("losses", ()))
        return Plan(tuple(plan["methods"]), plan["seeds"], from_json(plan["settings"]), losses)
    except FileNotFoundError:
        raise SettingError(f"no comparison in {path.parent}: {path.name} is missing there") from None
    except (json.JSONDecodeError, KeyError, TypeError) as error:
        raise SettingError(f"{path} is not the plan of a comparison: {error}") from None
