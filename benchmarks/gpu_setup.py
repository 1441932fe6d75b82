"""What the sections of gpu.py share: the device and its clock, models made on the spot, and games."""

from __future__ import annotations

import gc
import os
import platform
import subprocess
import time
from collections.abc import Callable, Sequence
from statistics import median
from typing import Any

import torch
import transformers
from scaling import CARDS, Card
from transformers import AutoModelForCausalLM, PreTrainedTokenizerFast

from hgpo.envs import AlfworldSuite, HouseholdSuite, TaskSuite
from hgpo.errors import SettingError
from hgpo.policies.tiny import word_tokenizer
from hgpo.policies.transformers import TransformersPolicy
from hgpo.rollouts.prompts import ResponseFormat, Turn

MAX_COMMANDS, MAX_STEPS = 60, 100
"""The highest numbers of a command and of a step that the tokenizer has tokens for."""


def describe(device: torch.device) -> dict[str, Any]:
    """The card, its driver, and the software."""
    about: dict[str, Any] = {
        "card": platform.processor() or platform.machine(),
        "torch": torch.__version__,
        "transformers": transformers.__version__,
        "python": platform.python_version(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
    }
    if device.type == "cuda":
        properties = torch.cuda.get_device_properties(device)
        about |= {
            "card": properties.name,
            "memory_gib": properties.total_memory / 2**30,
            "driver": _driver(),
            "cuda": torch.version.cuda,
        }
    return about


def _driver() -> str:
    """The driver's version, as nvidia-smi tells it."""
    try:
        asked = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]
        return subprocess.run(asked, capture_output=True, text=True, timeout=20).stdout.split("\n")[0].strip()
    except (OSError, subprocess.SubprocessError):
        return "unknown"


def card_of(device: torch.device) -> Card | None:
    """The limits of the card, where scaling.py knows it."""
    if device.type != "cuda":
        return None
    name = torch.cuda.get_device_name(device).lower()
    return next((card for known, card in CARDS.items() if known in name), None)


def seconds(device: torch.device, call: Callable[[], Any]) -> float:
    """How long a call takes, with all that it leaves the device to do."""
    finish(device)
    started = time.perf_counter()
    call()
    finish(device)
    return time.perf_counter() - started


def median_seconds(device: torch.device, call: Callable[[], Any], repeats: int) -> float:
    """The median of some calls, after one that is not counted."""
    call()
    return median(seconds(device, call) for _ in range(repeats))


def finish(device: torch.device) -> None:
    """Wait until the device has done all it was given."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def peak_gib(device: torch.device) -> float | None:
    """GiB that tensors took at most since the last call; None of a device that does not count them."""
    if device.type != "cuda":
        return None
    peak = torch.cuda.max_memory_allocated(device)
    torch.cuda.reset_peak_memory_stats(device)
    return peak / 2**30


def release() -> None:
    """Give back what is not held any more."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()


def make_model(config: Any, device: torch.device, dtype: torch.dtype, seed: int = 0) -> Any:
    """A causal LM with random weights, made where it is to be."""
    torch.manual_seed(seed)
    with torch.device(device):
        return AutoModelForCausalLM.from_config(config, dtype=dtype)


def make_tokenizer(suite: TaskSuite, response_format: ResponseFormat) -> PreTrainedTokenizerFast:
    """One token a word, for all that the games and the prompts may say."""
    turns = [Turn("", (("", ""),), "", (), step) for step in range(1, MAX_STEPS)]
    return word_tokenizer([*map(response_format.prompt, turns), *suite.texts()], MAX_COMMANDS)


def log_probabilities(
    policy: TransformersPolicy, prompts: Sequence[tuple[int, ...]], responses: Sequence[Any]
) -> list[torch.Tensor]:
    """What a policy says of each response, token by token, float64 on the CPU."""
    found: dict[int, torch.Tensor] = {}
    with torch.no_grad():
        for reading in policy.packed_batches(prompts, responses):
            scores = policy.score(reading, 1.0)
            for row, member in enumerate(reading.members.tolist()):
                found[member] = scores.logprobs[row, scores.mask[row]].double().cpu()
    return [found[member] for member in range(len(prompts))]


def share_read(
    policy: TransformersPolicy, prompts: Sequence[tuple[int, ...]], responses: Sequence[Any]
) -> float:
    """The share of the prompts' and responses' tokens that is read where shared beginnings are read once."""
    read = sum(packed.read for packed in policy.packed_batches(prompts, responses))
    return read / sum(len(p) + len(r) - 1 for p, r in zip(prompts, responses, strict=True))


def find_games(folder: str | None, max_steps: int | None = None) -> tuple[TaskSuite, str]:
    """ALFWorld's official games where they are at hand, else household games; and what they are called.

    Args:
        folder: of ALFWorld's games; None looks where they are by default.
        max_steps: of an episode; None takes the games' own.

    Raises:
        SettingError: if the folder is given and has no games.
    """
    limit: dict[str, Any] = {} if max_steps is None else {"max_steps": max_steps}
    alfworld = AlfworldSuite(data=folder, **limit)
    try:
        alfworld.tasks("train", 1)
    except SettingError:
        if folder is not None:
            raise
        return HouseholdSuite(**limit), "household games, as ALFWorld's are not at hand"
    return alfworld, "ALFWorld's official games"
