"""Values of real steps: forks, continuations, and results in cases with a known answer."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np
import pytest
from official_games import unpacked

from hgpo.agents import ErringExpertAgent, ExpertAgent, RandomAgent
from hgpo.agents.scripted import resumed
from hgpo.cli import main
from hgpo.envs import HouseholdSuite, WebshopSuite
from hgpo.envs.base import ForkableEnvironment, Info, Task
from hgpo.envs.commands import random_command
from hgpo.errors import SettingError
from hgpo.lab.oracle import OracleSetting, measure_estimators
from hgpo.rollouts.episodes import Episode
from hgpo.rollouts.rollout import continue_from, rollout

WEBSHOP = WebshopSuite(data="synthetic", products=150, tagger="rule")


class Coins:
    """Three coins are turned, each to heads or tails; three heads in a row win 8."""

    def __init__(self, turned: tuple[str, ...] = ()) -> None:
        self.turned = turned

    def reset(self, task: Task, seed: int = 0) -> tuple[str, Info]:
        self.turned = ()
        return "coins", self._info()

    def step(self, command: str) -> tuple[str, float, bool, bool, Info]:
        self.turned += (command,)
        won = self.turned == ("heads",) * 3
        over = len(self.turned) == 3
        return "coins", 8.0 if won else 0.0, over, False, self._info()

    def fork(self) -> Coins:
        return Coins(self.turned)

    def _info(self) -> Info:
        # All states look alike at a step: state groups cannot tell whether it is lost already.
        return Info(("heads", "tails"), len(self.turned), self.turned == ("heads",) * 3)


@dataclass(frozen=True)
class CoinSuite:
    name: ClassVar[str] = "coin"
    splits: tuple[str, ...] = ("train",)

    def tasks(self, split: str, count: int | None = None, seed: int = 0) -> Sequence[Task]:
        return [Task(f"coins{number}", "coins", "turn heads", None) for number in range(count or 1)]

    def make(self) -> Coins:
        return Coins()

    def walkthrough(self, task: Task) -> tuple[str, ...]:
        return ("heads",) * 3

    def texts(self) -> Iterator[str]:
        yield "coins heads tails"


def test_errors_are_those_of_arithmetic():
    """Chance turns heads with 1/2, so V = 8 · 2^−(coins left) while all are heads, else 0; γ = 1.

    At the second step half of the rollouts have turned tails, which the state does not tell: level 0 takes
    V = 1 for the mean of 2 and 0, off by 1 either way. At the third 2 of 8 rollouts have two heads: V = 1
    again, off by 3 for 1/4 of rows and by 1 for 3/4. At the first step it is right. So bias² of the baseline
    is (0 + 1 + 3) / 3 = 4/3 in large groups. Two games alike are two tasks all the same.
    """
    setting = OracleSetting(
        tasks=2, groups=20, group_size=64, continuations=400, history_length=1, discount=1.0
    )
    result = measure_estimators(CoinSuite(), RandomAgent(), setting, seed=0)
    assert result.histories == 2 * 7
    assert len(result.steps) == 40 * 64 * 3
    level = result.scores["level 0"].errors
    assert level.bias_squared == pytest.approx(4 / 3, abs=0.15)
    exact = result.scores["exact value"].errors
    assert exact.bias_squared == pytest.approx(0.0, abs=0.05)
    # What is left of R once the action is known: after the first heads 8 with probability 1/4, variance
    # 64 · 3/16 = 12, for 1/2 of the rows; after the second 8 with 1/2, 64 / 4 = 16, for 1/4.
    assert exact.variance == pytest.approx((12 / 2 + 16 / 4 + 0) / 3, rel=0.15)
    # A is ± 1, then ± 2 or 0, then ± 4 or 0, and E Â A = E A² where Â = A + noise.
    assert result.scores["exact value"].alignment == pytest.approx(
        np.sqrt((1 + 4 / 2 + 16 / 4) / (1 + 4 / 2 + 16 / 4 + 12 / 2 + 16 / 4)), abs=0.05
    )
    assert (result.sizes["level 0"] == 64).all()
    assert (result.sizes["level 1"][result.steps.step_index == 0] == 0).all()


def test_without_a_win_there_is_nothing_to_judge():
    setting = OracleSetting(tasks=1, groups=2, group_size=2, continuations=2)
    with pytest.raises(SettingError, match=r"all 4 rollouts have the same return.*--policy that wins"):
        measure_estimators(CoinSuite(), ExpertAgent(CoinSuite()), setting, seed=0)


class Unlike(Coins):
    """Coins of which no two states are the same."""

    def _info(self) -> Info:
        return replace(super()._info(), state_key=f"{id(self)} {len(self.turned)}")


@dataclass(frozen=True)
class UnlikeSuite(CoinSuite):
    def make(self) -> Unlike:
        return Unlike()


FEW = ["--tasks", "2", "--groups", "2", "--group-size", "4", "--continuations", "4"]


def test_figures_of_nothing_are_unknown_and_said_to_be(tmp_path, capsys):
    """No two steps have the same state, so that no level of histories compares any; GRPO compares all."""
    words = ["--policy", "expert", "--error", "0.5", "--history-length", "3", "--out", str(tmp_path)]
    assert main(["lab", "oracle", "--env", f"{__name__}:UnlikeSuite", *words, *FEW]) == 0
    told = capsys.readouterr().out.splitlines()
    (names,) = [
        line.partition("): ")[2] for line in told if "no two steps can be compared (give more" in line
    ]
    assert {"level 0", "level 2", "HGPO"} <= set(names.split("; ")) and "GRPO" not in names.split("; ")
    table = (tmp_path / "oracle_coin.md").read_text()
    assert "| level 0 | – | – | – | 0 |" in table and "| GRPO | –" not in table
    # No step of three has three before it.
    assert "| level 3 | 0 | – |" in (tmp_path / "oracle_coin_sizes.md").read_text()


def test_a_fork_goes_its_own_way():
    """What one episode does the other does not notice; with the same commands both end alike."""
    suite = HouseholdSuite()
    task = suite.tasks("train", 1, seed=3)[0]
    walkthrough = suite.walkthrough(task)
    environment = suite.make()
    _, info = environment.reset(task)
    for command in walkthrough[:2]:
        *_, info = environment.step(command)
    assert isinstance(environment, ForkableEnvironment)
    fork = environment.fork()
    seen = [fork.step(command) for command in ("look", *walkthrough[2:])]
    assert seen[-1][2] and seen[-1][4].won
    again = environment.fork()
    assert [again.step(command) for command in ("look", *walkthrough[2:])] == seen
    # The original still stands where it stood, with its commands, and can go elsewhere.
    assert info.admissible_commands == environment.fork().step("no such thing")[4].admissible_commands
    other = next(command for command in info.admissible_commands if command != walkthrough[2])
    assert environment.step(other)[0] != seen[1][0]


@pytest.mark.parametrize("suite", [HouseholdSuite(), WEBSHOP], ids=lambda suite: suite.name)
def test_a_fork_goes_on_as_the_original_would(suite):
    """Twelve commands by chance after each fork give the same observations, rewards, ends and infos in both,
    and what the fork does first leaves the original where it was."""
    for number, task in enumerate(suite.tasks("train", 6, seed=3)):
        rng = np.random.default_rng(number)
        original = suite.make()
        _, info = original.reset(task)
        over = False
        while not over:
            fork = original.fork()
            rest: list[tuple[str, object]] = []
            commands, ended = info.admissible_commands, False
            while not ended and len(rest) < 12:
                command = random_command(commands, task.instruction, rng)
                said = fork.step(command)
                rest.append((command, said))
                commands, ended = said[4].admissible_commands, said[2] or said[3]
            # A command that is not understood leaves the state, and its keys, as they are.
            assert original.fork().step("no such thing")[4].state_keys == info.state_keys
            again = original.fork()
            assert [again.step(command) for command, _ in rest] == [said for _, said in rest]
            *_, terminated, truncated, info = said = original.step(rest[0][0])
            assert said == rest[0][1]
            over = terminated or truncated


class TestErringExpert:
    def test_a_walkthrough_goes_on_after_detours(self):
        """a b c: after a, b is next. A detour by x leaves b next; where only a and x are admissible, a is the
        last one before it that is. a again leads to b again. Where nothing is admissible there is nothing."""
        way = ("a", "b", "c")
        assert resumed(way, [], ("a", "x")) == "a"
        assert resumed(way, ["a"], ("b", "x")) == "b"
        assert resumed(way, ["a", "x"], ("b", "x")) == "b"
        assert resumed(way, ["a", "x"], ("a", "x")) == "a"
        assert resumed(way, ["a", "x", "a"], ("b",)) == "b"
        assert resumed(way, ["a", "b"], ("a", "b", "c")) == "c"
        assert resumed(way, ["a", "c"], ("x",)) is None

    @pytest.mark.parametrize("suite", [HouseholdSuite(), WEBSHOP], ids=lambda suite: suite.name)
    def test_errors_lose_games(self, suite):
        """Without errors the expert wins; with errors alone it is chance, for the same random stream."""
        tasks = [task for task in suite.tasks("train", 8, seed=1) if suite.walkthrough(task)]
        won = [
            np.mean(
                [
                    each.won
                    for each in rollout(
                        suite, ErringExpertAgent(suite, error), tasks, group_size=6, temperature=1.0, seed=[0]
                    )
                ]
            )
            for error in (0.0, 0.5, 1.0)
        ]
        assert won[0] == 1.0 > won[1] > won[2]

    def test_a_suite_with_an_expert_is_asked(self):
        """Its command is taken after whatever was done; None leaves it to chance."""
        asked = []

        class Suite(CoinSuite):
            def next_command(self, task: Task, commands: Sequence[str]) -> str | None:
                asked.append(tuple(commands))
                return "heads" if len(commands) < 2 else None

        suite = Suite()
        (played,) = rollout(
            suite,
            ErringExpertAgent(suite, 0.0),
            suite.tasks("train", 1),
            group_size=1,
            temperature=1.0,
            seed=[0],
        )
        assert asked == [(), ("heads",), ("heads", "heads")]
        assert [step.command for step in played.steps][:2] == ["heads", "heads"]


def test_going_on_from_a_step():
    """The expert wins from anywhere on its way: the steps before are kept, the rest is the walkthrough's."""
    suite = HouseholdSuite()
    task = suite.tasks("train", 1, seed=3)[0]
    way = suite.walkthrough(task)
    episode = Episode(task, suite.make())
    episode.begin()
    ((whole,),) = continue_from([episode], ExpertAgent(suite), count=1, temperature=1.0, seed=[0])
    for step in whole.steps[:2]:
        episode.take(step.decision)
    ((first, second),) = continue_from([episode], ExpertAgent(suite), count=2, temperature=1.0, seed=[0])
    # The episode itself stays where it was.
    assert episode.steps == list(whole.steps[:2])
    for trajectory in (first, second):
        assert [step.command for step in trajectory.steps] == list(way)
        assert [step.before for step in trajectory.steps] == [step.before for step in whole.steps]
    assert first.won
    assert first.trajectory_id != second.trajectory_id


