"""`hgpo lab`: estimators measured where the true advantages are known."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, make_dataclass
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

import tyro
from rich.console import Console
from rich.table import Table

from hgpo.cli import wrong_use
from hgpo.cli.parse import first_stage, parse
from hgpo.errors import SettingError
from hgpo.lab.decision_processes import ProcessShape
from hgpo.lab.game_gradient import GameGradientSetting
from hgpo.lab.game_learning import GameLearningSetting
from hgpo.lab.gradient import GradientSetting
from hgpo.lab.learning import LearningSetting
from hgpo.lab.measure import Setting
from hgpo.lab.oracle import OracleSetting
from hgpo.runs.display import RichDisplay

Folder = Annotated[Path, tyro.conf.arg(metavar="FOLDER")]
Part = Literal["processes", "games"]
R = TypeVar("R")
Progress = Callable[[int, int], None]
"""Called with the amount of work done and the total."""
AxisNames = Annotated[tuple[str, ...], tyro.conf.arg(metavar="NAME …")]


@dataclass(frozen=True)
class BiasVariance:
    """Measure bias, variance and error of every estimator on finite processes with exact advantages. One
    quantity is varied at a time: N, K, alpha, horizon, aliasing, history_dependence, history_reward_scale,
    clock. Each gives a table and a plot.
    """

    out: Folder = Path("lab")
    """Folder for the tables (.md, .csv) and plots (.png, .svg)."""
    axes: AxisNames = ()
    """Vary only these quantities; by default all."""
    seed: int = 0
    """Seed of the processes and rollouts."""
    rows: int = 100_000
    """Number of steps sampled from each process."""
    processes: int = 8
    """Number of processes that each figure is a mean over."""
    shape: ProcessShape = field(default_factory=lambda: ProcessShape(history_reward_scale=0.3))
    """The values that are not varied."""
    workers: int = os.cpu_count() or 1
    """Number of parallel workers on this machine; the results do not depend on it."""


@dataclass(frozen=True)
class Theory:
    """Measure each assumption behind HGPO's weights in four kinds of processes, with an interval and a
    verdict; and compare the weights of least error with the power law and the estimated ones.
    """

    out: Folder = Path("lab")
    """Folder for the tables and plots."""
    seed: int = 0
    """Seed of the processes and rollouts."""
    rows: int = 100_000
    """Number of steps sampled from each process."""
    processes: int = 16
    """Number of processes that each figure is a mean over."""
    group_size: int = 16
    """N: number of rollouts per task."""


@dataclass(frozen=True)
class Oracle:
    """Measure bias, variance and error on real tasks: a step's true value is estimated by many rollouts that
    continue from that step.
    """

    policy: Annotated[str, tyro.conf.arg(metavar="NAME")]
    """The player: the folder of a run, "random", or "expert" with --error."""
    error: float | None = None
    """Probability with which the expert takes a random admissible command."""
    env: Annotated[str | None, tyro.conf.arg(metavar="NAME")] = None
    """The environment: a name, or MODULE:CLASS or FILE.py:CLASS of your own; by default that of the run. Its
    settings are options, --env.SETTING."""
    out: Folder = Path("lab")
    """Folder for the tables and plots."""
    seed: int = 0
    """Seed of the tasks and of all sampling."""
    setting: tyro.conf.OmitArgPrefixes[OracleSetting] = field(default_factory=OracleSetting)
    """Numbers of tasks and rollouts."""


@dataclass(frozen=True)
class Gradient:
    """Compare every estimator's policy gradient with the true one: on finite processes, where it is exact,
    and with a log-linear agent on household games.
    """

    out: Folder = Path("lab")
    """Folder for the tables."""
    seed: int = 0
    """Seed of the processes, games and rollouts."""
    only: Part | None = None
    """Measure only on processes, or only on games."""
    processes: GradientSetting = field(default_factory=GradientSetting)
    """The settings of the comparison on processes."""
    games: GameGradientSetting = field(default_factory=GameGradientSetting)
    """The settings of the comparison on games."""
    workers: int = os.cpu_count() or 1
    """Number of parallel workers on this machine; the results do not depend on it."""


@dataclass(frozen=True)
class Learning:
    """Train policies with every estimator: log-linear ones on finite processes, evaluated exactly, and a
    log-linear agent on household games.
    """

    out: Folder = Path("lab")
    """Folder for the tables."""
    seed: int = 0
    """Seed of the processes, games and rollouts."""
    only: Part | None = None
    """Train only on processes, or only on games."""
    processes: LearningSetting = field(default_factory=LearningSetting)
    """How policies are trained on processes."""
    games: GameLearningSetting = field(default_factory=GameLearningSetting)
    """How agents are trained on games."""
    workers: int = os.cpu_count() or 1
    """Number of parallel workers on this machine; the results do not depend on it."""


def main(args: Sequence[str]) -> int:
    """Run the command."""
    try:
        command: Any = (
            _oracle_options(args[1:])
            if args[:1] == ["oracle"]
            else parse(BiasVariance | Theory | Gradient | Learning | Oracle, args, prog="hgpo lab")  # pyright: ignore[reportArgumentType]
        )
        # Find out that a folder cannot be written to before anything is measured.
        command.out.mkdir(parents=True, exist_ok=True)
        next(run for kind, run in RUN.items() if isinstance(command, kind))(command)
    except (SettingError, ValueError) as error:
        return wrong_use(str(error))
    return 0


def _oracle_options(args: Sequence[str]) -> Oracle:
    """The options of `hgpo lab oracle`, with the settings of its environment."""
    from hgpo.cli.players import games_of
    from hgpo.envs import ENVIRONMENTS

    first, _ = first_stage(Oracle, ("policy", "env"), args)
    default = ENVIRONMENTS.find(first.env or next(iter(ENVIRONMENTS)), "--env")()
    suite = games_of([first.policy] if first.policy else [], default)
    if first.env is not None and type(suite) is not type(default):
        raise SettingError(f"{first.policy} plays {suite.name}: leave --env out, or give another --policy")
    settings = Annotated[type(suite), tyro.conf.arg(name="env")]
    options: Any = make_dataclass(
        Oracle.__name__,
        [("suite", settings, field(default_factory=lambda: suite))],
        bases=(Oracle,),
        namespace={"__doc__": Oracle.__doc__},
        frozen=True,
    )
    return parse(options, args, prog="hgpo lab oracle")


def _bias_variance(command: BiasVariance) -> None:
    from hgpo.lab.sweeps import AXES, setting_at, sweep
    from hgpo.lab.tables import write_sweep

    _check(command.rows, command.processes)
    base = Setting(shape=command.shape, rows=command.rows, processes=command.processes)
    axes = command.axes or tuple(AXES)
    for axis in axes:
        setting_at(base, axis, AXES.get(axis, (0,))[0])
    console = Console()
    with RichDisplay(console) as display, display.phase("measurements") as advance:
        lines = list(sweep(base, axes, seed=command.seed, workers=command.workers, on_done=advance))
    for path in write_sweep(command.out, lines):
        console.print(f"{path}.png, .svg, .md, .csv", soft_wrap=True)


def _theory(command: Theory) -> None:
    from hgpo.lab.tables import write_claims, write_weights
    from hgpo.lab.theory import check_claims, settings_of_kinds, weights_compared

    _check(command.rows, command.processes)
    console = Console()
    kinds = settings_of_kinds(
        Setting(group_size=command.group_size, rows=command.rows, processes=command.processes)
    )
    claims, weights = [], []
    with RichDisplay(console) as display, display.phase("kinds of processes") as advance:
        for number, (name, setting) in enumerate(kinds.items(), 1):
            claims += check_claims(setting, name, command.seed)
            weights += weights_compared(setting, name, command.seed)
            advance(number, len(kinds))
    table = Table("processes", "assumption", "found", "verdict", box=None)
    for claim in claims:
        found = f"{claim.found.mean:.3f} [{claim.found.low:.3f}, {claim.found.high:.3f}]"
        table.add_row(claim.process, claim.claim, found, claim.verdict)
    console.print(table)
    for path in (write_claims(command.out, claims), write_weights(command.out, weights)):
        console.print(f"{path}.md, .csv", soft_wrap=True)


def _gradient(command: Gradient) -> None:
    from hgpo.lab.game_gradient import game_gradient_cosines
    from hgpo.lab.gradient import gradient_cosines
    from hgpo.lab.kinds import KINDS
    from hgpo.lab.tables import write_game_gradients, write_gradients

    def processes(advance: Progress) -> list[Path]:
        jobs = [(kind, command.processes, command.seed) for kind in KINDS]
        found = _all(gradient_cosines, jobs, command.workers, advance)
        return write_gradients(command.out, [line for lines in found for line in lines])

    def games(advance: Progress) -> list[Path]:
        found = game_gradient_cosines(command.games, command.seed, advance)
        return [write_game_gradients(command.out, "household", found)]

    _write_parts(command.only, {"processes": processes, "games": games})


def _learning(command: Learning) -> None:
    from hgpo.lab.estimators import published_estimators
    from hgpo.lab.game_learning import compared, learn_games
    from hgpo.lab.kinds import KINDS
    from hgpo.lab.learning import learn_all
    from hgpo.lab.tables import write_game_learning, write_learning

    def processes(advance: Progress) -> list[Path]:
        jobs = [(kind, command.processes, command.seed) for kind in KINDS]
        found = _all(learn_all, jobs, command.workers, advance)
        return write_learning(command.out, [line for lines in found for line in lines])

    def games(advance: Progress) -> list[Path]:
        names = list(published_estimators(command.games.history_length, 1.0))
        jobs = [
            (command.games, command.seed, names[part :: command.workers])
            for part in range(min(command.workers, len(names)))
        ]
        parts = _all(learn_games, jobs, command.workers, advance)
        curves = {at: curve for part in parts for at, curve in part.items()}
        lines = compared({(n, name): curves[n, name] for n in command.games.group_sizes for name in names})
        return write_game_learning(command.out, "household", lines)

    _write_parts(command.only, {"processes": processes, "games": games})


def _write_parts(only: str | None, parts: Mapping[str, Callable[[Progress], Sequence[Path]]]) -> None:
    """Measure all parts, or only one of them, and print the names of the files written."""
    console, written = Console(), []
    with RichDisplay(console) as display:
        for name, part in parts.items():
            if only in (None, name):
                with display.phase(name) as advance:
                    written += part(advance)
    for path in written:
        console.print(f"{path}.md, .csv", soft_wrap=True)


def _all(
    function: Callable[..., R],
    jobs: Sequence[tuple[Any, ...]],
    workers: int,
    on_done: Progress,
) -> list[R]:
    """The function's result for the arguments of each job."""
    from hgpo.lab.jobs import mapped

    found = []
    for done, each in enumerate(mapped(partial(_called, function), jobs, workers), 1):
        found.append(each)
        on_done(done, len(jobs))
    return found


