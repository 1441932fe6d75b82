"""Models given by --model: loading, adapters, precision, memory, and the files that a run writes."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from merged_rows import reading_trees, table
from toy import ToySuite
from toy_runs import config, figures, run
from transformers import AutoModelForCausalLM, AutoTokenizer, GPT2Config, GPT2LMHeadModel

from hgpo.cli import main
from hgpo.errors import SettingError
from hgpo.estimators import PPO
from hgpo.policies import distributions
from hgpo.policies.compute import Compute, choose_compute
from hgpo.policies.distributions import logprobs_and_entropy
from hgpo.policies.loading import load_policy, load_with_new_adapter
from hgpo.policies.lora import whole_weights
from hgpo.policies.reference import load_reference
from hgpo.policies.settings import Lora, TinyModel, check_source
from hgpo.policies.tiny import create_policy, word_tokenizer
from hgpo.policies.transformers import TransformersPolicy
from hgpo.training.batch import merge_rows
from hgpo.training.checkpoint import load_checkpoint
from hgpo.training.checkpoint_folder import latest_checkpoint
from hgpo.training.config import TrainConfig, WarmStart, mini_batches_of
from hgpo.training.losses import PolicyLoss
from hgpo.training.update import loss_terms, recompute_logprobs, update_policy

SUITE = ToySuite()
LORA = Lora(rank=4, alpha=8.0)
PROMPTS = [(5, 6, 7), (5, 6, 8, 9, 10, 11), (12, 3)]
RESPONSES = [np.array(r, np.int64) for r in ([4, 5, 2], [7, 2], [9])]


@pytest.fixture
def folder(tmp_path):
    """A small model in transformers' format."""
    texts = [*SUITE.texts(), "task: saw: did: now: answer:"]
    policy = create_policy(texts, TinyModel(16, 2, 2), max_tokens=200, max_commands=6, seed=0)
    policy.save(tmp_path / "model")
    return tmp_path / "model"


@pytest.fixture(scope="module")
def clever(tmp_path_factory):
    """A model that wins the toy game now and then, so that an adapter has something to learn from."""
    folder = tmp_path_factory.mktemp("clever")
    run(config(iterations=0), folder)
    return folder / "checkpoints" / "000000"


def adapted(folder, seed=0, compute=None):
    """Its policy with an adapter that has learned something: B is no longer 0."""
    policy = load_with_new_adapter(str(folder), compute or Compute(), LORA, seed=seed)
    generator = torch.Generator().manual_seed(1)
    for name, weight in policy.model.named_parameters():
        if "lora_B" in name:
            weight.data.normal_(0.0, 0.3, generator=generator)
    return policy


def rows():
    """Rows of an update, and advantages of both signs."""
    rng = np.random.default_rng(0)
    return table(rng), rng.normal(size=40)


def scores(policy):
    """Log-probabilities of the responses, one after another."""
    found = {}
    for packed in policy.packed_batches(PROMPTS, RESPONSES):
        result = policy.score(packed, 1.0)
        for row, member in enumerate(packed.members.tolist()):
            found[member] = result.logprobs[row, result.mask[row]]
    return torch.cat([found[i] for i in range(len(PROMPTS))])


def test_a_new_adapter_changes_nothing_and_alone_learns(folder):
    plain, policy = load_policy(folder), load_with_new_adapter(str(folder), Compute(), LORA, seed=0)
    assert torch.allclose(scores(policy), scores(plain), atol=1e-6)
    learns = {name for name, weight in policy.model.named_parameters() if weight.requires_grad}
    assert learns and all("lora_" in name for name in learns)
    # In each of 2 blocks 7 linear layers have an A and a B.
    assert len(learns) == 2 * 7 * 2


def test_an_adapter_is_drawn_by_its_seed(folder):
    def drawn(seed):
        model = load_with_new_adapter(str(folder), Compute(), LORA, seed=seed).model
        return torch.cat([w.flatten() for name, w in model.named_parameters() if "lora_A" in name])

    assert torch.equal(drawn(1), drawn(1)) and not torch.equal(drawn(1), drawn(2))


def test_an_adapter_is_saved_alone_and_finds_its_model_again(folder, tmp_path, monkeypatch):
    policy = adapted(folder)
    policy.save(tmp_path / "adapter")
    assert not (tmp_path / "adapter" / "model.safetensors").exists()
    monkeypatch.chdir(tmp_path)
    again = load_policy("adapter")
    assert torch.allclose(scores(again), scores(policy), atol=1e-6)
    assert not torch.allclose(scores(again), scores(load_policy(folder)), atol=1e-2)


