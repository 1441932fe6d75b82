"""The words of `hgpo verl train`: environments and estimators as for `hgpo train`, and what is wrong with them."""

from __future__ import annotations

import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from hgpo.adapters.verl.configuration import (
    check_configuration,
    complete,
    configured_estimator,
    stepwise_settings,
)
from hgpo.adapters.verl.launch import Words, compose, preset_file
from hgpo.cli import main
from hgpo.estimators import GiGPO

pytestmark = [
    pytest.mark.stack,
    pytest.mark.skipif(find_spec("verl") is None, reason="verl is not installed"),
    pytest.mark.filterwarnings("ignore"),
]

GAMES = """
from dataclasses import dataclass
from hgpo.envs import from_class

@dataclass
class Door:
    level: str = "easy"
    fault: str = ""

    def reset(self, task):
        if self.fault == "reset": raise OSError("the server is down")
        return "a closed door"

    def step(self, word):
        if self.fault == "step": return "open", True
        return "an open door", 1.0, True

    def state_key(self):
        return [1] if self.fault == "key" else "door"

Suite = from_class(Door, tasks={"day": ["a", "b"], "night": ["c"], "dawn": ["d"]})
"""

IDEAS = """
from dataclasses import dataclass
from hgpo import GRPO

@dataclass(frozen=True)
class Louder(GRPO):
    boost: float = 1.0
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "own_doors.py").write_text(GAMES)
    (tmp_path / "own_ideas.py").write_text(IDEAS)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    yield tmp_path
    for name in ("own_doors", "own_ideas"):
        sys.modules.pop(name, None)


def composed(*words: str):
    """The configuration of a command line, as `train` completes it."""
    told = Words.of(words)
    config = compose(preset_file("alfworld-1.5b"), told.overrides, told.env)
    complete(config)
    check_configuration(config)
    return config


def test_own_classes_with_their_settings_by_either_spelling(folder):
    config = composed(
        *("env:own_doors.py:Suite", "hgpo.env.level=hard", "estimator:own_ideas:Louder"),
        "algorithm.stepwise.Louder.boost=3",
    )
    # Nothing of the preset's environment is left, and a file is named with its full path.
    assert dict(config.hgpo.env) == {"type": f"{folder}/own_doors.py:Suite", "level": "hard"}
    assert (list(config.data.train_files), list(config.data.val_files)) == (["day"], ["night", "dawn"])
    assert stepwise_settings(config).suite().level == "hard"  # type: ignore[attr-defined]
    assert configured_estimator(config).boost == 3  # type: ignore[attr-defined]
    config = composed("env:own_doors:Suite", "estimator:own_ideas.py:Louder", "data.val_files=[dawn]")
    assert config.algorithm.adv_estimator == f"{folder}/own_ideas.py:Louder"
    assert (config.hgpo.env.type, list(config.data.val_files)) == ("own_doors:Suite", ["dawn"])


def test_names_are_those_of_hgpo_train():
    config = composed("env:household", "estimator:gigpo", "algorithm.stepwise.gigpo.step_weight=0.5")
    assert configured_estimator(config) == GiGPO(step_weight=0.5, invalid_penalty=0.1)
    assert list(config.data.val_files) == ["valid_seen", "valid_unseen"]
    assert composed("env:household", "estimator:dr-grpo").algorithm.adv_estimator == "stepwise_dr_grpo"


def test_options_and_settings_may_come_in_any_order(monkeypatch):
    seen = []
    monkeypatch.setattr("hgpo.adapters.verl.launch.train", seen.append)
    words = [
        "env:household",
        "--preset",
        "alfworld-1.5b",
        "hgpo.seed=3",
        "--preset",
        "gspo",
        "hgpo.prompt_history=1",
    ]
    assert main(["verl", "train", *words]) == 0
    (config,) = seen
    assert (config.hgpo.env.type, config.hgpo.seed, config.hgpo.prompt_history) == ("household", 3, 1)
    assert config.actor_rollout_ref.actor.policy_loss.loss_mode == "gspo"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["env:own_doors:Suit"], "own_doors has no attribute 'Suit'; did you mean own_doors:Suite?"),
        (["estimator:own_idea:Louder"], "No module named 'own_idea'"),
        (["estimator:hgop"], "estimator hgop: choose from hgpo, hbc"),
        (["estimator:own_ideas:"], "own_ideas:: expected MODULE:CLASS"),
        (["env:own_doors:Suite", "hgpo.env.levle=hard"], "hgpo.env.levle: no such setting; did you mean level?"),
        (["env:household", "algorithm.stepwise.hgop.alpha=2"], "algorithm.stepwise.hgop: no such estimator; did you mean hgpo?"),
        (["env:household", "algorithm.stepwise.gigpo.alpha=2"], "algorithm.stepwise.gigpo.alpha: no such setting"),
        (["env:household", "hgpo.env_isolation=no"], "hgpo.env_isolation is 'no': expected one of thread, process"),
        (["hgpo.env.type=own_doors:Suite"], "success_reward: no such setting; there are level, fault, max_steps; env:NAME leaves out"),
        (["env:own_doors:Suite", "hgpo.env.fault=reset"], "fails at once: OSError: the server is down (own_doors.py, line 11)"),
        (["env:own_doors:Suite", "hgpo.env.fault=step"], "fails at once: TypeError: step returned ('open', True): expected"),
        (["env:own_doors:Suite", "hgpo.env.fault=key"], "fails at once: the state key is a list that cannot be hashed"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_said_in_one_line_before_anything_is_started(
    folder, words, message, capsys, monkeypatch
):
    def started(*args: object, **kwargs: object) -> None:
        raise AssertionError("verl was started")

    monkeypatch.setattr("verl.trainer.main_ppo.run_ppo", started)
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    assert main(["verl", "train", "--preset", "alfworld-1.5b", *words]) == 2
    error = capsys.readouterr().err
    assert message in error and error.startswith("hgpo: ") and error.count("\n") == 1
