"""The rollout engine vLLM, which samples with the weights of the trained policy."""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from typing_extensions import override

from hgpo.policies.base import Completion, CompletionStream, Policy
from hgpo.policies.lora import whole_weights
from hgpo.policies.streams import Request
from hgpo.policies.transformers import TransformersPolicy


class VllmEngine(Policy):
    """Samples with vLLM from the weights that the policy had at the last `synchronize`."""

    def __init__(
        self, policy: TransformersPolicy, folder: Path, *, max_tokens: int, memory_share: float
    ) -> None:
        """Start vLLM; it has no weights before the first call of `synchronize`.

        Args:
            policy: provides the weights and the tokenizer.
            folder: a folder to write to, from which vLLM reads the model's configuration and tokenizer.
            max_tokens: largest total length of a prompt and its response.
            memory_share: fraction of the GPU's memory that vLLM may use; the update needs the rest.
        """
        # In the same process vLLM can share the weights; another process would need a copy.
        os.environ["VLLM_ENABLE_V1_MULTIPROCESSING"] = "0"
        os.environ.setdefault("VLLM_LOGGING_LEVEL", "ERROR")
        from vllm import LLM  # pyright: ignore[reportMissingImports]

        policy.save_shape(folder)
        self._policy = policy
        self._llm = LLM(
            model=str(folder),
            dtype=str(policy.compute.precision).removeprefix("torch."),  # pyright: ignore[reportArgumentType]
            load_format="dummy",
            max_model_len=max_tokens,
            gpu_memory_utilization=memory_share,
            # Log-probabilities of the distribution that was sampled from, including temperature.
            logprobs_mode="processed_logprobs",
            enable_prefix_caching=True,
            generation_config="vllm",
        )

    def synchronize(self) -> None:
        """Copy the policy's weights to vLLM and clear its prefix cache, which belongs to the old weights."""
        weights = list(whole_weights(self._policy.model))
        self._llm.collective_rpc("reload_weights", kwargs={"weights_iterator": weights})
        self._llm.reset_prefix_cache()

    @override
    def encode(self, texts: Sequence[str]) -> list[tuple[int, ...]]:
        return self._policy.encode(texts)

    @override
    def generate(
        self, prompts: Sequence[tuple[int, ...]], uniforms: np.ndarray, temperature: float
    ) -> list[Completion]:
        """One completion per prompt (see `Policy.generate`).

        vLLM draws each row with a separate generator, seeded by the row's first number. A row therefore does
        not depend on the other rows, but its tokens differ from those that transformers would draw.
        """
        asked = [{"prompt_token_ids": list(prompt)} for prompt in prompts]
        settings = [self.sampling(row, temperature) for row in uniforms]
        return self.completions(self._llm.generate(asked, settings, use_tqdm=False))  # pyright: ignore

    @contextmanager
    def stream(self, temperature: float) -> Iterator[CompletionStream]:
        """See `StreamingPolicy.stream`; vLLM itself lets prompts join at any step."""
        stream = _VllmStream(self, self._llm.llm_engine, temperature)
        try:
            yield stream
        finally:
            stream.abandon()

    def sampling(self, uniforms: NDArray[np.float64], temperature: float) -> Any:
        """vLLM's settings for one response."""
        from vllm import SamplingParams  # pyright: ignore[reportMissingImports]

        return SamplingParams(
            temperature=temperature,
            max_tokens=len(uniforms),
            seed=int(uniforms[0] * 2**31),
            logprobs=0,
            # The policy knows all end tokens; the model's folder may name only some of them.
            ignore_eos=True,
            stop_token_ids=list(self._policy.chat.ends),
            detokenize=False,
        )

    def completions(self, finished: Sequence[Any]) -> list[Completion]:
        """vLLM's finished requests as completions."""
        outputs = [request.outputs[0] for request in finished]
        tokens = [np.array(output.token_ids, np.int64) for output in outputs]
        logprobs = [
            np.array(
                [place[token].logprob for place, token in zip(output.logprobs, drawn, strict=True)],
                np.float32,
            )
            for output, drawn in zip(outputs, tokens, strict=True)
        ]
        answers = self._policy.chat.answers(tokens)
        return [Completion(t, p, answer) for t, p, answer in zip(tokens, logprobs, answers, strict=True)]


class _VllmStream:
    """The stream of vLLM's own scheduler."""

    def __init__(self, engine: VllmEngine, scheduler: Any, temperature: float) -> None:
        self._engine, self._scheduler, self._temperature = engine, scheduler, temperature
        self._numbers = itertools.count()
        self._live: set[str] = set()

    def add(self, items: Sequence[Request[tuple[str, ...]]]) -> list[int]:
        numbers = [next(self._numbers) for _ in items]
        for number, request in zip(numbers, items, strict=True):
            settings = self._engine.sampling(request.uniforms, self._temperature)
            self._scheduler.add_request(str(number), {"prompt_token_ids": list(request.prompt)}, settings)
            self._live.add(str(number))
        return numbers

    def advance(self) -> list[tuple[int, Completion]]:
        finished = [request for request in self._scheduler.step() if request.finished] if self._live else []
        self._live.difference_update(request.request_id for request in finished)
        completions = self._engine.completions(finished)
        return [(int(request.request_id), each) for request, each in zip(finished, completions, strict=True)]

    def abandon(self) -> None:
        """End the responses that are still being written."""
        if self._live:
            self._scheduler.abort_request(sorted(self._live))
