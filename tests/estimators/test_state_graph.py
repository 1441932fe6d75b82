"""GraphGPO, G2PO, GAGPO, GRAFT, CRBC and ECPO: numbers by hand, the papers' equations as loops, and laws."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import plain_loop
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tables import Rows, any_rows, walk_rows, walks

from hgpo import CRBC, ECPO, ESTIMATORS, G2PO, GAGPO, GRAFT, GRPO, GraphGPO, StepTable
from hgpo.estimators.graph import MergedGraph
from hgpo.returns import discounted_returns

STEP_TERM: dict[str, Any] = {"episode_weight": 0.0}
EPISODE_TERM: dict[str, Any] = {"episode_weight": 0.5, "step_weight": 0.0}
ON_THE_GRAPH = ["graphgpo", "g2po", "gagpo", "graft", "crbc", "ecpo"]


def acting(*trajectories: tuple[str, str, list[float]], task: str = "task") -> StepTable:
    """A table with one trajectory per triple: its states and actions, one letter each, and its rewards."""
    rows = walk_rows(*((states, rewards) for states, _, rewards in trajectories), task=task)
    for row, action in zip(rows, "".join(actions for _, actions, _ in trajectories), strict=True):
        row["action"] = action
    return StepTable.from_rows(rows)


def test_the_graph_joins_rollouts_in_the_states_that_they_share():
    # Nodes by state: A, B, C. Both walks come to B; what follows a row is the node of its next step.
    graph = MergedGraph.of(walks(("AB", [0.0, 0.0]), ("CBC", [0.0, 0.0, 0.0])))
    assert graph.node.tolist() == [0, 1, 2, 1, 2]
    assert graph.following.tolist() == [1, -1, 1, 2, -1]
    assert graph.mean(np.array([1.0, 2.0, 3.0, 4.0, 5.0])).tolist() == [1.0, 3.0, 4.0]
    assert graph.ahead(np.array([10.0, 20.0, 30.0]), at_end=-np.ones(5)).tolist() == [20, -1, 20, 30, -1]


def test_states_of_two_tasks_are_two_nodes():
    rows = walk_rows(("A", [1.0]), task="one") + walk_rows(("A", [1.0]), task="two")
    assert MergedGraph.of(StepTable.from_rows(rows)).node.tolist() == [0, 1]


def test_distances_go_by_steps_of_all_rollouts():
    # Won: A C D E. From A one comes to D by B as well, and from D to the goal by E: B is 3 away, A 4.
    # F is known to lead nowhere: one more than the longest known distance, 4. So is where "ABDF" ends.
    steps = walks(("ACDE", [0, 0, 0, 1.0]), ("ABDF", [0, 0, 0, 0.0]))
    graph = MergedGraph.of(steps)
    goals = np.array([False, False, False, True, False, False, False, False])
    # Row by row, from where it leads to: C 3, D 2, E 1, goal 0; B 3, D 2, F 5, end 5.
    assert graph.distance_ahead(goals).tolist() == [3, 2, 1, 0, 3, 2, 5, 5]


def test_graphgpo_judges_a_step_by_the_distance_that_it_leads_to():
    # B is 1 from the goal, C leads nowhere: the longest known distance is A's, 2, so that C counts as 3.
    # From A: 10 · 0.1^1 = 1 and 10 · 0.1^3 = 0.01, mean 0.505. B and C are alone. Episodes: 10 and 0, mean 5.
    steps = walks(("AB", [0.0, 10.0]), ("AC", [0.0, 0.0]))
    found = GraphGPO(normalization="mean")(steps)
    np.testing.assert_allclose(found, [5.495, 5.0, -5.495, -5.0], rtol=1e-12)
    # Divided by Bessel's deviations, 0.495 √2 and 5 √2: 1/√2 for each term.
    divided = GraphGPO(epsilon=0.0)(steps)
    np.testing.assert_allclose(divided, np.array([2.0, 1.0, -2.0, -1.0]) / np.sqrt(2), rtol=1e-12)


def test_graphgpo_without_a_success_leaves_grpo():
    steps = walks(("AB", [0.0, -1.0]), ("AC", [0.0, 0.0]))
    assert GraphGPO()(steps).tolist() == GRPO()(steps).tolist()
    # With 0 taken for success the second leads to C, 1 away from it, and the first nowhere.
    assert np.sign(GraphGPO(success_above=-0.5, episode_weight=0.0)(steps)).tolist() == [-1, 0, 1, 0]


def test_g2po_judges_a_step_by_two_values():
    # γ = 0.5: A is visited with 2 of 2 steps to go: 0.25 · 10 and 0, mean 1.25; B 0.5 · 10; C 0.
    # V(s'): 5, 10, 0, 0. In A: ±2.5 from the mean; B and C are alone. Gains 3.75, 5, −1.25, 0, mean 1.875.
    # Episodes ±5.
    steps = walks(("AB", [0.0, 10.0]), ("AC", [0.0, 0.0]))
    found = G2PO(discount=0.5, normalization="mean")(steps)
    np.testing.assert_allclose(found, [9.375, 8.125, -10.625, -6.875], rtol=1e-12)


def test_gagpo_adds_up_errors_of_mean_returns():
    # γ = λ = 0.5; returns 4, 8 and 0, 0: V(A) = 2, V(B) = 4. δ in A: 0.5 · 4 − 2 = 0, in B ±4.
    # A: 0 + 0.25 · ±4 = ±1; the mean over the task is 0.
    steps = walks(("AB", [0.0, 8.0]), ("AB", [0.0, 0.0]))
    found = GAGPO(discount=0.5, gae_lambda=0.5, normalization="mean")(steps)
    np.testing.assert_allclose(found, [1.0, 4.0, -1.0, -4.0], rtol=1e-12)
    # Squares 1 + 16 + 1 + 16 over 3.
    divided = GAGPO(discount=0.5, gae_lambda=0.5, epsilon=0.0)(steps)
    np.testing.assert_allclose(divided, np.array([1.0, 4.0, -1.0, -4.0]) / np.sqrt(34 / 3), rtol=1e-12)


def test_graft_takes_values_from_where_other_rollouts_went():
    # γ = 0.5, λ = 0. B is worth (8 + 0) / 2 = 4 and C half of that, though the rollout through C got 0. From
    # A one comes to B or C: 0.5 · 4 and 0.5 · 2, so that V(A) = 1.5 and δ = ±0.5. In B ±4. C is alone.
    steps = walks(("AB", [0.0, 8.0]), ("ACB", [0.0, 0.0, 0.0]))
    found = GRAFT(discount=0.5, gae_lambda=0.0, normalization="mean")(steps)
    np.testing.assert_allclose(found, [0.5, 4.0, -0.5, 0.0, -4.0], atol=1e-5)


def test_crbc_compares_actions_by_the_chance_of_success():
    # γ = 0.5. B is won in one of two visits: 0.5 · 1 and 0, V(B) = 0.25. From A, x leads to B twice and y to
    # the end: Q = 0.125 and 0, V = (0.125 + 0.125 + 0) / 3 = 1/12. Q − V: 1/24, 1/24, −1/12. In B by one
    # action alone: 0. Without division, times 5, over rewards of 8: 8 · 5 · (Q − V). Episodes 8, 0, 0.
    steps = acting(("AB", "xz", [0.0, 8.0]), ("AB", "xz", [0.0, 0.0]), ("A", "y", [0.0]))
    found = CRBC(discount=0.5, normalization="mean", episode_weight=0.0)(steps)
    np.testing.assert_allclose(found, [40 / 24, 0.0, 40 / 24, 0.0, -40 / 12], atol=1e-4)
    assert found[1] == found[3] == 0.0
    # σ(A)² = (1 + 1 + 4) / 24² / 3 = 2 / 24²: as √2 / 24 = 0.059 is below 0.1, that is what divides.
    divided = CRBC(discount=0.5, episode_weight=0.0)(steps)
    np.testing.assert_allclose(divided[[0, 4]], [5 / 2.4, -5 / 1.2], atol=1e-4)
    divided = CRBC(discount=0.5, episode_weight=0.0, smallest_deviation=0.01)(steps)
    np.testing.assert_allclose(divided[[0, 4]], [5 / np.sqrt(2), -10 / np.sqrt(2)], atol=1e-4)


def test_crbc_gives_exactly_0_where_actions_are_worth_the_same():
    # x leads to B, which is worth 0.4, and y to C, (0.1 + 0.7 + 0.4) / 3, which is not 0.4 in floating point.
    ends = [("AC", "yz", [0.0, reward]) for reward in (0.1, 0.7, 0.4)]
    steps = acting(("AB", "xz", [0.0, 0.4]), *ends)
    assert CRBC(discount=1.0, episode_weight=0.0, smallest_deviation=0.0)(steps).tolist() == [0.0] * 8


def test_ecpo_shrinks_the_means_of_actions_and_weighs_them_by_reliability():
    # In A: x 6, 2 and y 1, mean 3. Means 4 and 1, shrunken with κ = 2 by 2/4 and 1/3: 1/2 and −2/3.
    # Variance (9 + 1 + 4) / 3 = 14/3, between actions (1 + 1 + 4) / 3 = 2: ρ = tanh(3/4) 2 / (14/3).
    steps = acting(("A", "x", [6.0]), ("A", "x", [2.0]), ("A", "y", [1.0]))
    settings: dict[str, Any] = {"episode_weight": 0.0, "epsilon": 0.0}
    expected = np.tanh(0.75) * 3 / 7 * np.array([1 / 2, 1 / 2, -2 / 3])
    np.testing.assert_allclose(ECPO(**settings, normalization="mean")(steps), expected, rtol=1e-12)
    # Bessel's deviation: √(14 / 2).
    np.testing.assert_allclose(ECPO(**settings)(steps), expected / np.sqrt(7), rtol=1e-12)


# What the authors' code gives, run in float64 on the table below: for GraphGPO recipe/GraphGPO/core_graph.py
# of langfengQ/verl-agent, for G2PO g2po/core_g2po.py of Nala-YN/G2PO. Rewards are 10 at the end of a won
# rollout, invalid actions (0 below) cost 0.1, statistics of the episode term run over rows.
WALKS = [
    ("one", "ABCB", True, "1111"),
    ("one", "ADBE", False, "1101"),
    ("one", "ABDA", False, "1111"),
    ("one", "CE", True, "11"),
    ("two", "AB", False, "11"),
    ("two", "ABA", False, "101"),
]
AUTHORS: list[tuple[Any, Any, list[float]]] = [
    (
        GraphGPO,
        "mean_std",
        [
            *(1.9767496, 0.55901415, 1.1126829, 2.608106, -1.6138559, -0.12497555, -1.2396144, -1.5391879),
            *(0.031985481, -1.38575, -1.5391869, -1.77844, 1.1126829, 1.8197896),
            *(0.4472036, 1.1543004, 0.4472036, -2.4959112, 0.4472036),
        ],
    ),
    (
        GraphGPO,
        "mean",
        [
            *(6.1939286, 3.0464286, 5.7214286, 12.946429, -4.7060714, -3.8285714, -6.2535714, -9.2735714),
            *(-3.8060714, -6.9535714, -4.7285714, -4.7960714, 5.7214286, 10.716429),
            *(0.02, 0.07, 0.02, -0.13, 0.02),
        ],
    ),
    (
        G2PO,
        "mean_std",
        [
            *(2.5188563, 2.843221, -0.82274211, 3.3027932, -2.3013302, 0.9304422, -1.1578692, -2.8291113),
            *(0.57409215, -3.3555321, -1.1118741, -2.3013302, 0.65005877, 3.0603255),
            *(0.4472036, 1.1543004, 0.4472036, -2.4959112, 0.4472036),
        ],
    ),
    (
        G2PO,
        "mean",
        [
            *(10.115233, 12.986655, 0.75149888, 14.936655, -8.9216417, 1.1333661, -5.7633449, -14.376157),
            *(0.11523326, -15.063345, -3.8309777, -8.9216417, 1.2146239, 15.623843),
            *(0.02, 0.07, 0.02, -0.13, 0.02),
        ],
    ),
]


@pytest.mark.parametrize(("estimator", "normalization", "expected"), AUTHORS)
def test_the_authors_code_gives_the_same(estimator: Any, normalization: Any, expected: list[float]):
    rows: Rows = []
    for number, (task, states, won, valid) in enumerate(WALKS):
        walk = walk_rows((states, [0.0] * (len(states) - 1) + [10.0 * won]), task=task)
        rows += [
            row | {"trajectory_id": number, "action_valid": answer == "1"}
            for row, answer in zip(walk, valid, strict=True)
        ]
    found = estimator(statistics="rows", normalization=normalization, invalid_penalty=0.1)
    np.testing.assert_allclose(found(StepTable.from_rows(rows)), expected, rtol=1e-6)


def of_task(rows: Rows, task: Any) -> dict[tuple, dict]:
    """The task's rows by trajectory and step."""
    return {(row["trajectory_id"], row["step_index"]): row for row in rows if row["task_id"] == task}


