"""Advantages from step records of any training stack."""

import subprocess
import sys
from typing import Any

import numpy as np
import pytest
from tables import walk_rows
from toy import ToySuite

from hgpo import ESTIMATORS, GRPO, HBC, StepTable
from hgpo.adapters.step_records import (
    StepRecord,
    diagnostics,
    episode_records,
    step_advantages,
    step_table,
)
from hgpo.agents.scripted import RandomAgent
from hgpo.rollouts.episodes import Trajectory
from hgpo.rollouts.rollout import rollout
from hgpo.rollouts.rollout import step_table as table_of_rollout


def records() -> list[dict]:
    rows = walk_rows(("AB", [0.0, 8.0]), ("AB", [0.0, 0.0]))
    return [row | {"action": action} for row, action in zip(rows, "xxyz", strict=True)]


def test_padding_enters_no_group_and_gets_nothing():
    # GRPO without division: 8 and 0, mean 4; a third, empty trajectory would move it to 8/3.
    first, second, third, fourth = records()
    padded = [first, None, second, third, fourth, None]
    found = step_advantages(padded, "grpo", normalization="mean")
    assert found.tolist() == [4.0, 0.0, 4.0, -4.0, -4.0, 0.0]
    assert step_advantages([None]).tolist() == [0.0] and step_advantages([]).tolist() == []


@pytest.mark.parametrize("name", sorted(set(ESTIMATORS) - {"ppo"}))
def test_another_method_is_another_word(name: str):
    expected = ESTIMATORS[name]()(StepTable.from_rows(records()))
    np.testing.assert_array_equal(step_advantages(records(), name), expected)


def test_an_estimator_may_be_made_already():
    expected = HBC(discount=0.5)(StepTable.from_rows(records()))
    assert step_advantages(records(), HBC(discount=0.5)).tolist() == expected.tolist()
    assert step_advantages(records(), "hbc", discount=0.5).tolist() == expected.tolist()


def test_what_is_wrong_is_told():
    with pytest.raises(ValueError, match="estimator hppo: choose from hgpo, hbc"):
        step_advantages(records(), "hppo")
    with pytest.raises(ValueError, match=r"estimator\.gama: no such setting; did you mean gamma|there are"):
        step_advantages(records(), "hgpo", gama=0.9)
    with pytest.raises(TypeError, match=r"alpha: give settings only with the name.*HBC\("):
        step_advantages(records(), HBC(), alpha=2.0)
    with pytest.raises(ValueError, match="row 1: 'action' is missing"):
        step_advantages([records()[0], {k: v for k, v in records()[1].items() if k != "action"}])


def test_the_core_needs_numpy_alone():
    """Rejects: an import of torch, transformers or verl at any depth."""
    program = (
        "import sys, hgpo.adapters.step_records, hgpo.adapters.task_stream\n"
        "print([name for name in ('torch', 'transformers', 'verl', 'trl') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def played() -> list[Trajectory]:
    """Two tasks of the toy game, each tried three times at random."""
    suite = ToySuite(max_steps=4)
    return rollout(suite, RandomAgent(), suite.tasks("train", 2), group_size=3, temperature=1.0, seed=[0])


def test_records_of_episodes_give_the_table_of_the_rollout():
    """Rejects: a reward, key or flag of another step, and a step counted from 1."""
    trajectories = played()
    ours = step_table(
        [
            record
            for trajectory in trajectories
            for record in episode_records(
                trajectory.steps, task=trajectory.group_id, trajectory=trajectory.trajectory_id
            )
        ]
    )
    theirs = table_of_rollout(trajectories, policy_version=0)
    for name in ("task_id", "trajectory_id", "step_index", "state_key", "reward", "action", "terminated"):
        assert getattr(ours, name).tolist() == getattr(theirs, name).tolist()
    np.testing.assert_array_equal(HBC(discount=0.9)(ours), HBC(discount=0.9)(theirs))


def test_diagnostics_count_trajectories_once():
    # Lengths 3 and 1, returns 1 and 0: the mean return is ½ by trajectory; by step it would be ¾.
    won, lost = {"total": 1.0, "won": True, "score": 1.0}, {"total": 0.0, "won": False, "score": 0.5}
    rows = [record("a", step, **won) for step in range(3)] + [record("b", 0, **lost)]
    steps = step_table(rows, prompt_tokens=[[1]] * 4, response_tokens=[[2, 2]] * 4)
    estimator = GRPO(normalization="mean")
    found = diagnostics(rows, steps, estimator(steps), estimator, tried=3)
    expected = {
        **{"success_rate": 0.5, "return_mean": 0.5, "score_mean": 0.75, "steps_mean": 2.0},
        **{"environment_steps": 4.0, "dropped_trajectories": 1.0, "response_tokens_mean": 2.0},
    }
    assert {name: found[name] for name in expected} == expected
    assert found["peer_fraction_episode"] == 1.0


def record(trajectory: str, step: int, **values: Any) -> StepRecord:
    known: dict[str, Any] = {
        **{"state_key": step, "observation": "", "action": "", "action_valid": True, "reward": 0.0},
        **{"terminated": False, "truncated": False},
    }
    return StepRecord(task="t", trajectory=trajectory, step=step, **{**known, **values})
