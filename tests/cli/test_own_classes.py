"""Environments and estimators of the user's own, in every command that takes one."""

from __future__ import annotations

import json
import re
import shutil
import sys
from pathlib import Path
from textwrap import dedent

import pytest

from hgpo.cli import main
from hgpo.envs import ENVIRONMENTS
from hgpo.training.config import from_json, load_config, to_json

GAMES = '''
from dataclasses import dataclass
from hgpo.envs import from_class

@dataclass
class Switch:
    """A lamp and its switch."""

    level: str = "easy"
    """How hard it is: easy or hard."""

    def reset(self, task):
        return "the lamp is off."

    def step(self, command):
        done = command == f"press {self.level}"
        return "the lamp is on." if done else "the lamp is off.", float(done), done

    def commands(self):
        return ["press easy", "press hard", "wait"]

Suite = from_class(
    Switch,
    tasks=lambda level: [f"{level} lamp {number}" for number in range(10)],
    walkthrough=lambda task: ["press " + task.split()[0]],
    max_steps=4,
)
'''

IDEAS = '''
from dataclasses import dataclass
from hgpo import GRPO

@dataclass(frozen=True)
class Louder(GRPO):
    """Advantages times a number."""

    boost: float = 1.0
    """The number."""

    def __call__(self, steps):
        return self.boost * super().__call__(steps)
'''

SMALL = (
    "--iterations 1 --tasks-per-iteration 2 --group-size 2 --warm-start.tasks 4 --warm-start.epochs 1 "
    "--tiny.hidden-size 16 --threads 1"
).split()


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """The current folder, with the user's two modules."""
    (tmp_path / "own_games.py").write_text(GAMES)
    (tmp_path / "own_ideas.py").write_text(IDEAS)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    before = set(sys.modules)
    yield tmp_path
    for name in set(sys.modules) - before:
        if name.startswith("own_"):
            del sys.modules[name]


def test_from_training_to_a_report_with_classes_of_ones_own(folder, capsys):
    words = ["env:own_games:Suite", "--env.level", "hard", "estimator:own_ideas.py:Louder"]
    assert main(["train", *words, "--estimator.boost", "3", *SMALL, "--out", "run"]) == 0
    kept = json.loads((folder / "run" / "config.json").read_text())
    assert kept["env"] == {"type": "own_games:Suite", "level": "hard", "max_steps": 4}
    assert kept["estimator"]["type"] == f"{folder}/own_ideas.py:Louder" and kept["estimator"]["boost"] == 3.0
    config = load_config(folder / "run" / "config.json")
    assert config.env.level == "hard" and config.estimator.boost == 3.0  # type: ignore[attr-defined]
    # As an estimator of the package in training, if not told otherwise.
    assert config.estimator.normalization == "mean"  # type: ignore[attr-defined]
    for command in (
        ["train", "--resume", "run"],
        ["evaluate", "run", "--policy", "expert", "--tasks", "2"],
        ["report", "run"],
        ["diagnose", "run", "--tasks", "1"],
    ):
        assert main(command) == 0, command
    capsys.readouterr()
    # What cannot be loaded any more is told in one line.
    for name in ("own_games", "own_ideas"):
        sys.modules.pop(name, None)
    shutil.move(folder / "own_games.py", folder / "moved.py")
    for command in (["train", "--resume", "run"], ["evaluate", "run"], ["report", "run"]):
        assert main(command) == 2, command
        error = capsys.readouterr().err
        assert "own_games:Suite: No module named 'own_games'" in error and error.count("\n") == 1


def test_options_of_ones_own_are_shown_and_known(folder, capsys):
    words = ["train", "env:own_games:Suite", "estimator:own_ideas:Louder"]
    assert main([*words, "--help"]) == 0
    out = capsys.readouterr().out
    assert re.search(r"--env\.level +\[easy\]\n", out) and re.search(r"--estimator\.boost +\[1\.0\]\n", out)
    assert main([*words, "--help-all"]) == 0
    assert "How hard it is: easy or hard." in capsys.readouterr().out


def test_lists_and_dictionaries_are_settings_that_a_run_keeps(folder, capsys):
    (folder / "own_lists.py").write_text(
        dedent(
            """
            from dataclasses import dataclass, field
            from hgpo.envs import from_class
            from own_games import Switch

            @dataclass(frozen=True)
            class Room:
                size: int = 1

            @dataclass
            class Lamps(Switch):
                sizes: list[int] = field(default_factory=lambda: [1, 2])
                weights: dict[str, float] = field(default_factory=lambda: {"a": 0.5})
                rooms: tuple[Room, ...] = (Room(2), Room(3))

            Suite = from_class(Lamps, tasks=lambda **settings: ["easy lamp", "easy light"])
            """
        )
    )
    suite = ENVIRONMENTS.find("own_lists:Suite", "--env")()
    assert from_json(json.loads(json.dumps(to_json(suite)))) == suite
    # Each name of a dictionary is an option.
    options = ["--env.sizes", "3", "4", "--env.weights.a", "2"]
    assert main(["env", "check", "own_lists:Suite", *options]) == 0
    assert "sizes [3, 4], weights {'a': 2.0}" in capsys.readouterr().out


