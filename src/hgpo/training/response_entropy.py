"""The policy's entropy for each response, which entropy credit needs."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from hgpo.distributed import ProcessGroup, SingleProcess, shard
from hgpo.policies.transformers import TransformersPolicy
from hgpo.steps import StepTable


@torch.no_grad()
def response_entropies(
    policy: TransformersPolicy, steps: StepTable, temperature: float, processes: ProcessGroup | None = None
) -> NDArray[np.float64]:
    """Mean entropy of the distributions that each response's tokens were drawn from, in nats, [rows].

    The policy processes the responses again, each distinct pair of prompt and response once, because a
    rollout engine may return only the probabilities of the sampled tokens, as vLLM does.

    Args:
        policy: the policy, with the weights that sampled the responses.
        steps: rows with prompt_tokens and response_tokens.
        temperature: the temperature the responses were sampled with.
        processes: the processes that share the work.
    """
    processes = processes or SingleProcess()
    assert steps.prompt_tokens is not None and steps.response_tokens is not None
    pairs: dict[tuple[bytes, bytes], int] = {}
    pair_of_row = np.array(
        [
            pairs.setdefault((prompt.tobytes(), response.tobytes()), len(pairs))
            for prompt, response in zip(steps.prompt_tokens, steps.response_tokens, strict=True)
        ]
    )
    _, first = np.unique(pair_of_row, return_index=True)
    prompts = [tuple(steps.prompt_tokens[row].tolist()) for row in first]
    responses = [steps.response_tokens[row] for row in first]
    given = steps.response_allowed
    allowed = None if given is None else [given[row] for row in first]
    found: list[tuple[int, float]] = []
    for packed in shard(policy.packed_batches(prompts, responses, allowed), processes):
        scores = policy.score(packed, temperature)
        for place, pair in enumerate(packed.members.tolist()):
            found.append((pair, scores.entropy[place, scores.mask[place]].double().mean().item()))
    of_pair = dict(pair for part in processes.gather(found) for pair in part)
    return np.array([of_pair[pair] for pair in range(len(pairs))])[pair_of_row]
