"""A run that does worse than it began says so, with the cause that its metrics show."""

from __future__ import annotations

import pytest
from toy_runs import half_trained

from hgpo.runs.display import NoDisplay
from hgpo.training.outcome import NO_CAUSE, worse_than_start
from hgpo.training.trainer import Trainer

USUAL = {
    "skipped_steps": 0,
    "valid_action_rate": 0.9,
    "zero_advantage_fraction": 0.2,
    "entropy": 0.4,
    "clip_fraction": 0.02,
    "success_rate": 0.3,
}


def evaluations(*won: int) -> list[dict]:
    """Of two splits with 50 tasks each, before the run, half way and after it; sampled ones win everything."""
    return [
        {
            "iteration": 5 * number,
            "split": split,
            "temperature": temperature,
            "success": {"won": 50 if temperature else count, "tasks": 50},
        }
        for number, count in enumerate(won)
        for split in ("seen", "unseen")
        for temperature in (0.0, 0.4)
    ]


def metrics(**last: float) -> list[dict[str, float]]:
    """Of ten iterations, all as usual but the last."""
    return [USUAL] * 9 + [{**USUAL, **last}]


def test_a_run_that_does_as_well_or_better_says_nothing():
    assert worse_than_start(evaluations(20, 5, 21), metrics()) is None
    assert worse_than_start(evaluations(20, 5, 20), metrics()) is None
    # Nothing was learned yet, or nothing was written.
    assert worse_than_start(evaluations(20), metrics()) is None
    assert worse_than_start([], []) is None


@pytest.mark.parametrize(
    ("last", "said"),
    [
        ({"skipped_steps": 1}, "no finite gradient (skipped_steps 0 → 1)"),
        ({"valid_action_rate": 0.7}, "fewer answers are valid (valid_action_rate 0.9 → 0.7)"),
        ({"zero_advantage_fraction": 0.95}, "little to learn from (zero_advantage_fraction 0.2 → 0.95)"),
        ({"entropy": 0.05}, "hardly tries anything new (entropy 0.4 → 0.05)"),
        ({"entropy": 0.7}, "more random (entropy 0.4 → 0.7)"),
        ({"clip_fraction": 0.3}, "updates are large (clip_fraction 0.02 → 0.3)"),
        ({"success_rate": 0.1}, "fewer training tasks, too (success_rate 0.3 → 0.1)"),
        ({"success_rate": 0.5}, "does not carry over"),
        ({}, NO_CAUSE),
    ],
)
def test_a_run_that_does_worse_says_so_with_its_likely_cause(last, said):
    # 20 of 50 on each split before, 15 after: 40 % and 30 %.
    line = worse_than_start(evaluations(20, 40, 15), metrics(**last))
    assert line is not None and said in line
    assert "wins 30.0% of the held-out tasks (greedy), and won 40.0%" in line


def test_metrics_that_were_not_measured_are_no_cause():
    line = worse_than_start(evaluations(20, 15), [{"success_rate": 0.3}] * 10)
    assert line is not None and NO_CAUSE in line


def test_the_run_says_it_at_its_end(tmp_path, monkeypatch):
    lines = []

    class Warnings(NoDisplay):
        def warn(self, message):
            lines.append(message)

    monkeypatch.setattr(
        "hgpo.training.trainer.worse_than_start", lambda evaluations, metrics: f"{len(metrics)} iterations"
    )
    Trainer(half_trained(iterations=1, evaluation_tasks=1), tmp_path, Warnings()).run()
    assert lines[-1] == "1 iterations"
