"""The score by which keys and depths are chosen: by hand, as a law, and against true advantages."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from state_keys import measure_process
from tables import walk_rows, walks

from hgpo import HGPO, StepTable
from hgpo.analysis.choice import Choice, advice, score_choices
from hgpo.lab.decision_processes import ProcessShape
from hgpo.lab.measure import Setting, alignment_of, draw_sample
from hgpo.lab.theory import settings_of_kinds

STATE = HGPO(history_length=0, discount=1.0)


def test_the_score_by_hand():
    # In A the returns are 5, 2, 0; less the mean of the others 4, −1/2, −7/2: squares of 28.5 in all. B has no
    # peer. With "true" the third is in a state of its own, and the first two have 3 and −3: squares of 18, on
    # rows where those of "seen" are 16 + 1/4.
    steps = walks(("A", [5.0]), ("A", [2.0]), ("A", [0.0]), ("B", [1.0]))
    seen, true = score_choices({"seen": steps, "true": steps.with_state_keys(list("AACB"))}, STATE)
    assert (seen.key, seen.history_length, seen.score, seen.behind) == ("seen", 0, pytest.approx(1.0), 0.0)
    assert (true.key, true.score) == ("true", pytest.approx(16.25 / math.sqrt(18 * 28.5)))
    # One task does not tell what chance does.
    assert true.chance == math.inf and not true.distinct


def test_where_the_outcome_is_decided_there_is_nothing_to_reach():
    # All are seen in A, with returns 4, 2, 0, 0. "true" knows that the last two are in B, where all get 0. By what
    # is seen Â is 4 − 2/3, 2 − 4/3, −2, −2, with squares of 176/9; of the first two that are not decided 104/9.
    # By "true" it is 2 and −2. 104/9 / √(176/9 · 104/9) and 104/9 / √(8 · 104/9).
    steps = walks(("A", [4.0]), ("A", [2.0]), ("A", [0.0]), ("A", [0.0]))
    seen, true = score_choices({"seen": steps, "true": steps.with_state_keys(list("AABB"))}, STATE)
    assert seen.score == pytest.approx(math.sqrt(104 / 176))
    assert true.score == pytest.approx(math.sqrt(104 / 72))


def test_chance_is_told_by_leaving_out_one_task_at_a_time():
    # Two tasks of two rows in one state, returns 2 and 0: Â = ±2 with "one". With "two" all states differ in
    # the second task: 8 / √(8 · 16) = 1/√2. Without the first task 1 and 0, without the second 1 and 1: the
    # differences 1 and 0 have variance 1/4, and 2 √((2 − 1) / 4) = 1.
    rows = walk_rows(("A", [2.0]), ("A", [0.0]), task="s") + walk_rows(("A", [2.0]), ("A", [0.0]), task="t")
    one = StepTable.from_rows(rows)
    best, other = score_choices({"one": one, "two": one.with_state_keys(list("AAAB"))}, STATE)
    assert (best.score, best.behind) == (pytest.approx(1.0), 0.0)
    assert other.score == pytest.approx(1 / math.sqrt(2))
    assert other.behind == pytest.approx(1 - 1 / math.sqrt(2))
    assert other.chance == pytest.approx(1.0)


def test_where_nothing_is_paid_there_is_nothing_to_choose_by():
    choices = score_choices({"seen": walks(("AB", [0.0, 0.0]), ("AB", [0.0, 0.0]))}, STATE)
    assert [each.score for each in choices] == [0.0] and "There is no basis for a choice" in advice(choices)


def choice(key: str, depth: int, score: float, behind: float, chance: float = 0.1) -> Choice:
    return Choice(key, depth, score, behind, chance)


@pytest.mark.parametrize(
    ("choices", "words"),
    [
        ([choice("seen", 0, 0.0, 0.0)], "There is no basis for a choice"),
        ([choice("seen", 0, 1.0, 0.0), choice("seen", 1, 0.9, 0.1)], "do not show what to compare by"),
        (
            [choice("seen", 0, 0.5, 0.5), choice("seen", 1, 1.0, 0.0), choice("true", 0, 0.5, 0.5)],
            "Compare steps by seen with K = 1: it has the highest score.",
        ),
        (
            [choice("seen", 0, 0.95, 0.05), choice("seen", 1, 1.0, 0.0), choice("true", 0, 0.5, 0.5)],
            "K = 1: it has the highest score. The difference may be chance for: seen with K = 0.",
        ),
    ],
)
def test_the_advice(choices, words):
    assert words in advice(choices)


@pytest.mark.parametrize(("spread", "depths"), [(0.0, {0}), (3.0, {1, 2})])
def test_the_score_sees_whether_the_past_matters(spread, depths):
    # What B pays depends on the state before by `spread`, and on the one before that not at all. K = 2 is as
    # good as K = 1 there, or better: HGPO gives the deeper levels together 5/6 of the weight in place of 2/3.
    rng = np.random.default_rng(0)
    paths = ["".join(rng.choice(list("ACD"), 2)) + "B" for _ in range(400)]
    pays = {state: spread * value for state, value in zip("ACD", (-1, 0, 1), strict=True)}
    rows = [
        row
        for number, path in enumerate(paths)
        for row in walk_rows((path, [0.0, 0.0, pays[path[1]] + rng.normal()]), task=f"{number // 40}")
    ]
    for number, row in enumerate(rows):
        row["trajectory_id"] = number // 3
    choices = score_choices({"seen": StepTable.from_rows(rows)}, HGPO(history_length=2, discount=0.0))
    assert max(choices, key=lambda each: each.score).history_length in depths
    assert choices[0].distinct == (spread > 0)


def test_against_other_trajectories_the_advantages_find_what_they_reach_of_the_truth():
    # E Σ Â A = E Σ_c A², whatever the key and the depth.
    setting = Setting(shape=ProcessShape(aliasing=2), rows=60_000)
    sample = draw_sample(setting, 2, 0)
    for depth in (0, 2):
        estimator = HGPO(history_length=depth, peers="other_trajectories", normalization="mean", discount=1.0)
        advantages = estimator(sample.steps)
        reached = np.square(sample.advantage[advantages != 0]).sum()
        assert np.dot(advantages, sample.advantage) == pytest.approx(reached, rel=0.03)
        # So that the alignment is what the module's docstring says, up to what the rows differ by.
        wanted = reached / math.sqrt(np.square(advantages).sum() * np.square(sample.advantage).sum())
        assert alignment_of(advantages, sample.advantage, sample.advantage) == pytest.approx(wanted, rel=0.03)


@pytest.mark.slow
def test_the_score_ranks_as_the_true_cosines_do():
    for aliasing in (1, 2):
        base = Setting(shape=ProcessShape(aliasing=aliasing), rows=20_000)
        for setting in settings_of_kinds(base).values():
            found = [measure_process(replace(setting, group_size=8), 1, number) for number in range(4)]
            mean = {name: np.mean([figures[name] for figures in found]) for name in found[0]}
            assert mean["score ~ cosine, rows"] > 0.3
            assert mean["score, rows"] > 0.8
