"""SkyRL's configuration with a section for this package."""

# SkyRL reads the types of the fields, so they are no strings here.
from dataclasses import dataclass, field
from typing import Any

from skyrl.train.config import (  # pyright: ignore[reportMissingImports]
    GeneratorConfig,
    SkyRLTrainConfig,
    TrainerConfig,
)
from skyrl.train.config.config import BaseConfig  # pyright: ignore[reportMissingImports]

from hgpo.adapters.episodes import EpisodeSettings
from hgpo.adapters.step_records import shown_estimator
from hgpo.errors import SettingError
from hgpo.estimators import Estimator

FIXED = {
    "generator.step_wise_trajectories": True,
    "generator.merge_stepwise_output": False,
    "generator.apply_overlong_filtering": False,
    "trainer.recompute_old_logprobs_per_minibatch": False,
    "trainer.algorithm.dynamic_sampling.type": None,
    "trainer.algorithm.zero_variance_filter": False,
    "trainer.algorithm.use_kl_in_reward": False,
    "trainer.critic.model.path": None,
}
"""Settings of SkyRL with only one possible value here. Others merge or drop steps, or have no effect;
log-probabilities computed per mini-batch include its padding, which shifts those of the next one."""


@dataclass
class StepwiseSection(BaseConfig):
    """The section `hgpo` of a configuration."""

    suite: str = "household"
    """The name of an environment, MODULE:CLASS or FILE.py:CLASS."""
    suite_settings: dict[str, Any] = field(default_factory=dict)
    """Settings of the suite by name."""
    prompt_history: int = 2
    """Number of past steps (observation and action) that a prompt shows."""
    response: str = "think_action"
    """The form of an answer: think_action, text or number."""
    estimator: str = "hgpo"
    """The name of an estimator, MODULE:CLASS or FILE.py:CLASS."""
    estimator_settings: dict[str, Any] = field(default_factory=dict)
    """Settings of the estimator by name; the depth K of HGPO and HBC follows prompt_history."""
    evaluation_tasks: int | None = None
    """Only the first N tasks of each held-out split; None takes all."""

    @property
    def episodes(self) -> EpisodeSettings:
        """How episodes are played.

        Raises:
            SettingError: if a setting is invalid.
        """
        return EpisodeSettings(self.suite, self.suite_settings, self.prompt_history, self.response)

    def make_estimator(self) -> Estimator:
        """The estimator.

        Raises:
            SettingError: if there is no such estimator, it needs a critic, or a setting is invalid.
        """
        return shown_estimator(
            self.estimator, self.estimator_settings, self.prompt_history, stack="this part of SkyRL"
        )


@dataclass
class StepwiseGeneratorConfig(GeneratorConfig):
    """SkyRL's settings of generation, with rows for steps by default."""

    step_wise_trajectories: bool = True


@dataclass
class StepwiseTrainerConfig(TrainerConfig):
    """SkyRL's settings of training, with log-probabilities of all rows together by default."""

    recompute_old_logprobs_per_minibatch: bool = False


@dataclass
class StepwiseTrainConfig(SkyRLTrainConfig):
    """SkyRL's configuration with the section `hgpo`."""

    trainer: StepwiseTrainerConfig = field(default_factory=StepwiseTrainerConfig)
    generator: StepwiseGeneratorConfig = field(default_factory=StepwiseGeneratorConfig)
    hgpo: StepwiseSection = field(default_factory=StepwiseSection)

    def __post_init__(self) -> None:
        super().__post_init__()
        for path, expected in FIXED.items():
            value: Any = self
            for name in path.split("."):
                value = getattr(value, name)
            if value != expected:
                raise SettingError(f"{path} is {value!r}: expected {expected!r} with rows for steps")
        if self.trainer.max_training_steps is None:
            raise SettingError(
                "trainer.max_training_steps is missing: expected a number, as tasks are drawn without end"
            )
        self.hgpo.episodes.make_suite()
        self.hgpo.make_estimator()
