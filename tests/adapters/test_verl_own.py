"""verl's whole loop with an environment and an estimator of the user's own, by MODULE:CLASS and FILE.py:CLASS.

The steps of the environment wait, and one of its processes ends and another hangs. The methods are verl's: each
run has another loss, and credit by entropy.
"""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from verl_loop import Row, rows_of, run, updates

from hgpo import AEM, EMPG, GiGPO, StepTable
from hgpo.rollout_files import read_rollouts

pytestmark = [
    pytest.mark.stack,
    pytest.mark.skipif(find_spec("verl") is None, reason="verl is not installed"),
]

LIMIT, GROUP_SIZE, STEPS = 3, 4, 4

WORDS = "WORDS = ['apple', 'pear', 'fig', 'plum', 'cherry', 'quince']\n"

GAMES = '''
import multiprocessing
import os
import time
from dataclasses import dataclass
from pathlib import Path

from own_words import WORDS
from hgpo.envs import from_class

FOLDER = Path(os.environ["HGPO_SPY"])


def first(name):
    """Whether this is the first call with the name, in any process."""
    try:
        (FOLDER / name).touch(exist_ok=False)
    except FileExistsError:
        return False
    return True


@dataclass
class Market:
    """Any word can be said; longer ones earn more."""

    currency: str = "cents"
    concurrency: int = 1
    trouble: bool = False

    def reset(self, task):
        self.steps = 0
        return f"{task}: say a word for some {self.currency}."

    def step(self, word):
        self.steps += 1
        # Not in the processes that only look up the environment's words.
        if self.trouble and multiprocessing.parent_process() is not None:
            if self.steps == 2 and first("crashed"):
                os._exit(3)
            if self.steps == 3 and first("hung"):
                time.sleep(600)
            began = time.monotonic()
            time.sleep(0.3)
            with (FOLDER / "waits").open("a") as file:
                file.write(f"{began} {time.monotonic()}\\n")
        return f"{word} is {len(word)} {self.currency}.", float(len(word)), False


Suite = from_class(
    Market,
    tasks={"morning": [f"{word} first" for word in WORDS], "evening": [f"{word} last" for word in WORDS]},
    max_steps=9,
)
'''

IDEAS = '''
from dataclasses import dataclass

import numpy as np

from hgpo.estimators import Comparison


@dataclass(frozen=True)
class Alternating:
    """The reward of a step, with the sign of its place."""

    boost: float = 1.0

    def __call__(self, steps):
        return self.boost * np.where(steps.step_index % 2, -1.0, 1.0) * steps.reward

    def comparison(self, steps):
        return Comparison(steps.reward, ())
'''

SHORT = (
    # A free text of one token is a word, or a part of one.
    "hgpo.response=text",
    "trainer.total_training_steps=2",
)


def write_own(folder: Path) -> Path:
    """A folder with the user's modules."""
    (folder / "games").mkdir(parents=True)
    (folder / "games" / "own_words.py").write_text(WORDS)
    (folder / "games" / "own_games.py").write_text(GAMES)
    (folder / "own_ideas.py").write_text(IDEAS)
    return folder


def alternating(rows: list[Row], boost: float) -> list[float]:
    return [boost * (-1) ** row.step * row.said["reward"] for row in rows]


def table_of(folder: Path, number: int) -> tuple[StepTable, list[Row]]:
    """The kept rollouts of an update, and its rows in the same order."""
    rows = {(row.said["trajectory"], row.step): row for row in rows_of(updates(folder)[number])}
    steps = read_rollouts(folder / "checkpoints" / "rollouts" / f"{number:06d}.parquet").steps
    assert len(steps) == len(rows)
    places = zip(steps.trajectory_id.tolist(), steps.step_index.tolist(), strict=True)
    return steps, [rows[place] for place in places]


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A run in processes of their own, with GSPO's loss."""
    folder = tmp_path_factory.mktemp("own")
    printed = run(
        folder,
        *("--preset", "gspo", "env:games/own_games.py:Suite", "estimator:own_ideas:Alternating"),
        *("hgpo.env.currency=dollars", f"hgpo.env.concurrency={LIMIT}", "hgpo.env.trouble=true"),
        *("algorithm.stepwise.Alternating.boost=3", "hgpo.env_isolation=process"),
        *("hgpo.environment_timeout=15", *SHORT),
        cwd=write_own(tmp_path_factory.mktemp("code")),
    )
    return folder, printed