def test_the_reference_of_an_adapter_is_no_second_model_and_stays_while_the_policy_learns(folder, tmp_path):
    policy = adapted(folder)
    policy.save(tmp_path / "reference")
    reference = load_reference(tmp_path / "reference", policy)
    (packed,) = policy.packed_batches(PROMPTS, RESPONSES)
    before = policy.score(packed, 1.0).logprobs.detach()
    assert torch.equal(reference.score(packed, 1.0).logprobs, before)
    # All that a second adapter adds is its own weights: those of the model are there once.
    sizes = [weight.numel() for name, weight in policy.model.named_parameters() if "lora_" not in name]
    assert sum(sizes) == sum(p.numel() for p in load_policy(folder).model.parameters())
    learning = [weight for weight in policy.model.parameters() if weight.requires_grad]
    optimizer = torch.optim.SGD(learning, lr=1.0)
    policy.score(packed, 1.0).logprobs.sum().backward()
    reference.score(packed, 1.0)
    optimizer.step()
    assert torch.equal(reference.score(packed, 1.0).logprobs, before)
    assert not torch.allclose(policy.score(packed, 1.0).logprobs, before, atol=1e-3)
    assert all(weight.requires_grad for weight in learning)
    assert sum(weight.requires_grad for weight in policy.model.parameters()) == len(learning)


def test_the_whole_weights_are_the_models_with_the_adapters_share(folder):
    policy = adapted(folder)
    model = AutoModelForCausalLM.from_pretrained(folder)
    model.load_state_dict(dict(whole_weights(policy.model)))
    assert torch.allclose(scores(TransformersPolicy(model, policy.tokenizer)), scores(policy), atol=1e-5)
    assert dict(whole_weights(model)).keys() == model.state_dict().keys()


@pytest.mark.parametrize("lora", [Lora(), LORA])
def test_a_run_from_a_model_goes_on_as_if_unbroken_and_is_exported(lora, clever, tmp_path):
    settings = config(model=str(clever), lora=lora, learning_rate=1e-2, warm_start=WarmStart(tasks=0))
    run(settings, tmp_path / "whole")
    run(replace(settings, iterations=2), tmp_path / "broken")
    (tmp_path / "broken/config.json").write_text((tmp_path / "whole/config.json").read_text())
    run(settings, tmp_path / "broken")
    assert figures(tmp_path / "broken") == figures(tmp_path / "whole")
    assert figures(tmp_path / "whole")[-1]["kl"] > 0

    assert main(["export", str(tmp_path / "whole"), str(tmp_path / "out")]) == 0
    exported = AutoModelForCausalLM.from_pretrained(tmp_path / "out")
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "out")
    checkpoint = latest_checkpoint(tmp_path / "whole/checkpoints")
    assert checkpoint is not None
    policy = load_checkpoint(checkpoint, Compute())
    ids = torch.tensor([tokenizer.encode("you are in the hall. a coin is here.")])
    assert torch.allclose(exported(ids).logits, policy.model(ids).logits, atol=1e-5)
    assert not torch.allclose(exported(ids).logits, load_policy(clever).model(ids).logits, atol=1e-2)
    assert {p.name for p in (tmp_path / "out").iterdir()} >= {
        "config.json",
        "model.safetensors",
        "tokenizer.json",
    }
    assert main(["export", str(tmp_path / "whole"), str(tmp_path / "out")]) == 2
    assert main(["export", str(tmp_path / "whole"), str(tmp_path / "half"), "--precision", "bfloat16"]) == 0
    half = AutoModelForCausalLM.from_pretrained(tmp_path / "half", dtype="auto")
    assert half.dtype == torch.bfloat16
    assert (tmp_path / "half/model.safetensors").stat().st_size < 0.6 * (
        tmp_path / "out/model.safetensors"
    ).stat().st_size


def gradient(policy, reference, steps, advantages):
    batch = merge_rows(steps, advantages)
    policy.model.zero_grad()
    for packed in policy.packed_batches(batch.prompts, batch.responses):
        loss_terms(policy, reference, PolicyLoss(), batch, packed, 1.0).total.backward()
    return torch.cat([p.grad.flatten() for p in policy.model.parameters() if p.grad is not None])


