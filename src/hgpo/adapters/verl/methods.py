"""Converts the presets of methods to settings of verl, and lists the settings that verl does not have."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from hgpo.adapters.verl.settings import PREFIX
from hgpo.errors import SettingError
from hgpo.estimators import ESTIMATORS
from hgpo.training.presets import METHODS, combined

ACTOR = "actor_rollout_ref.actor"

LOSS_MODES = {
    ("token", "ppo"): "vanilla",
    ("sequence", "ppo"): "gspo",
    ("token", "cispo"): "cispo",
    ("token", "sapo"): "sapo",
}
"""verl's loss for each supported pair of ratio and clip. Its gspo has no dual clip."""

AVERAGES = {"tokens": "token-mean", "rows": "seq-mean-token-mean"}
"""verl's name for each average."""

SETTINGS: dict[str, tuple[str, Callable[[Any], Any]]] = {
    "loss.clip_low": (f"{ACTOR}.clip_ratio_low", float),
    "loss.clip_high": (f"{ACTOR}.clip_ratio_high", float),
    "loss.gate_positive": (f"{ACTOR}.tau_pos", float),
    "loss.gate_negative": (f"{ACTOR}.tau_neg", float),
    "loss.average": (f"{ACTOR}.loss_agg_mode", AVERAGES.__getitem__),
    "old_logprobs": ("algorithm.rollout_correction.bypass_mode", lambda source: source == "sampler"),
    # verl's trainers always draw tasks until the batch is full, so the number of rounds is ignored.
    "dynamic_sampling_rounds": ("algorithm.filter_groups.enable", lambda rounds: rounds > 1),
}
"""verl's name for each setting of hgpo, and the conversion of its value."""


WITHOUT = {"loss.mask_below": 0.0}
"""For settings that verl does not have: the value that switches them off, as verl has it."""


@dataclass(frozen=True)
class InVerl:
    """Methods as settings of verl."""

    overrides: tuple[str, ...]
    """Overrides of the configuration, in Hydra's syntax."""
    missing: tuple[str, ...]
    """Settings of hgpo without a counterpart in verl, as NAME=VALUE."""


def in_verl(names: Sequence[str]) -> InVerl:
    """The settings of verl that correspond to presets of methods.

    Args:
        names: the methods; a later one overrides an earlier one.

    Raises:
        SettingError: if there is no such method.
    """
    if unknown := [name for name in names if name not in METHODS]:
        raise SettingError(f"no method {unknown[0]!r}: choose from {', '.join(METHODS)}")
    overrides, missing = [], []
    values = {setting: value for setting, (value, _) in combined(names).values.items()}
    if names:
        mode = LOSS_MODES[values.pop("loss.ratio"), values.pop("loss.clip")]
        overrides.append(f"{ACTOR}.policy_loss.loss_mode={mode}")
    estimator = ESTIMATORS.name_of(type(values["estimator"])) if "estimator" in values else ""
    for setting, value in values.items():
        section, _, own = setting.partition(".")
        if setting == "estimator":
            overrides.append(f"algorithm.adv_estimator={PREFIX}{estimator}")
        elif section == "estimator":
            # ++ sets the value whether or not the configuration already has the name.
            overrides.append(f"++algorithm.stepwise.{estimator.rpartition(':')[2]}.{own}={value}")
        elif setting in SETTINGS:
            theirs, convert = SETTINGS[setting]
            overrides.append(f"{theirs}={convert(value)}")
        elif setting not in WITHOUT or value != WITHOUT[setting]:
            missing.append(f"{setting}={value}")
    return InVerl(tuple(overrides), tuple(missing))
