"""`hgpo evaluate`: how many tasks an agent solves."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import tyro
from rich.console import Console

from hgpo.cli import FAILED, INTERRUPTED, failed
from hgpo.cli.parse import first_stage, parse
from hgpo.cli.players import ENDPOINT, ModelOptions, Player, constrained, games_of, open_player
from hgpo.envs import ENVIRONMENTS, TaskSuite
from hgpo.envs.base import require_tasks
from hgpo.envs.processes import EnvironmentIsolation, isolated
from hgpo.errors import SettingError
from hgpo.files import atomic_write
from hgpo.random_streams import EVALUATION
from hgpo.rollouts.evaluate import (
    ProtocolResult,
    PublishedProtocol,
    SplitResult,
    evaluate_published,
    evaluate_split,
    no_episode_ended,
    no_valid_answer,
    plain_values,
)
from hgpo.runs.display import RichDisplay, players_tables, published_table
from hgpo.training.choices import SuiteChoice


@dataclass(frozen=True)
class EvaluateCommand:
    """Play each held-out task once and print one table of all players.

    Players are runs, given by their folders; the agent of the latest checkpoint plays. --policy adds any
    number of others: expert (the walkthroughs), random (any admissible command), the folder of a model in
    transformers' format, or endpoint (a model behind a server that speaks OpenAI's chat protocol).

    hgpo evaluate runs/MINE --policy expert random

    OPENAI_API_KEY=… hgpo evaluate --policy endpoint --model gpt-4o --prompting react env:alfworld
    """

    runs: Annotated[tuple[str, ...], tyro.conf.Positional, tyro.conf.arg(metavar="[RUN …]")] = ()
    """Folders of runs."""
    policy: tuple[str, ...] = ()
    """Other players: expert, random, endpoint, or folders of models."""
    env: SuiteChoice = field(default_factory=next(iter(ENVIRONMENTS.values())))
    """The tasks that all players play; by default those of the runs, or household games without a run."""
    env_isolation: EnvironmentIsolation = "thread"
    """Where environments run: in threads of this process, or each in a process of its own, so that a crash
    costs only its own episode."""
    models: tyro.conf.OmitArgPrefixes[ModelOptions] = field(default_factory=ModelOptions)
    """How models that are not from runs are prompted."""
    split: tuple[str, ...] = ()
    """Names of the splits; by default all held-out splits."""
    published: tyro.conf.FlagCreatePairsOff[bool] = False
    """Evaluate as the paper does: 512 tasks drawn with repetition, 3 seeds, temperature 0.4. This prints rows
    that can be compared with the paper's table."""
    temperature: float = 0.0
    """Sampling temperature; 0 takes the most likely token. --published sets its own."""
    constrain_answers: tyro.conf.FlagCreatePairsOff[bool] = False
    """Restrict the answers of runs and models to the listed commands, token by token. Without it, a run's
    agent answers as it did in training."""
    tasks: Annotated[int | None, tyro.conf.arg(metavar="INT")] = None
    """Only the first N tasks of each split; None plays all."""
    seed: int = 0
    """Seed of sampling."""
    out: Annotated[Path | None, tyro.conf.arg(metavar="FOLDER")] = None
    """Folder for the results (results.json) and an endpoint's replies, with which the same command continues
    after an interruption; by default under runs/, named after the model."""

    def __post_init__(self) -> None:
        if self.temperature < 0 or (self.tasks is not None and self.tasks < 1) or self.seed < 0:
            raise SettingError("--temperature and --seed must be at least 0 and --tasks at least 1")
        if self.published and (self.temperature or self.tasks is not None):
            raise SettingError("--published sets the temperature and the number of tasks: give neither")
        for word in (*self.runs, *self.policy):
            if word.startswith("env:"):
                ENVIRONMENTS.find(word.removeprefix("env:"), "env:NAME")
                raise SettingError(
                    f"{word}: give one environment, after all players and with only options after it"
                )
        if not (self.runs or self.policy):
            raise SettingError("no player: name the folder of a run, or --policy expert, random or endpoint")
        if self.models != ModelOptions() and ENDPOINT not in self.policy and not self._has_folders():
            raise SettingError("--model and its options need --policy endpoint or a model's folder")

    def _has_folders(self) -> bool:
        return any(Path(name).is_dir() for name in (*self.runs, *self.policy))


def main(args: Sequence[str]) -> int:
    """Evaluate and print the table."""
    console = Console()
    command = parse(EvaluateCommand, args, prog="hgpo evaluate")
    names = (*command.runs, *command.policy)
    first, _ = first_stage(EvaluateCommand, ("env",), args)
    try:
        suite = games_of(names, command.env) if first.env is None else command.env
        suite = isolated(suite, command.env_isolation)
        splits = _splits(command, suite)
        folder = command.out or Path("runs") / _folder_name(command.models, suite)
        if command.out is not None:
            # Check that the folder can be created before any task is played.
            command.out.mkdir(parents=True, exist_ok=True)
        rows: dict[str, list[Any]] = {}

        def say(line: str) -> None:
            console.print(line, soft_wrap=True, highlight=False, markup=False)

        for name in names:
            with open_player(name, suite, command.models, folder, say) as player:
                if command.constrain_answers:
                    player = constrained(player)
                label = player.name if player.name not in rows else f"{player.name} ({name})"
                try:
                    with RichDisplay(console) as display:
                        rows[label] = [_play(command, suite, player, split, display) for split in splits]
                        if warning := no_valid_answer(label, [result.answers for result in rows[label]]):
                            display.warn(warning)
                finally:
                    if bill := player.bill():
                        console.print(bill, soft_wrap=True, highlight=False)
    except KeyboardInterrupt:
        if ENDPOINT in names:
            console.print("stopped; the same command continues from the replies so far", soft_wrap=True)
        return INTERRUPTED
    console.print(published_table(rows) if command.published else players_tables(rows))
    if command.out is not None:
        _write(rows, folder / "results.json")
        console.print(f"written to {folder / 'results.json'}", soft_wrap=True, highlight=False)
    errors = [error for player, results in rows.items() if (error := no_episode_ended(player, results))]
    for error in errors:
        failed(error)
    return FAILED if errors else 0


def _splits(command: EvaluateCommand, suite: TaskSuite) -> tuple[str, ...]:
    held_out = suite.splits[1:]
    for split in command.split:
        if split not in held_out:
            raise SettingError(f"--split {split}: choose from {', '.join(held_out)}")
    splits = command.split or held_out
    require_tasks(suite, splits, command.tasks)
    return splits


def _play(
    command: EvaluateCommand, suite: TaskSuite, player: Player, split: str, display: RichDisplay
) -> SplitResult | ProtocolResult:
    with display.phase(f"{player.name}: {split}") as advance:

        def on_step(finished: int, live: int) -> None:
            advance(finished, finished + live)

        seed = [command.seed, EVALUATION]
        if command.published:
            return evaluate_published(suite, player.agent, split, PublishedProtocol(), seed, on_step)
        return evaluate_split(
            suite,
            player.agent,
            split,
            temperature=command.temperature,
            seed=seed,
            count=command.tasks,
            on_step=on_step,
        )


def _folder_name(models: ModelOptions, suite: TaskSuite) -> str:
    words = f"{suite.name} {models.model} {models.prompting}".lower()
    return "evaluate-" + re.sub(r"[^a-z0-9.]+", "-", words)


def _write(rows: dict[str, list[Any]], path: Path) -> None:
    """Each player's results on each split as JSON."""
    results = [{"player": player, **plain_values(result)} for player, row in rows.items() for result in row]
    atomic_write(path, json.dumps(results, indent=1) + "\n")
