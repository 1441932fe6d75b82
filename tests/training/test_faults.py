"""Faults in a run: of environments, gradients, checkpoints and the disk, and a run that is killed."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from started import started
from toy import ToyEnvironment, ToySuite
from toy_runs import command, config, figures, finished, half_trained, run

from hgpo.cli import main
from hgpo.errors import RunError, SettingError
from hgpo.policies.transformers import TransformersPolicy
from hgpo.runs.display import NoDisplay
from hgpo.runs.folder import RunLog
from hgpo.training.trainer import Trainer


@dataclass(frozen=True)
class FaultySuite(ToySuite):
    """Every fifth environment that is made fails at its second step, or all do, after the first seven."""

    fault: str = "raises"
    every: int = 5
    # One serves to measure token lengths, and one for each of the six tasks of the warm start.
    after: int = 7

    def make(self) -> ToyEnvironment:
        FaultySuite.made += 1
        faulty = FaultySuite.made > self.after and FaultySuite.made % self.every == 0
        return FaultyEnvironment(self.max_steps, self.fault if faulty else "")


FaultySuite.made = 0  # pyright: ignore


class FaultyEnvironment(ToyEnvironment):
    def __init__(self, max_steps: int, fault: str) -> None:
        super().__init__(max_steps)
        self.fault, self.calls = fault, 0

    def step(self, command: str):
        observation, reward, terminated, truncated, info = super().step(command)
        self.calls += 1
        if self.calls == 2 and self.fault == "raises":
            raise OSError("the simulator is gone")
        if self.calls == 2 and self.fault == "exits":
            sys.exit("no licence")
        if self.calls == 2 and self.fault == "hangs":
            time.sleep(1.5)
        if self.calls == 2 and self.fault == "nonsense":
            reward = float("nan")
        return observation, reward, terminated, truncated, info


@pytest.fixture(autouse=True)
def no_faulty_toys_made():
    FaultySuite.made = 0  # pyright: ignore


@pytest.mark.parametrize("fault", ["raises", "exits", "hangs", "nonsense"])
def test_a_faulty_environment_loses_its_trajectory_alone(fault, tmp_path):
    settings = config(
        env=FaultySuite(fault=fault),
        iterations=2,
        keep_rollouts=True,
        environment_timeout=0.3,
        evaluation_tasks=2,
    )
    run(settings, tmp_path)
    for record, file in zip(figures(tmp_path), sorted((tmp_path / "rollouts").iterdir()), strict=True):
        # 3 tasks × 4 rollouts: two or three environments of twelve are the fifth.
        assert record["failed_trajectories"] in (2, 3)
        assert record["kept_fraction"] == pytest.approx(1 - record["failed_trajectories"] / 12)
        assert file.stat().st_size > 0


def test_two_processes_do_not_train_in_one_folder(tmp_path):
    run(half_trained(iterations=1), tmp_path)
    with RunLog(tmp_path).alone(), pytest.raises(RunError, match="another process is training in"):
        run(half_trained(iterations=1), tmp_path)
    run(half_trained(iterations=1), tmp_path)


def test_a_fault_of_one_changes_nothing_for_the_others(tmp_path):
    # The kept trajectories are those of an undisturbed run, less the lost ones.
    from hgpo.rollout_files import read_rollouts

    run(config(iterations=1, keep_rollouts=True), tmp_path / "whole")
    run(config(iterations=1, keep_rollouts=True, env=FaultySuite()), tmp_path / "faulty")
    whole, faulty = (
        read_rollouts(tmp_path / name / "rollouts" / "000001.parquet").steps for name in ("whole", "faulty")
    )
    steps = {
        (trajectory, step): action
        for trajectory, step, action in zip(whole.trajectory_id, whole.step_index, whole.action, strict=True)  # pyright: ignore
    }
    assert 0 < len(faulty) < len(whole)
    for trajectory, step, action in zip(
        faulty.trajectory_id,
        faulty.step_index,
        faulty.action,  # pyright: ignore
        strict=True,
    ):
        assert steps[trajectory, step] == action


def test_if_every_environment_fails_the_run_says_so(tmp_path):
    # The first eleven serve before: seven as above, four for the evaluation.
    settings = config(env=FaultySuite(every=1, after=11), iterations=2, evaluation_tasks=2)
    with pytest.raises(RunError, match=r"every trajectory failed in iteration 1.*OSError: the simulator"):
        run(settings, tmp_path)


def test_an_evaluation_whose_episodes_fail_says_why(tmp_path):
    # The first seven serve the probes of prompt lengths, and then none does: 0 % would look like a bad agent.
    class Lines(NoDisplay):
        def __init__(self):
            self.lines = []

        def say(self, message):
            self.lines.append(message)

    display = Lines()
    settings = config(env=FaultySuite(every=1, after=7), iterations=0, evaluation_tasks=2)
    Trainer(settings, tmp_path, display).run()
    failed = [line for line in display.lines if "failed" in line]
    assert [line.partition(";")[0] for line in failed] == [
        "evaluation at temperature 0, held_out: 2 failed before the end, counted as not won (environment 2)",
        "evaluation at temperature 0.4, held_out: 2 failed before the end, counted as not won (environment 2)",
    ]


def poisoned(monkeypatch, bad_steps: range) -> None:
    """Gradients that are NaN in some of the optimizer steps of the updates, which are counted from 0."""
    original, calls = torch.nn.utils.clip_grad_norm_, []

    def clip(parameters, norm, **rest):
        parameters = list(parameters)
        if sys._getframe(1).f_code.co_name == "update_policy":
            calls.append(1)
            if len(calls) - 1 in bad_steps:
                parameters[0].grad.fill_(float("nan"))
        return original(parameters, norm, **rest)

    monkeypatch.setattr(torch.nn.utils, "clip_grad_norm_", clip)


def test_an_update_that_is_not_finite_is_skipped_and_counted(tmp_path, monkeypatch):
    settings = half_trained(iterations=3, num_minibatches=2)
    poisoned(monkeypatch, range(2, 4))  # both optimizer steps of the second iteration
    trainer = run(settings, tmp_path)
    assert [record["skipped_steps"] for record in figures(tmp_path)] == [0, 2, 0]
    assert [record["optimizer_steps_taken"] for record in figures(tmp_path)] == [2, 0, 2]
    assert all(bool(p.isfinite().all()) for p in trainer.state.policy.model.parameters())


def test_three_in_a_row_end_the_run_with_a_checkpoint(tmp_path, monkeypatch):
    settings = half_trained(iterations=9, num_minibatches=2)
    poisoned(monkeypatch, range(3, 9))
    with pytest.raises(RunError, match=r"not finite in 3 optimizer steps in a row.*--learning-rate"):
        run(settings, tmp_path)
    # Steps 3, 4 and 5: the second of iteration 2 and both of iteration 3.
    assert len(figures(tmp_path)) == 3
    assert (tmp_path / "checkpoints" / "000003" / "state.json").exists()


def damaged(folder: Path, how: str) -> Path:
    checkpoint = folder / "checkpoints" / "000004"
    if how == "truncated":
        os.truncate(checkpoint / "model.safetensors", 1000)
    elif how == "missing":
        (checkpoint / "optimizer.pt").unlink()
    elif how == "not ours":
        (checkpoint / "state.json").write_text('{"step": 4}')
    elif how == "another model's":
        state = json.loads((checkpoint / "state.json").read_text())
        torch.save(torch.optim.AdamW([torch.zeros(3)]).state_dict(), checkpoint / "optimizer.pt")
        state["files"]["optimizer.pt"] = (checkpoint / "optimizer.pt").stat().st_size
        (checkpoint / "state.json").write_text(json.dumps(state))
    elif how == "garbage":
        size = (checkpoint / "model.safetensors").stat().st_size
        (checkpoint / "model.safetensors").write_bytes(random.Random(0).randbytes(size))
    return checkpoint


@pytest.mark.parametrize(
    ("how", "why"),
    [
        ("truncated", r"model.safetensors has 1000 of \d+ bytes"),
        ("missing", r"optimizer.pt has 0 of \d+ bytes"),
        ("not ours", "state.json was not written by this version"),
        ("another model's", ""),
        ("garbage", ""),
    ],
)
def test_a_checkpoint_that_cannot_be_used_is_named_and_the_one_before_offered(how, why, tmp_path):
    shutil.copytree(finished(half_trained(checkpoint_every=1)), tmp_path, dirs_exist_ok=True)
    expected = figures(tmp_path)
    checkpoint = damaged(tmp_path, how)
    words = rf"000004 cannot be used: {why}.*from the previous one, 000003.*mv "
    with pytest.raises(SettingError, match=words) as error:
        run(half_trained(checkpoint_every=1), tmp_path)
    assert "\n" not in str(error.value)
    # What the message says is done, and the run ends as it did.
    shutil.move(checkpoint, f"{checkpoint}.damaged")
    run(half_trained(checkpoint_every=1), tmp_path)
    assert figures(tmp_path) == expected


def test_a_disk_that_is_full_leaves_the_last_checkpoint_whole(tmp_path, monkeypatch):
    settings = half_trained(checkpoint_every=1)
    unbroken = figures(finished(settings))
    original, calls = TransformersPolicy.save, []

    def save(self, folder):
        original(self, folder)
        calls.append(folder)
        if len(calls) == 4:  # the reference, then the checkpoints 0, 1 and 2
            raise OSError(28, "No space left on device")

    monkeypatch.setattr(TransformersPolicy, "save", save)
    with pytest.raises(RunError, match=r"after iteration 2 could not be written .*No space left.*--resume"):
        run(settings, tmp_path / "full")
    assert sorted(path.name for path in (tmp_path / "full" / "checkpoints").iterdir()) == ["000000", "000001"]
    run(settings, tmp_path / "full")
    assert figures(tmp_path / "full") == unbroken


SMALL = (
    "--iterations 6 --subsample-below 0 --learning-rate 8e-4 --tasks-per-iteration 3 --group-size 4 "
    "--evaluation-tasks 2 --checkpoint-every 1"
)


def test_a_run_that_is_killed_at_any_moment_goes_on_as_if_it_had_not_been(tmp_path):
    # SIGKILL at random moments, again and again, until the run is through.
    small = command(*SMALL.split())
    assert main([*small, "--out", str(tmp_path / "unbroken")]) == 0
    rng = random.Random(0)
    args, kills = [*small, "--out", str(tmp_path / "killed")], 0
    metrics, said = tmp_path / "killed" / "metrics.jsonl", tmp_path / "said"
    while True:
        before = len(figures(tmp_path / "killed")) if metrics.exists() else 0
        process = started(args, said)
        deadline = time.monotonic() + 60
        # Let it come so far that each try gets on, then kill it within the next iteration or two.
        while process.is_alive() and time.monotonic() < deadline:
            if metrics.exists() and len(metrics.read_bytes().splitlines()) > before:
                break
            time.sleep(0.02)
        time.sleep(rng.random() * 0.3)
        process.kill()
        process.join()
        if process.exitcode == 0:
            break
        assert process.exitcode == -signal.SIGKILL, said.read_text()
        kills += 1
        args = ["train", "--resume", str(tmp_path / "killed")]
    assert kills >= 2
    # Weights and optimizer change in several iterations, so that it matters what of them a checkpoint keeps.
    assert sum(record["optimizer_steps_taken"] > 0 for record in figures(tmp_path / "unbroken")) >= 2
    assert figures(tmp_path / "killed") == figures(tmp_path / "unbroken")
    last = [
        tmp_path / name / "checkpoints" / "000006" / "model.safetensors" for name in ("killed", "unbroken")
    ]
    assert last[0].read_bytes() == last[1].read_bytes()
    won = [
        [
            json.loads(line)["tasks_won"]
            for line in (tmp_path / name / "evaluations.jsonl").read_text().splitlines()
        ]
        for name in ("killed", "unbroken")
    ]
    assert won[0] == won[1]


def test_environments_in_processes_train_as_those_in_threads_do_and_a_crash_costs_a_trajectory(tmp_path):
    settings = dict(iterations=2, evaluation_tasks=2)
    run(half_trained(**settings), tmp_path / "threads")
    run(half_trained(**settings, env_isolation="process"), tmp_path / "processes")
    assert figures(tmp_path / "processes") == figures(tmp_path / "threads")
