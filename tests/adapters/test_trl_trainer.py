"""TRL's whole loop on a CPU: a tiny model, household games, TRL's own generation, loss and optimizer.

`trl_spy` writes down which steps were played and what every loss read. The advantages are computed again from
the played steps, by the estimator called directly.
"""

from __future__ import annotations

import json
import os
import pickle
import subprocess
import sys
from importlib.util import find_spec
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hgpo import GRPO, HBC, HGPO, StepTable

pytestmark = [
    pytest.mark.stack,
    pytest.mark.skipif(find_spec("trl") is None, reason="TRL is not installed (make test-trl)"),
]

PENALTIES: dict[str, Any] = {"discount": 0.95, "invalid_penalty": 0.1, "propagate_penalty": True}
OF_HBC: dict[str, Any] = {"discount": 0.9}
OF_GRPO: dict[str, Any] = {"normalization": "mean"}
# A generation has 8 trajectories of 1 to 3 steps in all variants.
VARIANTS: dict[str, dict[str, Any]] = {
    "dapo": {},
    "grpo": {"loss_type": "grpo"},
    "kl": {"loss_type": "grpo", "beta": 0.1},
    # Two optimizer steps per pass over the rows, and two passes: 4 steps per generation.
    "dr_grpo": {
        **{"loss_type": "dr_grpo", "num_iterations": 2, "max_steps": 8},
        **{"per_device_train_batch_size": 2, "steps_per_generation": 4, "gradient_accumulation_steps": 2},
    },
    "hbc": {"estimator": "hbc", "estimator_settings": OF_HBC, "prompt_history": 1},
    "episodes": {"estimator": "grpo", "estimator_settings": OF_GRPO},
}
ESTIMATORS = {"hbc": HBC(history_length=1, **OF_HBC), "episodes": GRPO(**OF_GRPO)}


def train(folder: Path, runs: dict[str, dict[str, Any]], processes: int = 1) -> None:
    spy = str(Path(__file__).with_name("trl_spy.py"))
    launch = [sys.executable]
    if processes > 1:
        launch += ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}"]
    # TRL would report its use to the hub, and look for models there.
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "CI": "1", "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [*launch, spy, str(folder), json.dumps(runs)], env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from tiny_household import save_model

    folder = tmp_path_factory.mktemp("trl")
    save_model(folder / "model")
    return folder


@pytest.fixture(scope="module")
def trained(folder: Path) -> Path:
    train(folder, VARIANTS)
    return folder


def recorded(folder: Path, name: str, rank: int = 0) -> dict[str, Any]:
    return pickle.loads((folder / f"{name}-{rank}.pickle").read_bytes())


def expected_rows(played: list[Any], estimator: Any) -> list[tuple]:
    """Prompt, answer and advantage of each step of one generation, in order."""
    records = [row.record for row in played]
    table = StepTable(
        task_id=[record.task for record in records],
        trajectory_id=[record.trajectory for record in records],
        step_index=[record.step for record in records],
        state_key=[record.state_key for record in records],
        reward=[record.reward for record in records],
        action=[record.action for record in records],
        action_valid=[record.action_valid for record in records],
        terminated=[record.terminated for record in records],
        truncated=[record.truncated for record in records],
    )
    return sorted(
        (row.prompt, tuple(row.tokens.tolist()), advantage)
        for row, advantage in zip(played, estimator(table), strict=True)
    )


def assert_same_rows(found: list[tuple], expected: list[tuple]) -> None:
    assert [row[:2] for row in found] == [row[:2] for row in expected]
    np.testing.assert_allclose([row[2] for row in found], [row[2] for row in expected], atol=1e-6)


def joined(lists: list[list[Any]]) -> list[Any]:
    return list(chain.from_iterable(lists))


def real(rows: list[tuple]) -> list[tuple]:
    """The rows that are no padding, in order."""
    return sorted(row[:3] for row in rows if not row[3])


@pytest.mark.parametrize("name", VARIANTS)
def test_the_loss_reads_the_estimators_advantages(trained, name):
    """Rejects: padding in a group, rows of another generation, and TRL's own advantages."""
    run = recorded(trained, name)
    estimator = ESTIMATORS.get(name, HGPO(history_length=2, **PENALTIES))
    changes = {**{"steps_per_generation": 2, "num_iterations": 1}, **VARIANTS[name]}
    micro_batches, passes = changes["steps_per_generation"], changes["num_iterations"]
    per_generation = micro_batches * passes
    assert len(run["read"]) == per_generation * len(run["played"]) > 0
    for number, played in enumerate(run["played"]):
        expected = expected_rows(played, estimator)
        assert len({record.record.trajectory for record in played}) == 8
        for number_of_pass in range(passes):
            first = number * per_generation + number_of_pass * micro_batches
            read = joined(run["read"][first : first + micro_batches])
            assert_same_rows(real(read), expected)
            padding = [row for row in read if row[3]]
            assert all(row[2] == 0.0 for row in padding)
            # Rows are padded to a multiple of both 4 generations and the number of micro-batches.
            assert len(read) % 4 == 0 and len(padding) < 4
        assert np.std([row[2] for row in expected]) > 0.01
    assert any(row[3] for rows in run["read"] for row in rows)
    assert np.abs(run["after"] - run["before"]).max() > 1e-4


