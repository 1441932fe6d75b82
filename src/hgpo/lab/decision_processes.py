"""Finite decision processes, log-linear policies that read the last K observations, and their exact values.

Every array has the process as its first axis, so that hundreds of processes of one shape are sampled, and
their policies updated, at once.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from hgpo.steps import StepTable


@dataclass(frozen=True)
class ProcessShape:
    """The parameters of a random process; sweeps start from the defaults."""

    states: int = 4
    """S: number of states at every step; every episode starts in the first one."""
    actions: int = 2
    """A: number of actions."""
    horizon: int = 8
    """T: number of steps per episode; the final reward comes with the last step."""
    aliasing: int = 1
    """Number of states with the same observation: with 1 every state is observed, with S all look alike."""
    memory: int = 2
    """K of the policy: number of past observations that it depends on."""
    history_dependence: float = 1.0
    """Scale of the policy's dependence on remembered observations, in logits; 0: none."""
    history_reward_scale: float = 0.0
    """Scale of the reward that every step gives for each remembered observation; above 0, the value of a
    state depends on its history."""
    transition_noise: float = 0.1
    """Probability that an action leads to a random state instead of its usual one."""
    reward_noise: float = 0.5
    """Standard deviation of a final state's reward around its mean; the means are standard normal."""
    clock: bool = True
    """Whether observations include the step. Without it the same state occurs at several steps, each time
    with a different return to go."""

    def __post_init__(self) -> None:
        for name, lowest in (("states", 2), ("actions", 2), ("horizon", 1), ("aliasing", 1), ("memory", 0)):
            if getattr(self, name) < lowest:
                raise ValueError(f"{name} is {getattr(self, name)}: expected {lowest} or more")
        if not 0 <= self.transition_noise <= 1:
            raise ValueError(f"transition_noise is {self.transition_noise}: expected a probability")
        for name in ("history_dependence", "history_reward_scale", "reward_noise"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} is {getattr(self, name)}: expected 0 or more")


@dataclass(frozen=True)
class Processes:
    """Processes of one shape, each with its acting policy.

    A memory is a number whose digits are the last K observations. Letters in shapes: R processes,
    S states, A actions, O observations, M memories, F features.
    """

    shape: ProcessShape
    transition: NDArray[np.float64]
    """P(s' | s, a), [R, S, A, S]."""
    final_reward: NDArray[np.float64]
    """Mean reward for reaching a state with the last step, [R, S]."""
    history_reward: NDArray[np.float64]
    """Reward of a step for the memory at its start, [R, M]."""
    observation_of: NDArray[np.int64]
    """Observation of each state, [S]."""
    weights: NDArray[np.float64]
    """θ of the policy, [R, F, A]: π(a | o, m) ∝ exp Σ_f θ[f, a] over the features of (o, m)."""

    def __len__(self) -> int:
        return len(self.transition)

    @property
    def observations(self) -> int:
        """O."""
        return int(self.observation_of.max()) + 1

    @property
    def memories(self) -> int:
        """M."""
        return (self.observations + 1) ** self.shape.memory

    @property
    def empty_memory(self) -> int:
        """The memory at the start of an episode; all its digits mean "before the start"."""
        return self.memories - 1

    def remember(self, memory: NDArray[np.int64], observation: NDArray[np.int64]) -> NDArray[np.int64]:
        """The memory after an observation."""
        return (memory * (self.observations + 1) + observation) % self.memories

    @cached_property
    def features(self) -> NDArray[np.int64]:
        """Indices of the features that are 1, [O, M, 1 + K]: the observation, and each remembered one."""
        return _features(self.observations, self.shape.memory)

    @cached_property
    def policy(self) -> NDArray[np.float64]:
        """π(a | observation, memory), [R, O, M, A]."""
        logits = sum(self.weights[:, column] for column in np.moveaxis(self.features, 2, 0))
        policy = np.exp(logits - np.max(logits, axis=3, keepdims=True))
        return policy / policy.sum(axis=3, keepdims=True)

    def take(self, numbers: NDArray[np.int64]) -> Processes:
        """A selection of the processes."""
        names = ("transition", "final_reward", "history_reward", "weights")
        return replace(self, **{name: getattr(self, name)[numbers] for name in names})

    def with_weights(self, weights: NDArray[np.float64]) -> Processes:
        """The same processes with other policy weights."""
        return replace(self, weights=weights)


def _features(observations: int, memory: int) -> NDArray[np.int64]:
    digits = observations + 1
    code = np.arange(digits**memory)
    columns = [np.broadcast_to(np.arange(observations)[:, None], (observations, len(code)))]
    for back in range(memory):
        number = observations + back * digits + code // digits**back % digits
        columns.append(np.broadcast_to(number, (observations, len(code))))
    return np.stack(columns, axis=2)