def bellman(rows: Rows, task: Any, discount: float, reward: Callable[[dict], float]) -> dict[Any, float]:
    """The solution of V(s) = mean over the visits of s of r + γ V(s')."""
    here = of_task(rows, task)
    states = sorted({row["state_key"] for row in here.values()})
    number = {state: i for i, state in enumerate(states)}
    matrix, income = np.eye(len(states)), np.zeros(len(states))
    for state in states:
        visits = [row for row in here.values() if row["state_key"] == state]
        for row in visits:
            income[number[state]] += reward(row) / len(visits)
            following = here.get((row["trajectory_id"], row["step_index"] + 1))
            if following is not None:
                matrix[number[state], number[following["state_key"]]] -= discount / len(visits)
    return dict(zip(states, np.linalg.solve(matrix, income), strict=True))


@given(any_rows(min_tasks=1), st.sampled_from([0.0, 0.5, 0.95]))
def test_graft_before_normalisation_is_the_error_of_bellmans_equation(rows: Rows, discount: float):
    # With λ = 0 the estimate is δ itself, and its mean over a state's rows is 0 by V's equation, so that
    # taking the mean off changes nothing.
    expected = []
    for row in rows:
        here = of_task(rows, row["task_id"])
        value = bellman(rows, row["task_id"], discount, lambda row: row["reward"])
        following = here.get((row["trajectory_id"], row["step_index"] + 1))
        ahead = 0.0 if following is None else value[following["state_key"]]
        expected.append(row["reward"] + discount * ahead - value[row["state_key"]])
    found = GRAFT(discount=discount, gae_lambda=0.0, normalization="mean")(StepTable.from_rows(rows))
    np.testing.assert_allclose(found, expected, atol=2e-4)


