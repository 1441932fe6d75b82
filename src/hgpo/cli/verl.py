"""`hgpo verl`: HGPO in verl, on a cluster."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import tyro

from hgpo.cli.check import print_findings
from hgpo.cli.parse import parse
from hgpo.errors import SettingError

Words = Annotated[tuple[str, ...], tyro.conf.Positional, tyro.conf.arg(metavar="KEY=VALUE …")]


@dataclass(frozen=True)
class Check:
    """Check that the plugin is loaded in every process and fits the installed version of verl.

    The exit code is 0 if no problem was found. It checks the cluster that RAY_ADDRESS names, or this machine.
    """


@dataclass(frozen=True)
class Train:
    """Train in verl. An example, on one machine with two GPUs:

    hgpo verl train --preset alfworld-1.5b trainer.logger=[console,wandb] trainer.n_gpus_per_node=2

    With an environment and an estimator of your own, and with their settings:

    hgpo verl train --preset alfworld-1.5b env:my_games:MySuite hgpo.env.level=hard estimator:hbc

    The same command, given again, continues from the latest checkpoint. docs/verl.md explains every step.
    """

    words: Words = ()
    """Any setting of verl or of hgpo in Hydra's syntax, such as algorithm.stepwise.hgpo.alpha=2. env:NAME and
    estimator:NAME replace the preset's environment and estimator, also by MODULE:CLASS or FILE.py:CLASS."""
    preset: tyro.conf.UseAppendAction[tuple[str, ...]] = ()
    """Published settings: the run alfworld-1.5b, alfworld-7b, webshop-1.5b or webshop-7b. The method gspo,
    cispo, sapo or sampo can be added to it (--preset alfworld-1.5b --preset sampo)."""
    config: Annotated[Path | None, tyro.conf.arg(metavar="FILE")] = None
    """Your own file instead of a run's preset; `hgpo verl preset NAME > FILE` writes one to start from."""
    dry_run_cpu: tyro.conf.FlagCreatePairsOff[bool] = False
    """Run the whole loop on this machine's CPU for three steps, with a tiny model instead of the named one
    and a few short episodes. This takes minutes and shows whether tasks, settings and installation work. It
    starts its own Ray and ignores RAY_ADDRESS."""


@dataclass(frozen=True)
class Preset:
    """Print a preset: for a run, a file that can be edited and given to `hgpo verl train --config`; for a
    method, its settings, one per line.
    """

    name: Annotated[str | None, tyro.conf.Positional, tyro.conf.arg(metavar="[NAME]")] = None
    """The preset; by default all names are printed. All presets are based on "stepwise"."""


def main(args: Sequence[str]) -> int:
    """Run the command."""
    # tyro reads the settings only if they follow one another.
    words = sorted(args, key=_is_setting)
    command: Any = parse(Check | Train | Preset, words, prog="hgpo verl")  # pyright: ignore[reportArgumentType]
    return RUN[type(command)](command)


def _check(command: Check) -> int:
    del command
    return print_findings("verl")


def _preset(command: Preset) -> int:
    from hgpo.adapters.verl.launch import preset_file, preset_names
    from hgpo.adapters.verl.methods import in_verl
    from hgpo.training.presets import METHODS

    if command.name is None:
        print("\n".join([*preset_names(), *METHODS]))
    elif command.name in METHODS:
        method = in_verl([command.name])
        print("\n".join([*method.overrides, *(f"# not in verl: {setting}" for setting in method.missing)]))
    else:
        print(preset_file(command.name).read_text(), end="")
    return 0


def _train(command: Train) -> int:
    from hgpo.adapters.verl.launch import Words, compose, preset_file, train
    from hgpo.adapters.verl.methods import in_verl
    from hgpo.adapters.versions import supported_version
    from hgpo.training.presets import METHODS

    supported_version("verl")
    words = Words.of(command.words)
    methods = [name for name in command.preset if name in METHODS]
    runs = [name for name in command.preset if name not in METHODS]
    if len(runs) + (command.config is not None) != 1:
        raise SettingError("give one of --preset NAME and --config FILE (hgpo verl preset lists the names)")
    file = preset_file(runs[0]) if runs else command.config
    assert file is not None
    method = in_verl(methods)
    for setting in method.missing:
        print(f"verl has no counterpart to {setting}; it is left out", flush=True)
    overrides = [*method.overrides, *words.overrides]
    if command.dry_run_cpu:
        with tempfile.TemporaryDirectory(prefix="hgpo-dry-run-") as folder:
            _dry_run(file, Path(folder), overrides, words.env)
    else:
        train(compose(file, overrides, words.env))
    return 0


def _dry_run(file: Path, folder: Path, overrides: Sequence[str], env: str | None) -> None:
    from hgpo.adapters.verl.cpu.dry_run import overrides_for, prepare, save_model

    prepare()
    from hgpo.adapters.verl.configuration import stepwise_settings
    from hgpo.adapters.verl.launch import compose, train

    suite = stepwise_settings(compose(file, overrides, env)).suite_class()
    config = compose(file, [*overrides_for(folder, suite), *overrides], env)
    save_model(config, folder / "model")
    train(config)
    print("the dry run is complete: tasks, settings and installation work together")


def _is_setting(word: str) -> bool:
    named = word.startswith(("env:", "estimator:", "~"))
    return named or ("=" in word and not word.startswith("-"))


RUN: dict[type, Any] = {Check: _check, Train: _train, Preset: _preset}
