"""The arguments of `StepwiseGRPOTrainer`: those of TRL's GRPO, and how episodes are played and compared."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

from trl import GRPOConfig  # pyright: ignore[reportMissingImports]

from hgpo.adapters.episodes import EpisodeSettings
from hgpo.adapters.step_records import shown_estimator
from hgpo.errors import SettingError
from hgpo.estimators import Estimator

CLASS = "MODULE:CLASS or FILE.py:CLASS"


@dataclass
class StepwiseGRPOConfig(GRPOConfig):
    """TRL's arguments with those of the adapter; TRL's parser reads them from a command line or a YAML file.

    `num_generations` is the number of trajectories per task, and a generation batch
    (`per_device_train_batch_size` · processes · `steps_per_generation`) counts trajectories. Each of their
    steps becomes a row; the rows are divided into `steps_per_generation` micro-batches of equal size.
    `max_completion_length` is the longest answer of one step, and `seed` also draws the training tasks.
    """

    _VALID_DICT_FIELDS = [*GRPOConfig._VALID_DICT_FIELDS, "suite_settings", "estimator_settings"]  # noqa: RUF012

    suite: str = field(default="household", metadata={"help": f"Tasks: the name of an environment, {CLASS}."})
    suite_settings: dict[str, Any] | str | None = field(
        default=None, metadata={"help": "Settings of the suite by name."}
    )
    estimator: str = field(
        default="hgpo", metadata={"help": f"Advantages: the name of an estimator, {CLASS}."}
    )
    estimator_settings: dict[str, Any] | str | None = field(
        default=None,
        metadata={"help": "Settings of the estimator; the depth K of HGPO and HBC follows prompt_history."},
    )
    prompt_history: int = field(
        default=2, metadata={"help": "Number of past steps (observation and action) that a prompt shows."}
    )
    response: str = field(
        default="think_action", metadata={"help": "The form of an answer: think_action, text or number."}
    )
    max_prompt_tokens: int = field(
        default=4096,
        metadata={"help": "Longest prompt in tokens; longer prompts lose their oldest steps."},
    )
    environment_timeout: float = field(
        default=60.0, metadata={"help": "Seconds that an environment may take per step; 0 waits forever."}
    )
    evaluation_splits: list[str] | None = field(
        default=None, metadata={"help": "Held-out splits on which to evaluate; by default all."}
    )
    evaluation_tasks: int | None = field(
        default=None, metadata={"help": "Only the first N tasks of each held-out split; by default all."}
    )
    # Without shuffling, training tasks come in the order of `hgpo train`.
    shuffle_dataset: bool | None = field(
        default=False, metadata={"help": "Whether to shuffle the training tasks."}
    )
    # TRL's default would demand batches of full groups for evaluation, which plays each task once.
    num_generations_eval: int | None = field(default=1, metadata={"help": "Has no effect."})

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.max_steps <= 0:
            raise SettingError(
                f"max_steps is {self.max_steps}: expected the number of optimizer steps, because training "
                "tasks are drawn without end"
            )
        for name, lowest in (("environment_timeout", 0), ("max_prompt_tokens", 1)):
            if getattr(self, name) < lowest:
                raise SettingError(f"{name} is {getattr(self, name)}: expected {lowest} or more")
        self.episodes.make_suite()
        self.make_estimator()

    @property
    def episodes(self) -> EpisodeSettings:
        """How episodes are played.

        Raises:
            SettingError: if a setting is invalid.
        """
        return EpisodeSettings(self.suite, _mapping(self.suite_settings), self.prompt_history, self.response)

    def make_estimator(self) -> Estimator:
        """The estimator.

        Raises:
            SettingError: if there is no such estimator, it needs a critic, or a setting is invalid.
        """
        return shown_estimator(
            self.estimator, _mapping(self.estimator_settings), self.prompt_history, stack="TRL"
        )

    @property
    def tasks_per_generation(self) -> int:
        """Number of tasks whose trajectories are generated together, in all processes."""
        assert self.generation_batch_size is not None and self.num_generations is not None
        return self.generation_batch_size // self.num_generations

    @property
    def training_tasks(self) -> int:
        """Number of tasks in the whole training."""
        assert self.steps_per_generation is not None
        micro_batches = self.max_steps * self.gradient_accumulation_steps
        generations = math.ceil(micro_batches / (self.steps_per_generation * self.num_iterations))
        return self.tasks_per_generation * generations


def _mapping(settings: dict[str, Any] | str | None) -> dict[str, Any]:
    # TRL has already turned a text of JSON into a mapping.
    assert not isinstance(settings, str)
    return settings or {}
