"""A Hugging Face causal language model as a policy."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from hgpo.errors import SettingError
from hgpo.policies.base import Completion, CompletionStream
from hgpo.policies.choices import Choices
from hgpo.policies.compute import Compute
from hgpo.policies.lean_reader import LeanReader
from hgpo.policies.llama import Llama, fits
from hgpo.policies.lora import ADAPTER, has_adapter, plain_model, whole_config, whole_weights
from hgpo.policies.readers import Allowed, Drawn, DrawnStream, PackedBatch, Reader, SequenceScores
from hgpo.policies.streams import Request
from hgpo.policies.tokens import ChatTokenizer, Tokens, end_tokens
from hgpo.policies.tree_reader import TreeReader


class TransformersPolicy:
    """Samples from a causal LM and scores responses with it; a `Reader` runs the model.

    It computes on the device of the weights. As a rollout engine it samples with the trained weights.
    """

    def __init__(self, model: Any, tokenizer: Any, compute: Compute | None = None) -> None:
        """Take a causal LM of transformers, or of peft with an adapter, and its tokenizer; see `Compute`.

        Raises:
            SettingError: if the tokenizer's chat template does not take a user's message.
        """
        self.compute = compute or Compute()
        self.model = model.to(self.compute.device).eval()
        self.tokenizer = tokenizer
        self.token_budget = self.compute.token_budget
        self._plain = plain = plain_model(model)
        config, generation = plain.config, plain.generation_config
        ends = end_tokens(tokenizer, generation, config, config.get_text_config())
        self.chat = ChatTokenizer(tokenizer, ends)
        # A library that loads the saved model must end answers at the same tokens.
        generation.eos_token_id = list(ends) or None
        # Padding is masked everywhere, so any token will do if a checkpoint names no padding token.
        self._pad = next((t for t in (tokenizer.pad_token_id, *ends) if t is not None), 0)
        self.reader: Reader = (
            LeanReader(Llama(model), ends)
            if fits(model, self.compute)
            else TreeReader(model, plain, self.compute, ends, self._pad)
        )
        if self.compute.recompute:
            # Layers recompute activations only in training mode, which must not change anything else.
            _without_dropout(plain)
            _recompute_layers(plain)

    def synchronize(self) -> None:
        """Discard cached outputs. There are no weights to copy, because the trained model itself samples."""
        self.reader.forget()

    def save(self, folder: Path) -> None:
        """Write model and tokenizer in transformers' format; of a model with an adapter, only the adapter."""
        if has_adapter(self.model):
            # Without this option peft would ask the hub whether the vocabulary has changed; it never does.
            self.model.save_pretrained(folder, selected_adapters=[ADAPTER], save_embedding_layers=False)
            self.tokenizer.save_pretrained(folder)
        else:
            self.save_whole(folder, self.model.dtype)

    def save_whole(self, folder: Path, dtype: torch.dtype) -> None:
        """Write model and tokenizer as a plain folder, with an adapter merged into the weights.

        Args:
            folder: a new folder.
            dtype: data type of the written weights.

        Raises:
            SettingError: if merging the adapter gives weights that the model's class does not have.
        """
        weights = {name: tensor.to(dtype) for name, tensor in whole_weights(self.model)}
        # The configuration must name the data type of the written weights.
        config = whole_config(self.model)
        config.dtype = dtype
        with torch.device("meta"):
            empty = type(self._plain)(config).to(dtype)
        if misplaced := weights.keys() ^ empty.state_dict().keys():
            raise SettingError(
                f"the adapter cannot be merged into a {type(self._plain).__name__}: weights such as "
                f"{min(misplaced)} do not fit"
            )
        empty.save_pretrained(folder, state_dict=weights)
        # Saving it with the model would refuse what loading accepts, such as a temperature without sampling.
        self._plain.generation_config.to_json_file(folder / "generation_config.json")
        self.tokenizer.save_pretrained(folder)

    def save_shape(self, folder: Path) -> None:
        """Write all but the weights: the model's configuration and the tokenizer."""
        whole_config(self.model).save_pretrained(folder)
        self.tokenizer.save_pretrained(folder)

    def encode(self, texts: Sequence[str]) -> list[tuple[int, ...]]:
        """Token ids of each prompt; see `ChatTokenizer.encode`."""
        return self.chat.encode(texts)

    def encode_response(self, text: str, max_tokens: int) -> tuple[int, ...]:
        """Token ids of a response; see `ChatTokenizer.encode_response`."""
        return self.chat.encode_response(text, max_tokens)

    def decode(self, tokens: Sequence[Tokens]) -> list[str]:
        """The text that the model wrote in each response; see `ChatTokenizer.decode`."""
        return self.chat.decode(tokens)

    def generate(
        self, prompts: Sequence[tuple[int, ...]], uniforms: np.ndarray, temperature: float
    ) -> list[Completion]:
        """One completion per prompt; common prefixes are processed once (see `Policy.generate`)."""
        return self.completions(self.reader.draw(prompts, uniforms, temperature, self.token_budget))

    def generate_among(
        self,
        prompts: Sequence[tuple[int, ...]],
        uniforms: np.ndarray,
        temperature: float,
        choices: Sequence[tuple[str, ...]],
    ) -> list[Completion]:
        """One completion per prompt, each one of its choices (see `RestrictablePolicy`).

        Raises:
            SettingError: if the tokenizer has no token that ends an answer.
        """
        listed = self.encode_choices(choices, uniforms.shape[1])
        return self.completions(self.reader.draw(prompts, uniforms, temperature, self.token_budget, listed))

    @contextmanager
    def stream(self, temperature: float) -> Iterator[CompletionStream]:
        """See `StreamingPolicy.stream`."""
        with self.reader.stream(temperature, self.token_budget) as drawn:
            yield _Completions(self, drawn)

    def completions(self, drawn: Sequence[Drawn]) -> list[Completion]:
        """Drawn responses with their texts."""
        # Different prompts often have the same answer.
        words = [each.tokens.tobytes() for each in drawn]
        distinct = dict(zip(words, (each.tokens for each in drawn), strict=True))
        answers = dict(zip(distinct, self.chat.answers(list(distinct.values())), strict=True))
        return [
            Completion(each.tokens, each.logprobs, answers[word], each.allowed)
            for each, word in zip(drawn, words, strict=True)
        ]

    def encode_choices(self, choices: Sequence[tuple[str, ...]], max_tokens: int) -> list[Choices]:
        """Token ids of the responses that are listed for each prompt; SettingError as in `generate_among`."""
        if self.chat.turn_end is None:
            raise SettingError("answers cannot be restricted: the tokenizer has no token that ends an answer")
        # The episodes of a group have many lists, and most commands, in common.
        texts = dict.fromkeys(text for listed in dict.fromkeys(choices) for text in listed)
        tokens = {text: self.encode_response(text, max_tokens) for text in texts}
        lists = {listed: tuple(tokens[text] for text in listed) for listed in dict.fromkeys(choices)}
        return [lists[listed] for listed in choices]

    def packed_batches(
        self,
        prompts: Sequence[tuple[int, ...]],
        responses: Sequence[NDArray[np.int64]],
        allowed: Sequence[Allowed] | None = None,
    ) -> Iterator[PackedBatch]:
        """The pairs of prompts and responses, divided into batches for one forward pass each.

        Args:
            prompts: token ids of each prompt.
            responses: token ids of each response, at least one token each.
            allowed: for each restricted response, the tokens that each of its tokens was drawn from.
        """
        return self.reader.packed_batches(prompts, responses, self.token_budget, allowed)

    def score(self, packed: PackedBatch, temperature: float) -> SequenceScores:
        """Log-probabilities and entropies of the responses, differentiable; one forward pass.

        Args:
            packed: prompts and responses.
            temperature: the temperature the responses were sampled with, above 0.
        """
        return self.reader.score(packed, temperature)

    def pad(self, sequences: Sequence[tuple[int, ...]]) -> tuple[Tensor, Tensor, Tensor]:
        """Token ids, mask and positions of sequences padded on the left, each [sequences, longest]."""
        width = max(len(sequence) for sequence in sequences)
        ids = np.full((len(sequences), width), self._pad, dtype=np.int64)
        mask = np.zeros((len(sequences), width), dtype=np.int64)
        for row, sequence in enumerate(sequences):
            ids[row, width - len(sequence) :] = sequence
            mask[row, width - len(sequence) :] = 1
        tokens, attention = (torch.from_numpy(part).to(self.compute.device) for part in (ids, mask))
        return tokens, attention, (attention.cumsum(dim=1) - 1).clamp(min=0)


