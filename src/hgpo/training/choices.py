"""The environment and the estimator of a run, as a command line chooses them: env:NAME and estimator:NAME."""

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
"""The penalty that published runs subtract from the return of a step with an inadmissible action."""


def default_estimator(estimator: Any) -> Any:
    """An estimator with the settings that training uses by default.

    Returns are not divided by the group's standard deviation if the estimator has that choice. In a group
    where all fail, the division would make the small penalty for an invalid action as large as a win, and an
    agent that answers in words gives many invalid actions.
    """
    of_training = {"invalid_penalty": INVALID_PENALTY, "normalization": "mean"}
    known = {setting.name for setting in dataclasses.fields(estimator)}
    return estimator(**{name: value for name, value in of_training.items() if name in known})


@dataclass(frozen=True)
class Choice:
    """One of the classes of a registry, with its fields as options."""

    registry: Registry[Any]
    default: Callable[[Any], Any]
    """What a class stands for where no option is given."""

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
