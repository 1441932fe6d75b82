"""SkyRL's whole training loop on a CPU, with stand-ins for its GPU workers and engines.

`skyrl_spy` writes down which steps were played and what every loss read. The advantages are computed again from
the played steps, by the estimator called directly.
"""

from __future__ import annotations

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
from hgpo.errors import SettingError

pytestmark = [
    pytest.mark.stack,
    pytest.mark.skipif(find_spec("skyrl") is None, reason="SkyRL is not installed (make test-skyrl)"),
    pytest.mark.filterwarnings("ignore"),
]

PENALTIES: dict[str, Any] = {"discount": 0.95, "invalid_penalty": 0.1, "propagate_penalty": True}
# Two tasks with four trajectories each; each task is one mini-batch.
SETTINGS = {
    "hgpo.suite": "uneven_household:UnevenHousehold",
    "hgpo.response": "number",
    "hgpo.estimator_settings": "{discount: 0.95, invalid_penalty: 0.1, propagate_penalty: true}",
    "hgpo.suite_settings.split_size": 3,
    "hgpo.evaluation_tasks": 2,
    "generator.n_samples_per_prompt": 4,
    "generator.sampling_params.max_generate_length": 2,
    "generator.sampling_params.logprobs": 1,
    "generator.inference_engine.enable_ray_prometheus_stats": "false",
    "data.dataloader.num_workers": 0,
    "trainer.train_batch_size": 2,
    "trainer.policy_mini_batch_size": 1,
    "trainer.critic_mini_batch_size": 1,
    "trainer.eval_batch_size": 4,
    "trainer.max_training_steps": 2,
    "trainer.max_prompt_length": 4096,
    "trainer.placement.colocate_all": "false",
    "trainer.algorithm.use_kl_loss": "false",
    "trainer.ckpt_interval": 0,
    "trainer.eval_interval": 2,
    "trainer.eval_before_train": "false",
    "trainer.resume_mode": "none",
    "trainer.logger": "console",
    "trainer.dump_eval_results": "false",
    "trainer.enable_ray_gpu_monitor": "false",
}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    from tiny_household import save_model

    folder = tmp_path_factory.mktemp("skyrl")
    save_model(folder / "model")
    settings = {
        **SETTINGS,
        "trainer.policy.model.path": folder / "model",
        "trainer.export_path": folder / "out",
    }
    spy = str(Path(__file__).with_name("skyrl_spy.py"))
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
    arguments = [f"{name}={value}" for name, value in settings.items()]
    done = subprocess.run(
        [sys.executable, spy, str(folder), *arguments], env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return pickle.loads((folder / "run.pickle").read_bytes())


def played(run: dict[str, Any], phase: str) -> list[list[tuple]]:
    return [rows for of_phase, rows in run["played"] if of_phase == phase]


def test_the_loss_reads_the_estimators_advantages(run):
    """Rejects: padding in a group, one advantage per trajectory, and records of other rows."""
    assert len(run["read"]) == 4 and len(played(run, "train")) == 2
    for number, rows in enumerate(played(run, "train")):
        records = [record for record, _, _ in rows]
        # Lengths are 1 2 3 3 and 2 1 1 2; eight data-parallel ranks need a row of padding.
        assert len(rows) == 15
        table = StepTable(
            task_id=[record.task for record in records],
            trajectory_id=[record.trajectory for record in records],
            step_index=[record.step for record in records],
            state_key=[record.state_key for record in records],
            reward=[record.reward for record in records],
            action_valid=[record.action_valid for record in records],
        )
        advantages = HGPO(history_length=2, **PENALTIES)(table)
        assert np.std(advantages) > 0.1 and len(set(table.trajectory_id)) == 8
        read = [row for mini_batch in run["read"][2 * number : 2 * number + 2] for row in mini_batch]
        assert len(read) == 15
        for (prompt, answer, of_tokens, mask), (_, shown, written), advantage in zip(
            read, rows, advantages, strict=True
        ):
            assert (prompt, answer) == (shown, written)
            # 1 on the tokens of the answer, which are at the start of the row.
            assert mask == [1.0] * len(answer) + [0.0] * (len(mask) - len(answer))
            np.testing.assert_allclose(of_tokens, np.multiply(mask, advantage), atol=1e-6)
    assert np.abs(run["after"] - run["before"]).max() > 1e-4


def test_the_old_logprobs_are_those_of_the_same_rows(run):
    """At the first step of an update all ratios are 1. Rejects: rows that are shifted by padding."""
    logs = [line for line in run["log"] if "trainer/global_step" in line]
    assert len(logs) == 2
    assert all(line["policy/rollout_train_logprobs_abs_diff_max"] < 1e-4 for line in logs)


def test_the_figures(run):
    for line, rows in zip(run["log"], played(run, "train"), strict=False):
        ends = [record for record, _, _ in rows if record.terminated or record.truncated]
        assert line["reward/avg_raw_reward"] == pytest.approx(np.mean([end.total for end in ends]))
        assert line["hgpo/steps_mean"] == 15 / 8
        assert line["hgpo/success_mean"] == np.mean([end.won for end in ends])
        assert {"hgpo/peer_fraction_0", "hgpo/advantage_rms"} <= line.keys()


def test_held_out_tasks(run):
    """Two tasks of each of the two splits, once. Rejects: figures of steps instead of trajectories."""
    (rows,) = played(run, "eval")
    ends = [record for record, _, _ in rows if record.terminated or record.truncated]
    assert len(ends) == 4
    evaluated = run["log"][-1]
    assert evaluated["eval/all/avg_score"] == pytest.approx(np.mean([end.total for end in ends]))
    assert {"eval/valid_seen/avg_score", "eval/valid_unseen/avg_score"} <= evaluated.keys()


def test_what_does_not_fit_steps_is_refused():
    from hgpo.adapters.skyrl import StepwiseTrainConfig

    for setting, words in {
        "generator.step_wise_trajectories=false": "step_wise_trajectories is False: expected True with rows",
        "generator.merge_stepwise_output=true": "merge_stepwise_output is True: expected False",
        "trainer.algorithm.zero_variance_filter=true": "zero_variance_filter is True: expected False",
        "hgpo.estimator=ppo": "estimator ppo needs a critic",
        "hgpo.estimator_settings.gama=1": r"estimator\.gama: no such setting",
        "hgpo.suite=householt": "suite householt: choose from|suite householt",
        "trainer.max_training_steps=null": "max_training_steps is missing: expected a number",
    }.items():
        with pytest.raises(SettingError, match=words):
            StepwiseTrainConfig.from_cli_overrides(["trainer.max_training_steps=1", setting])


def test_the_entrypoint(monkeypatch, capsys):
    """SkyRL leaves its setting for the entrypoint among the arguments, and has no field for it."""
    from hgpo.adapters.skyrl import entrypoint

    given: list[Any] = []
    for name in ("validate_cfg", "initialize_ray"):
        monkeypatch.setattr(entrypoint, name, given.append)
    monkeypatch.setattr(entrypoint, "run", SimpleNamespace(remote=given.append))
    monkeypatch.setattr(entrypoint.ray, "get", lambda reference: None)
    arguments = [
        *("main_base.py", "trainer.override_entrypoint=hgpo.adapters.skyrl"),
        *("trainer.max_training_steps=3", "hgpo.prompt_history=3"),
    ]
    monkeypatch.setattr(sys, "argv", arguments)
    entrypoint.main()
    assert [cfg.hgpo.prompt_history for cfg in given] == [3, 3, 3]
    monkeypatch.setattr(sys, "argv", [*arguments, "hgpo.estimator=hgpoo"])
    with pytest.raises(SystemExit) as stop:
        entrypoint.main()
    assert stop.value.code == 2 and len(given) == 3
    error = capsys.readouterr().err
    assert error.startswith("hgpo: estimator hgpoo: choose from") and error.count("\n") == 1
