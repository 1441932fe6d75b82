"""Hypothesis strategies for every estimator with any of its options, and tables that all of them can read."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st
from tables import Rows, any_rows

from hgpo import ESTIMATORS
from hgpo.estimators import Estimator

INVALID: dict[str, list[Any]] = {"invalid_penalty": [0.0, 0.1]}
PENALTY = INVALID | {"propagate_penalty": [False, True]}
NORMALIZATION: dict[str, list[Any]] = {"normalization": ["mean_std", "mean"]}
DDOF: dict[str, list[Any]] = {"ddof": [0, 1]}
STATISTICS: dict[str, list[Any]] = {"statistics": ["trajectories", "rows"]}
DISCOUNT: dict[str, list[Any]] = {"discount": [0.5, 0.95, 1.0]}
SIMILARITY: dict[str, list[Any]] = {"similarity": [None, 0.9]}
TWO_TERMS: dict[str, list[Any]] = {
    **{"episode_weight": [0.0, 1.0], "step_weight": [0.5, 1.0]},
    **(NORMALIZATION | STATISTICS | INVALID),
}
OPTIONS: dict[str, dict[str, list[Any]]] = {
    "hgpo": {
        **{"history_length": [0, 1, 2], "alpha": [0.0, 1.0, float("inf")], "level_offset": [1, 2]},
        **{"peers": ["all", "others", "other_trajectories"], "start_token": [False, True]},
        **{"level_weights": ["power", "size", "reliability"], "weight_epsilon": [0.0, 1e-6]},
        **{"counting_levels": ["different_returns", "nonzero_advantages"], "episode_level": [False, True]},
        **{"episode_statistics": ["trajectories", "rows"], "level_keys": [None, ("coarse", "state_key")]},
        **(NORMALIZATION | DISCOUNT | SIMILARITY | PENALTY),
    },
    "hbc": {
        **{"history_length": [0, 1, 2], "shrinkage": [0.0, 1.0], "weights": ["constant", "estimated"]},
        **{"episode_weight": [0.0, 0.3], "level_keys": [None, ("coarse", "state_key")]},
        **(DISCOUNT | INVALID),
    },
    "gigpo": {
        "step_weight": [0.0, 1.0],
        **(NORMALIZATION | STATISTICS | DISCOUNT | SIMILARITY | DDOF | PENALTY),
    },
    "grpo": {"peers": ["all", "other_trajectories"], **(NORMALIZATION | STATISTICS | DDOF | PENALTY)},
    "dr_grpo": STATISTICS | PENALTY,
    "rloo": PENALTY,
    "reinforce_plus_plus": {"baseline": ["batch", "task"], **(DISCOUNT | DDOF | PENALTY)},
    "ppo": {"gae_lambda": [0.0, 0.5, 1.0], "whiten": [False, True], **(DISCOUNT | DDOF | PENALTY)},
    "graphgpo": {
        **{"decay": [0.1, 0.5], "goal_value": [10.0, 1.0], "success_above": [0.0, 0.5]},
        **TWO_TERMS,
    },
    "g2po": TWO_TERMS | DISCOUNT,
    "gagpo": {"gae_lambda": [0.0, 0.5, 1.0], **(TWO_TERMS | DISCOUNT)},
    "graft": {"gae_lambda": [0.0, 0.5, 1.0], **(TWO_TERMS | DISCOUNT)},
    "crbc": {"smallest_deviation": [0.0, 0.1], **(TWO_TERMS | DISCOUNT)},
    "ecpo": {"shrinkage": [0.0, 2.0], "evidence_scale": [1.0, 4.0], **(TWO_TERMS | DISCOUNT)},
}
"""Values of every option that changes more than a number's size."""

OBSERVATIONS = {"A": "a corridor with 12 doors", "B": "a corridor with 13 doors", "C": "the sea"}
"""Of each state; those of A and B are alike by 0.96."""


def any_estimator(name: str) -> st.SearchStrategy[Estimator]:
    """The estimator of this name with any of its options."""
    options = st.fixed_dictionaries(
        {option: st.sampled_from(values) for option, values in OPTIONS[name].items()}
    )
    # Two combinations are refused.
    fits = options.filter(
        lambda o: (
            not (o.get("level_weights") == "reliability" and o["episode_level"])
            and not (o.get("similarity") and o.get("level_keys"))
        )
    )
    return fits.map(lambda chosen: ESTIMATORS[name](**chosen))


@st.composite
def full_rows(draw: st.DrawFn) -> Rows:
    """Rows with the observation of their state, a coarser state key and a critic's value, at least one."""
    return [
        row
        | {"observation": OBSERVATIONS[row["state_key"]], "value": float(number % 3)}
        | {"state_keys": {"coarse": row["state_key"] == "C"}}
        for number, row in enumerate(draw(any_rows(min_tasks=1)))
    ]
