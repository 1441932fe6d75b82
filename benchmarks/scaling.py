"""What an iteration of the published settings should cost on 1 to 8 GPUs, on paper.

    python benchmarks/scaling.py [--early] [--card h100]

Each phase takes the time that its arithmetic or its memory traffic needs at the card's limits, times what
kernels reach of them. docs/scaling.md derives the equations and says which inputs were measured. Waiting
between phases, copies of weights and stragglers come on top: these are the times to be compared with, not
the times to be expected.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from dataclasses import dataclass, replace

COMPUTE_SHARE = 0.4
"""Of the card's arithmetic that reading and training reach: what well-tuned training code reports."""
BANDWIDTH_SHARE = 0.6
"""Of the card's memory bandwidth that decoding reaches."""
CALL_SECONDS = 0.003
"""Of a decoding step that is neither: launching kernels, sampling."""
ENVIRONMENT_STEPS = 11_553
"""ALFWorld steps a second on one core, benchmarks/environments.py."""
ESTIMATOR_ROWS = 1_000_000 / 0.34
"""Rows a second of HGPO, benchmarks/estimators.py."""
STATE_BYTES = 16
"""A parameter in training: weight and gradient in bfloat16, weight and Adam's two moments in float32."""
TOKEN_BUDGET = 16_384
"""Tokens of one forward pass of the update."""
MEMORY_SHARE = 0.9
"""Of the card's memory that may be used."""


@dataclass(frozen=True)
class Card:
    """A GPU's limits, from its data sheet."""

    flops: float
    """bfloat16, dense, a second."""
    bandwidth: float
    """Bytes a second."""
    memory: float
    """Bytes."""


@dataclass(frozen=True)
class Model:
    """A causal LM, from its configuration file."""

    parameters: float
    body: float
    """Parameters but for the embedding: what a token is multiplied with."""
    layers: int
    hidden: int
    key_value: int
    """Key-value heads times their width."""
    vocabulary: int

    def forward_flops(self, context: float) -> float:
        """Of one token that attends to half of `context` tokens on average, without its logits."""
        return 2 * self.body + 4 * self.layers * self.hidden * context / 2

    @property
    def logit_flops(self) -> float:
        """Of one token's logits."""
        return 2 * self.hidden * self.vocabulary

    @property
    def cache_bytes(self) -> float:
        """Keys and values of one token, bfloat16."""
        return 2 * self.layers * self.key_value * 2


@dataclass(frozen=True)
class Preset:
    """Published settings, and what their episodes are like."""

    model: Model
    max_steps: int
    won_steps: float
    """Steps of an episode that is won."""
    prompt_tokens: float
    success: float = 0.9
    response_tokens: float = 100
    longest_response: float = 250
    """Of a step's responses: all wait for it."""
    read_share: float = 0.86
    """Tokens that are read, of all, if shared beginnings are read once."""
    tasks: int = 16
    group_size: int = 8

    @property
    def trajectories(self) -> int:
        """Of an iteration."""
        return self.tasks * self.group_size

    @property
    def rows(self) -> float:
        """Steps of an iteration: won episodes end early."""
        steps = self.success * self.won_steps + (1 - self.success) * self.max_steps
        return self.trajectories * steps


QWEN_1_5B = Model(1.54e9, 1.31e9, layers=28, hidden=1536, key_value=256, vocabulary=151_936)
QWEN_7B = Model(7.62e9, 6.53e9, layers=28, hidden=3584, key_value=512, vocabulary=152_064)
CARDS = {
    "h100": Card(flops=989e12, bandwidth=3.35e12, memory=80e9),
    "h200": Card(flops=989e12, bandwidth=4.8e12, memory=141e9),
}
PRESETS = {
    "ALFWorld, 1.5B, K = 2": Preset(QWEN_1_5B, max_steps=50, won_steps=10, prompt_tokens=508),
    "ALFWorld, 1.5B, K = 4": Preset(QWEN_1_5B, max_steps=50, won_steps=10, prompt_tokens=597),
    "ALFWorld, 7B, K = 2": Preset(QWEN_7B, max_steps=50, won_steps=10, prompt_tokens=508),
    **{
        f"WebShop, {size}, K = 2": Preset(
            model, max_steps=15, won_steps=7, prompt_tokens=1500, success=0.7, read_share=0.94
        )
        for size, model in (("1.5B", QWEN_1_5B), ("7B", QWEN_7B))
    },
}


