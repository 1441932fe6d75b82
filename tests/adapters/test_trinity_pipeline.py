"""Trinity's runner, pipeline, buffer and loss on a CPU, with its own ALFWorld workflow and with ours.

`trinity_spy` writes down what the loss reads. The advantages are computed again from the steps, by the
estimator called directly.
"""

from __future__ import annotations

import json
import os
import pickle
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from hgpo import HGPO, StepTable
from hgpo.adapters.task_stream import write_tasks
from hgpo.envs import HouseholdSuite
from hgpo.errors import SettingError

pytestmark = [
    pytest.mark.stack,
    pytest.mark.skipif(
        find_spec("trinity") is None, reason="Trinity-RFT is not installed (make test-trinity)"
    ),
]

# Returns differ from step to step, also in trajectories that are not won.
OF_HOUSEHOLD = {"discount": 0.95, "invalid_penalty": 0.1, "propagate_penalty": True, "history_length": 2}
OF_ALFWORLD = {"discount": 0.95, "history_length": 2}


def configuration(folder: Path, name: str, taskset: dict[str, Any], settings: dict[str, Any]) -> None:
    buffer = {"storage_type": "sql", "path": f"sqlite:///{folder / name}.db"}
    content = {
        "algorithm": {
            "algorithm_type": "gigpo",
            "advantage_fn": "hgpo.adapters.trinity.StepwiseAdvantageFn",
            "advantage_fn_args": {"estimator": "hgpo", **settings},
        },
        "data_processor": {"experience_pipeline": {"save_input": False}},
        "explorer": {
            "rollout_model": {"model_path": "scripted", "enable_history": True},
            "concurrent_mode": "asynchronous",
        },
        "buffer": {
            "explorer_input": {"taskset": {"name": name, "batch_size": 2, **taskset}},
            "trainer_input": {"experience_buffer": {"name": name, "schema_type": "experience", **buffer}},
        },
    }
    # YAML contains JSON.
    (folder / f"{name}.yaml").write_text(json.dumps(content))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from alfred_game import alfred_game, put_alfred_game

    folder = tmp_path_factory.mktemp("trinity")
    suite = HouseholdSuite(max_steps=3)
    write_tasks(folder / "tasks", suite, iterations=1, per_iteration=2, seed=5)
    ours = {
        "path": str(folder / "tasks" / "train"),
        "default_workflow_type": "hgpo.adapters.trinity.StepwiseWorkflow",
        "workflow_args": {"suite": "household", "suite_settings": {"max_steps": 3}, "response": "number"},
    }
    configuration(folder, "household", ours, OF_HOUSEHOLD)
    # ALFWorld's expert, which its own workflow asks in every step, reads where things are from the first text.
    seen = "Welcome! You see a cabinet 1, a desk 1, a fridge 1, a microwave 1, and a sink 1. Your task is to: win."
    grammar = alfred_game()["grammar"].replace("A kitchen. Your task is to: win.", seen)
    games = [put_alfred_game(folder / "games", f"game{number}", grammar=grammar) for number in range(2)]
    rows = [json.dumps({"game_file": str(game / "game.tw-pddl"), "target": ""}) for game in games]
    (folder / "alfworld").mkdir()
    (folder / "alfworld" / "tasks.jsonl").write_text("\n".join(rows))
    theirs = {
        "path": str(folder / "alfworld"),
        "default_workflow_type": "step_wise_alfworld_workflow",
        "workflow_args": {"max_env_steps": 6},
        "format": {"prompt_key": "game_file", "response_key": "target"},
    }
    configuration(folder, "alfworld", theirs, OF_ALFWORLD)
    spy = str(Path(__file__).with_name("trinity_spy.py"))
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
    done = subprocess.run([sys.executable, spy, str(folder)], env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return folder


def recorded(folder: Path, name: str) -> dict[str, Any]:
    return pickle.loads((folder / f"{name}.pickle").read_bytes())


def assert_advantages(run: dict[str, Any], estimator: Any, **columns: Any) -> None:
    """Every token of an answer has its step's advantage, and every other token 0."""
    rows = run["rows"]
    steps = StepTable(
        task_id=[row["task"] for row in rows],
        trajectory_id=[(row["task"], row["run"]) for row in rows],
        step_index=[row["step"] for row in rows],
        state_key=[row["info"]["env_state_hash"] for row in rows],
        reward=[row["info"]["step_reward"] for row in rows],
        **columns,
    )
    expected = estimator(steps)
    assert np.std(expected) > 0.1
    written = np.arange(run["advantages"].shape[1]) < np.array([row["tokens"] for row in rows])[:, None]
    assert (run["mask"].astype(bool) == written).all() and not written.all()
    np.testing.assert_allclose(run["advantages"], np.where(written, expected[:, None], 0), atol=1e-6)
    assert run["loss"] == pytest.approx(-np.average(expected, weights=written.sum(axis=1)), abs=1e-6)


def test_its_own_alfworld_workflow(folder):
    """TextWorld plays. Rejects: rewards of the trajectory in every step, and groups across tasks."""
    run = recorded(folder, "alfworld")
    # Each run wins in its sixth step, after one step that changed nothing.
    assert len(run["rows"]) == 2 * 4 * 6
    assert_advantages(run, HGPO(**OF_ALFWORLD))
    by_step = {row["step"]: row["info"]["step_reward"] for row in run["rows"]}
    assert by_step[5] == 1.0 and by_step[0] == 0.0
    assert run["metrics"]["experience_pipeline/hgpo/peer_fraction_0"] > 0


def test_our_workflow(folder):
    """Rejects: states after the action, and rewards of another step."""
    run = recorded(folder, "household")
    rows = run["rows"]
    valid = [row["info"]["action_valid"] for row in rows]
    assert 0 < sum(valid) < len(valid) == 2 * 4 * 3
    assert_advantages(run, HGPO(**OF_HOUSEHOLD), action_valid=valid)
    suite = HouseholdSuite(max_steps=3)
    for number, task in enumerate(suite.tasks("train", 2, seed=json.loads(first_line(folder))["seed"])):
        for member in range(4):
            steps = sorted(
                (row for row in rows if (str(row["task"]), int(row["run"])) == (str(number), member)),
                key=lambda row: row["step"],
            )
            assert [step["step"] for step in steps] == [0, 1, 2]
            environment = suite.make()
            observation, info = environment.reset(task)
            for step in steps:
                seen = step["info"]
                assert (seen["observation"], seen["env_state_hash"]) == (observation, info.state_key)
                observation, reward, terminated, truncated, info = environment.step(seen["action"])
                assert (seen["step_reward"], seen["terminated"], seen["truncated"]) == (
                    *(reward, terminated, truncated),
                )
                assert step["metrics"]["steps"] == 3.0 and step["reward"] == step["metrics"]["return"]


def first_line(folder: Path) -> str:
    return (folder / "tasks" / "train" / "tasks.jsonl").read_text().splitlines()[0]


def experience(step: int, text: str, **info: Any) -> Any:
    eid = SimpleNamespace(tid="t", rid="t/0", step=step)
    return SimpleNamespace(eid=eid, info=info, response_text=text)


@pytest.mark.filterwarnings("ignore")
def test_the_columns_of_a_workflow():
    from hgpo.adapters.trinity.advantages import experience_table

    known = {"env_state_hash": "s", "step_reward": 1.0}
    tagged = "<think>Go.</think><action> go </action><action>look</action>"
    steps = experience_table([experience(0, tagged, **known), experience(1, "look", **known, truncated=True)])
    assert steps.action is not None and steps.action.tolist() == ["go", "look"]
    # Only some of the experiences have this column.
    assert steps.truncated is None
    told = experience_table([experience(0, tagged, **known, action="open", action_valid=False)])
    assert told.action is not None and told.action_valid is not None
    assert (told.action.tolist(), told.action_valid.tolist()) == (["open"], [False])
    with pytest.raises(SettingError, match=r"has no info\['step_reward'\]: the workflow must set it"):
        experience_table([experience(0, "", env_state_hash="s")])


@pytest.mark.filterwarnings("ignore")
def test_what_is_wrong_is_told():
    from hgpo.adapters.trinity import StepwiseAdvantageFn

    # Without arguments in the configuration, Trinity passes those of its own estimator.
    with pytest.raises(SettingError, match=r"estimator\.omega: no such setting"):
        StepwiseAdvantageFn(omega=1.0, gamma=1.0)
    with pytest.raises(SettingError, match="estimator ppo needs a critic, which this part of Trinity"):
        StepwiseAdvantageFn("ppo")
    with pytest.raises(SettingError, match="estimator hppo: choose from"):
        StepwiseAdvantageFn("hppo")