def crbc_of_paper(rows: Rows, beta: float, smallest: float) -> list[float]:
    """Equations 5 to 13 of arXiv 2609.35082, by counts N(s, a, x) and a linear solve; rewards are 0 or 1."""
    result = []
    for own in rows:
        here = of_task(rows, own["task_id"])
        won = {t: any(here[t, i]["reward"] for u, i in here if u == t) for t, _ in here}
        count: dict[tuple, int] = {}
        for (trajectory, step), row in here.items():
            following = here.get((trajectory, step + 1))
            goal = "success" if won[trajectory] else "failure"
            successor = goal if following is None else following["state_key"]
            action = row["action"] if row["action_valid"] else None
            edge = row["state_key"], action, successor
            count[edge] = count.get(edge, 0) + 1
        states = sorted({s for s, _, _ in count})
        visits = {s: sum(n for (u, _, _), n in count.items() if u == s) for s in states}
        matrix, income = np.eye(len(states)), np.zeros(len(states))
        for (s, _, x), n in count.items():
            if x in states:
                matrix[states.index(s), states.index(x)] -= beta * n / visits[s]
            elif x == "success":
                income[states.index(s)] += beta * n / visits[s]
        value = dict(zip(states, np.linalg.solve(matrix, income), strict=True))
        value |= {"success": 1.0, "failure": 0.0}
        s = own["state_key"]
        tries = {
            a: sum(n for (u, b, _), n in count.items() if (u, b) == (s, a)) for u, a, _ in count if u == s
        }
        quality = {
            a: sum(beta * n / tries[a] * value[x] for (u, b, x), n in count.items() if (u, b) == (s, a))
            for a in tries
        }
        variance = sum(n / visits[s] * (quality[a] - value[s]) ** 2 for a, n in tries.items())
        credit = quality[own["action"] if own["action_valid"] else None] - value[s]
        result.append((len(tries) >= 2) * credit / max(variance**0.5, smallest))
    return result


