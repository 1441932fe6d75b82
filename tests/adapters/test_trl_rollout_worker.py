"""The experimental rollout worker in TRL's asynchronous trainer, on a CPU with two parts of TRL replaced."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
import time
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from toy import ToySuite

from hgpo import HGPO
from hgpo.agents.scripted import RandomAgent
from hgpo.errors import RunError
from hgpo.rollouts.rollout import step_table

pytestmark = [
    pytest.mark.stack,
    pytest.mark.skipif(find_spec("trl") is None, reason="TRL is not installed (make test-trl)"),
    pytest.mark.filterwarnings("ignore"),
]


def test_the_loss_reads_the_estimators_advantages(tmp_path):
    """Three optimizer steps of 12 samples. Rejects: prompt tokens in the loss, and advantages of other rows."""
    from tiny_household import save_model

    save_model(tmp_path / "model")
    spy = str(Path(__file__).with_name("trl_async_spy.py"))
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "CI": "1", "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, spy, str(tmp_path)], env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-3000:]
    record = pickle.loads((tmp_path / "async.pickle").read_bytes())
    estimator = HGPO(discount=0.95, invalid_penalty=0.1, propagate_penalty=True)
    expected = []
    for trajectories in record["played"]:
        steps = step_table(trajectories, policy_version=0)
        assert steps.response_tokens is not None and steps.response_logprobs is not None
        for tokens, logprobs, advantage in zip(
            steps.response_tokens, steps.response_logprobs, estimator(steps), strict=True
        ):
            expected.append((tokens.tolist(), logprobs.tolist(), [advantage] * len(tokens)))
    assert len(record["read"]) == 36 <= len(expected)
    # Samples are trained on in the order in which they were played, but within a batch sorted by the packing.
    for first in range(0, 36, 12):
        found, wanted = (sorted(rows[first : first + 12]) for rows in (record["read"], expected))
        assert [row[0] for row in found] == [row[0] for row in wanted]
        for number in (1, 2):
            np.testing.assert_allclose(
                np.concatenate([row[number] for row in found]),
                np.concatenate([row[number] for row in wanted]),
                atol=1e-6,
            )
    assert any("hgpo/success_rate" in log for log in record["log"])


def worker(agent: Any, **settings: Any) -> Any:
    from hgpo.adapters.trl import StepwiseRolloutWorker

    return StepwiseRolloutWorker(ToySuite(), agent, HGPO(), group_size=2, **settings)


def test_a_failure_is_raised_where_the_trainer_waits():
    class Broken:
        def act(self, situations, temperature):
            raise ValueError("no server")

    broken = worker(Broken())
    broken.start()
    deadline = time.monotonic() + 10
    with pytest.raises(RunError, match="the rollout worker has failed: no server"):
        while time.monotonic() < deadline:
            broken.check_health(stale_after_s=100)
            time.sleep(0.01)
    broken.stop()


def test_a_worker_that_waits_for_room_can_be_stopped():
    # A random agent's answers have no tokens; here only the queue matters.
    waiting = worker(RandomAgent(), capacity=1)
    waiting.start()
    assert waiting.rollout_buffer.get(timeout=10).model_version == 0
    waiting.check_health(stale_after_s=100)
    with pytest.raises(RunError, match="no task for"):
        waiting.check_health(stale_after_s=-1)
    waiting.stop()
    assert not waiting._thread.is_alive()
