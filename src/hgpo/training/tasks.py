"""The training tasks of a run."""

from __future__ import annotations

from hgpo.envs.base import Task, TaskSuite, tasks_of
from hgpo.envs.episode import begin
from hgpo.errors import SettingError
from hgpo.gateway.suite import AgentSuite
from hgpo.random_streams import PROBE, WARM_TASKS, RandomStreams
from hgpo.steps import STATE_KEY
from hgpo.training.config import TrainConfig


def training_tasks(config: TrainConfig, count: int, *stream: int) -> list[Task]:
    """Tasks of the training split, drawn by the run's seed.

    Args:
        config: has the environment and the seed.
        count: number of tasks.
        stream: the random stream and the position in the run (see `hgpo.random_streams`).
    """
    suite = config.env
    return list(tasks_of(suite, suite.splits[0], count, seed=RandomStreams(config.seed).integer(*stream)))


def require_walkthroughs(config: TrainConfig) -> None:
    """Check, before any model is made or file written, that the warm start has a walkthrough to imitate.

    Raises:
        SettingError: if none of its tasks has a walkthrough.
    """
    count = config.warm_start.tasks
    if count == 0 or any(config.env.walkthrough(task) for task in training_tasks(config, count, WARM_TASKS)):
        return
    raise SettingError(
        f"{config.env.name}: none of {count} tasks has a walkthrough to imitate, without which a model made "
        "from scratch learns nothing: give --model and --warm-start.tasks 0, or write walkthroughs"
    )


def require_level_keys(config: TrainConfig, suite: TaskSuite) -> None:
    """Check, before training starts, that the environment has the state keys that the estimator uses.

    Raises:
        SettingError: if one is missing.
    """
    wanted = getattr(config.estimator, "level_keys", None)
    if wanted is None:
        return
    if isinstance(config.env, AgentSuite):
        raise SettingError("--estimator.level-keys: an agent of your own has one state key per step")
    (task,) = training_tasks(config, 1, PROBE)
    known = [STATE_KEY, *begin(suite.make(), task).info.state_keys]
    for name in wanted:
        if name not in known:
            raise SettingError(
                f"--estimator.level-keys {name}: {config.env.name} has no such state key, only "
                f"{', '.join(known)}"
            )
