"""Training of one policy by several processes, each on a separate GPU; or by one process.

Every process has the same weights. Rollouts are divided among the processes and gathered, and gradients are
summed, so that all processes make the same decisions. Only the first process writes files and messages.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

if TYPE_CHECKING:
    import torch
    from torch import Tensor

T = TypeVar("T")


class ProcessGroup(Protocol):
    """The processes of a run, as seen from one of them."""

    @property
    def size(self) -> int:
        """Number of processes."""
        ...

    @property
    def rank(self) -> int:
        """Index of this process, counted from 0."""
        ...

    @property
    def device(self) -> torch.device | None:
        """The device of this process; None if the settings determine it."""
        ...

    def gather(self, items: list[T]) -> list[list[T]]:
        """The lists of all processes, ordered by rank."""
        ...

    def all_reduce(self, tensors: Sequence[Tensor]) -> None:
        """Replace each tensor by its sum over all processes."""
        ...

    def broadcast(self, value: T) -> T:
        """The first process's value."""
        ...


class SingleProcess:
    """One process."""

    size, rank, device = 1, 0, None

    def gather(self, items: list[T]) -> list[list[T]]:
        """Return its own list only."""
        return [items]

    def all_reduce(self, tensors: Sequence[Tensor]) -> None:
        """Do nothing, because the tensors are already the sums."""

    def broadcast(self, value: T) -> T:
        """Return the value."""
        return value


class Accelerated:
    """The processes that `accelerate launch`, or torchrun, has started."""

    def __init__(self) -> None:
        import torch
        from accelerate import PartialState

        self._state = PartialState(cpu=not torch.cuda.is_available())
        self.size, self.rank = self._state.num_processes, self._state.process_index
        self.device: torch.device | None = self._state.device

    def gather(self, items: list[T]) -> list[list[T]]:
        """The lists of all processes, ordered by rank; items are pickled."""
        from accelerate.utils import gather_object

        # Gathered lists are concatenated, so each list is wrapped to keep it separate.
        return gather_object([items])

    def all_reduce(self, tensors: Sequence[Tensor]) -> None:
        """Replace each tensor by its sum over all processes, added up on `device`."""
        from accelerate.utils import reduce

        for tensor in tensors:
            total: Any = reduce(tensor.to(self.device), "sum")
            tensor.copy_(total)

    def broadcast(self, value: T) -> T:
        """The first process's value; it is pickled."""
        from accelerate.utils import broadcast_object_list

        return broadcast_object_list([value])[0]


def process_group() -> ProcessGroup:
    """The process group that this process belongs to."""
    return Accelerated() if int(os.environ.get("WORLD_SIZE", "1")) > 1 else SingleProcess()


def shard(items: Iterable[T], processes: ProcessGroup) -> Iterator[T]:
    """This process's part of the items: every n-th item of n processes."""
    return (item for number, item in enumerate(items) if number % processes.size == processes.rank)


def all_reduce_gradients(parameters: Sequence[Tensor], processes: ProcessGroup) -> None:
    """Replace each gradient by its sum over the processes, even if this process has none."""
    if processes.size == 1:
        return
    for parameter in parameters:
        if parameter.grad is None:
            parameter.grad = parameter.new_zeros(parameter.shape)
    processes.all_reduce([parameter.grad for parameter in parameters if parameter.grad is not None])