def test_the_advantages_are_those_of_ones_own_estimator(own):
    """Steps with even numbers have 3 times their reward, the others −3 times: of a word, its length."""
    folder, printed = own
    assert "tasks: market (currency dollars, concurrency 3, trouble True, max_steps 4)" in printed
    assert sorted(updates(folder)) == [1, 2]
    for update in updates(folder).values():
        rows = rows_of(update)
        assert {row.step for row in rows} == set(range(STEPS))
        assert all("dollars" in row.said["observation"] for row in rows)
        assert [row.advantages[0] for row in rows] == pytest.approx(alternating(rows, 3.0), abs=1e-5)
        assert np.std([row.advantages[0] for row in rows]) > 1


def test_a_crash_and_a_hang_cost_one_trajectory_each(own):
    folder, _ = own
    assert (folder / "crashed").exists() and (folder / "hung").exists()
    found = updates(folder)
    assert [found[number]["metrics"]["hgpo/dropped_trajectories"] for number in (1, 2)] == [2, 0]
    assert all(update["metrics"]["hgpo/restarted_trajectories"] == 0 for update in found.values())
    assert [len(rows_of(found[number])) for number in (1, 2)] == [6 * STEPS, 8 * STEPS]


def test_steps_wait_at_the_same_time_and_no_more_than_permitted(own):
    folder, _ = own
    waits = [tuple(map(float, line.split())) for line in (folder / "waits").read_text().splitlines()]
    assert len(waits) >= 14 * STEPS
    assert max(sum(began <= at < ended for began, ended in waits) for at, _ in waits) == LIMIT


def test_the_loss_is_that_of_the_preset(own):
    folder, _ = own
    assert (folder / "loss_gspo").exists() and not (folder / "loss_vanilla").exists()


@pytest.mark.slow
def test_another_spelling_with_cispo_and_aem(tmp_path):
    """The environment by MODULE:CLASS and the estimator by FILE.py:CLASS, in threads."""
    code = write_own(tmp_path / "code")
    (code / "own_words.py").write_text(WORDS)
    (code / "market.py").write_text(GAMES)
    printed = run(
        tmp_path,
        *("--preset", "cispo", "env:market:Suite", "estimator:own_ideas.py:Alternating"),
        *("algorithm.stepwise.Alternating.boost=2", "algorithm.stepwise.entropy_credit=aem", *SHORT),
        # At temperature 1 the entropies of an untrained model differ by less than the 0.1 that AEM needs. At a
        # low one, a higher learning rate would leave a single answer.
        *("actor_rollout_ref.rollout.temperature=0.2", "actor_rollout_ref.actor.optim.lr=1e-5"),
        cwd=code,
    )
    assert "verl has no counterpart to loss.mask_below=0.997; it is left out" in printed
    assert (tmp_path / "loss_cispo").exists() and not (tmp_path / "loss_vanilla").exists()
    for number in (1, 2):
        steps, rows = table_of(tmp_path, number)
        plain = np.array(alternating(rows, 2.0))
        credited = AEM(lambda _, plain=plain: plain)(steps)
        assert [row.advantages[0] for row in rows] == pytest.approx(credited, abs=1e-5)
        assert np.abs(credited - plain).max() > 0.1


@pytest.mark.slow
def test_sampo_with_empg(tmp_path):
    """GiGPO's advantages, changed by entropy; groups without different returns are replaced by others."""
    run(
        tmp_path,
        *("--preset", "sampo", "env:games/own_games.py:Suite", *SHORT),
        "algorithm.stepwise.entropy_credit=empg",
        cwd=write_own(tmp_path / "code"),
    )
    assert (tmp_path / "loss_gspo").exists() and not (tmp_path / "loss_vanilla").exists()
    for number in (1, 2):
        steps, rows = table_of(tmp_path, number)
        expected = EMPG(GiGPO(invalid_penalty=0.1))(steps)
        assert [row.advantages[0] for row in rows] == pytest.approx(expected, abs=1e-5)
        totals = {(row.task, row.rollout): row.said["total"] for row in rows}
        for task in {row.task for row in rows}:
            assert len({total for (own, _), total in totals.items() if own == task}) > 1