def test_recomputing_layers_changes_memory_and_nothing_else(folder, monkeypatch):
    steps, advantages = rows()
    plain = reading_trees(load_policy(folder))
    thrifty = load_policy(folder, Compute(recompute=True))
    calls = []
    layer = type(thrifty.model.model.layers[0].mlp)
    forward = layer.forward
    monkeypatch.setattr(layer, "forward", lambda self, x: (calls.append(1), forward(self, x))[1])
    expected = gradient(plain, plain, steps, advantages)
    once = len(calls)
    found = gradient(thrifty, plain, steps, advantages)
    assert torch.allclose(found, expected, atol=1e-6)
    # Of the two passes over the model in `gradient`, policy's and reference's, only the first is made again.
    assert len(calls) - once == once * 3 / 2


def test_recomputing_layers_switches_dropout_off():
    torch.manual_seed(0)
    model = GPT2LMHeadModel(GPT2Config(vocab_size=40, n_positions=32, n_embd=16, n_layer=2, n_head=2))
    policy = TransformersPolicy(model, word_tokenizer(["a b c"], 3), Compute(recompute=True))
    assert torch.allclose(scores(policy), scores(policy), atol=1e-7)


def test_distributions_in_parts_are_those_of_the_whole(monkeypatch):
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(7, 11, generator=generator, dtype=torch.float32).requires_grad_(True)
    outputs = torch.tensor([0, 6, 3, 3, 5, 1])
    targets = torch.tensor([1, 2, 3, 4, 5, 6])

    def both():
        logits.grad = None
        logprobs, entropy = logprobs_and_entropy(logits, outputs, targets, 0.7)
        (logprobs.sum() + (entropy * torch.arange(6)).sum()).backward()
        assert logits.grad is not None
        return logprobs.detach(), entropy.detach(), logits.grad.clone()

    whole = both()
    # Two distributions at a time: the seven make four parts, one of which (outputs 2 and 3) has two tokens.
    monkeypatch.setattr(distributions, "NUMBERS_AT_ONCE", 2 * 11)
    for found, expected in zip(both(), whole, strict=True):
        assert torch.allclose(found, expected, atol=1e-6)
    direct = torch.log_softmax(logits / 0.7, -1)[outputs, targets]
    assert torch.allclose(whole[0], direct.detach(), atol=1e-6)


def test_weights_that_learn_are_float32_whatever_the_precision(folder):
    half = Compute(precision=torch.bfloat16)
    full = load_policy(folder, half)
    assert {p.dtype for p in full.model.parameters()} == {torch.float32}
    with half.autocast():
        assert full.model(torch.tensor([[4, 5]])).logits.dtype == torch.bfloat16
    reference = load_reference(folder, full)
    assert isinstance(reference, TransformersPolicy)
    assert {p.dtype for p in reference.model.parameters()} == {torch.bfloat16}
    adapter = load_with_new_adapter(str(folder), half, LORA, seed=0)
    kinds = {(p.requires_grad, p.dtype) for p in adapter.model.parameters()}
    assert kinds == {(True, torch.float32), (False, torch.bfloat16)}


def test_a_small_step_is_not_lost_in_bfloat16(folder):
    # AdamW's first step moves a weight by about the learning rate: 1e-6 of a weight of 0.1 is far below
    # bfloat16's step there, 0.1 · 2^-8.
    steps, advantages = rows()
    half = Compute(precision=torch.bfloat16)
    policy = load_policy(folder, half)
    before = torch.cat([p.detach().flatten().clone() for p in policy.model.parameters()])
    update_policy(
        policy,
        load_policy(folder, half, trainable=False),
        torch.optim.AdamW(policy.model.parameters(), lr=1e-6, weight_decay=0.0),
        PolicyLoss(),
        merge_rows(steps, advantages),
        ppo_epochs=1,
        num_minibatches=1,
        temperature=1.0,
        max_response_tokens=8,
        max_gradient_norm=1.0,
        rng=np.random.default_rng(0),
    )
    moved = (torch.cat([p.detach().flatten() for p in policy.model.parameters()]) - before).abs()
    assert 0 < moved.max() < 2e-6
    assert (moved > 0).float().mean() > 0.3


def test_log_probabilities_in_bfloat16_are_near_those_in_float32(folder):
    full = scores(load_policy(folder)).detach()
    half = scores(load_policy(folder, Compute(precision=torch.bfloat16))).detach()
    assert 0 < (full - half).abs().max() < 0.05