def phases(preset: Preset, card: Card, gpus: int) -> dict[str, float]:
    """Seconds of each phase of an iteration."""
    model, rows = preset.model, preset.rows
    rate = COMPUTE_SHARE * card.flops * gpus
    context = preset.prompt_tokens + preset.response_tokens
    read = rows * preset.prompt_tokens * preset.read_share
    learned = rows * (preset.prompt_tokens * preset.read_share + preset.response_tokens)
    # Every step of the longest episode waits for its longest response. Live episodes: rows over steps.
    decoding_steps = preset.max_steps * preset.longest_response
    live = rows / preset.max_steps * preset.response_tokens / preset.longest_response / gpus
    forward = learned * model.forward_flops(context)
    logits = rows * preset.response_tokens * model.logit_flops
    return {
        "environments": rows / ENVIRONMENT_STEPS,
        "reading": read * model.forward_flops(context) / rate,
        "decoding": decoding_steps * decoding_step(model, card, live, context),
        "advantages": rows / ESTIMATOR_ROWS,
        "reference": (forward + logits) / rate,
        "update": 3 * (forward + logits) / rate,
    }


def decoding_step(model: Model, card: Card, live: float, context: float) -> float:
    """Seconds in which each of `live` responses on a GPU gets one more token, `context` tokens behind it."""
    traffic = 2 * model.parameters + live * context * model.cache_bytes
    arithmetic = live * (model.forward_flops(2 * context) + model.logit_flops)
    return (
        max(traffic / (BANDWIDTH_SHARE * card.bandwidth), arithmetic / (COMPUTE_SHARE * card.flops))
        + CALL_SECONDS
    )


def memory(preset: Preset, gpus: int) -> dict[str, float]:
    """Bytes on each GPU: the state and the reference are shared out, the rest is each one's own."""
    model = preset.model
    context = preset.prompt_tokens + preset.longest_response
    # Checkpointed layers keep their input; one at a time is computed again, about 34 bytes a channel. Logits
    # and their gradient, float32, are there for responses alone.
    responses = TOKEN_BUDGET * preset.response_tokens / (preset.prompt_tokens + preset.response_tokens)
    return {
        "state": STATE_BYTES * model.parameters / gpus,
        "reference": 2 * model.parameters / gpus,
        "engine's weights": 2 * model.parameters,
        "engine's cache": preset.trajectories / gpus * context * model.cache_bytes,
        "activations": TOKEN_BUDGET * model.hidden * (2 * model.layers + 34),
        "logits": responses * model.vocabulary * 8,
    }


def table(card: Card, *, early: bool) -> Iterator[str]:
    """One line for each preset and number of GPUs."""
    shown = ("reading", "decoding", "reference", "update")
    yield f"| preset | GPUs | {' | '.join(shown)} | all, seconds | longest | GB per GPU |"
    yield "|---|---:|---:|---:|---:|---:|---:|---|---:|"
    for name, preset in PRESETS.items():
        episodes = replace(preset, success=0.0) if early else preset
        for gpus in (1, 2, 4, 8):
            needed = sum(memory(preset, gpus).values())
            size = f"{needed / 1e9:.0f}"
            if needed > MEMORY_SHARE * card.memory:
                yield f"| {name} | {gpus} | | | | | | does not fit | {size} |"
                continue
            seconds = phases(episodes, card, gpus)
            cells = " | ".join(f"{seconds[phase]:.1f}" for phase in shown)
            longest = max(seconds, key=lambda phase: seconds[phase])
            yield f"| {name} | {gpus} | {cells} | {sum(seconds.values()):.0f} | {longest} | {size} |"


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--card", choices=CARDS, default="h100")
    parser.add_argument(
        "--early", action="store_true", help="the first iterations, in which every episode is lost"
    )
    arguments = parser.parse_args()
    for line in table(CARDS[arguments.card], early=arguments.early):
        print(line)


if __name__ == "__main__":
    main()
