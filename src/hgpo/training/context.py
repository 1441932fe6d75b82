"""The context of a run: everything that is derived from its settings and does not change during training."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from hgpo.distributed import ProcessGroup, SingleProcess
from hgpo.envs.base import TaskSuite, require_tasks
from hgpo.errors import SettingError
from hgpo.policies.compute import Compute, keep_freed_memory
from hgpo.random_streams import RandomStreams
from hgpo.rollouts.prompts import Turn
from hgpo.runs.display import Display, NoDisplay
from hgpo.runs.folder import RunLog, SilentLog
from hgpo.training.agent import turns_of_random_play
from hgpo.training.config import TrainConfig
from hgpo.training.tasks import require_level_keys


@dataclass(frozen=True)
class RunContext:
    """A run's settings, folder, display, processes and device."""

    config: TrainConfig
    log: RunLog
    """The run's folder; only the first process writes to it."""
    display: Display
    """Shows progress, in the first process only."""
    processes: ProcessGroup
    """The processes that train together."""
    compute: Compute
    """The device, precision and batch size of the models."""
    suite: TaskSuite
    """The environment to play in."""
    turns: tuple[Turn, ...]
    """The turns of a few tasks of random play; token lengths are estimated from them."""

    @property
    def streams(self) -> RandomStreams:
        """The run's random streams."""
        return RandomStreams(self.config.seed)

    @property
    def is_first(self) -> bool:
        """Whether this is the process that writes files and messages."""
        return self.processes.rank == 0

    @property
    def timeout(self) -> float | None:
        """Number of seconds that an environment may take for a step; None is no limit."""
        return self.config.environment_timeout or None

    def wait_for_first(self) -> None:
        """Wait until the first process reaches the same call, before files that it writes are read."""
        self.processes.broadcast(None)


def open_context(
    config: TrainConfig, folder: Path, display: Display | None = None, processes: ProcessGroup | None = None
) -> RunContext:
    """The context of a run. It writes no files, but sets the process's threads and use of memory.

    Raises:
        SettingError: if a setting cannot work with this environment or this machine, or if files in the
            folder have the names of a run's files but do not belong to a run.
    """
    processes = processes or SingleProcess()
    if config.overlap and processes.size > 1:
        raise SettingError(
            f"--overlap 1 needs a single process, and {processes.size} train together: each would gather the "
            "rollouts of all while it adds up gradients"
        )
    config.set_threads()
    keep_freed_memory()
    compute = config.compute()
    if config.device is None and processes.device is not None:
        compute = replace(compute, device=processes.device, threads=1)
    first = processes.rank == 0
    log = RunLog(folder) if first else SilentLog(folder)
    log.require_own_folder()
    require_tasks(config.env, config.env.splits[1:], config.evaluation_tasks)
    suite = config.playing_suite()
    require_level_keys(config, suite)
    return RunContext(
        config=config,
        log=log,
        display=display if display is not None and first else NoDisplay(),
        processes=processes,
        compute=compute,
        suite=suite,
        turns=tuple(turns_of_random_play(config, suite)),
    )
