"""Kinds of processes: how history matters, and whether states recur within an episode."""

from __future__ import annotations

from dataclasses import replace

from hgpo.lab.decision_processes import ProcessShape

NO_EFFECT = "history has no effect"
POLICY = "the policy depends on history"
WEAKLY = "reward depends weakly on history"
STRONGLY = "reward depends strongly on history"

HISTORY: dict[str, ProcessShape] = {
    NO_EFFECT: ProcessShape(history_dependence=0.0),
    POLICY: ProcessShape(history_dependence=2.0),
    WEAKLY: ProcessShape(history_reward_scale=0.3),
    STRONGLY: ProcessShape(history_reward_scale=2.0),
}
"""Kinds that differ in how history matters; observations include the step, so that no state recurs.

In logits, the weights of the current observation have scale 1, and those of each remembered observation have
scale 0, 2, 1 and 1. The final reward has scale 1; the reward of a step for each of two remembered
observations has scale 0, 0, 0.3 and 2."""

RECURRENT: dict[str, ProcessShape] = {
    "states recur, history has no effect": replace(HISTORY[NO_EFFECT], clock=False),
    "states recur, reward depends strongly on history": replace(HISTORY[STRONGLY], clock=False),
    "50 steps, states recur, reward depends weakly on history": replace(
        HISTORY[WEAKLY], clock=False, horizon=50
    ),
}
"""Kinds whose observations do not include the step, so that each of the four states recurs in an episode."""

KINDS = HISTORY | RECURRENT
"""All kinds."""


def discount_of(shape: ProcessShape) -> float:
    """γ of the estimators: 1, so that only credit assignment matters; in long episodes the published 0.95,
    because values of recurring states do not converge without a discount. True values always have γ = 1."""
    return 1.0 if shape.horizon <= ProcessShape.horizon else 0.95
