"""Tokenizers and models of known behaviour, made on the spot: bytes as tokens, and a model that writes a given text."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast


def byte_tokenizer(*special: str | AddedToken, template: Any = None, **settings: Any) -> Any:
    """A tokenizer with one token for each byte and each special token; settings are those of transformers."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    made = Tokenizer(models.BPE(vocab={letter: i for i, letter in enumerate(alphabet)}, merges=[]))
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)  # pyright: ignore
    made.decoder = decoders.ByteLevel()  # pyright: ignore[reportAttributeAccessIssue]
    tokenizer: Any = PreTrainedTokenizerFast(tokenizer_object=made, **settings)
    tokenizer.add_special_tokens({"additional_special_tokens": list(special)})
    tokenizer.chat_template = template
    return tokenizer


def model_that_writes(tokenizer: Any, tokens: Sequence[int], **settings: Any) -> Any:
    """A model that answers every prompt with these tokens, each of them another, the last one again and again.

    The next token depends on the last one alone: embeddings are one-hot, all blocks add nothing, and the head's
    weight is 1 from each token to the one that follows it. The norm makes √V of the 1, so that the token that
    follows has a lead of √V nats over the V others. A prompt's last token has to be none of these.
    """
    size = len(tokenizer) + len(tokenizer) % 2
    config = LlamaConfig(
        vocab_size=size, max_position_embeddings=1024, hidden_size=size, intermediate_size=8,
        num_hidden_layers=1, num_attention_heads=1, tie_word_embeddings=False,
        **{"bos_token_id": None, "eos_token_id": None, **settings},
    )  # fmt: skip
    model: Any = LlamaForCausalLM(config)
    following = torch.full((size,), tokens[0])
    following[list(tokens[:-1])] = torch.tensor(tokens[1:], dtype=torch.long)
    following[tokens[-1]] = tokens[-1]
    with torch.no_grad():
        for name, weight in model.named_parameters():
            weight.fill_(1.0 if "norm" in name else 0.0)
        model.model.embed_tokens.weight.copy_(torch.eye(size))
        model.lm_head.weight[following, torch.arange(size)] = 1.0
    return model
