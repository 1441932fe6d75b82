"""Types for choosing the environment and the estimator on a command line: env:NAME and estimator:NAME."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

import tyro

from hgpo.envs import ENVIRONMENTS, TaskSuite
from hgpo.estimators import ESTIMATORS, Estimator
from hgpo.registry import Registry

INVALID_PENALTY = 0.1
"""The penalty for a step with an inadmissible action, subtracted from its return, as in published runs."""


def default_estimator(estimator: Any) -> Any:
    """An estimator with the settings that training uses by default.

    If the estimator has a choice, returns are not divided by the group's standard deviation. In a group in
    which all trajectories fail, the division would give the small penalty for an invalid action as much
    weight as a success, and an agent that answers in words gives many invalid actions.
    """
    of_training = {"invalid_penalty": INVALID_PENALTY, "normalization": "mean"}
    known = {setting.name for setting in dataclasses.fields(estimator)}
    return estimator(**{name: value for name, value in of_training.items() if name in known})


@dataclass(frozen=True)
class Choice:
    """One of the classes of a registry, with its fields as options."""

    registry: Registry[Any]
    default: Callable[[Any], Any]
    """Makes the value from a class if no options are given."""

    def subcommands(self) -> Any:
        """The type that tyro reads: one subcommand for each class that the registry offers."""
        offered = self.registry.offered()
        return tyro.extras.subcommand_type_from_defaults(
            {name: self.default(cls) for name, cls in offered.items()}
        )


def _annotation(kind: Any, choice: Choice) -> Any:
    return Annotated[kind, choice, tyro.conf.arg(constructor_factory=choice.subcommands)]


if TYPE_CHECKING:
    EstimatorChoice = Estimator
    SuiteChoice = TaskSuite
else:
    EstimatorChoice = _annotation(Estimator, Choice(ESTIMATORS, default_estimator))
    SuiteChoice = _annotation(TaskSuite, Choice(ENVIRONMENTS, lambda suite: suite()))


def choice_of(hint: Any) -> Choice | None:
    """The choice that a field's type stands for; None for any other field."""
    marks = getattr(hint, "__metadata__", ())
    return next((mark for mark in marks if isinstance(mark, Choice)), None)
