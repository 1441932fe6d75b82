"""A Hugging Face causal language model as a policy."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from transformers import AutoModelForCausalLM, AutoTokenizer, DynamicCache

from hgpo.policies.base import Completion
from hgpo.policies.batching import split_by_length


@dataclass(frozen=True)
class SequenceScores:
    """What the model says of given responses; rows × response tokens, zeros beyond each response's end."""

    logprobs: Tensor
    """log π(token), float32 [rows, tokens]."""
    entropy: Tensor
    """Entropy of the distribution each token was drawn from, in nats, [rows, tokens]."""
    mask: Tensor
    """True where there is a response token, [rows, tokens]."""


class TransformersPolicy:
    """Samples from and scores with a causal LM.

    Sequences are padded on the left, so that responses of a batch end in the same column, and batches are
    cut by length and by a budget of tokens, so that little of a batch is padding.
    """

    def __init__(self, model: Any, tokenizer: Any, *, token_budget: int = 16_384) -> None:
        """Take a causal LM and its tokenizer; `token_budget` bounds the tokens of one forward pass."""
        self.model = model.eval()
        self.tokenizer = tokenizer
        self.token_budget = token_budget
        self._end = tokenizer.eos_token_id
        # Padding is masked everywhere, so any token serves where a checkpoint names none.
        self._pad = tokenizer.pad_token_id if tokenizer.pad_token_id is not None else (self._end or 0)

    @classmethod
    def load(cls, folder: Path | str, *, token_budget: int = 16_384) -> TransformersPolicy:
        """The policy saved in a checkpoint folder of transformers' format (model and tokenizer).

        Raises:
            FileNotFoundError: if the folder holds no model.
        """
        folder = Path(folder)
        if not (folder / "config.json").is_file():
            raise FileNotFoundError(
                f"no model in {folder}: expected a folder with config.json, weights and tokenizer, as "
                "save_pretrained writes it"
            )
        model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, local_files_only=True)
        tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
        return cls(model, tokenizer, token_budget=token_budget)

    def save(self, folder: Path) -> None:
        """Write model and tokenizer in transformers' format."""
        self.model.save_pretrained(folder)
        self.tokenizer.save_pretrained(folder)

    def encode(self, text: str) -> tuple[int, ...]:
        """Token ids of a prompt: as a user's message if the tokenizer has a chat template, else as it is."""
        if self.tokenizer.chat_template is None:
            return tuple(self.tokenizer.encode(text))
        message = [{"role": "user", "content": text}]
        return tuple(
            self.tokenizer.apply_chat_template(message, add_generation_prompt=True, return_dict=False)
        )

    def encode_response(self, text: str, max_tokens: int) -> tuple[int, ...]:
        """Token ids of a response: the end-of-sequence token last, unless `max_tokens` are reached first."""
        ids = self.tokenizer.encode(text, add_special_tokens=False)
        return tuple([*ids, self._end][:max_tokens])

    @torch.no_grad()
    def generate(
        self, prompts: Sequence[tuple[int, ...]], uniforms: np.ndarray, temperature: float
    ) -> list[Completion]:
        """One completion a prompt; equal prompts are read once (see `Policy.generate`)."""
        rows_of: dict[tuple[int, ...], list[int]] = {}
        for row, prompt in enumerate(prompts):
            rows_of.setdefault(prompt, []).append(row)
        distinct = sorted(rows_of, key=len)
        tokens: list[list[int]] = [[] for _ in prompts]
        logprobs: list[list[float]] = [[] for _ in prompts]
        for batch in split_by_length([len(prompt) for prompt in distinct], self.token_budget):
            members = [rows_of[distinct[i]] for i in batch]
            self._complete(
                [distinct[i] for i in batch],
                rows=[row for group in members for row in group],
                prompt_of_row=[i for i, group in enumerate(members) for _ in group],
                uniforms=uniforms,
                temperature=temperature,
                tokens=tokens,
                logprobs=logprobs,
            )
        texts = self.tokenizer.batch_decode(tokens, skip_special_tokens=True)
        return [
            Completion(np.array(t, dtype=np.int64), np.array(p, dtype=np.float32), text)
            for t, p, text in zip(tokens, logprobs, texts, strict=True)
        ]

    def _complete(
        self,
        prompts: Sequence[tuple[int, ...]],
        *,
        rows: list[int],
        prompt_of_row: list[int],
        uniforms: np.ndarray,
        temperature: float,
        tokens: list[list[int]],
        logprobs: list[list[float]],
    ) -> None:
        """Append the completions of `rows` to `tokens` and `logprobs`; `prompts` are distinct."""
        max_new = uniforms.shape[1]
        input_ids, mask, positions = self.pad(prompts)
        cache = DynamicCache(config=self.model.config) if max_new > 1 else None
        output = self.model(
            input_ids=input_ids,
            attention_mask=mask,
            position_ids=positions,
            past_key_values=cache,
            use_cache=cache is not None,
            logits_to_keep=1,
        )
        select = torch.tensor(prompt_of_row)
        distribution = _log_softmax(output.logits[:, -1], temperature)[select]
        if cache is not None:
            cache.batch_select_indices(select)
            mask = mask[select]
        for position in range(max_new):
            chosen = _sample(distribution, uniforms[rows, position], greedy=temperature == 0)
            chosen_logprobs = distribution.gather(1, chosen[:, None])[:, 0]
            for row, token, logprob in zip(rows, chosen.tolist(), chosen_logprobs.tolist(), strict=True):
                tokens[row].append(token)
                logprobs[row].append(logprob)
            alive = [i for i, row in enumerate(rows) if tokens[row][-1] != self._end]
            if cache is None or not alive or position + 1 == max_new:
                return
            rows = [rows[i] for i in alive]
            keep = torch.tensor(alive)
            cache.batch_select_indices(keep)
            mask = torch.cat([mask[keep], mask.new_ones(len(alive), 1)], dim=1)
            output = self.model(
                input_ids=chosen[keep][:, None],
                attention_mask=mask,
                position_ids=_positions(mask)[:, -1:],
                past_key_values=cache,
                use_cache=True,
            )
            distribution = _log_softmax(output.logits[:, -1], temperature)

    def score(
        self,
        prompts: Sequence[tuple[int, ...]],
        responses: Sequence[np.ndarray],
        temperature: float,
    ) -> SequenceScores:
        """Log-probabilities and entropies of given responses, differentiable; one forward pass.

        Args:
            prompts: token ids of each prompt.
            responses: token ids of each response, one or more.
            temperature: the temperature the responses were sampled with, above 0.
        """
        sequences = [(*p, *r) for p, r in zip(prompts, responses, strict=True)]
        longest = max(len(response) for response in responses)
        input_ids, attention, positions = self.pad(sequences)
        logits = self.model(
            input_ids=input_ids,
            attention_mask=attention,
            position_ids=positions,
            use_cache=False,
            logits_to_keep=longest + 1,
        ).logits[:, :-1]
        distribution = _log_softmax(logits, temperature)
        targets = input_ids[:, -longest:]
        lengths = torch.tensor([len(response) for response in responses])
        mask = torch.arange(longest)[None] >= longest - lengths[:, None]
        logprobs = distribution.gather(2, targets[..., None])[..., 0] * mask
        entropy = -(distribution.exp() * distribution).sum(-1) * mask
        return SequenceScores(logprobs, entropy, mask)

    def pad(self, sequences: Sequence[tuple[int, ...]]) -> tuple[Tensor, Tensor, Tensor]:
        """Token ids, mask and positions of sequences padded on the left, each [sequences, longest]."""
        width = max(len(sequence) for sequence in sequences)
        ids = np.full((len(sequences), width), self._pad, dtype=np.int64)
        mask = np.zeros((len(sequences), width), dtype=np.int64)
        for row, sequence in enumerate(sequences):
            ids[row, width - len(sequence) :] = sequence
            mask[row, width - len(sequence) :] = 1
        tokens, attention = torch.from_numpy(ids), torch.from_numpy(mask)
        return tokens, attention, _positions(attention)


def _positions(mask: Tensor) -> Tensor:
    return (mask.cumsum(dim=1) - 1).clamp(min=0)


def _log_softmax(logits: Tensor, temperature: float) -> Tensor:
    # Greedy decoding reports the log-probability at temperature 1, the distribution it takes the mode of.
    return torch.log_softmax(logits.float() / (temperature or 1.0), dim=-1)


def _sample(distribution: Tensor, uniforms: np.ndarray, *, greedy: bool) -> Tensor:
    """The token of each row: the mode, or the first whose cumulative probability exceeds the uniform."""
    if greedy:
        return distribution.argmax(dim=-1)
    cumulative = distribution.double().exp().cumsum(dim=-1)
    # Scaled by the last entry, which rounding can leave below 1 and so below a uniform close to 1.
    thresholds = torch.from_numpy(uniforms)[:, None] * cumulative[:, -1:]
    return torch.searchsorted(cumulative, thresholds, right=True)[:, 0].clamp(max=distribution.shape[1] - 1)
