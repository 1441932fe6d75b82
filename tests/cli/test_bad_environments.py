"""Every command reports an error in a user's environment in one line that names the place."""

from __future__ import annotations

import io
import sys
from pathlib import Path

import pytest

from hgpo.cli import main

GAMES = """
from dataclasses import dataclass
from hgpo.envs import from_class
from hgpo.envs.base import Info, Task

@dataclass(frozen=True)
class Suite:
    name = "own"
    splits = ("train", "test")
    fault: str = ""

    def tasks(self, split, count=None, seed=0):
        if self.fault == "tasks raises": raise KeyError("no such split")
        if self.fault == "tasks texts": return ["walk"] * (count or 3)
        name = "same" if self.fault == "ids repeat" else split
        return [Task(name if name == "same" else f"{split}/{i}", "walk", f"walk {i}", i) for i in range(count or 3)]

    def make(self):
        if self.fault == "make raises": raise RuntimeError("no display")
        return None if self.fault == "make none" else Game(self.fault)

    def walkthrough(self, task):
        if self.fault == "walkthrough raises": raise RuntimeError("lost the way")
        return {"walkthrough text": "go", "walkthrough none": None}.get(self.fault, ("go",))

    def texts(self):
        if self.fault == "texts raises": raise RuntimeError("speechless")
        return ["walk 0 1 2 start end go stay"]

class Game:
    def __init__(self, fault):
        self.fault = fault

    def info(self):
        if self.fault == "info none": return None
        key = {"place": 1} if self.fault == "key" else "here"
        return Info(["go", "stay"] if self.fault == "commands" else ("go", "stay"), key)

    def reset(self, task, seed=0):
        if self.fault == "reset raises": raise OSError("server is down")
        if self.fault == "reset exits": raise SystemExit(3)
        return "start" if self.fault == "reset text" else ("start", self.info())

    def step(self, command):
        if self.fault == "step raises": raise OSError("server is down")
        if self.fault == "step three": return "end", 1.0, True
        reward = "much" if self.fault == "reward" else 1.0
        observation = 7 if self.fault == "observation" else "end"
        return observation, reward, "yes" if self.fault == "flag" else True, False, self.info()

class Plain:
    def reset(self, task): return "start"
    def step(self, command): return "end", 1.0, True

WithoutWalkthroughs = from_class(Plain, tasks=["a", "b"], name="plain")
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "own_bad_games.py").write_text(GAMES)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    yield tmp_path
    sys.modules.pop("own_bad_games", None)


TYPES = "returned ('end', 1.0, True): expected (observation, reward, terminated, truncated, info)"
TRAIN = {
    "tasks raises": "own_bad_games.py, line 13: KeyError: 'no such split'",
    "tasks texts": "own: test has 'walk' among its tasks: expected a Task of hgpo.envs",
    "ids repeat": "two tasks with the id 'same', 'walk 0' and 'walk 1': give each its own",
    "make raises": "own_bad_games.py, line 19: RuntimeError: no display",
    "make none": "the environment fails at once: make returned None: expected an environment",
    "walkthrough raises": "own_bad_games.py, line 23: RuntimeError: lost the way",
    "walkthrough text": "the walkthrough of train/0 is the text 'go': expected a tuple of texts",
    "walkthrough none": "none of 2 tasks has a walkthrough to imitate",
    "texts raises": "own_bad_games.py, line 27: RuntimeError: speechless",
    "info none": "the environment fails at once: the info is a NoneType, not an Info",
    "key": "the environment fails at once: the state key is a dict that cannot be hashed",
    "commands": "the environment fails at once: the admissible commands are not a tuple of texts",
    "reset raises": "fails at once: OSError: server is down (own_bad_games.py, line 40); see hgpo env check",
    "reset exits": "fails at once: SystemExit: 3 (own_bad_games.py, line 41); see hgpo env check",
    "reset text": "fails at once: reset returned 'start': expected (observation, info)",
    "step raises": "OSError: server is down (own_bad_games.py, line 45)",
    "step three": f"cannot be played: step {TYPES}",
    "reward": "cannot be played: the reward is 'much', not a finite number",
    "observation": "cannot be played: the observation is a int, not a text",
    "flag": "cannot be played: terminated is 'yes', truncated False: not True or False",
}
SMALL = (
    "--iterations 1 --tasks-per-iteration 2 --group-size 2 --warm-start.tasks 2 --warm-start.epochs 1 "
    "--tiny.hidden-size 16 --threads 1"
).split()


@pytest.mark.parametrize("fault", TRAIN)
def test_training_says_in_one_line_what_is_wrong(folder, fault, capsys):
    assert main(["train", "env:own_bad_games:Suite", "--env.fault", fault, *SMALL, "--out", "run"]) in (1, 2)
    error = capsys.readouterr().err
    assert TRAIN[fault] in error and error.startswith("hgpo: ") and error.count("\n") == 1


def test_a_suite_without_walkthroughs_needs_a_model_and_leaves_no_folder(folder, capsys):
    assert main(["train", "env:own_bad_games:WithoutWalkthroughs", "--out", "run"]) == 2
    assert "give --model" in capsys.readouterr().err
    assert not (folder / "run").exists()


@pytest.mark.parametrize("command", ["play", "solve"])
@pytest.mark.parametrize("fault", ["tasks raises", "make none", "info none", "reset exits", "step three"])
def test_other_commands_say_so_too(folder, command, fault, capsys, monkeypatch):
    monkeypatch.setattr("sys.stdin", io.StringIO("go\n"))
    assert main(["env", command, "own_bad_games:Suite", "--env.fault", fault]) == 1
    error = capsys.readouterr().err
    assert error.startswith("hgpo: ") and error.count("\n") == 1


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        ("tasks texts", "tasks: train: must be a sequence of Task, not ['walk', 'walk']"),
        ("ids repeat", "tasks: train: two tasks have the identifier 'same'"),
        ("info none", "error: train/0: after reset: info must be an Info, not None"),
        ("reset exits", "error: train/0: raised SystemExit: 3 (own_bad_games.py, line 41)"),
        ("step three", f"error: train/0: step {TYPES}"),
    ],
)
def test_the_check_lists_what_is_wrong(folder, fault, words, capsys):
    assert main(["env", "check", "own_bad_games:Suite", "--env.fault", fault, "--tasks", "2"]) == 1
    assert words in capsys.readouterr().out


def test_an_evaluation_says_why_the_first_episode_failed(folder, capsys):
    args = ["evaluate", "env:own_bad_games:Suite", "--env.fault", "step three", "--policy", "random"]
    # All episodes fail: nothing was measured, so a script must not take the zeros for a result.
    assert main(args) == 1
    printed = capsys.readouterr()
    assert printed.err == (
        f"hgpo: all 3 episodes of random failed, so nothing was measured; the first: step {TYPES}\n"
    )
    out = " ".join(printed.out.split())
    assert f"3 failed before the end, counted as not won (environment 3); the first: step {TYPES}" in out


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        (
            "reset raises",
            "every rollout failed, the first: OSError: server is down (own_bad_games.py, line 40)",
        ),
        ("step three", f"every rollout failed, the first: step {TYPES}; see hgpo env check"),
        ("key", "every rollout failed, the first: the state key is a dict that cannot be hashed"),
        ("ids repeat", "two tasks with the id 'same', 'walk 0' and 'walk 1': give each its own"),
    ],
)
def test_the_laboratory_says_why_nothing_could_be_played(folder, fault, words, capsys):
    few = ["--tasks", "2", "--groups", "2", "--group-size", "2", "--continuations", "2", "--out", "lab"]
    env = ["--env", "own_bad_games:Suite", "--env.fault", fault]
    assert main(["lab", "oracle", "--policy", "random", *env, *few]) in (1, 2)
    error = capsys.readouterr().err
    assert words in error and error.count("\n") == 1
