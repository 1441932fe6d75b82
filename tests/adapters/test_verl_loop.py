"""verl's whole V1 loop on a CPU: local Ray, FSDP on gloo, TransferQueue, household games, a tiny model.

Everything is looked at through a spy (`verl_spy`), a trainer that writes down what its updates read. What the
rows should be is worked out again by the single machine's own path: the answers that were sampled are played
by `rollout` in fresh environments, and its trajectories become a table and advantages as in `hgpo train`.
"""

from __future__ import annotations

import os
import pickle
import signal
import subprocess
import time
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from verl_loop import Row, command, environment, rows_of, run, updates

from hgpo.envs import HouseholdSuite
from hgpo.estimators import HGPO
from hgpo.policies.answers import read_answer
from hgpo.policies.base import Completion
from hgpo.policies.loading import load_policy
from hgpo.random_streams import TASKS, RandomStreams
from hgpo.rollouts.agent import Situation
from hgpo.rollouts.episodes import Decision
from hgpo.rollouts.prompts import RESPONSE_FORMATS, fit_prompts
from hgpo.rollouts.rollout import rollout, step_table

pytestmark = [
    pytest.mark.stack,
    pytest.mark.skipif(find_spec("verl") is None, reason="verl is not installed"),
]

TASKS_OF_A_BATCH, GROUP_SIZE, STEPS, HISTORY = 2, 4, 4, 2
SEED = 5
RANKS_2 = ("trainer.n_gpus_per_node=2", "ray_kwargs.ray_init.num_gpus=2", "ray_kwargs.ray_init.num_cpus=32")


WORDS = (
    # Penalties reach earlier steps, so that returns differ from step to step though nothing is won.
    "algorithm.stepwise.hgpo.propagate_penalty=true",
    "hgpo.env.type=verl_spy:DyingHousehold",
    f"hgpo.seed={SEED}",
)


class Again:
    """An agent that answers what was answered before."""

    def __init__(self, rows: Sequence[Row], first_task: int, tokenizer: Any) -> None:
        self.answers = {(row.task - first_task, row.rollout, row.step): row.response for row in rows}
        self.tokenizer = tokenizer
        self.response_format = RESPONSE_FORMATS["number"]

    def act(self, situations: Sequence[Situation], temperature: float) -> list[Decision]:
        del temperature
        return [self._decision(situation) for situation in situations]

    def _decision(self, situation: Situation) -> Decision:
        task, *_, rollout = situation.trajectory_id.split("/")
        response = self.answers[int(task), int(rollout), len(situation.steps)]
        text = self.tokenizer.decode(response, skip_special_tokens=True)
        (prompt,) = fit_prompts(
            [situation.turn(HISTORY)],
            self.response_format,
            lambda texts: [tuple(ids) for ids in self.tokenizer(list(texts)).input_ids],
            4096,
        )
        completion = Completion(np.array(response), np.zeros(len(response)), read_answer(text))
        return Decision(self.response_format.parse(text, situation.commands), completion, prompt)


