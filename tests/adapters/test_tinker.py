"""Data of the Tinker SDK, and the example's loop with a service of the test's own. No server is asked."""

from __future__ import annotations

from importlib.util import find_spec
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from tables import walks

from hgpo import HGPO, StepTable

pytestmark = [
    pytest.mark.stack,
    pytest.mark.skipif(find_spec("tinker") is None, reason="the Tinker SDK is not installed (make test-all)"),
    pytest.mark.filterwarnings("ignore"),
]


def values(datum: Any) -> dict[str, list]:
    inputs = {name: tensor.to_numpy().tolist() for name, tensor in datum.loss_fn_inputs.items()}
    return {"input": datum.model_input.to_ints(), **inputs}


def test_each_position_predicts_the_next_token():
    # Prompt 1 2 3, response 4 5: position 2 (token 3) predicts 4, position 3 predicts 5.
    from hgpo.adapters.tinker import step_datums

    steps = StepTable(
        task_id=["t", "t"], trajectory_id=["a", "b"], step_index=[0, 0], state_key=["s", "s"], reward=[0, 0],
        prompt_tokens=[[1, 2, 3], [7]], response_tokens=[[4, 5], [8]], response_logprobs=[[-0.5, -1.0], [-2.0]],
    )  # fmt: skip
    first, second = map(values, step_datums(steps, np.array([1.5, -0.5])))
    assert first == {
        "input": [1, 2, 3, 4],
        "target_tokens": [2, 3, 4, 5],
        "logprobs": [0.0, 0.0, -0.5, -1.0],
        "advantages": [0.0, 0.0, 1.5, 1.5],
    }
    assert second == {"input": [7], "target_tokens": [8], "logprobs": [-2.0], "advantages": [-0.5]}


def test_what_is_missing_is_told():
    from hgpo.adapters.tinker import step_datums

    with pytest.raises(ValueError, match="needs the columns prompt_tokens, response_tokens"):
        step_datums(walks(("A", [0.0])), np.zeros(1))


def test_the_examples_loop(tmp_path):
    """Rejects: data of another iteration, and advantages of other steps."""
    import tinker_household
    from tiny_household import save_model

    from hgpo.policies.loading import load_policy

    save_model(tmp_path)
    policy = load_policy(tmp_path)
    log: list[Any] = []

    class Service:
        """A training client and a sampling client in one."""

        def get_tokenizer(self):
            return policy.tokenizer

        def save_weights_and_get_sampling_client(self, name):
            return self

        def sample(self, prompt, count, sampling):
            assert (count, sampling.max_tokens, sampling.temperature) == (1, 3, 1.0)
            uniforms = np.random.default_rng(sampling.seed).random((1, 3))
            (drawn,) = policy.generate([tuple(prompt.to_ints())], uniforms, 1.0)
            sequence = SimpleNamespace(tokens=drawn.tokens.tolist(), logprobs=drawn.logprobs.tolist())
            return Result(SimpleNamespace(sequences=[sequence]))

        def forward_backward(self, data, loss_fn):
            assert loss_fn == "ppo"
            log.append(list(map(values, data)))
            return Result(None)

        def optim_step(self, parameters):
            log.append(parameters.learning_rate)
            return Result(None)

    class Result:
        def __init__(self, value):
            self.result = lambda: value

    tables: list[StepTable] = []

    def recorded(*args, **kwargs):
        tables.append(step_table(*args, **kwargs))
        return tables[-1]

    step_table = tinker_household.step_table
    tinker_household.step_table = recorded
    try:
        tinker_household.train(Service(), 2, tasks=1, group_size=2, max_tokens=3)
    finally:
        tinker_household.step_table = step_table
    assert log[1::2] == [1e-5, 1e-5]
    for data, steps in zip(log[::2], tables, strict=True):
        assert steps.prompt_tokens is not None and steps.response_tokens is not None
        rows = zip(steps.prompt_tokens, steps.response_tokens, HGPO()(steps), strict=True)
        for datum, (prompt, response, advantage) in zip(data, rows, strict=True):
            assert datum["target_tokens"] == [*prompt[1:].tolist(), *response.tolist()]
            assert datum["advantages"][len(prompt) - 1 :] == pytest.approx([advantage] * len(response))