def _called(function: Callable[..., R], arguments: tuple[Any, ...]) -> R:
    return function(*arguments)


def _oracle(command: Any) -> None:
    from hgpo.agents import ErringExpertAgent
    from hgpo.cli.players import ModelOptions, open_player
    from hgpo.lab.oracle import measure_estimators
    from hgpo.lab.tables import write_oracle
    from hgpo.rollouts.agent import PlayingAgent

    suite, name = command.suite, command.suite.name
    if command.error is not None and command.policy != "expert":
        raise SettingError(
            f"--error applies to the expert, not to {command.policy}: expected --policy expert"
        )
    console = Console()
    with (
        RichDisplay(console) as display,
        open_player(command.policy, suite, ModelOptions(), command.out, display.say) as player,
        display.phase("rollouts and values") as advance,
    ):
        agent = player.agent if command.error is None else ErringExpertAgent(suite, command.error)
        if isinstance(agent, PlayingAgent):
            raise SettingError(
                f"{command.policy} is the run of an agent with an environment of its own, whose episodes "
                "cannot be continued from a step: name another --policy"
            )
        result = measure_estimators(
            suite,
            agent,
            command.setting,
            seed=command.seed,
            on_done=lambda phase, done, total: advance(done, total),
        )
    played = player.name if command.error is None else f"{player.name} with error {command.error}"
    console.print(
        f"{name}, {played}: {len(result.steps)} steps of {result.histories} histories, values to "
        f"± {result.value_error:.3f}",
        soft_wrap=True,
    )
    for line in result.too_few_steps():
        console.print(line, soft_wrap=True, highlight=False)
    for path in write_oracle(command.out, name, result):
        console.print(f"{path}.png, .svg, .md, .csv", soft_wrap=True)


def _check(rows: int, processes: int) -> None:
    if rows < 1000:
        raise SettingError(f"--rows is {rows}: expected 1000 or more, because biases are means over rows")
    if processes < 2:
        raise SettingError(
            f"--processes is {processes}: expected 2 or more, because intervals are over processes"
        )


RUN: dict[type, Any] = {
    BiasVariance: _bias_variance,
    Theory: _theory,
    Gradient: _gradient,
    Learning: _learning,
    Oracle: _oracle,
}
