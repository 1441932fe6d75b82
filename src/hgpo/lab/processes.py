"""Finite decision processes with policies that read the last K observations, and their exact advantages."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hgpo.steps import StepTable


@dataclass(frozen=True)
class ProcessShape:
    """What a process is drawn from; the defaults are the one that sweeps start at."""

    states: int = 4
    """S, at every step; every episode starts in the first one."""
    actions: int = 2
    """A."""
    horizon: int = 8
    """T: steps of every episode; the reward comes with the last."""
    aliasing: int = 1
    """States that look alike: 1 shows each as it is, S shows none."""
    memory: int = 2
    """K of the policy: how many observations before the current one it reads."""
    dependence: float = 1.0
    """How much the policy acts by what it remembers, in logits; 0: by the current observation alone."""
    stake: float = 0.0
    """How much every step pays by what came before it, per remembered observation: then a state's value is
    another one for every past."""
    slip: float = 0.1
    """Probability that an action leads to a state at random instead of its own."""
    noise: float = 0.5
    """Standard deviation of what a final state pays, about what it pays on average (standard normal among
    states)."""
    clock: bool = True
    """Whether observations tell the step. Without it the same state comes back at other steps, with another
    return to go before it."""

    def __post_init__(self) -> None:
        for name, lowest in (("states", 2), ("actions", 2), ("horizon", 1), ("aliasing", 1), ("memory", 0)):
            if getattr(self, name) < lowest:
                raise ValueError(f"{name} is {getattr(self, name)}: expected {lowest} or more")
        if not (0 <= self.slip <= 1 and min(self.noise, self.dependence, self.stake) >= 0):
            raise ValueError(
                f"slip {self.slip}, noise {self.noise}, dependence {self.dependence}, stake {self.stake}: "
                "expected a probability and three numbers of at least 0"
            )


@dataclass(frozen=True)
class FiniteProcess:
    """A process and the policy that acts in it. A memory is a number: the last observations as its digits."""

    shape: ProcessShape
    moves: NDArray[np.float64]
    """P(s' | s, a), [S, A, S]."""
    pays: NDArray[np.float64]
    """Mean reward of arriving in a state with the last step, [S]."""
    past: NDArray[np.float64]
    """What a step pays for the memory that it begins with, [M]."""
    looks: NDArray[np.int64]
    """Observation of each state, [S]."""
    policy: NDArray[np.float64]
    """π(a | observation, memory), [O, M, A]."""

    @property
    def observations(self) -> int:
        """O."""
        return int(self.looks.max()) + 1

    def remember(self, memory: NDArray[np.int64], observation: NDArray[np.int64]) -> NDArray[np.int64]:
        """The memory after an observation; the digit O stands for "before the start"."""
        base = self.observations + 1
        return (memory * base + observation) % base**self.shape.memory

    @property
    def blank(self) -> int:
        """The memory at the start."""
        return (self.observations + 1) ** self.shape.memory - 1


def draw_process(shape: ProcessShape, rng: np.random.Generator) -> FiniteProcess:
    """A process of a shape: each action of a state has a state that it leads to, final states pay N(0, 1).

    The policy's logits are standard normal for the current observation, and `dependence` times standard
    normal for each remembered one; what a step pays for its past is `stake` times standard normal for each.
    """
    states, actions = shape.states, shape.actions
    moves = np.full((states, actions, states), shape.slip / states)
    goals = rng.integers(states, size=(states, actions))
    np.put_along_axis(moves, goals[:, :, None], shape.slip / states + 1 - shape.slip, axis=2)
    looks = np.arange(states) // shape.aliasing
    seen = int(looks.max()) + 1
    memories = (seen + 1) ** shape.memory
    logits = np.repeat(rng.normal(size=(seen, 1, actions)), memories, axis=1)
    past, code = np.zeros(memories), np.arange(memories)
    for _ in range(shape.memory):
        logits += shape.dependence * rng.normal(size=(seen + 1, actions))[code % (seen + 1)]
        past += shape.stake * rng.normal(size=seen + 1)[code % (seen + 1)]
        code //= seen + 1
    policy = np.exp(logits - logits.max(axis=2, keepdims=True))
    return FiniteProcess(
        shape=shape,
        moves=moves,
        pays=rng.normal(size=states),
        past=past,
        looks=looks,
        policy=policy / policy.sum(axis=2, keepdims=True),
    )


@dataclass(frozen=True)
class ExactValues:
    """The truth of every step, by time, state and memory."""

    value: NDArray[np.float64]
    """V, [T, S, M]: the expected return to go."""
    action_value: NDArray[np.float64]
    """Q, [T, S, M, A]: after the action."""


def exact_values(process: FiniteProcess, discount: float) -> ExactValues:
    """Values by dynamic programming, backwards over states with their memories.

        Q_t(s, m, a) = p(m) + Σ_s' P(s' | s, a) (r_t(s') + γ V_{t+1}(s', m'))
        V_t(s, m) = Σ_a π(a | o(s), m) Q_t(s, m, a)

    p(m) is what the past pays, r_t is 0 but for the last step, m' is m with o(s) remembered, and V is 0 after
    the last step.

    Args:
        process: what is acted in, and how.
        discount: γ.
    """
    shape = process.shape
    memories = process.policy.shape[1]
    value = np.zeros((shape.horizon + 1, shape.states, memories))
    action_value = np.empty((shape.horizon, shape.states, memories, shape.actions))
    later = process.remember(np.arange(memories)[None, :], process.looks[:, None])  # [S, M]
    for time in range(shape.horizon - 1, -1, -1):
        reward = process.pays if time == shape.horizon - 1 else np.zeros(shape.states)
        ahead = reward[:, None] + discount * value[time + 1]  # [S', M]
        for state in range(shape.states):
            reached = np.einsum("ax,xm->ma", process.moves[state], ahead[:, later[state]])
            action_value[time, state] = process.past[:, None] + reached
        value[time] = (process.policy[process.looks] * action_value[time]).sum(axis=2)
    return ExactValues(value[:-1], action_value)


@dataclass(frozen=True)
class SampledSteps:
    """Steps of many task groups with what is true of each."""

    steps: StepTable
    """Tasks are repetitions of the same group of N rollouts; rows are in order of rollout and step."""
    kind: NDArray[np.int64]
    """Dense number of each row's time, state, memory and action: rows of a kind have the same truth."""
    value: NDArray[np.float64]
    """V of each row."""
    advantage: NDArray[np.float64]
    """Q − V of each row."""
    prompt: NDArray[np.int64]
    """Number of each row's time (if observations tell it), observation and memory: what the policy reads."""


def sample_steps(
    process: FiniteProcess,
    values: ExactValues,
    *,
    groups: int,
    group_size: int,
    rng: np.random.Generator,
) -> SampledSteps:
    """Rollouts of the process, all of them a step at a time.

    Args:
        process, values: what is sampled, and its truth.
        groups: independent task groups.
        group_size: N, rollouts of each.
        rng: what they are drawn by.
    """
    shape = process.shape
    rollouts = groups * group_size
    state = np.zeros(rollouts, np.int64)
    memory = np.full(rollouts, process.blank)
    # Time runs last, so that the rows of a rollout follow one another.
    columns = {name: np.empty((rollouts, shape.horizon), np.int64) for name in ("state", "memory", "action")}
    rewards = np.empty((rollouts, shape.horizon))
    for time in range(shape.horizon):
        rewards[:, time] = process.past[memory]
        action = _drawn(process.policy[process.looks[state], memory], rng)
        for name, now in (("state", state), ("memory", memory), ("action", action)):
            columns[name][:, time] = now
        memory = process.remember(memory, process.looks[state])
        state = _drawn(process.moves[state, action], rng)
    rewards[:, -1] += process.pays[state] + shape.noise * rng.normal(size=rollouts)

    time = np.tile(np.arange(shape.horizon), rollouts)
    states, memories, actions = (columns[name].ravel() for name in ("state", "memory", "action"))
    rollout = np.repeat(np.arange(rollouts), shape.horizon)
    shown = process.looks[states] + (time * process.observations if shape.clock else 0)
    steps = StepTable(
        task_id=rollout // group_size,
        trajectory_id=rollout,
        step_index=time,
        state_key=shown,
        reward=rewards.ravel(),
    )
    value = values.value[time, states, memories]
    place = (time, states, memories, actions)
    return SampledSteps(
        steps=steps,
        kind=np.ravel_multi_index(place, values.action_value.shape),
        value=value,
        advantage=values.action_value[place] - value,
        prompt=shown * process.policy.shape[1] + memories,
    )


def _drawn(probabilities: NDArray[np.float64], rng: np.random.Generator) -> NDArray[np.int64]:
    """One number a row, by the row's probabilities."""
    ends = np.cumsum(probabilities, axis=1)
    return (rng.random(len(ends))[:, None] * ends[:, -1:] >= ends).sum(axis=1)
