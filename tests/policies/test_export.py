"""Exported models: the trained policy, transformers and vLLM's rule for tied heads say the same."""

from __future__ import annotations

import json
import shutil
from typing import Any

import numpy as np
import pytest
import torch
from peft import LoraConfig, PromptTuningConfig, get_peft_model
from safetensors.torch import load_file
from toy_runs import config
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    Gemma3Config,
    GenerationConfig,
    GPT2Config,
    LlamaConfig,
)

from hgpo.cli import main
from hgpo.errors import SettingError
from hgpo.policies.compute import Compute
from hgpo.policies.loading import load_policy, load_with_new_adapter
from hgpo.policies.lora import plain_model, quiet_peft, whole_weights
from hgpo.policies.settings import Lora
from hgpo.policies.tiny import word_tokenizer
from hgpo.policies.transformers import TransformersPolicy
from hgpo.training.checkpoint import load_checkpoint, save_checkpoint
from hgpo.training.config import WarmStart, save_config

IDS = torch.arange(5, 25)[None]
SHAPE: dict[str, Any] = {
    "vocab_size": 40,
    "hidden_size": 16,
    "intermediate_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 2,
}
VISION: dict[str, Any] = {
    "hidden_size": 16,
    "intermediate_size": 16,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "image_size": 28,
    "patch_size": 14,
}


def llama(tied):
    return LlamaConfig(**SHAPE, tie_word_embeddings=tied)


def gpt2(tied):
    return GPT2Config(
        vocab_size=40,
        n_positions=64,
        n_embd=16,
        n_layer=2,
        n_head=2,
        tie_word_embeddings=tied,
        bos_token_id=0,
        eos_token_id=0,
    )


def gemma(tied):
    """A model of images and words, with the words' part in a configuration of its own."""
    return Gemma3Config(
        text_config={
            **SHAPE,
            "head_dim": 8,
            "layer_types": ["full_attention"] * 2,
            "tie_word_embeddings": tied,
        },
        vision_config=VISION,
        mm_tokens_per_image=4,
        image_token_index=37,
        boi_token_index=38,
        eoi_token_index=39,
        tie_word_embeddings=tied,
    )


def write_base(folder, shape, tied):
    """A model in transformers' format, far from its initial weights."""
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(shape(tied))
    with torch.no_grad():
        for weight in model.parameters():
            weight.add_(0.1 * torch.randn_like(weight))
    model.save_pretrained(folder)
    tokenizer = word_tokenizer(["a b c"], 5)
    tokenizer.chat_template = "{% for m in messages %}[{{ m['content'] }}]{% endfor %}"
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture
def base(tmp_path):
    return write_base(tmp_path / "base", llama, tied=True)


def after_training(model):
    """The model with every weight that learns moved."""
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for weight in model.parameters():
            if weight.requires_grad:
                weight.add_(0.3 * torch.randn(weight.shape, generator=generator))
    return model


def adapted(base, targets):
    policy = load_with_new_adapter(str(base), Compute(), Lora(rank=4, alpha=8.0, targets=targets), seed=0)
    after_training(policy.model)
    return policy


def adapted_by_others(base, folder, **settings):
    """The policy of an adapter that peft made with settings of its own."""
    with quiet_peft():
        model = get_peft_model(
            AutoModelForCausalLM.from_pretrained(base),
            LoraConfig(task_type="CAUSAL_LM", r=4, lora_alpha=8, **settings),
        )
        after_training(model).save_pretrained(folder, save_embedding_layers=False)
    return load_policy(folder)


def logits(model):
    with torch.no_grad():
        return model(input_ids=IDS).logits


def as_vllm_reads(config, weights):
    """What vLLM makes of a model: where its configuration ties the head, the head's weights are skipped."""
    model = AutoModelForCausalLM.from_config(config).eval()
    tied = config.tie_word_embeddings
    read = {name: tensor for name, tensor in weights.items() if not (tied and "lm_head." in name)}
    missing = set(model.load_state_dict(read, strict=False).missing_keys)
    assert all(tied and "lm_head." in name for name in missing)
    model.tie_weights()
    return model


def assert_all_say_the_same(policy, folder, tied):
    trained = logits(policy.model)
    policy.save_whole(folder / "out", torch.float32)
    loaded: Any = AutoModelForCausalLM.from_pretrained(folder / "out", output_loading_info=True)
    exported, problems = loaded
    assert not problems["missing_keys"] and not problems["unexpected_keys"]
    assert torch.allclose(logits(exported), trained, atol=1e-4)
    settings = json.loads((folder / "out/config.json").read_text())
    assert settings["tie_word_embeddings"] is tied
    assert settings.get("text_config", settings).get("tie_word_embeddings", True) is tied
    assert torch.allclose(logits(as_vllm_reads(exported.config, exported.state_dict())), trained, atol=1e-4)
    # By name, as an engine within the process gets them: the shape is written before anything is learned.
    policy.save_shape(folder / "shape")
    shape = type(exported.config).from_pretrained(folder / "shape")
    assert torch.allclose(logits(as_vllm_reads(shape, dict(whole_weights(policy.model)))), trained, atol=1e-4)