@given(any_rows(min_tasks=1), st.sampled_from([0.5, 0.9]), st.sampled_from([0.01, 0.1]), st.floats(0.5, 20))
def test_crbc_equals_the_paper_where_rewards_are_for_success(
    rows: Rows, beta: float, smallest: float, worth: float
):
    last = {
        t: max(r["step_index"] for r in rows if r["trajectory_id"] == t)
        for t in {r["trajectory_id"] for r in rows}
    }
    rows = [
        row | {"reward": float(row["reward"] > 0 and row["step_index"] == last[row["trajectory_id"]])}
        for row in rows
    ]
    expected = crbc_of_paper(rows, beta, smallest)
    steps = StepTable.from_rows([row | {"reward": worth * row["reward"]} for row in rows])
    found = CRBC(discount=beta, smallest_deviation=smallest, episode_weight=0.0, step_weight=1.0)(steps)
    np.testing.assert_allclose(found, expected, atol=1e-2)


def ecpo_by_loop(rows: Rows, settings: ECPO) -> list[float]:
    """A_step times ρ of every row, by the formulas of the docstring."""
    returns = plain_loop.returns_to_go(rows, settings.discount, settings.invalid_penalty, False)
    result = []
    for number, own in enumerate(rows):
        state = [
            i
            for i, row in enumerate(rows)
            if (row["task_id"], row["state_key"]) == (own["task_id"], own["state_key"])
        ]
        action = {i: rows[i]["action"] if rows[i]["action_valid"] else None for i in state}
        mean = plain_loop.mean([returns[i] for i in state])
        of_action = {
            a: plain_loop.mean([returns[i] for i in state if action[i] == a]) for a in action.values()
        }
        tries = sum(action[i] == action[number] for i in state)
        between = sum((of_action[action[i]] - mean) ** 2 for i in state) / len(state)
        within = sum((returns[i] - of_action[action[i]]) ** 2 for i in state) / len(state)
        kappa = settings.shrinkage
        shrunken = (tries * float(of_action[action[number]]) + kappa * float(mean)) / (tries + kappa)
        rho = np.tanh(len(state) / settings.evidence_scale)
        rho *= float(between) / (float(between + within) + settings.epsilon)
        spread = sum((returns[i] - mean) ** 2 for i in state) / max(len(state) - 1, 1)
        divisor = float(spread) ** 0.5 + settings.epsilon if settings.normalization == "mean_std" else 1.0
        result.append(rho * (shrunken - float(mean)) / divisor)
    return result


