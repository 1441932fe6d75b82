"""The released recipe's own numbers, computed by running it in float32."""

from typing import Any

import numpy as np
import pytest
from golden_cases import golden_cases, skipped

from hgpo import GRPO, HGPO, GiGPO, StepTable
from hgpo.returns import discounted_returns


def golden_runs() -> list[Any]:
    cases = golden_cases()
    if cases is None:
        return skipped(None, None)
    return [
        pytest.param(case["rows"], run, id=f"{case['name']}-{number}")
        for case in cases
        for number, run in enumerate(case["runs"])
    ]


@pytest.mark.parametrize(("rows", "run"), golden_runs())
def test_the_released_recipes_numbers(rows: list[dict[str, Any]], run: dict[str, Any]):
    steps = StepTable(
        task_id=[row["group"] for row in rows],
        trajectory_id=[row["trajectory"] for row in rows],
        step_index=[row["step"] for row in rows],
        state_key=[row["state"] for row in rows],
        reward=[row["reward"] for row in rows],
        action_valid=[row["valid"] for row in rows],
    )
    params = run["params"]
    discount = params["gamma"]
    shared = {
        "normalization": params["normalization"].removesuffix("_norm"),
        "invalid_penalty": params["invalid_penalty"],
    }
    hgpo = HGPO.reference(
        history_length=params["history_length"],
        alpha=params["alpha"],
        discount=discount,
        episode_level=params["base_group"],
        **shared,
    )
    computed = {
        "returns": discounted_returns(steps, discount),
        "hgpo": hgpo(steps),
        "gigpo": GiGPO(discount=discount, statistics="rows", **shared)(steps),
        "episode_across_steps": GRPO(statistics="rows", **shared)(steps),
        "episode_across_trajectories": GRPO(**shared)(steps),
    }
    assert computed.keys() == run["expected"].keys()
    for name, values in computed.items():
        # The values are float32 of size up to 14: their own last digit is 1e-6.
        np.testing.assert_allclose(values, run["expected"][name], rtol=0, atol=2e-6, err_msg=name)
