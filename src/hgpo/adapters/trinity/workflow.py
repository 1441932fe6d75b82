"""A workflow of Trinity that plays the suites of this package, with one experience per step."""

from __future__ import annotations

from typing import Any

from trinity.common.workflows.workflow import Workflow  # pyright: ignore[reportMissingImports]

from hgpo.adapters.episodes import player_of_this_process
from hgpo.adapters.step_records import episode_records
from hgpo.adapters.task_stream import TaskReference
from hgpo.adapters.trinity.advantages import INFO_KEYS
from hgpo.policies.answers import Answer, begun_by, read_answer
from hgpo.rollouts.episodes import STEP_COLUMNS
from hgpo.rollouts.prompts import Turn


class StepwiseWorkflow(Workflow):
    """Plays one task once.

        default_workflow_type: hgpo.adapters.trinity.StepwiseWorkflow
        workflow_args: {suite: household, suite_settings: {max_steps: 20}, prompt_history: 2}

    The tasks come from files of `write_tasks`; the arguments are those of `EpisodeSettings`.
    """

    is_async = True

    def __init__(self, *, task: Any, model: Any, auxiliary_models: Any = None) -> None:
        """Create the suite.

        Args:
            task: Trinity's task; its `raw_task` is a `TaskReference`.
            model: Trinity's model.
            auxiliary_models: not used.

        Raises:
            SettingError: if there is no such suite, or a setting is invalid.
        """
        super().__init__(task=task, model=model, auxiliary_models=auxiliary_models)
        self.player = player_of_this_process(task.workflow_args, "workflow_args")

    async def run_async(self) -> list[Any]:
        """The experiences of an episode, in the order of its steps, each with the reward of the trajectory.

        Raises:
            EnvironmentFault: if the environment fails; Trinity then leaves the run out.
        """
        reference = TaskReference(**self.task.raw_task)
        steps = await self.player.play(self.player.task(reference), self._ask)
        end = episode_records(steps, task="", trajectory="")[-1]
        figures = {"success": float(end.won), "return": end.total, "steps": float(len(steps))}
        experiences = []
        for number, step in enumerate(steps):
            experience = step.decision.output
            experience.eid.step = number
            experience.reward = end.total
            experience.info.update({INFO_KEYS.get(name, name): of(step) for name, of in STEP_COLUMNS.items()})
            experience.metrics.update(figures if end.score is None else {**figures, "score": end.score})
            experiences.append(experience)
        return experiences

    async def _ask(self, turn: Turn) -> tuple[Answer, Any]:
        prompt = self.player.settings.response_format.prompt(turn)
        (experience,) = await self.model.chat_async([{"role": "user", "content": prompt}], n=1)
        begun = begun_by(experience.prompt_text or "")
        return read_answer(experience.response_text or "", begun=begun), experience
