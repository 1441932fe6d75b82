"""The two sections that the plugin adds to a verl configuration: `hgpo` and `algorithm.stepwise`."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, get_args

from hgpo.envs import ENVIRONMENTS, HouseholdSuite, TaskSuite
from hgpo.envs.processes import EnvironmentIsolation, isolated
from hgpo.errors import SettingError
from hgpo.estimators import ENTROPY_CREDITS, ESTIMATORS, Estimator
from hgpo.registry import create, nearest
from hgpo.rollouts.prompts import RESPONSE_FORMATS
from hgpo.runs.old_names import current_verl_settings

PREFIX = "stepwise_"
"""Prefix of an estimator's name in verl, because verl has its own grpo and rloo."""


@dataclass(frozen=True)
class StepwiseSettings:
    """The section `hgpo`: how episodes are played and how updates are counted."""

    env: Mapping[str, Any] = field(default_factory=lambda: {"type": HouseholdSuite.name})
    """The environment: under "type" its name, or the MODULE:CLASS or FILE.py:CLASS of your own suite; all
    other entries are the suite's settings."""
    prompt_history: int = 2
    """Number of past steps (observation and action) that the prompt shows."""
    response: str = "think_action"
    """The form of an answer: think_action, text or number."""
    seed: int = 0
    """Seed of the training tasks; `hgpo train` with this seed draws the same tasks in the same order."""
    tasks_per_update: int | None = None
    """Tasks per optimizer step, so that the number of optimizer steps does not depend on the length of
    episodes. None counts rows, as verl does: ppo_mini_batch_size times rollout.n per optimizer step."""
    environment_processes: int | None = None
    """Number of environment processes; None uses one per core of the cluster, but at most 4."""
    environment_timeout: float = 60.0
    """Seconds that an environment may take per step; after that its trajectory is dropped. 0 waits
    forever."""
    environment_retries: int = 1
    """Number of times that a trajectory is restarted after its process has died, before it is dropped."""
    env_isolation: EnvironmentIsolation = "thread"
    """Where environments run: in threads of the environment processes, or ("process") each in a process of
    its own, so that a crash or a leak costs only its own trajectory."""
    keep_rollouts: bool = False
    """Keep the rows of every update next to verl's checkpoints, as rollouts/NUMBER.parquet."""

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
        if self.env_isolation not in get_args(EnvironmentIsolation):
            raise SettingError(
                f"hgpo.env_isolation is {self.env_isolation!r}: expected one of "
                + ", ".join(get_args(EnvironmentIsolation))
            )
        if "type" not in self.env:
            raise SettingError(f"hgpo.env has no type: expected one of {', '.join(ENVIRONMENTS)}")

    @classmethod
    def of(cls, section: Mapping[str, Any] | None) -> StepwiseSettings:
        """The settings of a configuration's section, as plain values.

        Raises:
            SettingError: if the section is missing, or a setting is unknown or invalid.
        """
        if section is None:
            raise SettingError(
                "the configuration has no section hgpo: start from a preset (hgpo verl preset NAME > FILE)"
            )
        settings, renamed = current_verl_settings(section)
        for line in renamed:
            warnings.warn(line, FutureWarning, stacklevel=2)
        return create(cls, settings, "hgpo")

    def suite(self) -> TaskSuite:
        """The task suite.

        Raises:
            SettingError: if there is no such suite, or one of its settings is unknown or invalid.
        """
        settings = {name: value for name, value in self.env.items() if name != "type"}
        return create(
            self.suite_class(), settings, "hgpo.env", more="; env:NAME leaves out those of a preset"
        )

    def suite_class(self) -> Callable[..., TaskSuite]:
        """The class of the task suite.

        Raises:
            SettingError: if there is no such class, or if it cannot be used.
        """
        return ENVIRONMENTS.find(self.env["type"], "hgpo.env.type")

    def playing_suite(self) -> TaskSuite:
        """The task suite to play in, isolated according to `env_isolation`."""
        return isolated(self.suite(), self.env_isolation, self.timeout)

    @property
    def timeout(self) -> float | None:
        """Timeout of a step in seconds; None for no limit."""
        return self.environment_timeout or None


def estimator_of(adv_estimator: str, stepwise: Mapping[str, Any] | None) -> Estimator:
    """The estimator that a configuration names, with its settings.

    Args:
        adv_estimator: `algorithm.adv_estimator`: after the prefix, the name of an estimator; or, with or
            without the prefix, the MODULE:CLASS or FILE.py:CLASS of the user's own.
        stepwise: `algorithm.stepwise`: one section of settings per estimator, under its name or, for the
            user's own, the name of its class. An estimator without a section has its defaults.

    Raises:
        SettingError: if hgpo has no such estimator, or a setting is unknown or invalid.
    """
    name = adv_estimator.removeprefix(PREFIX)
    if ":" not in name and (name == adv_estimator or name not in ESTIMATORS):
        ours = ", ".join(PREFIX + known for known in ESTIMATORS)
        raise SettingError(
            f"algorithm.adv_estimator is {adv_estimator!r}: expected one of {ours}, or MODULE:CLASS"
        )
    section = _section(name)
    cls = ESTIMATORS.find(name, "algorithm.adv_estimator")
    return create(cls, (stepwise or {}).get(section) or {}, f"algorithm.stepwise.{section}")


def check_sections(adv_estimator: str, stepwise: Mapping[str, Any] | None) -> None:
    """Check the sections of all estimators in `algorithm.stepwise`, also of those that are not used.

    Raises:
        SettingError: if a section belongs to no estimator, or one of its settings is unknown or invalid.
    """
    own = _section(adv_estimator.removeprefix(PREFIX))
    known = [*ESTIMATORS, own]
    for section in stepwise or {}:
        if section in ESTIMATORS:
            estimator_of(PREFIX + section, stepwise)
        elif section not in (own, "entropy_credit"):
            raise SettingError(f"algorithm.stepwise.{section}: no such estimator; {nearest(section, known)}")


def _section(name: str) -> str:
    """The section of an estimator: its name, or the name of the user's own class."""
    return name.rpartition(":")[2]


def entropy_credit_of(stepwise: Mapping[str, Any] | None) -> Callable[[Estimator], Estimator]:
    """Wraps an estimator with the entropy credit in `algorithm.stepwise.entropy_credit`; by default none.

    Raises:
        SettingError: if there is no such entropy credit.
    """
    name = (stepwise or {}).get("entropy_credit", "none")
    if name not in ENTROPY_CREDITS:
        known = ", ".join(ENTROPY_CREDITS)
        raise SettingError(f"algorithm.stepwise.entropy_credit is {name!r}: expected one of {known}")
    return ENTROPY_CREDITS[name]