def test_chance_differs_from_rollout_to_rollout_and_not_from_run_to_run():
    suite = HouseholdSuite(max_steps=6)
    task = suite.tasks("train", 1, seed=3)[0]
    episode = Episode(task, suite.make())
    episode.begin()

    def commands(seed: int) -> list[tuple[str, ...]]:
        (found,) = continue_from([episode], RandomAgent(), count=4, temperature=1.0, seed=[seed])
        return [tuple(step.command for step in trajectory.steps) for trajectory in found]

    assert commands(1) == commands(1) != commands(2)
    assert len(set(commands(1))) == 4


def test_the_command(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("WEBSHOP_DATA", "synthetic")
    few = [*FEW, "--out", str(tmp_path)]
    for name in ("household", "webshop"):
        assert main(["lab", "oracle", "--policy", "expert", "--error", "0.5", "--env", name, *few]) == 0
        assert f"{name}, expert with error 0.5: " in capsys.readouterr().out
    names = {path.name for path in tmp_path.iterdir()}
    assert {
        f"oracle_{name}{part}.{suffix}"
        for name in ("household", "webshop")
        for part in ("", "_sizes")
        for suffix in ("png", "svg", "md", "csv")
    } <= names


def test_the_command_on_alfworlds_own_games(tmp_path, capsys):
    """Two games of the training split, by an expert that errs; every estimator has a cosine."""
    data = unpacked(tmp_path / "alfworld", train=8)
    words = ["--env", "alfworld", "--env.data", str(data), "--env.max-steps", "15", "--out", str(tmp_path)]
    assert main(["lab", "oracle", "--policy", "expert", "--error", "0.6", *words, *FEW]) == 0
    told = capsys.readouterr().out
    steps, histories = map(int, re.findall(r"error 0\.6: (\d+) steps of (\d+) histories", told)[0])
    assert steps >= histories > 16
    table = (tmp_path / "oracle_alfworld.md").read_text().splitlines()
    assert {"GRPO", "level 0", "HGPO", "HBC", "CRBC", "exact value"} <= {
        row.split(" | ")[0][2:] for row in table
    }
