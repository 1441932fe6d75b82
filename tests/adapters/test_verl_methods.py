"""The presets of methods in verl: its settings, and its losses, whose gradients equal those of `hgpo train`."""

from __future__ import annotations

from importlib.util import find_spec
from typing import Any

import pytest
import torch
from loss_rows import ROWS, TOKENS, our_gradient, random_rows

from hgpo.adapters.verl.launch import compose, preset_file
from hgpo.adapters.verl.methods import AVERAGES, LOSS_MODES, in_verl
from hgpo.cli import main
from hgpo.errors import SettingError
from hgpo.training.losses import PolicyLoss
from hgpo.training.presets import METHODS, preset_config

pytestmark = [
    pytest.mark.stack,
    pytest.mark.skipif(find_spec("verl") is None, reason="verl is not installed"),
    pytest.mark.filterwarnings("ignore"),
]

NOT_IN_VERL = {
    "gspo": (),
    "cispo": ("loss.mask_below=0.997",),
    "sapo": ("loss.mask_below=0.997",),
    "sampo": (),
}


def composed(*methods: str, overrides: tuple[str, ...] = ()) -> Any:
    """A run's configuration with methods added, on tasks that need no data."""
    words = ["hgpo.env.type=household", *in_verl(methods).overrides, *overrides]
    return compose(preset_file("alfworld-1.5b"), words)


@pytest.mark.parametrize("name", METHODS)
def test_verl_accepts_it(name):
    from verl.trainer.ppo.utils import need_critic, need_reference_policy
    from verl.utils.config import validate_config

    from hgpo.adapters.verl.configuration import check_configuration

    config = composed(name)
    check_configuration(config)
    validate_config(
        config=config, use_reference_policy=need_reference_policy(config), use_critic=need_critic(config)
    )
    assert in_verl([name]).missing == NOT_IN_VERL[name]


def test_sampo_is_the_same_method_as_in_hgpo_train():
    from hgpo.adapters.verl.configuration import configured_estimator

    config, ours = composed("sampo"), preset_config("alfworld-1.5b", "sampo")
    assert configured_estimator(config) == ours.estimator
    actor, loss = config.actor_rollout_ref.actor, ours.loss
    assert actor.policy_loss.loss_mode == LOSS_MODES[loss.ratio, loss.clip] == "gspo"
    assert (actor.clip_ratio_low, actor.clip_ratio_high) == (loss.clip_low, loss.clip_high) == (3e-3, 4e-3)
    assert (actor.loss_agg_mode, loss.average) == ("seq-mean-token-mean", "rows")
    assert config.algorithm.filter_groups.enable and ours.dynamic_sampling_rounds > 1
    assert not config.algorithm.rollout_correction.bypass_mode and ours.old_logprobs == "recomputed"
    # Settings that follow change the method.
    changed = composed("sampo", overrides=("algorithm.adv_estimator=stepwise_hbc", "actor_rollout_ref.actor.clip_ratio_low=0.1"))  # fmt: skip
    assert (changed.algorithm.adv_estimator, changed.actor_rollout_ref.actor.clip_ratio_low) == (
        "stepwise_hbc",
        0.1,
    )


def test_a_mask_that_a_later_method_switches_off_is_not_missing():
    both, alone = in_verl(["cispo", "gspo"]), in_verl(["gspo"])
    assert (sorted(both.overrides), both.missing) == (sorted(alone.overrides), ())


@pytest.mark.parametrize(
    ("ratio", "clip", "average"),
    # verl's sapo has the mean over responses, whatever the setting says.
    [
        (*kind, average)
        for kind in LOSS_MODES
        for average in AVERAGES
        if (kind[1], average) != ("sapo", "tokens")
    ],
)
@pytest.mark.parametrize("spread", [0.0003, 0.3, 1.5])
def test_verls_losses_have_the_gradients_of_ours(ratio, clip, average, spread):
    from verl.trainer.ppo.core_algos import get_policy_loss_fn
    from verl.workers.config import FSDPActorConfig

    # verl's gspo has no dual clip; here none is reached.
    loss = PolicyLoss(
        ratio, clip, clip_low=2e-4, clip_high=3e-4, dual_clip=1e6 if ratio == "sequence" else 3.0,
        kl_coefficient=0.0, average=average, gate_positive=1.3, gate_negative=2.0,
    )  # fmt: skip
    config = FSDPActorConfig(
        strategy="fsdp2", rollout_n=1, ppo_micro_batch_size_per_gpu=1, clip_ratio_low=loss.clip_low,
        clip_ratio_high=loss.clip_high, clip_ratio_c=loss.dual_clip, tau_pos=loss.gate_positive, tau_neg=loss.gate_negative,
    )  # fmt: skip
    clipped = 0.0
    for seed in range(5):
        rows = random_rows(seed, spread)
        theirs = rows["logprobs"].clone().requires_grad_()
        their_loss: Any = get_policy_loss_fn(LOSS_MODES[ratio, clip])
        value, metrics = their_loss(
            rows["old"], theirs, rows["advantage"][:, None].expand(ROWS, TOKENS), rows["mask"].float(),
            loss_agg_mode=AVERAGES[average], config=config,
        )  # fmt: skip
        value.backward()
        ours, means = our_gradient(loss, rows)
        torch.testing.assert_close(ours, theirs.grad, atol=1e-6, rtol=1e-5)
        clipped += metrics["actor/pg_clipfrac"]
        both = metrics["actor/pg_clipfrac"] + metrics["actor/pg_clipfrac_lower"]
        assert means["clip_fraction"] == pytest.approx(both, abs=1e-6)
    assert (clipped > 0) == (clip != "sapo")


def test_the_command_prints_a_method_and_says_what_is_left_out(capsys, monkeypatch):
    assert main(["verl", "preset"]) == 0
    assert {*METHODS, "alfworld-7b"} <= set(capsys.readouterr().out.split())
    assert main(["verl", "preset", "cispo"]) == 0
    printed = capsys.readouterr().out.splitlines()
    assert "actor_rollout_ref.actor.policy_loss.loss_mode=cispo" in printed
    assert printed[-1] == "# not in verl: loss.mask_below=0.997"
    seen = []
    monkeypatch.setattr("hgpo.adapters.verl.launch.train", seen.append)
    words = ["verl", "train", "--preset", "alfworld-1.5b", "--preset", "cispo", "trainer.n_gpus_per_node=4"]
    assert main(words) == 0
    assert "verl has no counterpart to loss.mask_below=0.997; it is left out" in capsys.readouterr().out
    (config,) = seen
    assert config.actor_rollout_ref.actor.policy_loss.loss_mode == "cispo"
    assert (config.trainer.experiment_name, config.trainer.n_gpus_per_node) == ("alfworld-1.5b", 4)


def test_a_method_alone_is_no_run(capsys):
    assert main(["verl", "train", "--preset", "sampo"]) == 2
    assert "give one of --preset NAME and --config FILE" in capsys.readouterr().err
    with pytest.raises(SettingError, match="no method 'sambo'"):
        in_verl(["sambo"])
