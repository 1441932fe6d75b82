"""How a prompt becomes tokens, whatever computes them afterwards."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any


def encode_prompts(tokenizer: Any, texts: Sequence[str]) -> list[tuple[int, ...]]:
    """Token ids of each prompt, as a user's message if the tokenizer has a chat template.

    Args:
        tokenizer: of transformers.
        texts: what is read.
    """
    if not texts:
        return []
    if tokenizer.chat_template is None:
        return [tuple(ids) for ids in tokenizer(list(texts)).input_ids]
    messages = [[{"role": "user", "content": text}] for text in texts]
    encoded = tokenizer.apply_chat_template(messages, add_generation_prompt=True, return_dict=False)
    return [tuple(ids) for ids in encoded]