HEAD, EMBEDDING = ".*lm_head", ".*(embed_tokens|wte)"
BOTH = ".*(lm_head|embed_tokens|wte)"


@pytest.mark.parametrize("targets", ["all-linear", HEAD, EMBEDDING, BOTH])
@pytest.mark.parametrize("shape", [llama, gpt2, gemma])
@pytest.mark.parametrize("tied", [True, False])
def test_whatever_an_adapter_targets_all_readers_say_what_the_policy_says(targets, shape, tied, tmp_path):
    base = write_base(tmp_path / "base", shape, tied)
    policy = adapted(base, targets)
    assert not torch.allclose(logits(policy.model), logits(load_policy(base).model), atol=0.01)
    assert_all_say_the_same(policy, tmp_path, tied and targets == "all-linear")


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize(
    ("settings", "apart"),
    [
        ({"target_modules": "all-linear", "modules_to_save": ["lm_head"]}, True),
        ({"target_modules": "all-linear", "modules_to_save": ["embed_tokens"]}, True),
        ({"target_modules": "all-linear", "modules_to_save": ["lm_head", "embed_tokens"]}, True),
        ({"target_modules": "all-linear", "trainable_token_indices": [5, 6, 7]}, True),
        ({"target_modules": ["embed_tokens"], "ensure_weight_tying": True}, True),
        ({"target_modules": "all-linear", "use_dora": True}, False),
        ({"target_modules": "all-linear", "use_rslora": True, "bias": "all"}, False),
    ],
)
# Tying is asked of an untied model, too, and peft says that it finds nothing to tie.
@pytest.mark.filterwarnings("ignore:You have requested `ensure_weight_tying`")
def test_adapters_that_others_made_are_merged_by_their_own_rules(settings, apart, tied, tmp_path):
    policy = adapted_by_others(write_base(tmp_path / "base", llama, tied), tmp_path / "adapter", **settings)
    assert_all_say_the_same(policy, tmp_path, tied and not apart)


def test_an_adapter_of_the_embedding_leaves_a_tied_head_as_it_was(base, tmp_path):
    # peft adds B A to what the embedding gives, and the head multiplies with the weights W that both had.
    policy = adapted(base, EMBEDDING)
    layer = plain_model(policy.model).get_input_embeddings()
    a, b = layer.lora_embedding_A["default"], layer.lora_embedding_B["default"]
    policy.save_whole(tmp_path / "out", torch.float32)
    before, after = (load_file(folder / "model.safetensors") for folder in (base, tmp_path / "out"))
    w = before["model.embed_tokens.weight"]
    assert torch.equal(after["lm_head.weight"], w)
    # alpha / rank = 8 / 4.
    assert torch.allclose(after["model.embed_tokens.weight"], w + 2.0 * (b @ a).T.detach(), atol=1e-6)


@pytest.mark.parametrize("targets", ["all-linear", HEAD, EMBEDDING, BOTH])
def test_a_checkpoint_of_an_adapter_says_the_same_when_it_is_loaded_again(targets, base, tmp_path):
    policy = adapted(base, targets)
    learns = [weight for weight in policy.model.parameters() if weight.requires_grad]
    folder = save_checkpoint(tmp_path, 3, policy, torch.optim.AdamW(learns))
    for again in (load_checkpoint(folder, Compute()), load_policy(folder, trainable=False)):
        assert torch.equal(logits(again.model), logits(policy.model))


def test_merging_leaves_the_policy_and_its_reference_as_they_are(base, tmp_path):
    policy = adapted(base, BOTH)
    policy.save(tmp_path / "reference")
    with quiet_peft():
        policy.model.load_adapter(str(tmp_path / "reference"), adapter_name="reference")
    after_training(policy.model)
    before = {name: tensor.clone() for name, tensor in policy.model.state_dict().items()}
    trained = logits(policy.model)
    whole = dict(whole_weights(policy.model))
    assert policy.model.state_dict().keys() == before.keys()
    assert all(torch.equal(tensor, before[name]) for name, tensor in policy.model.state_dict().items())
    assert torch.allclose(logits(as_vllm_reads(llama(tied=False), whole)), trained, atol=1e-4)


def test_a_model_with_the_wrong_word_for_its_head_is_set_right_when_it_is_saved(base, tmp_path):
    # As exports were that did not untie the head: both are in the file and differ, the configuration ties them.
    model = AutoModelForCausalLM.from_pretrained(base)
    weights = dict(model.state_dict())
    weights["lm_head.weight"] = weights["lm_head.weight"] + 1.0
    shutil.copytree(base, tmp_path / "wrong")
    model.save_pretrained(tmp_path / "wrong", state_dict=weights)
    assert json.loads((tmp_path / "wrong/config.json").read_text())["tie_word_embeddings"] is True
    policy = load_policy(tmp_path / "wrong")
    policy.save(tmp_path / "right")
    assert json.loads((tmp_path / "right/config.json").read_text())["tie_word_embeddings"] is False
    again = AutoModelForCausalLM.from_pretrained(tmp_path / "right")
    assert torch.equal(logits(again), logits(policy.model))
    assert not torch.allclose(logits(again), logits(load_policy(base).model), atol=0.1)


