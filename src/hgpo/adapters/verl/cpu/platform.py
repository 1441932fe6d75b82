"""A CPU as a platform of verl: it accepts all calls for an accelerator, most of which have no effect."""

from __future__ import annotations

import contextlib
from functools import cache
from types import ModuleType
from typing import Any

import torch
from typing_extensions import override
from verl.plugin.platform.platform_base import PlatformBase


@cache
def _device_module() -> ModuleType:
    """`torch.cpu` with those functions added that verl calls and torch.cpu lacks."""
    module = ModuleType("cpu_as_accelerator")
    vars(module).update({name: getattr(torch.cpu, name) for name in dir(torch.cpu) if name[0] != "_"})
    for name in ("empty_cache", "ipc_collect", "set_per_process_memory_fraction", "reset_peak_memory_stats"):
        setattr(module, name, lambda *_: None)
    for name in ("memory_allocated", "memory_reserved", "max_memory_allocated", "max_memory_reserved"):
        setattr(module, name, lambda *_: 0)
    vars(module).update(
        set_device=lambda _: None,
        is_available=lambda: True,
        device_count=lambda: 1,
        get_device_name=lambda *_: "CPU",
        mem_get_info=lambda *_: (0, 0),
        get_rng_state=lambda *_: torch.get_rng_state(),
        set_rng_state=lambda state, *_: torch.set_rng_state(state),
    )
    return module


class CPU(PlatformBase):
    """The platform; Ray is told of GPUs that do not exist, so that verl can count and place them."""

    @property
    def device_name(self) -> str:
        """The device's name in torch."""
        return "cpu"

    @property
    def vendor_name(self) -> str:
        """A placeholder that nothing depends on."""
        return "cpu"

    @property
    def device_module(self) -> ModuleType:
        """The module that verl asks about memory and streams."""
        return _device_module()

    def is_available(self) -> bool:
        """It is."""
        return True

    def current_device(self) -> Any:
        """The device in the form that FSDP accepts."""
        return torch.device("cpu")

    def device_count(self) -> int:
        """One."""
        return 1

    def set_device(self, device_index: int) -> None:
        """Do nothing, because there is only one device."""

    def synchronize(self, device_index: int | None = None) -> None:
        """Do nothing, because every call has finished when it returns."""

    def manual_seed(self, seed: int) -> None:
        """Seed torch."""
        torch.manual_seed(seed)

    def manual_seed_all(self, seed: int) -> None:
        """Seed torch."""
        torch.manual_seed(seed)

    @override
    def set_allocator_settings(self, settings: str) -> None:
        pass

    @override
    def empty_cache(self) -> None:
        pass

    def get_device_capability(self, device_index: int = 0) -> tuple[int | None, int | None]:
        """None."""
        return None, None

    def communication_backend_name(self) -> str:
        """Gloo."""
        return "gloo"

    def visible_devices_envvar(self) -> str:
        """The environment variable with the GPUs that Ray is told about."""
        return "CUDA_VISIBLE_DEVICES"

    # The base class declares the type of the value that the context manager yields.
    @override
    @contextlib.contextmanager
    def nvtx_range(self, msg: str) -> Any:  # pyright: ignore[reportIncompatibleMethodOverride]
        yield

    @override
    def profiler_start(self) -> None:
        pass

    @override
    def profiler_stop(self) -> None:
        pass

    def ray_resource_name(self) -> str:
        """GPU, because verl's resource pools count no other resource."""
        return "GPU"

    def ray_noset_envvars(self) -> list[str]:
        """The environment variables for the GPUs that Ray is told about."""
        return ["RAY_EXPERIMENTAL_NOSET_CUDA_VISIBLE_DEVICES"]

    def is_ipc_supported(self) -> bool:
        """No."""
        return False

    def cudart(self) -> Any:
        """None."""
        return None
