"""TRL's own rollouts, one row per trajectory, with the advantage of its step on each turn's tokens."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from accelerate.utils import gather_object

from hgpo.adapters.step_records import estimator_of
from hgpo.errors import SettingError
from hgpo.steps import StepTable
from hgpo.training.metrics import advantage_metrics, group_metrics


@dataclass(frozen=True)
class Turn:
    """The tokens of one answer of the model in a row."""

    row: int
    """The row in this process's batch."""
    step: int
    """The answer's number in the row, counted from 0."""
    start: int
    """Position of its first token in the completion."""
    stop: int
    """Position after its last token."""


class TokenAdvantages:
    """Mixin for TRL's GRPO trainer that compares the turns of rollouts with `environment_factory` or `tools`.

        class Trainer(TokenAdvantages, GRPOTrainer):
            pass

        trainer = Trainer(model, args=args, train_dataset=data, environment_factory=Game,
                          state_key=lambda game: game.room, estimator="hgpo")

    Every turn of the model is a step. Its state is the state of the environment before the turn, and the
    reward of TRL's reward functions belongs to a trajectory's last step. The rows, with all turns and tool
    results of a trajectory, remain TRL's; only their advantages become a value per token.
    """

    def __init__(
        self,
        *args: Any,
        state_key: Callable[[Any], Hashable] | None = None,
        estimator: str = "hgpo",
        estimator_settings: Mapping[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        """Create the trainer.

        Args:
            args: the arguments of TRL's trainer.
            state_key: maps a row's environment to the key of its state. By default the state is the text that
                the model has read, so that turns are compared if all turns before them were equal.
            estimator: the name of an estimator, MODULE:CLASS or FILE.py:CLASS.
            estimator_settings: its settings by name.
            kwargs: the arguments of TRL's trainer.

        Raises:
            SettingError: if there is no such estimator, a setting is invalid, or there are no environments
                for `state_key`.
        """
        if state_key is not None and kwargs.get("environment_factory") is None:
            raise SettingError("state_key reads environments: give environment_factory, or no state_key")
        self.estimator = estimator_of(estimator, estimator_settings or {})
        self._state_key = state_key
        self._states: list[list[Hashable]] = []
        self._rewards: Any = None
        super().__init__(*args, **kwargs)

    def _generate_single_turn(self, prompt_ids: Any, *args: Any, **kwargs: Any) -> Any:
        if self._state_key is not None:
            # Rows that take no further turn do not read this entry.
            self._states.append([self._state_key(each) for each in self.environments])  # pyright: ignore
        return super()._generate_single_turn(prompt_ids, *args, **kwargs)  # pyright: ignore

    def _calculate_rewards(self, *args: Any, **kwargs: Any) -> Any:
        # One row per trajectory of all processes, one column per reward function.
        self._rewards = super()._calculate_rewards(*args, **kwargs)  # pyright: ignore
        return self._rewards

    def _generate_and_score_completions(self, inputs: Any) -> dict[str, Any]:
        self._states = []
        trainer: Any = self
        output: dict[str, Any] = super()._generate_and_score_completions(inputs)  # pyright: ignore
        sampled = output["completion_mask"] * output.get("tool_mask", 1)
        turns = turns_of(sampled.cpu().numpy())
        own = self._records(inputs, output, turns)
        counts = gather_object([len(own)])
        steps = StepTable.from_rows(gather_object(own))
        advantages = self.estimator(steps)
        first = sum(counts[: trainer.accelerator.process_index])
        of_tokens = torch.zeros(sampled.shape, dtype=torch.float32)
        for turn, advantage in zip(turns, advantages[first : first + len(own)], strict=True):
            of_tokens[turn.row, turn.start : turn.stop] = float(advantage)
        output["advantages"] = of_tokens.to(sampled.device)
        metrics = trainer._metrics["train" if trainer.model.training else "eval"]
        figures = {**group_metrics(self.estimator.comparison(steps)), **advantage_metrics(advantages)}
        for name, value in figures.items():
            metrics[f"hgpo/{name}"].append(value)
        return output

    def _records(self, inputs: Any, output: Mapping[str, Any], turns: Sequence[Turn]) -> list[dict[str, Any]]:
        """The columns of the step table for each turn of this process's rows."""
        trainer: Any = self
        training = trainer.model.training
        group = trainer.num_generations if training else trainer.num_generations_eval
        offset = trainer.accelerator.process_index * len(inputs)
        rewards = (self._rewards * trainer.reward_weights.to(self._rewards.device)).nansum(dim=1).tolist()
        answers = [output["completion_ids"][turn.row, turn.start : turn.stop].tolist() for turn in turns]
        texts = trainer._tokenizer.batch_decode(answers)
        last = {turn.row: turn.step for turn in turns}
        return [
            {
                "task_id": (offset + turn.row) // group,
                "trajectory_id": offset + turn.row,
                "step_index": turn.step,
                "state_key": self._state(output, turn),
                "action": text,
                "reward": rewards[offset + turn.row] if turn.step == last[turn.row] else 0.0,
            }
            for turn, text in zip(turns, texts, strict=True)
        ]

    def _state(self, output: Mapping[str, Any], turn: Turn) -> Hashable:
        if self._state_key is not None:
            return self._states[turn.step][turn.row]
        prompt = output["prompt_ids"][turn.row][output["prompt_mask"][turn.row].bool()]
        return (*prompt.tolist(), *output["completion_ids"][turn.row, : turn.start].tolist())


def turns_of(sampled: np.ndarray) -> list[Turn]:
    """The turns of each row, in order: the runs of ones.

    Args:
        sampled: Shape (rows, tokens), 1 on the tokens that the model sampled.
    """
    turns = []
    for row, mask in enumerate(sampled):
        edges = np.flatnonzero(np.diff(np.concatenate([[0], mask, [0]])))
        for step, (start, stop) in enumerate(edges.reshape(-1, 2).tolist()):
            turns.append(Turn(row, step, start, stop))
    return turns
