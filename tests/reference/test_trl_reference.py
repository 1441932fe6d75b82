"""Our policy loss beside that of TRL's GRPOTrainer: ratios per token and sequence, all clips, and the mask. Opt-in:

pip install trl
pytest -m slow tests/reference/test_trl_reference.py

The trainer's method is called alone, with log-probabilities in place of a model.
"""

from __future__ import annotations

from collections import defaultdict
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from loss_rows import ROWS, TOKENS, our_gradient, random_rows

from hgpo.training.losses import PolicyLoss

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]

pytest.importorskip("trl", reason="TRL is not installed", exc_type=ImportError)

AVERAGES: dict[str, Any] = {
    "grpo": "rows",
    "sapo": "rows",
    "dr_grpo": "constant",
    "dapo": "tokens",
    "cispo": "tokens",
}
CLIPS = {"cispo": "cispo", "sapo": "sapo"}


def their_gradient(loss: PolicyLoss, loss_type: str, rows: dict[str, torch.Tensor]) -> torch.Tensor:
    from trl import GRPOTrainer  # pyright: ignore[reportMissingImports]

    logprobs = rows["logprobs"].clone().requires_grad_()
    # CISPO's bound is the weight itself there.
    high = 1 + loss.clip_high if loss_type == "cispo" else loss.clip_high
    trainer: Any = SimpleNamespace(
        _get_per_token_logps_and_entropies=lambda *args, **settings: (logprobs, torch.zeros_like(logprobs), None),
        accelerator=SimpleNamespace(gather=lambda x: x, num_processes=1, reduce=lambda x, reduction: x),
        args=SimpleNamespace(
            delta=loss.dual_clip, sapo_temperature_pos=loss.gate_positive,
            sapo_temperature_neg=loss.gate_negative, steps_per_generation=1,
        ),
        model=SimpleNamespace(training=True), _metrics=defaultdict(lambda: defaultdict(list)),
        importance_sampling_level=loss.ratio, loss_type=loss_type, beta=0.0,
        epsilon_low=loss.clip_low, epsilon_high=high, max_completion_length=TOKENS,
        off_policy_mask_threshold=-torch.tensor(loss.mask_below).log().item() if loss.mask_below else None,
        get_off_policy_mask=GRPOTrainer.get_off_policy_mask, top_entropy_quantile=1.0, use_vllm=False,
        aux_loss_enabled=False, _entropy_bonus_enabled=False, current_gradient_accumulation_steps=1,
    )  # fmt: skip
    mask = rows["mask"].int()
    inputs = {
        "prompt_ids": torch.zeros(ROWS, 1), "prompt_mask": torch.ones(ROWS, 1), "completion_ids": torch.zeros(ROWS, TOKENS),
        "completion_mask": mask, "advantages": rows["advantage"], "old_per_token_logps": rows["old"],
        "num_items_in_batch": mask.sum(),
    }  # fmt: skip
    GRPOTrainer._compute_loss(trainer, trainer.model, inputs).backward()
    assert logprobs.grad is not None
    return logprobs.grad


@pytest.mark.parametrize("mask_below", [0.0, 0.9])
@pytest.mark.parametrize("ratio", ["token", "sequence"])
@pytest.mark.parametrize("loss_type", AVERAGES)
def test_the_gradient_is_that_of_trl(loss_type, ratio, mask_below):
    # TRL's delta bounds the ratio for positive advantages, too; where it is above 1 + ε the minimum is the same.
    # Its CISPO has no lower bound.
    clip: Any = CLIPS.get(loss_type, "ppo")
    loss = PolicyLoss(
        ratio, clip, clip_low=1.0 if clip == "cispo" else 0.1, clip_high=0.2, dual_clip=1.5, gate_negative=2.0,
        mask_below=mask_below, kl_coefficient=0.0, average=AVERAGES[loss_type],
    )  # fmt: skip
    masked = 0.0
    for seed in range(5):
        rows = random_rows(seed, spread=0.4)
        ours, means = our_gradient(loss, rows)
        torch.testing.assert_close(ours, their_gradient(loss, loss_type, rows), atol=1e-6, rtol=1e-5)
        masked += means["masked_fraction"]
    assert (masked > 0) == (mask_below > 0)