def test_recomputed_log_probabilities_replace_the_samplers_and_the_difference_is_told(folder):
    steps, advantages = rows()
    policy = load_policy(folder)
    batch = merge_rows(steps, advantages)
    right, _ = recompute_logprobs(policy, batch, 1.0)
    same, nothing = recompute_logprobs(policy, right, 1.0)
    assert nothing == pytest.approx(0.0, abs=1e-7)
    off = replace(right, old_logprobs=tuple(row - 0.25 for row in right.old_logprobs))
    again, difference = recompute_logprobs(policy, off, 1.0)
    assert difference == pytest.approx(0.25, abs=1e-6)
    for found, expected in zip(again.old_logprobs, same.old_logprobs, strict=True):
        assert found == pytest.approx(expected)


def test_what_the_sampler_says_is_compared_with_the_policy_before_its_first_step(folder):
    steps, advantages = rows()
    policy = load_policy(folder)
    right, _ = recompute_logprobs(policy, merge_rows(steps, advantages), 1.0)
    off = replace(right, old_logprobs=tuple(row - 0.25 for row in right.old_logprobs))

    def difference(batch, parts):
        learner = load_policy(folder)
        return update_policy(
            learner,
            policy,
            torch.optim.SGD(learner.model.parameters(), lr=1.0),
            PolicyLoss(),
            batch,
            ppo_epochs=2,
            num_minibatches=parts,
            temperature=1.0,
            max_response_tokens=8,
            max_gradient_norm=1.0,
            rng=np.random.default_rng(0),
        ).logprob_mismatch

    for parts in (1, 3):
        assert difference(right, parts) == pytest.approx(0.0, abs=1e-6)
        assert difference(off, parts) == pytest.approx(0.25, abs=1e-6)


def test_a_run_with_recomputed_log_probabilities_is_the_run_where_both_agree(folder, tmp_path):
    # One engine samples and learns in float32, so that nothing changes but rounding.
    first = run(config(iterations=1), tmp_path / "sampler")
    second = run(config(iterations=1, old_logprobs="recomputed"), tmp_path / "recomputed")
    for a, b in zip(
        first.state.policy.model.parameters(), second.state.policy.model.parameters(), strict=True
    ):
        assert torch.allclose(a, b, atol=1e-5)
    assert 0 < figures(tmp_path / "recomputed")[0]["logprob_mismatch"] < 1e-5


def test_everything_that_is_scored_is_where_the_model_is(folder):
    # Tensors of the device "meta" have no data, and refuse to meet those of another one, as a GPU's would.
    steps, advantages = rows()
    there = load_policy(folder, Compute(torch.device("meta")))
    batch = merge_rows(steps, advantages)
    for packed in there.packed_batches(batch.prompts, batch.responses):
        terms = loss_terms(there, there, PolicyLoss(), batch, packed, 1.0)
        assert terms.total.device.type == "meta"
        terms.total.backward()
    assert all(p.grad is not None for p in there.model.parameters())


def test_mini_batches_by_rows():
    # 25 rows in mini-batches of 10: three.
    by_rows = config(mini_batch_rows=10)
    assert [mini_batches_of(by_rows, rows) for rows in (9, 10, 11, 25)] == [1, 1, 2, 3]
    assert mini_batches_of(config(num_minibatches=4), 25) == 4


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"lora": LORA}, "--lora.rank needs --model"),
        ({"model": "nowhere"}, "no checkpoint there"),
        ({"model": "./owner/name/more"}, "no checkpoint there"),
        ({"engine_memory": 1.0}, "--engine-memory is 1.0"),
        ({"mini_batch_rows": 0}, "--mini-batch-rows is 0"),
    ],
)
def test_settings_of_models_that_cannot_work_are_refused(changes, words):
    with pytest.raises(SettingError, match=words):
        TrainConfig(**changes)


def test_ppo_takes_no_adapter(folder):
    with pytest.raises(SettingError, match="PPO needs"):
        TrainConfig(model=str(folder), lora=LORA, estimator=PPO())


def test_models_that_are_not_there(tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    check_source("owner/name")  # may be on the hub
    tmp_path.joinpath("empty").mkdir()
    with pytest.raises(SettingError, match="no checkpoint there"):
        check_source(str(tmp_path / "empty"))
    with pytest.raises(SettingError, match="no model"):
        load_policy(tmp_path / "empty")
    with pytest.raises(SettingError, match="--device nowhere"):
        choose_compute("nowhere", "auto", token_budget=1)


def test_targets_that_fit_no_layer_are_named(folder):
    with pytest.raises(SettingError, match="targets nothing"):
        load_with_new_adapter(str(folder), Compute(), Lora(rank=2, targets="nothing"), seed=0)