def draw_processes(shape: ProcessShape, rngs: Sequence[np.random.Generator]) -> Processes:
    """One process per generator: each action of a state leads to a different state, and the mean rewards of
    final states are drawn from N(0, 1).

    The policy's weights are standard normal for the current observation and `history_dependence` times
    standard normal for each remembered one; the reward for a remembered observation is
    `history_reward_scale` times standard normal.
    """
    drawn = [_draw(shape, rng) for rng in rngs]
    transition, final_reward, history_reward, weights = (np.stack(each) for each in zip(*drawn, strict=True))
    return Processes(
        shape=shape,
        transition=transition,
        final_reward=final_reward,
        history_reward=history_reward,
        observation_of=np.arange(shape.states) // shape.aliasing,
        weights=weights,
    )


def _draw(shape: ProcessShape, rng: np.random.Generator) -> tuple[NDArray[np.float64], ...]:
    states, actions = shape.states, shape.actions
    transition = np.full((states, actions, states), shape.transition_noise / states)
    targets = rng.integers(states, size=(states, actions))
    at_target = shape.transition_noise / states + 1 - shape.transition_noise
    np.put_along_axis(transition, targets[:, :, None], at_target, axis=2)
    digits = (states - 1) // shape.aliasing + 2
    weights = [rng.normal(size=(digits - 1, actions))]
    code = np.arange(digits**shape.memory)
    history_reward = np.zeros(len(code))
    for back in range(shape.memory):
        weights.append(shape.history_dependence * rng.normal(size=(digits, actions)))
        rewards = shape.history_reward_scale * rng.normal(size=digits)
        history_reward += rewards[code // digits**back % digits]
    return transition, rng.normal(size=states), history_reward, np.concatenate(weights)


@dataclass(frozen=True)
class ExactValues:
    """The true values of every step, by process, time, state and memory."""

    value: NDArray[np.float64]
    """V, [R, T, S, M]: the expected return to go."""
    action_value: NDArray[np.float64]
    """Q, [R, T, S, M, A]: after the action."""
    start: NDArray[np.float64]
    """V of the first step, [R]."""


def exact_values(processes: Processes, discount: float) -> ExactValues:
    """Values by dynamic programming, backwards over states with their memories.

        Q_t(s, m, a) = p(m) + Σ_s' P(s' | s, a) (r_t(s') + γ V_{t+1}(s', m'))
        V_t(s, m) = Σ_a π(a | o(s), m) Q_t(s, m, a)

    p(m) is the reward for the memory, r_t is 0 except in the last step, m' is m with o(s) added, and V is
    0 after the last step.

    Args:
        processes: the processes and their policies.
        discount: γ.
    """
    shape = processes.shape
    number, memories = len(processes), processes.memories
    value = np.zeros((number, shape.horizon + 1, shape.states, memories))
    # Actions come before memories here, because sums over a last axis of size two are slow.
    action_value = np.empty((number, shape.horizon, shape.states, shape.actions, memories))
    policy = processes.policy[:, processes.observation_of].swapaxes(2, 3).copy()  # [R, S, A, M]
    later = processes.remember(np.arange(memories)[None, :], processes.observation_of[:, None])  # [S, M]
    for time in range(shape.horizon - 1, -1, -1):
        ahead = discount * value[:, time + 1]  # [R, S', M]
        if time == shape.horizon - 1:
            ahead = ahead + processes.final_reward[:, :, None]
        for state in range(shape.states):
            # The expected value after each action, for every memory that can follow.
            reached = np.matmul(processes.transition[:, state], ahead)  # [R, A, M']
            action_value[:, time, state] = np.take(reached, later[state], axis=2)
        action_value[:, time] += processes.history_reward[:, None, None, :]
        value[:, time] = (policy * action_value[:, time]).sum(axis=2)
    return ExactValues(value[:, :-1], action_value.swapaxes(3, 4), value[:, 0, 0, processes.empty_memory])


def exact_gradient(processes: Processes, values: ExactValues) -> NDArray[np.float64]:
    """The policy gradient, [R, F, A], of the values with γ = 1.

        ∇θ V = Σ_t Σ_{s, m} d_t(s, m) Σ_a π(a | o(s), m) (Q_t(s, m, a) − V_t(s, m)) ∇θ log π(a | o(s), m)

    d_t(s, m) is the probability of being in s with memory m at step t. For log-linear policies the sum over
    actions is π (Q − V) at each feature of (o, m).
    """
    memories, features = processes.memories, processes.weights.shape[1]
    policy = processes.policy[:, processes.observation_of]
    later = processes.remember(np.arange(memories)[None, :], processes.observation_of[:, None])
    becomes = np.eye(memories)[later]  # [S, M, M']
    visits = np.zeros(policy.shape[:-1])
    visits[:, 0, processes.empty_memory] = 1.0
    by_state = np.zeros(policy.shape)  # [R, S, M, A]
    for time in range(processes.shape.horizon):
        taken = visits[..., None] * policy
        by_state += taken * (values.action_value[:, time] - values.value[:, time][..., None])
        moved = np.matmul(taken, processes.transition).swapaxes(2, 3)  # [R, S, S', M]
        visits = np.matmul(moved, becomes).sum(axis=1)
    has_feature = np.eye(features)[processes.features[processes.observation_of]].sum(axis=2)  # [S, M, F]
    return np.einsum("smf,rsma->rfa", has_feature, by_state, optimize=True)


@dataclass(frozen=True)
class SampledSteps:
    """Steps of many task groups, with the true value of each."""

    steps: StepTable
    """Tasks are repetitions of the same group of N rollouts; rows are in order of rollout and step."""
    process: NDArray[np.int64]
    """Number of each row's process."""
    action: NDArray[np.int64]
    """Number of each row's action."""
    read: NDArray[np.int64]
    """What the policy reads in each row, as a number: observation · M + memory."""
    kind: NDArray[np.int64]
    """Index of each row's combination of process, time, state, memory and action, which determines its true
    values."""
    value: NDArray[np.float64]
    """V of each row."""
    advantage: NDArray[np.float64]
    """Q − V of each row."""
    prompt: NDArray[np.int64]
    """Index of each row's state key and memory: what a critic reads."""


def sample_steps(
    processes: Processes,
    values: ExactValues,
    *,
    groups: int,
    group_size: int,
    rng: np.random.Generator,
) -> SampledSteps:
    """Rollouts of the processes, sampled one step at a time for all of them.

    Args:
        processes, values: what is sampled, and its exact values.
        groups: number of independent task groups per process.
        group_size: N, rollouts per task group.
        rng: the random stream.
    """
    shape = processes.shape
    process = np.repeat(np.arange(len(processes)), groups * group_size)
    rollouts = len(process)
    state = np.zeros(rollouts, np.int64)
    memory = np.full(rollouts, processes.empty_memory)
    # Time is the last axis, so that the rows of a rollout are consecutive.
    states, memories, actions = (np.empty((rollouts, shape.horizon), np.int64) for _ in range(3))
    rewards = np.empty((rollouts, shape.horizon))
    policy_ends, transition_ends = (
        np.cumsum(each, axis=3) for each in (processes.policy, processes.transition)
    )
    for time in range(shape.horizon):
        observation = processes.observation_of[state]
        rewards[:, time] = processes.history_reward[process, memory]
        action = _draw_each(policy_ends[process, observation, memory], rng)
        states[:, time], memories[:, time], actions[:, time] = state, memory, action
        memory = processes.remember(memory, observation)
        state = _draw_each(transition_ends[process, state, action], rng)
    noise = shape.reward_noise * rng.normal(size=rollouts)
    rewards[:, -1] += processes.final_reward[process, state] + noise

    time = np.tile(np.arange(shape.horizon), rollouts)
    states, memories, actions = (column.ravel() for column in (states, memories, actions))
    rollout = np.repeat(np.arange(rollouts), shape.horizon)
    observation = processes.observation_of[states]
    shown = observation + (time * processes.observations if shape.clock else 0)
    steps = StepTable(
        task_id=rollout // group_size,
        trajectory_id=rollout,
        step_index=time,
        state_key=shown,
        reward=rewards.ravel(),
        action=np.array([str(action) for action in range(shape.actions)], object)[actions],
    )
    place = (np.repeat(process, shape.horizon), time, states, memories, actions)
    value = values.value[place[:-1]]
    return SampledSteps(
        steps=steps,
        process=place[0],
        action=actions,
        read=observation * processes.memories + memories,
        kind=np.ravel_multi_index(place, values.action_value.shape),
        value=value,
        advantage=values.action_value[place] - value,
        prompt=shown * processes.memories + memories,
    )


def _draw_each(ends: NDArray[np.float64], rng: np.random.Generator) -> NDArray[np.int64]:
    """One index per row, drawn with the row's cumulative probabilities."""
    # The last sum may be less than 1 by rounding.
    return np.minimum((rng.random(len(ends))[:, None] >= ends).sum(axis=1), ends.shape[1] - 1)


def score_gradients(
    processes: Processes,
    sample: SampledSteps,
    advantages: NDArray[np.float64],
    part: NDArray[np.int64],
    parts: int,
) -> NDArray[np.float64]:
    """Σ Â ∇θ log π of the rows of each part of a sample, [parts, F, A].

    Args:
        processes, sample: what was sampled.
        advantages: Shape (rows,), Â.
        part: Shape (rows,), the index of the sum that each row belongs to.
        parts: number of sums.
    """
    actions, features = processes.shape.actions, processes.features.reshape(-1, processes.features.shape[2])
    policy = processes.policy.reshape(len(processes), -1, actions)[sample.process, sample.read]
    taken = np.arange(actions) == sample.action[:, None]
    score = advantages[:, None] * (taken - policy)  # [rows, A]
    shape = (parts, processes.weights.shape[1], actions)
    gradient = np.zeros(np.prod(shape))
    for column in features.T:
        place = (part * shape[1] + column[sample.read])[:, None] * actions + np.arange(actions)
        gradient += np.bincount(place.ravel(), score.ravel(), len(gradient))
    return gradient.reshape(shape)
