"""Registers the platform and the server in verl; every process imports it through VERL_USE_EXTERNAL_MODULES.

It is imported before verl's own modules look for an accelerator. The variables are in `dry_run.ENVIRONMENT`.
"""

from __future__ import annotations

from functools import partial
from typing import Any

from torch.distributed.fsdp import CPUOffloadPolicy
from transformers import AutoModelForTokenClassification
from verl.plugin.platform.platform_manager import PlatformRegistry
from verl.utils import distributed, fsdp_utils, model
from verl.workers.rollout import base, replica

from hgpo.adapters.verl.cpu import ROLLOUT
from hgpo.adapters.verl.cpu.platform import CPU


def _replica() -> Any:
    from hgpo.adapters.verl.cpu.server import Replica

    return Replica


def _value_model(local_path: str, torch_dtype: Any, model_config: Any, trust_remote_code: bool) -> Any:
    return AutoModelForTokenClassification.from_pretrained(
        local_path, dtype=torch_dtype, config=model_config, trust_remote_code=trust_remote_code
    )


PlatformRegistry.register(platform="cpu")(CPU)
# verl names a group's backend for the CPU and for the device; torch refuses two entries for one device.
distributed.initialize_global_process_group_ray = partial(
    distributed.initialize_global_process_group_ray, backend="gloo"
)
# Memory can be pinned only if there is an accelerator to copy it to.
setattr(fsdp_utils, "CPUOffloadPolicy", lambda pin_memory: CPUOffloadPolicy(pin_memory=False))  # noqa: B010
# verl requests a kernel that only GPUs have.
model.load_valuehead_model = _value_model
base._ROLLOUT_REGISTRY[(ROLLOUT, "async")] = "hgpo.adapters.verl.cpu.server.WeightSender"
replica.RolloutReplicaRegistry.register(ROLLOUT, _replica)