class _Completions:
    """The stream of a policy, made from that of its reader."""

    def __init__(self, policy: TransformersPolicy, drawn: DrawnStream) -> None:
        self._policy, self._drawn = policy, drawn

    def add(self, items: Sequence[Request[tuple[str, ...]]]) -> list[int]:
        requests: list[Request[Choices]] = []
        for request in items:
            choices = None
            if request.choices is not None:
                [choices] = self._policy.encode_choices([request.choices], len(request.uniforms))
            requests.append(Request(request.prompt, request.uniforms, choices))
        return self._drawn.add(requests)

    def advance(self) -> list[tuple[int, Completion]]:
        ended = self._drawn.advance()
        completions = self._policy.completions([drawn for _, drawn in ended])
        return [(number, each) for (number, _), each in zip(ended, completions, strict=True)]


def _recompute_layers(model: Any) -> None:
    """Let the layers compute their activations again in the backward pass."""
    options = {"use_reentrant": False}
    if hasattr(model, "activation_checkpointing_enable"):
        model.activation_checkpointing_enable(activation_checkpointing_kwargs=options)
    else:
        model.gradient_checkpointing_enable(gradient_checkpointing_kwargs=options)


def _without_dropout(model: nn.Module) -> None:
    for module in model.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
        if isinstance(getattr(module, "attention_dropout", None), float):
            module.attention_dropout = 0.0  # pyright: ignore[reportArgumentType]
