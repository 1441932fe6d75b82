"""What a comparison consists of: methods, seeds, and the settings that all runs share."""

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
        raise SettingError(f"there is no method {method!r} to compare, but {known}, and MODULE:CLASS")
    return default_estimator(ESTIMATORS.find(method, "--estimators"))


@dataclass(frozen=True)
class Plan:
    """A comparison; each method has one run for each seed."""

    methods: tuple[str, ...]
    seeds: int
    """Seeds 0, 1, … of the runs."""
    settings: TrainConfig
    """Of all runs, but for estimator and seed."""

    def __post_init__(self) -> None:
        for method in self.methods:
            estimator_of(method)
        if not self.methods or len(set(self.methods)) < len(self.methods):
            raise SettingError(f"the methods are {', '.join(self.methods) or 'none'}: name each once")
        if self.seeds < 1:
            raise SettingError(f"--seeds is {self.seeds}: expected 1 or more")

    def config(self, method: str, seed: int) -> TrainConfig:
        """The settings of one run, which has one thread: the runs share the cores."""
        estimator = estimator_of(method)
        if method not in DEPTHS | STATES_ONLY:
            estimator = as_deep_as_shown(estimator, self.settings.prompt_history)
        return dataclasses.replace(self.settings, estimator=estimator, seed=seed, threads=1)

    def save(self, path: Path) -> None:
        """Write the plan as JSON."""
        plan = {"methods": self.methods, "seeds": self.seeds, "settings": to_json(self.settings)}
        atomic_write(path, json.dumps(plan, indent=2) + "\n")


def load_plan(path: Path) -> Plan:
    """Read a plan that `Plan.save` wrote.

    Raises:
        SettingError: if there is none.
    """
    try:
        plan = json.loads(path.read_text())
        return Plan(tuple(plan["methods"]), plan["seeds"], from_json(plan["settings"]))
    except FileNotFoundError:
        raise SettingError(f"no comparison in {path.parent}: {path.name} is missing there") from None
    except (json.JSONDecodeError, KeyError, TypeError) as error:
        raise SettingError(f"{path} is not the plan of a comparison: {error}") from None