@given(any_rows(min_tasks=1), st.sampled_from(["mean_std", "mean"]), st.sampled_from([0.0, 2.0]))
def test_ecpo_equals_the_plain_loop(rows: Rows, normalization: Any, shrinkage: float):
    settings = ECPO(
        normalization=normalization,
        shrinkage=shrinkage,
        episode_weight=0.0,
        invalid_penalty=0.1,
        discount=0.9,
    )
    np.testing.assert_allclose(settings(StepTable.from_rows(rows)), ecpo_by_loop(rows, settings), atol=1e-8)


@given(any_rows(min_tasks=1), st.sampled_from([0.5, 0.95, 1.0]))
def test_gagpo_with_lambda_1_is_the_return_less_the_states_mean(rows: Rows, discount: float):
    # The values telescope: A = R − V, and its mean over each state, and so over the task, is 0.
    steps = StepTable.from_rows(rows)
    returns = discounted_returns(steps, discount)
    graph = MergedGraph.of(steps)
    found = GAGPO(discount=discount, gae_lambda=1.0, normalization="mean")(steps)
    np.testing.assert_allclose(found, returns - graph.mean(returns)[graph.node], atol=1e-9)


@given(any_rows(min_tasks=1))
def test_distances_equal_those_of_a_search_from_the_goal(rows: Rows):
    steps = StepTable.from_rows(rows)
    ends = MergedGraph.of(steps).ends
    found = MergedGraph.of(steps).distance_ahead(ends & (steps.reward > 0))
    for number, row in enumerate(rows):
        here = of_task(rows, row["task_id"])
        edges = set()
        for (trajectory, step), visit in here.items():
            following = here.get((trajectory, step + 1))
            goal = "goal" if visit["reward"] > 0 else "lost"
            edges.add((visit["state_key"], goal if following is None else following["state_key"]))
        distance = {"goal": 0}
        for steps_away in range(1, 20):
            nearer = {target for target, away in distance.items() if away < steps_away}
            distance |= {s: steps_away for s, target in edges if target in nearer and s not in distance}
        following = here.get((row["trajectory_id"], row["step_index"] + 1))
        target = ("goal" if row["reward"] > 0 else "lost") if following is None else following["state_key"]
        assert found[number] == distance.get(target, max(distance.values()) + 1)


