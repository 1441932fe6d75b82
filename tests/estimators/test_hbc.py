"""HBC: numbers worked out by hand, laws, a linear solve, and the page that explains it."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from one_page import defaults_of, page, page_path, page_rows
from tables import Rows, any_rows

from hgpo import GRPO, HBC, StepTable
from hgpo.estimators import bellman
from hgpo.estimators.actions import TriedActions
from hgpo.estimators.bellman import bellman_values
from hgpo.estimators.shrinkage import contrast_shrinkage, value_shrinkage
from hgpo.groups import level_groups
from hgpo.returns import discounted_returns

ONE_FILE = page("hbc_one_file")

ANY_SETTINGS = st.fixed_dictionaries(
    {
        "history_length": st.integers(0, 3),
        "shrinkage": st.sampled_from([0.0, 1.0, 2.5]),
        "episode_weight": st.sampled_from([0.0, 0.3]),
        "discount": st.sampled_from([0.0, 0.5, 0.95]),
        "invalid_penalty": st.sampled_from([0.0, 0.1]),
    }
)
PLAIN: dict[str, Any] = {"history_length": 0, "discount": 1.0, "episode_weight": 0.0}


def acted(*trajectories: tuple[str, str, list[float]], task: str = "task") -> Rows:
    """One trajectory each: its states, its actions, one letter each, and its rewards."""
    return [
        {
            "task_id": task,
            "trajectory_id": f"{task}/{number}",
            "step_index": step,
            "state_key": state,
            "action": action,
            "reward": reward,
        }
        for number, walk in enumerate(trajectories)
        for step, (state, action, reward) in enumerate(zip(*walk, strict=True))
    ]


def advantages(rows: Rows, **settings: Any) -> list[float]:
    return HBC(**settings)(StepTable.from_rows(rows)).tolist()


def test_what_follows_is_pooled():
    # B is worth (10 + 0) / 2 whoever comes there, so x and y in A are equal: returns of 10 and 0 would say ±5.
    rows = acted(("AB", "xx", [0.0, 10.0]), ("AB", "yy", [0.0, 0.0]))
    assert advantages(rows, **PLAIN) == [0.0, 5.0, 0.0, -5.0]


def test_a_reward_on_the_way_counts_for_the_action_that_brought_it():
    # T in A: 2 + 5 and 0 + 5.
    rows = acted(("AB", "xx", [2.0, 10.0]), ("AB", "yy", [0.0, 0.0]))
    assert advantages(rows, **PLAIN) == [1.0, 5.0, -1.0, -5.0]


def test_deeper_contexts_are_drawn_to_shallower_ones():
    # κ = γ = 1, K = 1. B: T = 10, 0, 4, mean 14/3; by x 7, by y 0: a_0 = 7/3, −14/3, 7/3.
    # AB: T − a_0 = 23/3, 14/3, mean 37/6: ±3/2; of size 1·1/2, so a third of it: 17/6, −31/6.
    # CB has seen x alone: 7/3 stays.
    # v_0 = 14/3; v_1(AB) = 14/3 + 2/3 (5 − 14/3) = 44/9, v_1(CB) = 14/3 + 1/2 (4 − 14/3) = 13/3, which is
    # what A and C lead to: x and y in A are equal.
    rows = acted(("AB", "xx", [0.0, 10.0]), ("AB", "yy", [0.0, 0.0]), ("CB", "xx", [0.0, 4.0]))
    estimator = HBC(history_length=1, discount=1.0, episode_weight=0.0)
    steps = StepTable.from_rows(rows)
    np.testing.assert_allclose(estimator(steps), [0, 17 / 6, 0, -31 / 6, 0, 7 / 3], rtol=1e-12)
    np.testing.assert_allclose(estimator.values(steps).target[[0, 2, 4]], [44 / 9, 44 / 9, 13 / 3])
    # w = 0.3: sums 10, 0, 4, mean 14/3.
    with_episode = HBC(history_length=1, discount=1.0)(steps) - estimator(steps)
    np.testing.assert_allclose(with_episode, np.repeat([1.6, -1.4, -0.2], 2), rtol=1e-12)


def test_a_penalty_counts_where_actions_are_compared_and_not_in_values():
    # In B the invalid y: −0.5 of its T alone, so mean (10 − 0.5) / 2. A sees B at 5.
    rows = acted(("AB", "xx", [0.0, 10.0]), ("AB", "yy", [0.0, 0.0]))
    for row in rows:
        row["action_valid"] = (row["state_key"], row["action"]) != ("B", "y")
    assert advantages(rows, **PLAIN, invalid_penalty=0.5) == [0.0, 5.25, 0.0, -5.25]


def test_all_invalid_actions_are_one():
    # x, y and z in A bring 6, 0 and 3; y and z are not understood: 6 − 3 and 1.5 − 3.
    rows = acted(("A", "x", [6.0]), ("A", "y", [0.0]), ("A", "z", [3.0]))
    for row in rows:
        row["action_valid"] = row["action"] == "x"
    assert advantages(rows, **PLAIN) == [3.0, -1.5, -1.5]


def test_values_go_round_in_circles_until_they_stand_still():
    # γ = 1/2: A → B → A → end with 6. V_A = (V_B/2 + 6)/2, V_B = V_A/2 → V_A = V_A/8 + 3 = 24/7.
    steps = StepTable.from_rows(acted(("ABA", "xyz", [0.0, 0.0, 6.0])))
    values = HBC(history_length=0, discount=0.5).values(steps).value
    np.testing.assert_allclose(values, [24 / 7, 12 / 7, 24 / 7], rtol=1e-6)


def empirical_values(rows: Rows, contexts: list[Any], discount: float) -> tuple[np.ndarray, np.ndarray]:
    """T and V of each row by a linear solve: (I − γP) V = r for the frequencies of the table."""
    keys = [(row["task_id"], context) for row, context in zip(rows, contexts, strict=True)]
    number = {key: place for place, key in enumerate(dict.fromkeys(keys))}
    after = {(row["trajectory_id"], row["step_index"]): keys[place] for place, row in enumerate(rows)}
    matrix, mean = np.eye(len(number)), np.zeros(len(number))
    for row, key in zip(rows, keys, strict=True):
        share = 1.0 / keys.count(key)
        mean[number[key]] += share * row["reward"]
        following = after.get((row["trajectory_id"], row["step_index"] + 1))
        if following is not None:
            matrix[number[key], number[following]] -= discount * share
    solved = np.linalg.solve(matrix, mean)
    target = []
    for row in rows:
        following = after.get((row["trajectory_id"], row["step_index"] + 1))
        target.append(row["reward"] + (0.0 if following is None else discount * solved[number[following]]))
    return np.array(target), solved[[number[key] for key in keys]]


def whole_history(rows: Rows) -> list[Any]:
    steps = {(row["trajectory_id"], row["step_index"]): row for row in rows}
    return [
        tuple(steps[row["trajectory_id"], time]["state_key"] for time in range(row["step_index"] + 1))
        for row in rows
    ]


@given(any_rows(), st.sampled_from([0.0, 0.5, 0.9]))
def test_without_history_it_is_q_minus_v_of_the_empirical_process(rows: Rows, discount: float):
    target, value = empirical_values(rows, [row["state_key"] for row in rows], discount)
    action = [row["action"] if row["action_valid"] else None for row in rows]
    pairs = [(row["task_id"], row["state_key"], a) for row, a in zip(rows, action, strict=True)]
    quality = [
        np.mean([t for t, other in zip(target, pairs, strict=True) if other == pair]) for pair in pairs
    ]
    estimator = HBC(history_length=0, discount=discount, episode_weight=0.0)
    np.testing.assert_allclose(estimator(StepTable.from_rows(rows)), np.array(quality) - value, atol=1e-4)


@given(any_rows(), st.sampled_from([0.0, 0.5, 0.95]))
def test_with_the_whole_history_and_no_shrinkage_it_is_q_minus_v(rows: Rows, discount: float):
    # Histories as keys: every level is the whole history, nothing is drawn anywhere, and no state comes back,
    # so that the sweeps end exactly.
    history = whole_history(rows)
    target, value = empirical_values(rows, history, discount)
    keyed = [row | {"state_key": key} for row, key in zip(rows, history, strict=True)]
    action = [row["action"] if row["action_valid"] else None for row in rows]
    pairs = list(zip([row["task_id"] for row in rows], history, action, strict=True))
    quality = [
        np.mean([t for t, other in zip(target, pairs, strict=True) if other == pair]) for pair in pairs
    ]
    estimator = HBC(history_length=2, shrinkage=0.0, discount=discount, episode_weight=0.0)
    np.testing.assert_allclose(estimator(StepTable.from_rows(keyed)), np.array(quality) - value, atol=1e-9)


@given(any_rows(), st.sampled_from([0.0, 0.5, 0.95]))
def test_levels_up_to_the_whole_history_compare_actions_as_that_does(rows: Rows, discount: float):
    # κ = 0 and five levels, as long as a walk of `any_rows`. Where two actions were tried after the same
    # history, they differ by their Q; which constant the levels above leave on both is theirs.
    history = whole_history(rows)
    target, value = empirical_values(rows, history, discount)
    steps = StepTable.from_rows(rows)
    estimator = HBC(history_length=5, shrinkage=0.0, discount=discount, episode_weight=0.0)
    np.testing.assert_allclose(estimator.values(steps).value, value, atol=1e-9)
    ours = estimator(steps)
    action = [row["action"] if row["action_valid"] else None for row in rows]
    contexts = list(zip([row["task_id"] for row in rows], history, strict=True))
    for context in set(contexts):
        members = [place for place, other in enumerate(contexts) if other == context]
        quality = {
            a: np.mean([target[i] for i in members if action[i] == a]) for a in {action[i] for i in members}
        }
        for i in members:
            for j in members:
                difference = quality[action[i]] - quality[action[j]]
                assert ours[i] - ours[j] == pytest.approx(difference, abs=1e-4)


@given(any_rows(), ANY_SETTINGS)
def test_where_nothing_comes_twice_a_part_of_grpo_is_left(rows: Rows, settings: dict):
    unique = [row | {"state_key": number} for number, row in enumerate(rows)]
    steps = StepTable.from_rows(unique)
    expected = settings["episode_weight"] * GRPO(normalization="mean")(steps)
    np.testing.assert_array_equal(HBC(**settings)(steps), expected)


@given(any_rows(), ANY_SETTINGS, st.randoms())
def test_neither_names_nor_the_order_of_rows_matter(rows: Rows, settings: dict, random: Any):
    estimator = HBC(**settings)
    expected = estimator(StepTable.from_rows(rows))
    order = list(range(len(rows)))
    random.shuffle(order)
    other = [
        rows[row]
        | {
            "state_key": ("room", 9 - ord(rows[row]["state_key"])),
            "action_key": -ord(rows[row]["action"]),
            "action": f"words {row}",  # a key is read where there is one
            "task_id": rows[row]["task_id"][::-1],
            "trajectory_id": rows[row]["trajectory_id"][::-1],
        }
        for row in order
    ]
    np.testing.assert_allclose(estimator(StepTable.from_rows(other)), expected[order], atol=1e-9)


@given(any_rows(), ANY_SETTINGS)
def test_package_equals_the_page(rows: Rows, settings: dict):
    # Sweeps of the package end where 1e-6 of the largest return (up to 50) is moved, the page's much later.
    np.testing.assert_allclose(
        HBC(**settings)(StepTable.from_rows(rows)),
        np.array(ONE_FILE.hbc_advantages(page_rows(rows), **settings)),
        atol=2e-3,
    )


def test_the_defaults_of_the_page_are_the_same():
    defaults = defaults_of(ONE_FILE.hbc_advantages)
    assert defaults == {name: getattr(HBC(), name) for name in defaults}


def test_the_page_runs_as_a_script():
    # γ = 0.95: the kitchen is worth (10 + 0) / 2, so T in the hall 4.75, 4.75, 0, mean 19/6.
    printed = subprocess.run(
        [sys.executable, page_path("hbc_one_file")], capture_output=True, text=True, check=True
    ).stdout
    assert "second         0  hall     go north        1.583" in printed


def test_tasks_that_settle_at_different_times_do_not_disturb_one_another():
    # Walks of 2 … 60 states settle after as many sweeps; the short ones are left out on the way.
    rng = np.random.default_rng(0)
    tasks = []
    for task in range(12):
        length = 5 * task + 2
        walks = [
            ("".join(rng.choice(list("ABCDEF"), length)), "".join(rng.choice(list("xy"), length)))
            for _ in range(4)
        ]
        tasks.append(
            acted(*((*walk, rng.normal(size=length).tolist()) for walk in walks), task=f"task {task}")
        )
    steps = StepTable.from_rows([row for rows in tasks for row in rows])
    members = [np.flatnonzero(steps.task_code == task) for task in range(12)]
    apart = np.concatenate([HBC()(steps.take_tasks(rows)) for rows in members])
    np.testing.assert_array_equal(HBC()(steps), apart)


def test_tasks_are_swept_a_few_at_a_time_with_the_same_result(monkeypatch: pytest.MonkeyPatch):
    rows = [
        row
        for task in range(9)
        for row in acted(
            ("ABA", "xyx", [0.0, 1.0, float(task)]), ("BA", "yx", [3.0, 0.0]), task=f"task {task}"
        )
    ]
    steps = StepTable.from_rows(rows)
    expected = HBC()(steps)
    monkeypatch.setattr(bellman, "PART_ROWS", 7)
    np.testing.assert_array_equal(HBC()(steps), expected)


def test_values_that_do_not_settle_are_told():
    # γ = 1: A leads to A in 3,000 of 3,002 rows, so that a sweep takes V 2/3002 of the way to 10/2.
    rows = acted(("A" * 3001, "x" * 3001, [0.0] * 3001), ("A", "x", [10.0]))
    with pytest.warns(RuntimeWarning, match="1 tasks have not converged after 2000 sweeps.*smaller discount"):
        HBC(history_length=0, discount=1.0)(StepTable.from_rows(rows))


def test_how_much_a_deeper_value_is_believed_follows_from_the_batch():
    # Returns 0, 2 | 4, 6 within one group. Within: 4 · 1² / (4 − 2) = 2. Between: 4 · 2² = 16 about the mean
    # 3, of which one split explains 2 by chance; Σ n − n²/4 = 4 − 2. κ = 2 / ((16 − 2) / 2).
    returns, around, groups = np.array([0.0, 2, 4, 6]), np.zeros(4, np.int64), np.array([0, 0, 1, 1])
    assert value_shrinkage(returns, [around, groups], otherwise=9.0) == [pytest.approx(2 / 7)]
    # No group is split, or none has two rows: the batch says nothing.
    assert value_shrinkage(returns, [around, around], otherwise=9.0) == [9.0]
    assert value_shrinkage(returns, [around, np.arange(4)], otherwise=9.0) == [9.0]
    # Groups that differ by no more than chance count for nothing.
    assert value_shrinkage(np.array([0.0, 6, 0, 6]), [around, groups], otherwise=9.0) == [np.inf]


def test_how_much_a_deeper_contrast_is_believed_follows_from_the_batch():
    # x: 0, 2, y: 4, 6: contrasts ∓2 of size 2·2/4 = 1. Σ m c² = 8; σ² = 2, (1 − 1/2)² each: 8 − 1 over 2.
    amounts, context = np.array([0.0, 2, 4, 6]), np.zeros(4, np.int64)
    tried = TriedActions.of(context, np.array([0, 0, 1, 1]))
    contrast = tried.contrast(amounts)
    assert contrast.tolist() == [-2, -2, 2, 2]
    assert tried.contrast_size.tolist() == [1, 1, 1, 1]
    assert contrast_shrinkage(tried, amounts, contrast, otherwise=9.0) == pytest.approx(2 / 3.5)
    alone = TriedActions.of(context, np.zeros(4, np.int64))
    assert contrast_shrinkage(alone, amounts, alone.contrast(amounts), otherwise=9.0) == 9.0


def test_estimated_weights_leave_levels_that_say_nothing_aside():
    # After A x brings 0 or 6 in B, after C 2 or 8: 2 apart on average, where returns of x differ by 6.
    walks = [("AB", "xx", 0.0), ("AB", "xx", 6.0), ("CB", "xx", 2.0), ("CB", "xx", 8.0)]
    walks += [(f"{before}B", "xy", reward) for before in "AC" for reward in (1.0, 9.0)]
    rows = acted(*((states, actions, [0.0, reward]) for states, actions, reward in walks))
    shallow = advantages(rows, history_length=0)
    np.testing.assert_allclose(advantages(rows, history_length=1, weights="estimated"), shallow, atol=1e-12)
    assert not np.allclose(advantages(rows, history_length=1), shallow)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"history_length": -1}, "history_length is -1; give an integer"),
        ({"shrinkage": -1.0}, "shrinkage is -1.0; give a finite number"),
        ({"weights": "best"}, "weights is 'best'; choose from 'constant', 'estimated'"),
        ({"episode_weight": float("nan")}, "episode_weight is nan; give a finite number"),
        ({"discount": 1.5}, "discount is 1.5; give a number between 0 and 1"),
        ({"invalid_penalty": -0.1}, "invalid_penalty is -0.1; give a finite number"),
    ],
)
def test_settings_are_checked(settings: dict[str, Any], message: str):
    with pytest.raises(ValueError, match=message):
        HBC(**settings)


def test_a_table_without_actions_is_refused():
    rows = [
        {name: value for name, value in row.items() if name != "action"} for row in acted(("A", "x", [1.0]))
    ]
    with pytest.raises(ValueError, match="tells actions apart"):
        HBC()(StepTable.from_rows(rows))


def test_values_of_any_nested_groups():
    # Levels are any partitions: κ = 2, the whole task, then two halves; rewards end the episodes.
    # v_0 = 4; n = 2: v_1 = 4 + 2/4 (1 − 4), 4 + 2/4 (7 − 4).
    rows = acted(
        *((state, "x", [reward]) for state, reward in zip("ABCD", (0.0, 2.0, 6.0, 8.0), strict=True))
    )
    steps = StepTable.from_rows(rows)
    values = bellman_values(
        steps,
        [np.zeros(4, np.int64), np.array([1, 1, 0, 0])],
        discounted_returns(steps, 0.9),
        discount=0.9,
        shrinkage=[2.0],
    )
    assert values.value.tolist() == [2.5, 2.5, 5.5, 5.5]
    assert values.target.tolist() == [0.0, 2.0, 6.0, 8.0]
    assert level_groups(steps, 0).tolist() == [[0, 1, 2, 3]]
