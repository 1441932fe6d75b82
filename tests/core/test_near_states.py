"""States that repeat only approximately: grid, similar texts, neighbours; and HGPO on continuous states."""

import numpy as np
import pytest
from cartpole import learn
from hypothesis import given
from hypothesis import strategies as st
from near_states import pendulum_peer_fractions
from tables import walk_rows, walks

from hgpo import HGPO, GiGPO, StepTable
from hgpo.near_states import grid_keys, neighbour_keys, similar_text_keys


def groups_of(keys) -> set[frozenset[int]]:
    """Which rows share a key."""
    rows: dict[int, set[int]] = {}
    for row, key in enumerate(keys):
        rows.setdefault(int(key), set()).add(row)
    return {frozenset(group) for group in rows.values()}


def test_a_grids_cells_are_about_the_multiples():
    # Cell 1: 0.4 and −0.4 round to 0, 0.6 and 1.4 to 1, and 1.6 to 2.
    assert groups_of(grid_keys([0.4, -0.4, 0.6, 1.4, 1.6], 1.0)) == {
        frozenset({0, 1}),
        frozenset({2, 3}),
        frozenset({4}),
    }


def test_a_grid_may_have_a_size_for_each_dimension():
    # Coarse in the first, fine in the second.
    states = [[0.0, 0.0], [4.0, 0.0], [0.0, 0.4]]
    assert groups_of(grid_keys(states, [10.0, 0.1])) == {frozenset({0, 1}), frozenset({2})}


def test_similar_texts_gather_about_the_most_frequent():
    # "a red mug" twice, so it leads; "a red cup" has "a red u" in common with it: 2·7 / (9 + 9) = 0.78.
    texts = ["a red cup", "a red mug", "a red mug", "nothing"]
    assert groups_of(similar_text_keys(texts, [0] * 4, 0.75)) == {frozenset({0, 1, 2}), frozenset({3})}
    assert groups_of(similar_text_keys(texts, [0] * 4, 0.8)) == {
        frozenset({0}),
        frozenset({1, 2}),
        frozenset({3}),
    }


def test_a_member_joins_the_leader_it_is_most_like():
    # 0 and 10 lead (three each, two apart by more than the radius); 6 is near to both, and nearer to 10.
    points = [[0.0]] * 3 + [[10.0]] * 3 + [[6.0]]
    assert groups_of(neighbour_keys(points, [0] * 7, radius=6.0)) == {
        frozenset({0, 1, 2}),
        frozenset({3, 4, 5, 6}),
    }


def test_the_most_frequent_state_leads():
    # 1 is near to 0 and to 2, which are not near to each other. Twice seen, it leads both; if 0, the first in
    # order, led, 2 would stand alone.
    assert groups_of(neighbour_keys([0.0, 1.0, 1.0, 2.0], [0] * 4, radius=1.0)) == {frozenset(range(4))}


def test_neighbours_do_not_chain():
    # 0, 1, 2, …, 9, each near to the next: no group is wider than twice the radius.
    points = np.arange(10.0)
    for group in groups_of(neighbour_keys(points, [0] * 10, radius=1.0)):
        assert max(group) - min(group) <= 2
    assert len(groups_of(neighbour_keys(points, [0] * 10, radius=1.0))) == 5


def test_cosine_compares_directions():
    points = [[1.0, 0.0], [5.0, 0.0], [0.0, 1.0], [0.0, 0.0]]
    assert groups_of(neighbour_keys(points, [0] * 4, radius=0.1, metric="cosine")) == {
        frozenset({0, 1}),
        frozenset({2}),
        frozenset({3}),
    }


def test_states_of_two_tasks_never_meet():
    assert len(groups_of(similar_text_keys(["same", "same"], ["one", "two"], 0.9))) == 2
    assert len(groups_of(neighbour_keys([[0.0], [0.0]], ["one", "two"], 1.0))) == 2


@given(
    st.lists(st.tuples(st.sampled_from("pq"), st.text("ab", max_size=4)), max_size=8),
    st.sampled_from([0.5, 0.8, 1.0]),
    st.randoms(),
)
def test_the_order_of_rows_changes_no_grouping(rows: list[tuple[str, str]], similarity: float, random):
    order = list(range(len(rows)))
    random.shuffle(order)

    def pairs(rows) -> set[tuple]:
        tasks, texts = [task for task, _ in rows], [text for _, text in rows]
        keys = similar_text_keys(texts, tasks, similarity).tolist()
        return {
            (a, b) for a, k in zip(rows, keys, strict=True) for b, j in zip(rows, keys, strict=True) if k == j
        }

    assert pairs(rows) == pairs([rows[i] for i in order])


@pytest.mark.parametrize("estimator", [GiGPO, HGPO])
def test_similarity_is_one_setting_of_the_estimators(estimator):
    # Keys A, B, C, all different; the texts of the first two are alike: only these are compared.
    rows = walk_rows(("A", [4.0]), ("B", [0.0]), ("C", [9.0]))
    texts = ["you see a mug 1 on the shelf", "you see a mug 2 on the shelf", "a locked door"]
    steps = StepTable.from_rows([row | {"observation": t} for row, t in zip(rows, texts, strict=True)])
    episode = GiGPO(normalization="mean", step_weight=0.0)(steps) if estimator is GiGPO else 0.0
    assert (estimator(normalization="mean")(steps) - episode).tolist() == [0.0, 0.0, 0.0]
    alike = estimator(normalization="mean", similarity=0.9)(steps) - episode
    np.testing.assert_allclose(alike, [2, -2, 0], atol=1e-12)


def test_similarity_needs_texts():
    with pytest.raises(ValueError, match="the table has none: give StepTable"):
        HGPO(similarity=0.9)(walks(("A", [1.0])))


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (lambda: grid_keys([1.0], 0.0), "cell is 0.0; give a number above 0"),
        (lambda: grid_keys([[1.0, 2.0]], [1.0, 1.0, 1.0]), "one for each of the 2 dimensions"),
        (lambda: grid_keys([1.0, float("nan")], 1.0), "row 1: states is .*; give finite numbers"),
        (lambda: grid_keys([[[1.0]]], 1.0), "give one vector per row"),
        (lambda: neighbour_keys([1.0], [0], -1.0), "radius is -1.0"),
        (lambda: neighbour_keys([1.0], [0], 1.0, "manhattan"), "metric is 'manhattan'"),  # pyright: ignore
        (lambda: neighbour_keys([1.0], [0, 1], 1.0), "there are 1 states and 2 task ids"),
        (lambda: similar_text_keys(["a"], [0], 1.5), "similarity is 1.5"),
        (lambda: HGPO(similarity=0.0), "similarity is 0.0"),
        (lambda: GiGPO(similarity=-1.0), "similarity is -1.0"),
    ],
)
def test_wrong_use_says_what_is_allowed(wrong, message: str):
    with pytest.raises(ValueError, match=message):
        wrong()


def test_hgpo_finds_peers_where_states_are_continuous():
    # Pendulum: exact states are equal for the same beginning of actions only; in a grid most steps have peers,
    # and so do their histories.
    shares = pendulum_peer_fractions()
    assert np.all(shares["exact state"] < 0.1)
    assert np.all(shares["grid"] > [0.9, 0.7, 0.5])


@pytest.mark.parametrize("seed", range(3))
def test_hgpo_learns_where_states_are_continuous(seed: int):
    # An untrained policy balances for about 22 steps of 200; seeds 0 … 4 end above 115.
    lengths = learn(seed)
    assert lengths[0] < 30
    assert np.mean(lengths[-5:]) > 80
