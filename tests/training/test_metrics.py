"""Metrics of the groups: those of the estimator, whichever it is."""

from tables import walk_rows, walks

from hgpo import GRPO, HGPO, GiGPO, ReinforcePlusPlus, StepTable
from hgpo.training.metrics import group_metrics


def test_with_a_start_token_first_steps_have_peers_at_every_level():
    # Both first steps are in A; the second steps are in B after A, and in C after A.
    steps = walks(("AB", [0.0, 1.0]), ("AC", [0.0, 0.0]))
    assert group_metrics(HGPO(history_length=1).comparison(steps)) == {
        "peer_fraction_0": 0.5,
        "peer_fraction_1": 0.0,
    }
    with_token = HGPO(history_length=1, start_token=True).comparison(steps)
    assert group_metrics(with_token) == {"peer_fraction_0": 0.5, "peer_fraction_1": 0.5}


def test_levels_without_states():
    # A task of two trajectories with three rows, and one of a single trajectory with two: over trajectories it
    # has no peer, over rows its other row is one.
    rows = walk_rows(("AB", [1.0, 0.0]), ("C", [0.0])) + walk_rows(("AB", [1.0, 0.0]), task="other")
    steps = StepTable.from_rows(rows)
    assert group_metrics(GRPO().comparison(steps)) == {"peer_fraction_episode": 3 / 5}
    assert group_metrics(GRPO(statistics="rows").comparison(steps)) == {"peer_fraction_episode": 1.0}
    assert group_metrics(GiGPO().comparison(steps)) == {
        "peer_fraction_episode": 3 / 5,
        "peer_fraction_0": 0.0,
    }
    baseline = ReinforcePlusPlus(baseline="task")
    assert group_metrics(baseline.comparison(steps)) == {
        "peer_fraction_task": 1.0,
        "peer_fraction_batch": 1.0,
    }
