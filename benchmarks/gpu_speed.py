"""Section 2 of gpu.py: speed and memory at published shapes with random weights, and scaling.py's arithmetic.

A random model never wins and never ends an answer, so that every response has the same length, and advantages
drawn at random take the estimator's place in the update.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import scaling
import torch
from gpu_figures import Figures
from gpu_setup import (
    card_of,
    find_games,
    make_model,
    make_tokenizer,
    median_seconds,
    peak_gib,
    release,
    seconds,
    share_read,
)
from transformers import Qwen2Config

from hgpo.agents import LanguageAgent
from hgpo.envs.base import Task, TaskSuite
from hgpo.estimators import HGPO
from hgpo.policies.compute import Compute
from hgpo.policies.lora import quiet_peft
from hgpo.policies.reference import AdapterReference, Reference
from hgpo.policies.tiny import word_tokenizer
from hgpo.policies.transformers import TransformersPolicy
from hgpo.rollouts.prompts import RESPONSE_FORMATS
from hgpo.rollouts.rollout import rollout, step_table
from hgpo.steps import StepTable
from hgpo.training.batch import UpdateBatch, merge_rows
from hgpo.training.losses import PolicyLoss
from hgpo.training.update import update_policy

LIVE, PROMPT_TOKENS, RESPONSE_TOKENS = 128, 508, 100
"""Live episodes, and the tokens of a row, as in docs/scaling.md."""
MINI_BATCH_ROWS = 256
"""Of the published ALFWorld runs."""
RESPONSE_FORMAT = RESPONSE_FORMATS["think_action"]


@dataclass(frozen=True)
class Subject:
    """A model that is measured."""

    name: str
    shape: dict[str, Any]
    """Of its configuration, as published."""
    paper: scaling.Model
    lora_rank: int = 0
    """0: all weights learn."""

    @property
    def forward_passes(self) -> int:
        """What a token of an update costs, in forward ppo_epochs: the reference's own, the policy's, and the
        backward pass, which costs two, or one where the model's own weights need no gradient.
        """
        return 3 if self.lora_rank else 4


@dataclass(frozen=True)
class Size:
    """How much is measured."""

    subjects: tuple[Subject, ...]
    """The first one plays the iteration."""
    live: int = LIVE
    prompt_tokens: int = PROMPT_TOKENS
    response_tokens: int = RESPONSE_TOKENS
    decoded: int = 32
    repeats: int = 3
    update_rows: int = 128
    tasks: int = 16
    group_size: int = 8
    most_steps: int = 50


def _qwen(**shape: Any) -> dict[str, Any]:
    return {"num_hidden_layers": 28, "max_position_embeddings": 32_768, "rms_norm_eps": 1e-6, **shape}


QWEN_1_5B = Subject(
    "Qwen2.5-1.5B, all weights",
    _qwen(
        vocab_size=151_936,
        hidden_size=1536,
        intermediate_size=8960,
        num_attention_heads=12,
        num_key_value_heads=2,
        tie_word_embeddings=True,
    ),
    scaling.QWEN_1_5B,
)
QWEN_7B = Subject(
    "Qwen2.5-7B, LoRA of rank 64",
    _qwen(
        vocab_size=152_064,
        hidden_size=3584,
        intermediate_size=18_944,
        num_attention_heads=28,
        num_key_value_heads=4,
        tie_word_embeddings=False,
    ),
    scaling.QWEN_7B,
    lora_rank=64,
)
FULL = Size((QWEN_1_5B, QWEN_7B))
_LITTLE = {"vocab_size": 1000, "hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2}
SMALL = Size(
    tuple(
        replace(
            subject,
            name=f"{subject.name}, made small",
            shape={**subject.shape, **_LITTLE, "num_attention_heads": 4, "num_key_value_heads": 2},
        )
        for subject in FULL.subjects
    ),
    live=8,
    prompt_tokens=40,
    response_tokens=6,
    decoded=4,
    repeats=1,
    update_rows=8,
    tasks=2,
    group_size=3,
    most_steps=2,
)


def run(figures: Figures, device: torch.device, *, small: bool, games: str | None) -> None:
    """Each model by itself, then the iteration, with as many steps as the time that is left allows."""
    size, precision = (SMALL if small else FULL), _precision(device)
    speeds: dict[str, _Speeds] = {}
    for subject in size.subjects:
        figures.attempt(subject.name, _measure, figures, device, precision, subject, size, speeds, needs=20)
    subject = size.subjects[0]
    if subject.name not in speeds:
        figures.fail("one iteration", f"the speeds of {subject.name} are not known")
        return
    name = f"one ALFWorld-shaped iteration, {subject.name}"
    figures.attempt(name, _iterate, figures, name, device, precision, speeds[subject.name], size, games)


def _precision(device: torch.device) -> torch.dtype:
    return torch.bfloat16 if device.type == "cuda" else torch.float32


@dataclass(frozen=True)
class _Speeds:
    """Tokens a second of a model."""

    prompt: float
    decoded: float
    update: float


@dataclass(frozen=True)
class _Learner:
    """A policy with all that its update needs."""

    policy: TransformersPolicy
    reference: Reference
    optimizer: torch.optim.Optimizer

    def update(self, batch: UpdateBatch, num_minibatches: int, response_tokens: int) -> None:
        """One update as in training."""
        update_policy(
            self.policy,
            self.reference,
            self.optimizer,
            PolicyLoss(),
            batch,
            ppo_epochs=1,
            num_minibatches=num_minibatches,
            temperature=1.0,
            max_response_tokens=response_tokens,
            max_gradient_norm=1.0,
            rng=np.random.default_rng(0),
        )


def _make_learner(subject: Subject, device: torch.device, precision: torch.dtype, tokenizer: Any) -> _Learner:
    """The model with random weights as the presets train it, layers computed twice."""
    config = Qwen2Config(**subject.shape)
    compute = Compute(device, precision, recompute=True)
    if subject.lora_rank:
        with quiet_peft() as peft:
            settings = peft.LoraConfig(
                task_type="CAUSAL_LM", r=subject.lora_rank, lora_alpha=32, target_modules="all-linear"
            )
            model = peft.get_peft_model(make_model(config, device, precision), settings)
        policy = TransformersPolicy(model, tokenizer, compute)
        with TemporaryDirectory() as folder:
            policy.save(Path(folder))
            reference = AdapterReference(policy, Path(folder))
    else:
        policy = TransformersPolicy(make_model(config, device, torch.float32), tokenizer, compute)
        frozen = make_model(config, device, precision).requires_grad_(False)
        frozen.load_state_dict(policy.model.state_dict())
        reference = TransformersPolicy(frozen, tokenizer, replace(compute, recompute=False))
    learns = [weight for weight in policy.model.parameters() if weight.requires_grad]
    return _Learner(policy, reference, torch.optim.AdamW(learns, lr=1e-6, weight_decay=0.0))


def _measure(
    figures: Figures,
    device: torch.device,
    precision: torch.dtype,
    subject: Subject,
    size: Size,
    speeds: dict[str, _Speeds],
) -> None:
    """PackedBatch, decoding and updating, and what memory they take."""
    card, name = card_of(device), subject.name
    # Its tokens are random numbers, which need no words.
    learner = _make_learner(subject, device, precision, word_tokenizer(["a word"], 1))
    vocabulary = subject.shape["vocab_size"]
    rng = np.random.default_rng(0)
    prompts = _random_rows(rng, vocabulary, size.live, size.prompt_tokens)
    uniforms = rng.random((size.live, size.decoded + 1))
    policy = learner.policy
    # What making the model took at most is not asked.
    peak_gib(device)

    def generate(tokens: int) -> float:
        return median_seconds(
            device, lambda: policy.generate(prompts, uniforms[:, :tokens], 1.0), size.repeats
        )

    reading = generate(1)
    prompt_speed = size.live * size.prompt_tokens / reading
    figures.add(
        f"{name}: prompt tokens",
        prompt_speed,
        "per second",
        paper=card and _paper_reading(subject, card, size),
    )
    decoded_speed = size.live * size.decoded / (generate(size.decoded + 1) - reading)
    paper = card and _paper_decoding(subject, card, size)
    decoded = f"{name}: decoded tokens, {size.live} live episodes"
    figures.add(
        f"{decoded}, in groups of {policy.token_budget:,} tokens", decoded_speed, "per second", paper=paper
    )
    # All decode together where their prompts fit into one budget.
    budget, policy.token_budget = policy.token_budget, 2 * size.live * size.prompt_tokens
    together = size.live * size.decoded / (generate(size.decoded + 1) - reading)
    policy.token_budget = budget
    figures.add(f"{decoded}, all together", together, "per second", paper=paper)
    generating = peak_gib(device)
    if generating is not None:
        figures.add(f"{name}: peak memory of reading and decoding", generating, "GiB")

    def update(rows: int) -> None:
        learner.update(_random_batch(rng, vocabulary, rows, size), 1, size.response_tokens)

    update(max(1, size.update_rows // 8))
    taken = seconds(device, lambda: update(size.update_rows))
    update_speed = size.update_rows * (size.prompt_tokens + size.response_tokens) / taken
    figures.add(
        f"{name}: tokens of an update, reference included",
        update_speed,
        "per second",
        paper=card and _paper_update(subject, card, size),
    )
    updating = peak_gib(device)
    if updating is not None:
        figures.add(f"{name}: peak memory of an update", updating, "GiB", paper=_paper_memory(subject))
    speeds[name] = _Speeds(prompt_speed, decoded_speed, update_speed)


def _random_rows(rng: np.random.Generator, vocabulary: int, rows: int, tokens: int) -> list[tuple[int, ...]]:
    """Rows of random tokens: no two begin alike, so that each is read in full."""
    return [tuple(row) for row in rng.integers(3, vocabulary, (rows, tokens)).tolist()]


def _random_batch(rng: np.random.Generator, vocabulary: int, rows: int, size: Size) -> UpdateBatch:
    advantages = rng.normal(size=rows)
    responses = [np.array(row) for row in _random_rows(rng, vocabulary, rows, size.response_tokens)]
    return UpdateBatch(
        prompts=tuple(_random_rows(rng, vocabulary, rows, size.prompt_tokens)),
        responses=tuple(responses),
        old_logprobs=tuple(np.full(len(row), -np.log(vocabulary)) for row in responses),
        positive=np.maximum(advantages, 0),
        negative=np.maximum(-advantages, 0),
        positive_rows=(advantages > 0).astype(np.int64),
        negative_rows=(advantages < 0).astype(np.int64),
        action=tuple(np.ones(len(row), np.bool_) for row in responses),
        total_tokens=rows * size.response_tokens,
        total_rows=rows,
    )


def _paper_reading(subject: Subject, card: scaling.Card, size: Size) -> float:
    return scaling.COMPUTE_SHARE * card.flops / subject.paper.forward_flops(size.prompt_tokens)


def _paper_decoding(subject: Subject, card: scaling.Card, size: Size) -> float:
    context = size.prompt_tokens + size.decoded / 2
    return size.live / scaling.decoding_step(subject.paper, card, size.live, context)


def _paper_update(subject: Subject, card: scaling.Card, size: Size) -> float:
    tokens = size.prompt_tokens + size.response_tokens
    logits = subject.paper.logit_flops * size.response_tokens / tokens
    operations = subject.forward_passes * (subject.paper.forward_flops(tokens) + logits)
    return scaling.COMPUTE_SHARE * card.flops / operations


def _paper_memory(subject: Subject) -> float:
    """GiB of an update on one GPU; the policy is its own engine, and no cache is left of decoding."""
    needed = scaling.memory(replace(scaling.PRESETS["ALFWorld, 1.5B, K = 2"], model=subject.paper), 1)
    held = needed["activations"] + needed["logits"]
    if subject.lora_rank:
        # The model in bfloat16; the adapter's state, and the reference's adapter in float32.
        held += needed["engine's weights"] + (scaling.STATE_BYTES + 4) * _adapter_parameters(subject)
    else:
        held += needed["state"] + needed["reference"]
    return held / 2**30


def _adapter_parameters(subject: Subject) -> int:
    """Parameters of the adapter: rank × (inputs + outputs) of every linear layer but the head."""
    hidden, inner = subject.shape["hidden_size"], subject.shape["intermediate_size"]
    key_value = hidden // subject.shape["num_attention_heads"] * subject.shape["num_key_value_heads"]
    ends = 2 * (hidden + hidden) + 2 * (hidden + key_value) + 3 * (hidden + inner)
    return subject.lora_rank * ends * subject.shape["num_hidden_layers"]


def paper_table() -> Iterator[str]:
    """What the arithmetic expects of each known card, as a Markdown table."""
    measures = ("prompt tokens per second", "decoded tokens", "update tokens", "GiB per update")
    yield f"| card | model | {' | '.join(measures)} |"
    yield "|---|---|---:|---:|---:|---:|"
    for known, card in scaling.CARDS.items():
        for subject in FULL.subjects:
            speeds = (
                paper(subject, card, FULL) for paper in (_paper_reading, _paper_decoding, _paper_update)
            )
            cells = " | ".join(f"{speed:,.0f}" for speed in speeds)
            yield f"| {known.upper()} | {subject.name} | {cells} | {_paper_memory(subject):.0f} |"


def _iterate(
    figures: Figures,
    name: str,
    device: torch.device,
    precision: torch.dtype,
    speeds: _Speeds,
    size: Size,
    games: str | None,
) -> None:
    """Rollout, advantages and update of 16 tasks × 8 rollouts, all lost; the second such iteration."""
    subject = size.subjects[0]
    # Of the time, a third is for the iteration that is measured; the one before it is slower.
    steps_of_episode = _steps_that_fit((figures.left() - 15) / 3, speeds, size)
    if steps_of_episode < 1:
        figures.fail(name, f"not begun: {figures.left():.0f} seconds left")
        return
    suite, played = find_games(games, steps_of_episode)
    learner = _make_learner(subject, device, precision, make_tokenizer(suite, RESPONSE_FORMAT))
    agent = LanguageAgent(learner.policy, RESPONSE_FORMAT, 2, 4096, size.response_tokens)
    tasks = list(suite.tasks("train", size.tasks, seed=0))

    def iterate() -> tuple[StepTable, UpdateBatch, float, float]:
        tables: list[StepTable] = []
        rolled_out = seconds(device, lambda: tables.append(_play(suite, agent, tasks, size)))
        (rows,) = tables
        batch = merge_rows(rows, np.random.default_rng(0).normal(size=len(rows)))
        parts = -(-len(rows) // MINI_BATCH_ROWS)
        updated = seconds(device, lambda: learner.update(batch, parts, size.response_tokens))
        return rows, batch, rolled_out, updated

    # The first iteration, which loads kernels and asks for memory, takes several times as long as the second.
    iterate()
    release()
    rows, batch, rolled_out, updated = iterate()
    prompt_tokens = float(np.mean([len(prompt) for prompt in batch.prompts]))
    paper = _paper_iteration(card_of(device), size, steps_of_episode, prompt_tokens)
    figures.add(f"{name}: steps of each episode", steps_of_episode, "", note=played)
    figures.add(f"{name}: prompt tokens of a row", prompt_tokens, "", note=f"{len(rows)} rows")
    figures.add(f"{name}: rollout", rolled_out, "s", paper=paper.get("rollout"))
    estimator = HGPO.paper()
    estimated = seconds(device, lambda: estimator(rows))
    figures.add(f"{name}: advantages", estimated, "s", paper=paper.get("advantages"))
    figures.add(f"{name}: update, reference included", updated, "s", paper=paper.get("update"))
    whole = rolled_out + estimated + updated
    figures.add(f"{name}: all", whole, "s", paper=sum(paper.values()) if paper else None)
    peak = peak_gib(device)
    if peak is not None:
        figures.add(f"{name}: peak memory", peak, "GiB")
    share = share_read(learner.policy, batch.prompts, batch.responses)
    figures.add(f"{name}: share of tokens read", share, "", paper=scaling.Preset.read_share)


def _play(suite: TaskSuite, agent: LanguageAgent, tasks: Sequence[Task], size: Size) -> StepTable:
    played = rollout(suite, agent, tasks, group_size=size.group_size, temperature=1.0, seed=[0])
    return step_table(played, policy_version=0)


def _steps_that_fit(left: float, speeds: _Speeds, size: Size) -> int:
    """How many steps of all episodes can be played and learned from in the seconds that are left."""
    rows = size.tasks * size.group_size
    tokens = size.prompt_tokens + size.response_tokens
    of_a_step = rows * (
        size.prompt_tokens / speeds.prompt + size.response_tokens / speeds.decoded + tokens / speeds.update
    )
    return min(size.most_steps, int(0.8 * left / of_a_step))


def _paper_iteration(
    card: scaling.Card | None, size: Size, steps: int, prompt_tokens: float
) -> dict[str, float]:
    """Seconds of an iteration of this shape, every episode of which takes all steps; nothing of no card."""
    if card is None:
        return {}
    preset = replace(
        scaling.PRESETS["ALFWorld, 1.5B, K = 2"],
        max_steps=steps,
        success=0.0,
        prompt_tokens=prompt_tokens,
        response_tokens=size.response_tokens,
        longest_response=size.response_tokens,
        tasks=size.tasks,
        group_size=size.group_size,
    )
    phases = scaling.phases(preset, card, gpus=1)
    return {
        "rollout": phases["environments"] + phases["reading"] + phases["decoding"],
        "advantages": phases["advantages"],
        "update": phases["reference"] + phases["update"],
    }