def played_again(
    rows: Sequence[Row],
    iteration: int,
    tokenizer: Any,
    drawn: int = TASKS_OF_A_BATCH,
    only: int | None = None,
) -> dict[tuple[int, int, int], Any]:
    """Prompt and advantage of each step by task, rollout and step, as `hgpo train` has them.

    Of an iteration's so many tasks all, or the one of this number.
    """
    suite = HouseholdSuite(max_steps=STEPS)
    seed = RandomStreams(SEED).integer(TASKS, iteration)
    tasks = suite.tasks(suite.splits[0], drawn, seed)
    trajectories = rollout(
        suite,
        Again(rows, iteration * drawn, tokenizer),
        tasks,
        group_size=GROUP_SIZE,
        temperature=1.0,
        seed=[0],
        numbers=None if only is None else [only],
    )
    steps = step_table(trajectories, policy_version=iteration)
    estimator = HGPO(history_length=2, discount=0.95, invalid_penalty=0.1, propagate_penalty=True)
    advantages = iter(estimator(steps))
    return {
        (only or number // GROUP_SIZE, number % GROUP_SIZE, index): (step.decision.prompt, next(advantages))
        for number, trajectory in enumerate(trajectories)
        for index, step in enumerate(trajectory.steps)
    }


def initial_model(folder: Path) -> Any:
    """The model that the dry run makes."""
    from omegaconf import OmegaConf

    from hgpo.adapters.verl.cpu.dry_run import save_model

    settings = {"env": {"type": "household", "max_steps": STEPS}, "response": "number", "seed": SEED}
    data = {"max_prompt_length": 4096, "max_response_length": 1}
    save_model(OmegaConf.create({"hgpo": settings, "data": data}), folder)
    return load_policy(folder)


def logprobs(policy: Any, rows: Sequence[Row]) -> list[float]:
    responses = [np.array(row.response) for row in rows]
    found = np.zeros(len(rows))
    with torch.no_grad():
        for reading in policy.packed_batches([row.prompt for row in rows], responses):
            found[reading.members] = policy.score(reading, 1.0).logprobs[:, -1].numpy()
    return found.tolist()


@pytest.fixture(scope="module")
def looped(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    folder = tmp_path_factory.mktemp("loop")
    # 3 tasks times 4 rollouts are 12 rows for each optimizer step: 2 · 4 · 4 rows are padded to 36.
    return folder, run(folder, *WORDS, "actor_rollout_ref.actor.ppo_mini_batch_size=3", "trainer.save_freq=3")


def test_rows_are_those_of_a_single_machine(looped, tmp_path):
    """Rejects: rows of another task, rollout or step; prompts with another history; padding in a group;
    returns, levels or weights that differ."""
    folder, _ = looped
    tokenizer = initial_model(tmp_path).tokenizer
    assert sorted(updates(folder)) == [1, 2, 3]
    for number, update in updates(folder).items():
        rows = rows_of(update)
        assert len(rows) == TASKS_OF_A_BATCH * GROUP_SIZE * STEPS
        first = (number - 1) * TASKS_OF_A_BATCH
        expected = played_again(rows, number - 1, tokenizer)
        assert len({row.task for row in rows}) == TASKS_OF_A_BATCH
        for row in rows:
            prompt, advantage = expected.pop((row.task - first, row.rollout, row.step))
            assert row.prompt == prompt
            assert row.advantages == pytest.approx([advantage] * len(row.response), abs=1e-5)
            assert (row.said["task"], row.said["step"]) == (row.said["uid"], row.step)
            assert row.said["trajectory"] == f"{row.said['uid']}_{row.rollout}"
        assert not expected
        assert np.std([row.advantages[0] for row in rows]) > 0.1


def test_padding_has_no_advantage(looped):
    folder, _ = looped
    for update in updates(folder).values():
        padding = [place for place, padded in enumerate(update["padding"]) if padded]
        assert len(padding) == 4
        assert all(update["advantages"][place] == [0.0] for place in padding)
        assert update["metrics"]["hgpo/padding_rows"] == 4


def test_weights_change_and_reach_the_server(looped, tmp_path):
    """What was sampled has the probabilities of the trainer's weights, which are no more the first ones."""
    folder, _ = looped
    first = initial_model(tmp_path)
    for number, update in updates(folder).items():
        rows = rows_of(update)
        sampled = [row.sampled_logprobs[0] for row in rows]
        assert sampled == pytest.approx([row.old_logprobs[0] for row in rows], abs=1e-4)
        moved = np.abs(np.array(sampled) - logprobs(first, rows)).max()
        assert moved < 1e-4 if number == 1 else moved > 1e-3


def test_a_dead_process_costs_only_a_restart(looped):
    """One of two processes died in the first update's rollouts: its trajectories were started again."""
    folder, _ = looped
    assert (folder / "died").exists()
    metrics = {number: update["metrics"] for number, update in updates(folder).items()}
    assert 1 <= metrics[1]["hgpo/restarted_trajectories"] <= TASKS_OF_A_BATCH * GROUP_SIZE
    assert [metrics[number]["hgpo/dropped_trajectories"] for number in (1, 2, 3)] == [0, 0, 0]
    assert metrics[3]["hgpo/restarted_trajectories"] == 0


def test_nothing_is_left_running(looped):
    """Ray ends the games' processes with the job."""
    del looped
    left = subprocess.run(["pgrep", "-f", "ray::EnvironmentHost"], capture_output=True, text=True).stdout
    assert not left


def test_rollouts_are_kept(looped):
    """What is written beside the checkpoints is what was trained on, for any of the package's tools."""
    from hgpo.rollout_files import read_rollouts

    folder, _ = looped
    steps = read_rollouts(folder / "checkpoints" / "rollouts" / "000002.parquet").steps
    assert len(steps) == TASKS_OF_A_BATCH * GROUP_SIZE * STEPS
    seen = sorted(row.prompt for row in rows_of(updates(folder)[2]))
    assert steps.prompt_tokens is not None
    assert sorted(tuple(prompt.tolist()) for prompt in steps.prompt_tokens) == seen
    # The entropies are those that verl computes with the old log-probabilities.
    assert steps.entropy is not None and steps.response_logprobs is not None
    metrics = updates(folder)[2]["metrics"]
    assert metrics["hgpo/response_entropy_mean"] == pytest.approx(steps.entropy.mean(), abs=1e-6)
    surprisal = [-logprobs.mean() for logprobs in steps.response_logprobs]
    assert steps.entropy.min() > 0 and np.abs(steps.entropy - surprisal).max() > 1e-3


@pytest.mark.slow
def test_two_ranks_with_updates_of_one_task(tmp_path):
    """Two ranks share rows and servers; two tasks make two optimizer steps whatever the rows' number.

    32 rows go into 2 · lcm(4, 2) = 8 times 4 without padding, and a mini-batch has 16 of them.
    """
    run(tmp_path, *WORDS, *RANKS_2, "hgpo.tasks_per_update=1")
    tokenizer = initial_model(tmp_path / "model").tokenizer
    for number, update in updates(tmp_path).items():
        rows = rows_of(update)
        assert update["mini_batch_rows"] == 16
        expected = played_again(rows, number - 1, tokenizer)
        for row in rows:
            _, advantage = expected.pop((row.task - 2 * (number - 1), row.rollout, row.step))
            assert row.advantages[0] == pytest.approx(advantage, abs=1e-5)
        assert not expected
        sampled = [row.sampled_logprobs[0] for row in rows]
        assert sampled == pytest.approx([row.old_logprobs[0] for row in rows], abs=1e-4)


SEPARATE = (
    *("ray_kwargs.ray_init.num_gpus=2", "ray_kwargs.ray_init.num_cpus=32", "hgpo.tasks_per_update=2"),
    *("actor_rollout_ref.rollout.nnodes=1", "actor_rollout_ref.rollout.n_gpus_per_node=1"),
    "actor_rollout_ref.rollout.checkpoint_engine.backend=hgpo_ray",
    *("data.train_batch_size=4", "actor_rollout_ref.actor.ppo_mini_batch_size=2"),
    "trainer.v1.separate_async.parameter_sync_step=2",
)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("mode", "overrides", "drawn", "seen"),
    [("colocate_async", (), 2, "1 2 3"), ("separate_async", SEPARATE, 4, "1 1.1 2 2.1 3 3.1")],
)
def test_rollouts_that_outlive_an_update(tmp_path, mode, overrides, drawn, seen):
    """The asynchronous trainers: tasks come as they are done, with the weights of then, grouped all the same.

    Separate ones have a server with a GPU of its own, and two updates of two tasks for each new version.
    """
    run(tmp_path, *WORDS, *overrides, mode=mode)
    assert sorted(path.stem for path in tmp_path.glob("update_*")) == [f"update_{n}" for n in seen.split()]
    policy = initial_model(tmp_path / "model")
    for path in tmp_path.glob("update_*"):
        rows = rows_of(pickle.loads(path.read_bytes()))
        assert len({row.task for row in rows}) == TASKS_OF_A_BATCH
        for task in {row.task for row in rows}:
            of_task = [row for row in rows if row.task == task]
            iteration, number = divmod(task, drawn)
            expected = played_again(of_task, iteration, policy.tokenizer, drawn=drawn, only=number)
            for row in of_task:
                prompt, advantage = expected.pop((number, row.rollout, row.step))
                assert (row.prompt, row.advantages[0]) == (prompt, pytest.approx(advantage, abs=1e-5))
            assert not expected
    moved = np.array([row.sampled_logprobs[0] for row in rows_of(updates(tmp_path)[3])])
    assert np.abs(moved - logprobs(policy, rows_of(updates(tmp_path)[3]))).max() > 1e-3


@pytest.mark.slow
def test_a_killed_driver_goes_on_from_its_checkpoint(tmp_path):
    """Killed in its third step, the run goes on after the second, with the tasks that come then."""
    overrides = ("trainer.total_training_steps=4", "trainer.save_freq=1")
    with subprocess.Popen(
        command(tmp_path, *WORDS, *overrides), env=environment(tmp_path), start_new_session=True,
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    ) as driver:  # fmt: skip
        latest = tmp_path / "checkpoints" / "latest_checkpointed_iteration.txt"
        while not (latest.exists() and latest.read_text() == "2"):
            assert driver.poll() is None
            time.sleep(0.1)
        os.killpg(driver.pid, signal.SIGKILL)
    for path in tmp_path.glob("update_*"):
        path.unlink()
    saved = int(latest.read_text())
    run(tmp_path, *WORDS, *overrides)
    seen = updates(tmp_path)
    assert sorted(seen) == list(range(saved + 1, 5))
    for number, update in seen.items():
        first = TASKS_OF_A_BATCH * (number - 1)
        assert {row.task for row in rows_of(update)} == set(range(first, first + TASKS_OF_A_BATCH))