@pytest.mark.parametrize(("name", "weigh"), [("dapo", len), ("grpo", lambda answer: 1)])
def test_padding_does_not_change_the_loss(trained, name, weigh):
    # At the first optimizer step all ratios are 1, so that the loss is minus the mean advantage over the
    # tokens (dapo) or over the rows (grpo). TRL adds up its two micro-batches.
    run = recorded(trained, name)
    rows = expected_rows(run["played"][0], HGPO(history_length=2, **PENALTIES))
    weights = [weigh(answer) for _, answer, _ in rows]
    loss = sum(loss for step, loss in run["losses"] if step == 0)
    assert loss == pytest.approx(-np.average([row[2] for row in rows], weights=weights), abs=1e-6)


def test_the_reference_model_adds_a_penalty(trained):
    with_penalty = [each["kl"] for each in recorded(trained, "kl")["log"] if "kl" in each]
    # The reference is the model before training.
    assert with_penalty[0] == pytest.approx(0.0, abs=1e-6) and with_penalty[-1] > 1e-6


def test_the_log_has_our_diagnostics_instead_of_trls_rewards(trained):
    run = recorded(trained, "dapo")
    logs = [each for each in run["log"] if "loss" in each]
    assert len(logs) == 3
    for log, played in zip(logs, run["played"], strict=True):
        assert log["hgpo/steps_mean"] == pytest.approx(len(played) / 8)
        assert log["hgpo/valid_action_rate"] == pytest.approx(
            np.mean([row.record.action_valid for row in played])
        )
        assert not [name for name in log if name.startswith(("reward", "completions/", "frac_reward"))]
        assert {"entropy", "clip_ratio/low_mean", "grad_norm", "hgpo/peer_fraction_0"} <= log.keys()


def test_two_processes_share_the_group_of_a_task(folder):
    """8 trajectories of one task, 4 per process. Rejects: groups of one process's rows only."""
    train(folder, {"two": {"num_generations": 8, "per_device_train_batch_size": 2}}, processes=2)
    runs = [recorded(folder, "two", rank) for rank in (0, 1)]
    for number in range(3):
        played = [run["played"][number] for run in runs]
        assert len({row.record.task for row in joined(played)}) == 1
        assert len({row.record.trajectory for row in joined(played)}) == 8
        expected = expected_rows(joined(played), HGPO(history_length=2, **PENALTIES))
        read = [joined(run["read"][2 * number : 2 * number + 2]) for run in runs]
        assert len(read[0]) == len(read[1])
        assert_same_rows(real(joined(read)), expected)
        for of_process, rows in zip(played, read, strict=True):
            assert sorted(row.prompt for row in of_process) == [row[0] for row in real(rows)]
    np.testing.assert_array_equal(runs[0]["after"], runs[1]["after"])


def test_a_resumed_run_ends_with_the_same_weights(folder):
    """TRL's checkpoint after 2 of 4 steps. Rejects: other tasks, or random numbers of another place."""
    settings = {"max_steps": 4, "save_strategy": "steps", "save_steps": 2, "evaluate": True}
    train(folder, {"whole": settings})
    train(folder, {"resumed": {**settings, "resume": "checkpoint-2"}})
    whole, resumed = recorded(folder, "whole"), recorded(folder, "resumed")
    for before, after in zip(whole["played"][2:], resumed["played"], strict=True):
        assert [row.record.task for row in before] == [row.record.task for row in after]
        assert [row.tokens.tolist() for row in before] == [row.tokens.tolist() for row in after]
    np.testing.assert_array_equal(whole["after"], resumed["after"])
    # Each task of the held-out splits once.
    names = {name.rpartition("_s")[0] for name in whole["evaluated"] if name.endswith("_success_rate")}
    assert names == {"eval_valid_seen", "eval_valid_unseen"}
    assert whole["evaluated"] == resumed["evaluated"]
    won = [[row.record.won for row in rows if row.record.step == 0] for rows in whole["evaluation"]]
    # Three tasks each; some are won and some are not, so that a share of something else would differ.
    assert [len(of_split) for of_split in won] == [3, 3] and 0 < sum(map(sum, won)) < 6
    for split, of_split, rows in zip(("valid_seen", "valid_unseen"), won, whole["evaluation"], strict=True):
        assert whole["evaluated"][f"eval_{split}_success_rate"] == sum(of_split) / 3
        assert whole["evaluated"][f"eval_{split}_steps_mean"] == len(rows) / 3
