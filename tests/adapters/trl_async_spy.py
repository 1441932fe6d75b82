"""TRL's `AsyncGRPOTrainer` on a CPU with our rollout worker; writes what its losses read.

    python tests/adapters/trl_async_spy.py FOLDER

Two parts of TRL need a GPU and are replaced: the attention kernel, by the same attention in plain PyTorch, and
a table of GPUs' speeds. Weights are transferred to a copy of the model in the same process.
"""

from __future__ import annotations

import os
import pickle
import sys
import threading
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import datasets
import torch
import trl.experimental.async_grpo.async_grpo_trainer as stock  # pyright: ignore[reportMissingImports]
from torch.nn.functional import scaled_dot_product_attention
from trl.experimental.async_grpo import (  # pyright: ignore[reportMissingImports]
    AsyncGRPOConfig,
    AsyncGRPOTrainer,
    packing,
)

from hgpo import HGPO
from hgpo.adapters.trl import StepwiseRolloutWorker, rollout_worker
from hgpo.agents.language import LanguageAgent
from hgpo.envs import HouseholdSuite
from hgpo.policies.loading import load_policy
from hgpo.rollouts.prompts import RESPONSE_FORMATS
from hgpo.rollouts.rollout import rollout

ROLLOUT = "rollout"
"""The function that the worker calls, replaced by one that keeps its results."""
ESTIMATOR = HGPO(discount=0.95, invalid_penalty=0.1, propagate_penalty=True)


def attention(
    query: Any, key: Any, value: Any, starts_q: Any, starts_k: Any, *_: Any, softmax_scale: float, **__: Any
) -> Any:
    """Each segment's queries attend to its path, of which they are the last tokens."""
    parts = []
    segments = [pairwise(starts.tolist()) for starts in (starts_q, starts_k)]
    for (first, end), (first_k, end_k) in zip(*segments, strict=True):
        queries, keys, values = query[first:end], key[first_k:end_k], value[first_k:end_k]
        seen = torch.ones(len(queries), len(keys), dtype=torch.bool).tril(len(keys) - len(queries))
        heads_first = [each.transpose(0, 1) for each in (queries, keys, values)]
        part = scaled_dot_product_attention(*heads_first, attn_mask=seen, scale=softmax_scale)
        parts.append(part.transpose(0, 1))
    return torch.cat(parts)


class CopyWeights:
    """Transfers the trainer's weights to a policy, but not while it samples in the worker's thread."""

    def __init__(self, policy: Any) -> None:
        self.policy, self.weights = policy, dict(policy.model.named_parameters())
        self.turn, generate = threading.Lock(), policy.generate

        def in_turn(*args: Any, **kwargs: Any) -> Any:
            with self.turn:
                return generate(*args, **kwargs)

        policy.generate = in_turn

    def send_weights(self, iterator: Any) -> None:
        with self.turn, torch.no_grad():
            for name, tensor in iterator:
                self.weights[name].copy_(tensor)
        self.policy.synchronize()

    def init_weight_transfer(self) -> None: ...
    def pause(self) -> None: ...
    def resume(self) -> None: ...
    def destroy(self) -> None: ...


class Spy(AsyncGRPOTrainer):
    """Writes down tokens, old log-probabilities and advantages of each sample that the loss reads."""

    def compute_loss(self, model: Any, inputs: Any, *args: Any, **kwargs: Any) -> Any:
        packed = inputs["shift_labels"][inputs["attention_mask"].bool()]
        terms = inputs["token_index"] >= 0
        sample = inputs["segment_id"][terms]
        for number in range(int(sample.max()) + 1):
            own = sample == number
            tokens = packed[inputs["token_index"][terms][own]]
            values = [inputs[name][terms][own].tolist() for name in ("old_log_probs", "advantages")]
            self.read.append((tokens.tolist(), *values))
        return super().compute_loss(model, inputs, *args, **kwargs)


def main(folder: Path) -> None:
    packing._flash_attn = lambda: SimpleNamespace(flash_attn_varlen_func=attention)
    stock.get_peak_flops_per_device = lambda *_: None
    policy = load_policy(folder / "model")
    agent = LanguageAgent(
        policy, RESPONSE_FORMATS["number"], prompt_history=2, max_prompt_tokens=400, max_response_tokens=2
    )
    played: list[Any] = []

    def recorded_rollout(*args: Any, **kwargs: Any) -> Any:
        played.append(rollout(*args, **kwargs))
        return played[-1]

    setattr(rollout_worker, ROLLOUT, recorded_rollout)
    suite = HouseholdSuite(max_steps=3)
    worker = StepwiseRolloutWorker(suite, agent, ESTIMATOR, group_size=4, capacity=64)
    args = AsyncGRPOConfig(
        output_dir=str(folder / "async"),
        **{"max_steps": 3, "per_device_train_batch_size": 12, "token_budget": -1, "dtype": "float32"},
        **{"bf16": False, "use_cpu": True, "gradient_checkpointing": False, "learning_rate": 1e-3},
        **{"report_to": "none", "save_strategy": "no", "logging_steps": 1, "max_staleness": 100},
    )
    trainer = Spy(
        str(folder / "model"),
        args=args,
        train_dataset=datasets.Dataset.from_dict({"prompt": ["unused"]}),
        rollout_worker=worker,
        weight_transfer=CopyWeights(policy),
    )
    trainer.read = []
    trainer.train()
    record = {"played": played, "read": trainer.read, "log": trainer.state.log_history}
    (folder / "async.pickle").write_bytes(pickle.dumps(record))
    # TRL's thread for traces never ends, and may abort the interpreter.
    sys.stdout.flush()
    os._exit(0)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
