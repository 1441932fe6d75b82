"""The two sections that the plugin adds to a verl configuration: `hgpo` and `algorithm.stepwise`."""

from __future__ import annotations

import dataclasses
import difflib
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from hgpo.envs import ENVIRONMENTS, HouseholdSuite, TaskSuite
from hgpo.errors import SettingError
from hgpo.estimators import ENTROPY_CREDITS, ESTIMATORS, Estimator
from hgpo.rollouts.prompts import RESPONSE_FORMATS
from hgpo.runs.old_names import current_verl_settings

PREFIX = "stepwise_"
"""An estimator's name in verl is this and its name here; verl has a grpo and a rloo of its own."""


@dataclass(frozen=True)
class StepwiseSettings:
    """The section `hgpo`: how episodes are played, and what makes an update."""

    env: Mapping[str, Any] = field(default_factory=lambda: {"type": HouseholdSuite.name})
    """The games: under "type" their name, or MODULE:CLASS or FILE.py:CLASS of your own; their settings."""
    prompt_history: int = 2
    """How many of the last observations and actions the prompt shows."""
    response: str = "think_action"
    """How the model answers: think_action, text or number."""
    seed: int = 0
    """Of the training games; `hgpo train` with this seed draws the same ones in the same order."""
    tasks_per_update: int | None = None
    """Tasks for each optimizer step, so that the length of episodes does not change how many there are. None
    counts rows, as verl does: ppo_mini_batch_size times rollout.n for each optimizer step."""
    environment_processes: int | None = None
    """Processes that play the games; None takes one for each core of the cluster, and at most 4."""
    environment_timeout: float = 60.0
    """Seconds that a game may take for a step; then its trajectory is dropped. 0 waits for ever."""
    environment_retries: int = 1
    """How often a trajectory is started again whose process has died, before it is dropped."""
    keep_rollouts: bool = False
    """Keep every update's rows next to verl's checkpoints, as rollouts/NUMBER.parquet."""

    def __post_init__(self) -> None:
        for name, lowest in (
            ("prompt_history", 0),
            ("seed", 0),
            ("tasks_per_update", 1),
            ("environment_processes", 1),
            ("environment_timeout", 0),
            ("environment_retries", 0),
        ):
            value = getattr(self, name)
            optional = name in ("tasks_per_update", "environment_processes")
            if not (value is None and optional) and not (isinstance(value, int | float) and value >= lowest):
                raise SettingError(f"hgpo.{name} is {value!r}: expected {lowest} or more")
        if self.response not in RESPONSE_FORMATS:
            raise SettingError(
                f"hgpo.response is {self.response!r}: expected one of {', '.join(RESPONSE_FORMATS)}"
            )
        if "type" not in self.env:
            raise SettingError(f"hgpo.env has no type: expected one of {', '.join(ENVIRONMENTS)}")

    @classmethod
    def of(cls, section: Mapping[str, Any] | None) -> StepwiseSettings:
        """The settings of a configuration's section, as plain values.

        Raises:
            SettingError: if it is missing, or has a setting that is unknown or cannot work.
        """
        if section is None:
            raise SettingError(
                "the configuration has no section hgpo: start from a preset (hgpo verl preset NAME > FILE)"
            )
        settings, renamed = current_verl_settings(section)
        for line in renamed:
            warnings.warn(line, FutureWarning, stacklevel=2)
        return _made("hgpo", cls, settings)

    def suite(self) -> TaskSuite:
        """The games.

        Raises:
            SettingError: if there are no such games, or a setting of theirs is unknown or cannot work.
        """
        settings = {name: value for name, value in self.env.items() if name != "type"}
        return _made("hgpo.env", ENVIRONMENTS.find(self.env["type"], "hgpo.env.type"), settings)

    @property
    def timeout(self) -> float | None:
        """Seconds for a step, None without a limit."""
        return self.environment_timeout or None


def estimator_of(adv_estimator: str, stepwise: Mapping[str, Any] | None) -> Estimator:
    """The estimator that a configuration names, with its settings.

    Args:
        adv_estimator: `algorithm.adv_estimator`, with the prefix: the name of an estimator, or MODULE:CLASS
            or FILE.py:CLASS of the user's own.
        stepwise: `algorithm.stepwise`, with a section of settings for each estimator by its name here, of the
            user's own by the name of its class; one without a section has its defaults.

    Raises:
        SettingError: if it is not one of hgpo, or a setting is unknown or cannot work.
    """
    name = adv_estimator.removeprefix(PREFIX)
    if name == adv_estimator or (name not in ESTIMATORS and ":" not in name):
        ours = ", ".join(PREFIX + known for known in ESTIMATORS)
        raise SettingError(
            f"algorithm.adv_estimator is {adv_estimator!r}: expected one of {ours}, or {PREFIX}MODULE:CLASS"
        )
    section = name.rpartition(":")[2]
    cls = ESTIMATORS.find(name, "algorithm.adv_estimator")
    return _made(f"algorithm.stepwise.{section}", cls, (stepwise or {}).get(section) or {})


def entropy_credit_of(stepwise: Mapping[str, Any] | None) -> Callable[[Estimator], Estimator]:
    """What goes on top of the estimator: `algorithm.stepwise.entropy_credit`, none by default.

    Raises:
        SettingError: if there is no such entropy credit.
    """
    name = (stepwise or {}).get("entropy_credit", "none")
    if name not in ENTROPY_CREDITS:
        known = ", ".join(ENTROPY_CREDITS)
        raise SettingError(f"algorithm.stepwise.entropy_credit is {name!r}: expected one of {known}")
    return ENTROPY_CREDITS[name]


def _made(place: str, make: Any, settings: Mapping[str, Any]) -> Any:
    known = [each.name for each in dataclasses.fields(make) if each.init]
    for name in settings:
        if name not in known:
            near = difflib.get_close_matches(name, known, 1)
            hint = f"did you mean {near[0]}?" if near else f"there are {', '.join(known)}"
            raise SettingError(f"{place}.{name}: no such setting; {hint}")
    try:
        return make(**settings)
    except SettingError:
        raise
    except (TypeError, ValueError) as error:
        raise SettingError(f"{place}: {error}") from None
