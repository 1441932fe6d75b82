"""Starts verl from a preset or from your own file."""

from __future__ import annotations

import json
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hgpo.adapters.verl.cluster import named_address, why_not_joined
from hgpo.adapters.verl.probe import require_classes, require_playable
from hgpo.adapters.verl.settings import PREFIX
from hgpo.adapters.versions import supported_version
from hgpo.envs.base import describe
from hgpo.errors import SettingError
from hgpo.training.presets import METHODS

PRESETS = Path(__file__).parent / "presets"
"""Folder of the presets, which have published settings."""
COMMON = "stepwise"
"""The preset on which the others are based."""

SEARCH_PATH = "hydra.searchpath=[pkg://hgpo.adapters.verl.presets,pkg://verl.trainer.config]"
"""The search path of a file's `defaults`; the presets also contain it, for verl's own command."""

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
        require_classes(words)
        env, overrides = None, []
        for word in words:
            kind, _, name = word.partition(":")
            if kind == "env":
                env = name
            elif kind == "estimator":
                spelling = name if ":" in name else PREFIX + name.replace("-", "_")
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
    # verl is imported here, and warns of every engine that is not installed.
    warnings.filterwarnings("ignore", category=UserWarning, module="verl")
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
    supported_version("verl")
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
    require_playable(stepwise_settings(config))
    print(f"tasks: {describe(stepwise_settings(config).suite())}", flush=True)
    from verl.trainer.main_ppo import TaskRunnerV1, run_ppo
    from verl.trainer.ppo.utils import need_critic, need_reference_policy
    from verl.utils.config import validate_config
    from verl.utils.device import auto_set_device

    auto_set_device(config)
    validate_config(
        config=config, use_reference_policy=need_reference_policy(config), use_critic=need_critic(config)
    )
    run_ppo(config, task_runner_class=TaskRunnerV1)
