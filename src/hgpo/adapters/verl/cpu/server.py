"""A server for generation on a CPU, with weights from verl's trainer."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Any

import numpy as np
import ray
import torch
from transformers import AutoModelForCausalLM
from typing_extensions import override
from verl.workers.rollout.base import BaseRollout
from verl.workers.rollout.replica import RolloutReplica, TokenOutput
from verl.workers.rollout.utils import ensure_async_iterator

from hgpo.adapters.verl.cpu import ROLLOUT
from hgpo.policies.transformers import TransformersPolicy


@dataclass
class _Request:
    prompt: tuple[int, ...]
    uniforms: np.ndarray
    temperature: float
    answer: asyncio.Future[TokenOutput]


class Server:
    """Answers all requests that have arrived since the last answer together, in one batch."""

    def __init__(self, path: str, seed: int) -> None:
        """Load the model.

        Args:
            path: a folder in transformers' format.
            seed: seed of sampling.
        """
        from transformers import AutoTokenizer

        torch.set_num_threads(1)
        model = AutoModelForCausalLM.from_pretrained(path, dtype=torch.float32)
        self.policy = TransformersPolicy(model, AutoTokenizer.from_pretrained(path))
        self.rng = np.random.default_rng(seed)
        self.version = 0
        self.waiting: list[_Request] = []
        self.running = asyncio.Event()
        self.running.set()
        self.worker: asyncio.Task[None] | None = None

    async def generate(
        self,
        request_id: str,
        prompt_ids: list[int],
        sampling_params: dict[str, Any],
        image_data: Any = None,
        video_data: Any = None,
    ) -> TokenOutput:
        """One answer; the argument names are those that verl uses."""
        del request_id, image_data, video_data
        if self.worker is None:
            self.worker = asyncio.create_task(self._answer())
        uniforms = self.rng.random(sampling_params["max_tokens"])
        answer: asyncio.Future[TokenOutput] = asyncio.get_running_loop().create_future()
        self.waiting.append(_Request(tuple(prompt_ids), uniforms, sampling_params["temperature"], answer))
        return await answer

    async def _answer(self) -> None:
        while True:
            await self.running.wait()
            batch, self.waiting = self.waiting, []
            for temperature in {request.temperature for request in batch}:
                self._generate([request for request in batch if request.temperature == temperature])
            await asyncio.sleep(0.002)

    def _generate(self, batch: list[_Request]) -> None:
        completions = self.policy.generate(
            [request.prompt for request in batch],
            np.stack([request.uniforms for request in batch]),
            batch[0].temperature,
        )
        for request, completion in zip(batch, completions, strict=True):
            request.answer.set_result(
                TokenOutput(
                    token_ids=completion.tokens.tolist(),
                    log_probs=completion.logprobs.tolist(),
                    stop_reason="completed",
                    extra_fields={"global_steps": self.version},
                )
            )

    async def load_weights(self, weights: dict[str, torch.Tensor], version: int | None) -> None:
        """Load weights by their names. All must be given; of tied weights only one."""
        model = self.policy.model
        missing, unexpected = model.load_state_dict(weights, strict=False)
        missing = set(missing) - set(model.all_tied_weights_keys)
        if missing or unexpected:
            raise ValueError(
                f"these weights were not received, or do not belong to the model: {[*missing, *unexpected]}"
            )
        self.version = self.version if version is None else version

    async def sleep(self) -> None:
        """Do nothing: memory is large enough for this model and the trained one."""

    async def wake_up(self) -> None:
        """Do nothing: the model is never moved out of memory."""

    async def clear_kv_cache(self) -> None:
        """Do nothing: no cache outlives an answer."""

    async def release_kv_cache(self) -> None:
        """Do nothing: no cache outlives an answer."""

    async def resume_kv_cache(self) -> None:
        """Do nothing: each answer makes its own cache."""

    async def abort_all_requests(self, reject_request: bool = False) -> None:
        """Stop answering until generation is resumed; an answer is never returned in part."""
        del reject_request
        self.running.clear()

    async def resume_generation(self) -> None:
        """Resume answering."""
        self.running.set()


class Replica(RolloutReplica):
    """verl's handle of a server."""

    async def launch_servers(self) -> None:
        """Start the server."""
        actor: Any = ray.remote(Server)
        self._server_address = f"{ROLLOUT}_{self.replica_rank}"
        server = actor.options(
            name=self._server_address, num_cpus=0, max_concurrency=self.max_concurrency
        ).remote(self.model_config.path, self.config.seed + self.replica_rank)
        await server.sleep.remote()
        self._server_handle = server
        self.servers = [server]


class WeightSender(BaseRollout):
    """Runs in the training process and sends its weights to the server."""

    def __init__(
        self, config: Any, model_config: Any, device_mesh: Any, replica_rank: int | None = None
    ) -> None:
        super().__init__(config, model_config, device_mesh)
        self.replica_rank = torch.distributed.get_rank() if replica_rank is None else replica_rank
        self.is_leader_rank = True

    @override
    async def resume(self, tags: list[str]) -> None:
        pass

    @override
    async def release(self) -> None:
        pass

    async def update_weights(
        self,
        weights: Any,
        wire_format: str = "named_tensors",
        global_steps: int | None = None,
        **kwargs: Any,
    ) -> None:
        """Gather the weights on all ranks, and send them to this rank's server."""
        if wire_format != "named_tensors" or kwargs.get("peft_config") is not None:
            raise ValueError("this server needs merged weights: set actor_rollout_ref.model.lora.merge=True")
        gathered = {
            name: tensor.detach().cpu().clone() async for name, tensor in ensure_async_iterator(weights)
        }
        server: Any = ray.get_actor(f"{ROLLOUT}_{self.replica_rank}")
        await server.load_weights.remote(gathered, global_steps)
