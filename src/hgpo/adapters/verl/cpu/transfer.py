"""Sends weights from a trainer to servers in other processes through Ray: slow, but always available."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from functools import cached_property
from typing import Any

import ray
from torch import Tensor
from verl.checkpoint_engine.base import CheckpointEngine, CheckpointEngineRegistry

from hgpo.adapters.verl.cpu import TRANSFER


class Mailbox:
    """Holds the latest weights."""

    def __init__(self) -> None:
        self.held: tuple[int | None, dict[str, Tensor]] | None = None

    def put(self, version: int | None, weights: dict[str, Tensor]) -> None:
        """Replace the weights."""
        self.held = version, weights

    def get(self, version: int | None) -> dict[str, Tensor] | None:
        """The weights of this version; None if they have not arrived yet."""
        return self.held[1] if self.held is not None and self.held[0] == version else None


@CheckpointEngineRegistry.register(TRANSFER)  # pyright: ignore[reportAttributeAccessIssue]
class ThroughRay(CheckpointEngine):
    """Sends and receives through a mailbox that all processes of the job find by its name."""

    def __init__(self, bucket_size: int, is_master: bool = False) -> None:
        del bucket_size
        self.is_master = is_master

    @cached_property
    def _mailbox(self) -> Any:
        actor: Any = ray.remote(Mailbox)
        return actor.options(name="hgpo_weights", get_if_exists=True, num_cpus=0).remote()

    def prepare(self) -> dict[str, Any]:
        """No information is needed."""
        return {}

    @classmethod
    def build_topology(
        cls, actor_wg_world_size: int, rollout_world_size: int, metadata: list[dict]
    ) -> tuple[dict[str, list[Any]], dict[str, list[Any]]]:
        """No topology is needed: every process finds the mailbox."""
        del actor_wg_world_size, rollout_world_size, metadata
        return {}, {}

    def init_process_group(self, **kwargs: Any) -> None:
        """None."""
        del kwargs

    def finalize(self) -> None:
        """Nothing has to be freed."""

    async def send_weights(
        self, weights: Iterator[tuple[str, Tensor]], global_steps: int | None = None
    ) -> None:
        """Gather the weights on all ranks; the first rank puts them into the mailbox."""
        gathered = {name: tensor.detach().cpu().clone() for name, tensor in weights}
        if self.is_master:
            await self._mailbox.put.remote(global_steps, gathered)

    async def receive_weights(self, global_steps: int | None = None) -> AsyncIterator[tuple[str, Tensor]]:  # pyright: ignore[reportIncompatibleMethodOverride]
        """The weights of this version, as soon as they have arrived."""
        while (weights := await self._mailbox.get.remote(global_steps)) is None:
            await asyncio.sleep(0.1)
        for item in weights.items():
            yield item