def test_a_comparison_of_ones_own(folder, capsys):
    own = ["--estimators", "grpo", "own_ideas:Louder", "--env", "own_games:Suite", "--seeds", "1"]
    args = ["compare", *own, "--jobs", "1", "--out", "all", "--", "--env.level", "hard", *SMALL[:-2]]
    assert main(args) == 0
    assert "own_ideas:Louder" in (folder / "all" / "results.md").read_text()
    kept = json.loads((folder / "all/runs/own_ideas:Louder-seed0/config.json").read_text())
    assert (kept["env"]["level"], kept["estimator"]["type"]) == ("hard", "own_ideas:Louder")


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (["train", "env:own_games:Suit"], "did you mean own_games:Suite?"),
        (["train", "env:own_game:Suite"], "No module named 'own_game'"),
        (["train", "env:own_games:Suite", "--env.lvl", "x"], "did you mean --env.level?"),
        (["train", "env:own_games:Switch"], "own_games:Switch is not an environment, because it has no"),
        (["train", "--env.level", "hard", "env:own_games:Suite"], "give it once, and before the options"),
        (["train", "estimator:own_ideas:Loud"], "did you mean own_ideas:Louder?"),
        (["env", "check", "own_games.py:Suit"], "did you mean own_games.py:Suite?"),
        (["env", "check", "own_games:Suite", "--env.levl", "x"], "did you mean --env.level?"),
        (["evaluate", "--policy", "random", "env:own_games:Nothing"], "has no attribute 'Nothing'"),
        (["evaluate", "--policy", "random", "env:own_games:Suite", "expert"], "after all players"),
        (["evaluate", "--policy", "random", "env:games"], "env:NAME games: choose from household"),
        (["compare", "--env", "own_games:Nothing"], "has no attribute 'Nothing'"),
        (["compare", "--estimators", "own_ideas:Nothing"], "has no attribute 'Nothing'"),
        (["lab", "oracle", "--policy", "random", "--env", "own_games:No"], "has no attribute 'No'"),
        (
            ["lab", "oracle", "--policy", "random", "--env", "own_games:Suite", "--env.levl", "x"],
            "did you mean --env.level?",
        ),
        (["advantages", "x.jsonl", "--estimator", "own_ideas:No"], "has no attribute 'No'"),
        (["compare-estimators", "x.jsonl", "--own", "own_ideas:No"], "has no attribute 'No'"),
    ],
)
def test_a_slip_is_told_in_one_line(folder, args, words, capsys):
    assert main(args) == 2
    error = capsys.readouterr().err
    assert words in error and error.startswith("hgpo: ") and error.count("\n") == 1


def test_the_other_commands_take_ones_own(folder, capsys):
    steps = [
        {"task_id": "a", "trajectory_id": t, "step_index": 0, "state_key": "s", "reward": float(t)}
        for t in range(2)
    ]
    (folder / "steps.jsonl").write_text("\n".join(map(json.dumps, steps)))
    assert main(["env", "check", "own_games:Suite", "--env.level", "hard", "--tasks", "2"]) == 0
    assert main(["env", "solve", "own_games.py:Suite"]) == 0
    lab = ["lab", "oracle", "--policy", "random", "--env", "own_games:Suite", "--tasks", "2"]
    assert main([*lab, "--continuations", "4"]) == 0
    longer = capsys.readouterr().out
    # Shorter episodes have fewer steps.
    assert main([*lab, "--continuations", "4", "--env.max-steps", "3"]) == 0
    steps = [int(re.findall(r"(\d+) steps", out)[0]) for out in (longer, capsys.readouterr().out)]
    assert steps[1] < steps[0]
    assert main(["advantages", "steps.jsonl", "--estimator", "own_ideas:Louder", "--boost", "2"]) == 0
    assert main(["compare-estimators", "steps.jsonl", "--own", "own_ideas.py:Louder"]) == 0
    # The rewards 0 and 1 are √½ standard deviations below and above their mean; twice that is √2.
    written = [json.loads(line) for line in (folder / "steps.advantages.jsonl").read_text().splitlines()]
    assert [row["advantage"] for row in written] == [pytest.approx(s * 2**0.5, abs=1e-4) for s in (-1, 1)]
