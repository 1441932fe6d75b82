"""The rollouts of one iteration."""

from __future__ import annotations

from hgpo.errors import RunError
from hgpo.random_streams import ROLLOUT, TASKS
from hgpo.rollouts.agent import Agent, PlayingAgent
from hgpo.rollouts.dynamic_sampling import Sample, sample_groups
from hgpo.rollouts.episodes import Trajectory
from hgpo.rollouts.rollout import distributed_rollout
from hgpo.training.context import RunContext
from hgpo.training.tasks import training_tasks


def sample_trajectories(run: RunContext, agent: Agent | PlayingAgent, iteration: int) -> Sample:
    """Groups of trajectories of the iteration's tasks; failed trajectories are reported.

    Args:
        run: the settings.
        agent: the agent that plays.
        iteration: number of iterations done before.

    Raises:
        RunError: if every trajectory failed.
    """
    config = run.config
    with run.display.phase("rollout") as advance:

        def roll_out(number: int) -> list[Trajectory]:
            # The first round's random streams have no number, because most runs have only one round.
            place = (iteration, number) if number else (iteration,)
            return distributed_rollout(
                run.processes,
                run.suite,
                agent,
                training_tasks(config, config.tasks_per_iteration, TASKS, *place),
                group_size=config.group_size,
                temperature=config.temperature,
                seed=[config.seed, ROLLOUT, *place],
                on_step=lambda finished, live: advance(finished, finished + live),
                timeout=run.timeout,
                batching=config.rollout_batching,
            )

        sample = sample_groups(
            roll_out,
            groups=config.tasks_per_iteration,
            group_size=config.group_size,
            max_rounds=config.dynamic_sampling_rounds,
        )
    lost = [trajectory for trajectory in sample.tried if trajectory.failure is not None]
    if lost:
        run.display.say(
            f"{len(lost)} of {len(sample.tried)} trajectories failed, the first {lost[0].trajectory_id}: "
            f"{lost[0].failure}"
        )
    if not sample.kept:
        raise RunError(
            f"every trajectory failed in iteration {iteration + 1}, the first: {lost[0].failure}; fix "
            "the environment (hgpo env check) or the agent, and continue with hgpo train --resume "
            f"{run.log.folder}"
        )
    return sample