@pytest.mark.parametrize("name", ON_THE_GRAPH)
@given(rows=any_rows(min_tasks=1))
def test_names_of_states_actions_and_tasks_say_nothing(name: str, rows: Rows):
    other = {"A": (3,), "B": "sea", "C": "A", "x": "y", "y": "to the left"}
    renamed = [
        row
        | {"state_key": other[row["state_key"]], "action": other[row["action"]]}
        | {"task_id": ("task", row["task_id"])}
        for row in rows
    ]
    estimator = ESTIMATORS[name](invalid_penalty=0.1)
    found = estimator(StepTable.from_rows(renamed))
    np.testing.assert_allclose(found, estimator(StepTable.from_rows(rows)), atol=1e-9)


@pytest.mark.parametrize("name", ON_THE_GRAPH)
@given(rows=any_rows(min_tasks=1))
def test_without_the_step_term_grpo_is_left(name: str, rows: Rows):
    steps = StepTable.from_rows(rows)
    found = ESTIMATORS[name](**EPISODE_TERM)(steps)
    np.testing.assert_array_equal(found, 0.5 * GRPO()(steps))


@pytest.mark.parametrize("name", ["crbc", "ecpo"])
@given(rows=any_rows(min_tasks=1))
def test_rows_with_the_same_action_in_a_state_get_the_same_credit(name: str, rows: Rows):
    found = ESTIMATORS[name](**STEP_TERM)(StepTable.from_rows(rows))
    credit: dict[tuple, set[float]] = {}
    for row, advantage in zip(rows, found, strict=True):
        action = row["action"] if row["action_valid"] else None
        credit.setdefault((row["task_id"], row["state_key"], action), set()).add(float(advantage))
    assert all(len(values) == 1 for values in credit.values())


@pytest.mark.parametrize("name", ["graphgpo", "gagpo", "graft", "crbc", "ecpo"])
def test_where_no_state_comes_twice_the_step_term_is_exactly_0(name: str):
    # Whatever 0.1 + 0.2 is. G2PO compares what steps gain over the task, and has no such law.
    steps = acting(("AB", "xy", [0.1, 0.2]), ("CDE", "xxx", [0.7, 0.1, -0.4]), ("F", "y", [0.3]))
    settings: dict[str, Any] = STEP_TERM | {"epsilon": 0.0}
    assert ESTIMATORS[name](**settings)(steps).tolist() == [0.0] * 6


@pytest.mark.parametrize("name", ["crbc", "ecpo"])
def test_actions_must_be_told(name: str):
    with pytest.raises(ValueError, match=r"give StepTable\(action=…\)"):
        ESTIMATORS[name]()(walks(("A", [1.0])))


@pytest.mark.parametrize(
    ("estimator", "wrong", "message"),
    [
        (GraphGPO, {"decay": 1.5}, "decay is 1.5; give a number between 0 and 1"),
        (GraphGPO, {"goal_value": float("inf")}, "goal_value is inf; give a finite number"),
        (GraphGPO, {"episode_weight": -1.0}, "episode_weight is -1.0"),
        (G2PO, {"discount": 2.0}, "discount is 2.0"),
        (G2PO, {"step_weight": -1.0}, "step_weight is -1.0"),
        (GAGPO, {"gae_lambda": 1.5}, "gae_lambda is 1.5; give a number between 0 and 1"),
        (GRAFT, {"normalization": "none"}, "normalization is 'none'"),
        (CRBC, {"smallest_deviation": -0.1}, "smallest_deviation is -0.1"),
        (ECPO, {"evidence_scale": 0.0}, "evidence_scale is 0.0; give a number above 0"),
        (ECPO, {"shrinkage": -1.0}, "shrinkage is -1.0"),
    ],
)
def test_wrong_settings_say_what_is_allowed(estimator: Any, wrong: dict[str, Any], message: str):
    with pytest.raises(ValueError, match=message):
        estimator(**wrong)
