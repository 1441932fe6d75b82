"""The plan of a comparison: methods, losses, seeds, and the settings that all runs share."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hgpo.errors import SettingError
from hgpo.estimators import ESTIMATORS, HBC, HGPO, Estimator
from hgpo.estimators.depth import as_deep_as_shown
from hgpo.files import atomic_write
from hgpo.training.choices import default_estimator
from hgpo.training.config import TrainConfig, from_json, to_json
from hgpo.training.presets import METHODS as PUBLISHED
from hgpo.training.presets import replaced


def _hgpo(**settings: Any) -> HGPO:
    return dataclasses.replace(default_estimator(HGPO), **settings)


DEPTHS: dict[str, Estimator] = {f"hgpo-k{depth}": _hgpo(history_length=depth) for depth in (0, 1, 4)}
"""HGPO with a fixed depth K; in all other methods K equals the number of steps that the prompt shows."""

STATES_ONLY: dict[str, Estimator] = {
    "hbc-k0": dataclasses.replace(default_estimator(HBC), history_length=0),
}
"""HBC that compares states only, without history."""

ABLATIONS: dict[str, Estimator] = {
    **DEPTHS,
    "hgpo-alpha0": _hgpo(alpha=0.0),
    "hgpo-alpha2": _hgpo(alpha=2.0),
    "hgpo-episode": _hgpo(episode_level=True),
    "hgpo-others": _hgpo(peers="other_trajectories"),
}
"""HGPO (α = 1) with one setting changed. Prompts show as many past steps as in all other runs."""

VARIANTS: dict[str, Estimator] = {
    **ABLATIONS,
    **STATES_ONLY,
    "hgpo-reliability": _hgpo(level_weights="reliability"),
    "hgpo-size": _hgpo(level_weights="size"),
}
"""Variants of HGPO and HBC, by name."""


def estimator_of(method: str) -> Estimator:
    """The estimator of a method: a variant's name, an estimator's name, or MODULE:CLASS, with the default
    settings of training.

    Raises:
        SettingError: if the method is unknown.
    """
    if method in VARIANTS:
        return VARIANTS[method]
    if ":" not in method and method not in ESTIMATORS:
        known = ", ".join([*ESTIMATORS, *VARIANTS])
        raise SettingError(f"no method {method!r} to compare: choose from {known}, or give MODULE:CLASS")
    return default_estimator(ESTIMATORS.find(method, "--estimators"))


def _loss_of(name: str) -> dict[str, Any]:
    """The loss settings that a published method changes, without its estimator and its task sampling."""
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
"""Losses by name, each with the shared settings that it changes. "own" changes nothing; "clip-higher" is
DAPO's upper bound (arXiv 2503.14476), "sequence" is GSPO's ratio without its narrow clip range, and "masked"
only adds the mask; the others are the presets of the same names."""


@dataclass(frozen=True)
class Plan:
    """A comparison. Each method has one run per seed or, where losses are compared, one per seed and loss.
    What is compared is called an *arm*: a method, or a method with a loss, named METHOD+LOSS.
    """

    methods: tuple[str, ...]
    seeds: int
    """Number of seeds: the runs have the seeds 0, 1, …"""
    settings: TrainConfig
    """The settings of all runs; estimator, loss and seed are replaced in each."""
    losses: tuple[str, ...] = ()
    """Names in `LOSSES`; the others are compared with the first. Empty: the loss of the settings."""

    def __post_init__(self) -> None:
        for method in self.methods:
            estimator_of(method)
        if unknown := [name for name in self.losses if name not in LOSSES]:
            raise SettingError(f"no loss {unknown[0]!r} to compare: choose from {', '.join(LOSSES)}")
        for kind, names in (("method", self.methods), ("loss", self.losses)):
            if len(set(names)) < len(names):
                raise SettingError(f"to compare: {', '.join(names)}: name each {kind} once")
        if not self.methods:
            raise SettingError("no method to compare: expected one or more")
        if self.seeds < 1:
            raise SettingError(f"--seeds is {self.seeds}: expected 1 or more")

    @property
    def arms(self) -> tuple[str, ...]:
        """The names of the arms, ordered by method."""
        if not self.losses:
            return self.methods
        return tuple(f"{method}+{loss}" for method in self.methods for loss in self.losses)

    @property
    def reference(self) -> str:
        """The name in tables of the reference: a method, or a loss of the same method."""
        if self.losses:
            return self.losses[0]
        return "hgpo" if "hgpo" in self.methods else self.methods[-1]

    def reference_of(self, arm: str) -> str:
        """The arm that this one is compared with; the arm itself if it is the reference."""
        method, loss = self._parts(arm)
        return f"{method}+{self.reference}" if loss else self.reference

    def _parts(self, arm: str) -> tuple[str, str]:
        """An arm's method and loss; the loss is "" if it is that of the settings."""
        method, _, loss = arm.rpartition("+")
        return (method, loss) if self.losses else (arm, "")

    def config(self, arm: str, seed: int) -> TrainConfig:
        """The settings of one run. It uses one thread, because the runs share the cores."""
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
        SettingError: if the file is missing or is not a plan.
    """
    try:
        plan = json.loads(path.read_text())
        # Plans of older versions have no losses.
        losses = tuple(plan.get("losses", ()))
        return Plan(tuple(plan["methods"]), plan["seeds"], from_json(plan["settings"]), losses)
    except FileNotFoundError:
        raise SettingError(f"no comparison in {path.parent}: the file {path.name} is missing") from None
    except (json.JSONDecodeError, KeyError, TypeError) as error:
        raise SettingError(f"{path} is not the plan of a comparison: {error}") from None