@pytest.mark.parametrize("lora", [Lora(), Lora(rank=4, alpha=8.0, targets=HEAD)])
def test_what_generates_and_what_speaks_is_exported_from_runs_checkpoints_and_adapters(
    lora, base, tmp_path, capsys
):
    # Some published models name a temperature and do not sample: transformers loads that, but does not save it.
    said = {"eos_token_id": [2, 7], "temperature": 0.6, "top_p": 0.9, "do_sample": False}
    (base / "generation_config.json").write_text(json.dumps(said))
    policy = adapted(base, HEAD) if lora.rank else load_policy(base)
    learns = [weight for weight in policy.model.parameters() if weight.requires_grad]
    checkpoint = save_checkpoint(tmp_path / "run/checkpoints", 7, policy, torch.optim.AdamW(learns))
    settings = config(model=str(base), lora=lora, warm_start=WarmStart(tasks=0))
    save_config(settings, tmp_path / "run/config.json")
    for source, name in ((tmp_path / "run", "model after iteration 7"), (checkpoint, "model of")):
        out = tmp_path / f"out-{source.name}"
        assert main(["export", str(source), str(out)]) == 0
        assert capsys.readouterr().out.startswith(name)
        kept = GenerationConfig.from_pretrained(out)
        assert (kept.eos_token_id, kept.temperature, kept.top_p) == ([2, 7], 0.6, 0.9)
        exported, tokenizer = AutoModelForCausalLM.from_pretrained(out), AutoTokenizer.from_pretrained(out)
        assert torch.allclose(logits(exported), logits(policy.model), atol=1e-4)
        assert tokenizer.chat_template == policy.tokenizer.chat_template
        assert tokenizer.get_vocab() == policy.tokenizer.get_vocab()
        assert not list(out.parent.glob(".*.unfinished"))


def test_an_adapter_brings_its_own_tokenizer(base, tmp_path):
    policy = adapted(base, HEAD)
    policy.tokenizer.chat_template = "{% for m in messages %}<{{ m['content'] }}>{% endfor %}"
    policy.save(tmp_path / "adapter")
    again = load_policy(tmp_path / "adapter")
    assert again.tokenizer.chat_template == policy.tokenizer.chat_template
    (tmp_path / "adapter/tokenizer_config.json").unlink()
    assert load_policy(tmp_path / "adapter").tokenizer.chat_template != policy.tokenizer.chat_template


def test_an_export_that_cannot_be_written_is_one_line_and_leaves_nothing(base, tmp_path, capsys, monkeypatch):
    def full(self, folder, dtype):
        folder.mkdir()
        (folder / "model.safetensors").write_bytes(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(TransformersPolicy, "save_whole", full)
    assert main(["export", str(base), str(tmp_path / "out")]) == 1
    assert capsys.readouterr().err.splitlines() == [
        f"hgpo: {tmp_path / 'out'} could not be written: [Errno 28] No space left on device"
    ]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["base"]


def test_weights_that_fit_no_model_are_not_exported(base, tmp_path):
    # A layer that is there twice has weights under names that a model of the configuration's size has not.
    policy = load_policy(base)
    policy.model.model.layers.append(policy.model.model.layers[0])
    with pytest.raises(SettingError, match=r"model\.layers\.2.*do not fit"):
        policy.save_whole(tmp_path / "out", torch.float32)


def test_an_adapter_has_no_adapter_of_its_own(base, tmp_path):
    adapted(base, HEAD).save(tmp_path / "adapter")
    with pytest.raises(SettingError, match=r"is an adapter.*hgpo export"):
        load_with_new_adapter(str(tmp_path / "adapter"), Compute(), Lora(rank=2), seed=0)


def test_an_adapter_that_adds_to_the_prompt_is_refused(base, tmp_path):
    model = get_peft_model(
        AutoModelForCausalLM.from_pretrained(base),
        PromptTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=3),
    )
    model.save_pretrained(tmp_path / "adapter")
    with pytest.raises(SettingError, match=r"PROMPT_TUNING, which adds to the prompt"):
        load_policy(tmp_path / "adapter")


def test_a_rows_own_words_are_read_by_a_model_of_images_too(tmp_path):
    policy = load_policy(write_base(tmp_path / "base", gemma, tied=True))
    (packed,) = policy.packed_batches([(5, 6, 7)], [np.array([8, 9])])
    expected = torch.log_softmax(policy.model(torch.tensor([[5, 6, 7, 8]])).logits[0, 2:], -1)
    found = policy.score(packed, 1.0).logprobs[0]
    assert torch.allclose(found, expected[[0, 1], [8, 9]], atol=1e-5)
