"""Starts verl from a preset or from your own file."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from hgpo.adapters.verl.cluster import named_address, why_not_joined
from hgpo.adapters.verl.settings import PREFIX, StepwiseSettings
from hgpo.adapters.verl.versions import ignore_missing_engines, verl_version
from hgpo.envs import ENVIRONMENTS
from hgpo.envs.base import Task, concurrency_of, describe, tasks_of
from hgpo.envs.commands import random_command
from hgpo.envs.episode import EnvironmentFault, advance, begin
from hgpo.envs.faults import checked, run_isolated
from hgpo.envs.processes import timeout_in_threads
from hgpo.errors import SettingError
from hgpo.estimators import ESTIMATORS
from hgpo.random_streams import PROBE, RandomStreams
from hgpo.training.presets import METHODS

PRESETS = Path(__file__).parent / "presets"
"""Folder of the presets, which have published settings."""
COMMON = "stepwise"
"""The preset on which the others are based."""

SEARCH_PATH = "hydra.searchpath=[pkg://hgpo.adapters.verl.presets,pkg://verl.trainer.config]"
"""The search path of a file's `defaults`; the presets also contain it, for verl's own command."""

PROBED = 2
"""Number of training tasks that are started before anything else is."""
OWN_SPLITS = ("data.train_files=null", "data.val_files=null")
"""The overrides with which `train` takes the splits from the environment."""


def preset_names() -> list[str]:
    """The published settings by name."""
    return sorted(path.stem for path in PRESETS.glob("*.yaml") if path.stem != COMMON)


def preset_file(name: str) -> Path:
    """The file of a preset.

    Raises:
        SettingError: if there is none.
    """
    if name not in (COMMON, *preset_names()):
        runs, methods = ", ".join(preset_names()), ", ".join(METHODS)
        raise SettingError(f"no preset {name!r}: choose from {runs}; {methods} can be added to one")
    return PRESETS / f"{name}.yaml"


@dataclass(frozen=True)
class Words:
    """The words of a command line, as `compose` takes them."""

    env: str | None
    """The environment that replaces the file's."""
    overrides: tuple[str, ...]
    """Overrides in Hydra's syntax."""

    @classmethod
    def of(cls, words: Sequence[str]) -> Words:
        """The words env:NAME and estimator:NAME, as for `hgpo train`, and overrides in Hydra's syntax.

        Settings of the environment and of estimators need no "+" where the file does not have them, because
        `check_configuration` finds misspelt ones.

        Raises:
            SettingError: if there is no such environment or estimator.
        """
        env, overrides = None, []
        for word in words:
            kind, _, name = word.partition(":")
            if kind == "env":
                ENVIRONMENTS.find(name, "env")
                env = name
            elif kind == "estimator":
                name = name if ":" in name else name.replace("-", "_")
                ESTIMATORS.find(name, "estimator")
                spelling = name if ":" in name else PREFIX + name
                overrides.append(f"algorithm.adv_estimator={json.dumps(spelling)}")
            elif word.startswith(("hgpo.env.", "algorithm.stepwise.")):
                overrides.append(f"++{word}")
            else:
                overrides.append(word)
        return cls(env, tuple(overrides))


def compose(file: Path, overrides: Sequence[str], env: str | None = None) -> Any:
    """The configuration of a file, including its `defaults`.

    Args:
        file: the file.
        overrides: changes in Hydra's syntax.
        env: name of the environment that replaces the file's, with its settings and splits; None keeps it.

    Raises:
        SettingError: if the file is missing, or it or an override does not fit verl's configuration.
    """
    ignore_missing_engines()
    import hydra
    from hydra.errors import HydraException
    from omegaconf.errors import OmegaConfBaseException
    from yaml import YAMLError

    if not file.is_file():
        raise SettingError(f"no file {file}; hgpo verl preset NAME > {file} writes one to start from")
    replaced = [] if env is None else ["~hgpo.env", f"+hgpo.env.type={json.dumps(env)}", *OWN_SPLITS]
    try:
        with hydra.initialize_config_dir(str(file.parent.resolve()), version_base=None):
            return hydra.compose(file.stem, overrides=[SEARCH_PATH, *replaced, *overrides])
    except (HydraException, OmegaConfBaseException, YAMLError) as error:
        raise SettingError(" ".join(f"{file.name}: {error}".split())) from None


def train(config: Any) -> None:
    """Run verl with a configuration, as its own command does.

    Raises:
        SettingError: if the configuration cannot work with the plugin.
    """
    verl_version()
    from hgpo.adapters.verl.configuration import check_configuration, complete, stepwise_settings
    from hgpo.adapters.verl.tasks import TaskDataset

    complete(config)
    check_configuration(config)
    address = named_address()
    if address is not None and (problem := why_not_joined(address)) is not None:
        raise SettingError(problem)
    # Check before anything is started that the environment's data exists.
    for splits in (config.data.train_files, config.data.val_files):
        TaskDataset(splits, None, config.data)
    settings = stepwise_settings(config)
    require_playable(settings)
    print(f"tasks: {describe(settings.suite())}", flush=True)
    from verl.trainer.main_ppo import TaskRunnerV1, run_ppo
    from verl.trainer.ppo.utils import need_critic, need_reference_policy
    from verl.utils.config import validate_config
    from verl.utils.device import auto_set_device

    auto_set_device(config)
    validate_config(
        config=config, use_reference_policy=need_reference_policy(config), use_critic=need_critic(config)
    )
    run_ppo(config, task_runner_class=TaskRunnerV1)


def require_playable(settings: StepwiseSettings) -> None:
    """Check that a training task can be started and that a command can be carried out in it.

    Raises:
        SettingError: if the environment fails in each of a few tasks.
    """
    suite = settings.playing_suite()
    rng = RandomStreams(settings.seed).generator(PROBE)

    def first_step(task: Task) -> None:
        environment = suite.make()
        now = checked(begin(environment, task))
        if not now.over:
            command = random_command(now.info.admissible_commands, task.instruction, rng)
            checked(advance(environment, command))

    jobs = [partial(first_step, task) for task in tasks_of(suite, suite.splits[0], PROBED)]
    timeout = timeout_in_threads(suite, settings.timeout)
    outcomes = run_isolated(jobs, timeout, concurrency_of(suite))
    faults = [outcome for outcome in outcomes if isinstance(outcome, EnvironmentFault)]
    if len(faults) == len(jobs):
        raise SettingError(f"the environment fails at once: {faults[0]}; see hgpo env check")
