"""The models of a run, made from scratch or read from its latest checkpoint."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from hgpo.agents.language import LanguageAgent
from hgpo.estimators import CriticEstimator
from hgpo.policies.critic import Critic
from hgpo.policies.engines import ENGINES, RolloutEngine, WeightCopy
from hgpo.policies.loading import load_policy
from hgpo.policies.reference import Reference, load_reference
from hgpo.policies.transformers import TransformersPolicy
from hgpo.training.agent import agent_of_run, require_listed_commands, require_prompt_room
from hgpo.training.checkpoint import (
    AVERAGE,
    SAMPLER,
    load_checkpoint,
    load_critic,
    load_optimizer,
    load_weights,
    save_checkpoint,
    save_reference,
)
from hgpo.training.checkpoint_folder import (
    checkpoint_entropy_coefficient,
    checkpoint_iteration,
    latest_checkpoint,
)
from hgpo.training.context import RunContext
from hgpo.training.initial_policy import initial_policy
from hgpo.training.schedules import EntropyControl
from hgpo.training.tasks import require_walkthroughs
from hgpo.training.warm_start import read, warm_start
from hgpo.training.weight_average import WeightAverage

if TYPE_CHECKING:
    from hgpo.training.agent import TrainedAgent


@dataclass(frozen=True)
class StartingPoint:
    """The policy from which a run starts or continues."""

    checkpoint: Path | None
    """The run's latest checkpoint; None for a run that has none yet."""
    iteration: int
    """Number of iterations that the policy has been trained for."""
    policy: TransformersPolicy
    agent: TrainedAgent
    """Samples from the policy itself."""


@dataclass(frozen=True)
class TrainingState:
    """The models of a run. Training changes their weights in place."""

    policy: TransformersPolicy
    """The policy that is trained."""
    engine: RolloutEngine
    """Samples with the policy's weights."""
    agent: TrainedAgent
    """Acts with the engine."""
    reference: Reference | None
    """The policy before reinforcement learning, frozen; None if the loss has no KL term."""
    optimizer: torch.optim.Optimizer
    """The optimizer of the policy's weights."""
    critic: Critic | None
    """The critic, if the estimator needs one."""
    average: WeightAverage | None
    """The moving average of the policy's weights, if evaluations use it."""
    sampler: WeightAverage | None
    """The weights that sample the next iteration's rollouts, if they are those from before an update."""
    entropy_control: EntropyControl
    """Has the entropy coefficient."""

    @contextmanager
    def evaluated_weights(self) -> Iterator[None]:
        """Within the block, the agent plays with the averaged weights, if there are any."""
        with nullcontext() if self.average is None else self.average.in_place():
            self.engine.synchronize()
            yield

    def save(self, folder: Path, iteration: int) -> None:
        """Write a checkpoint; see `save_checkpoint`."""
        save_checkpoint(
            folder,
            iteration,
            self.policy,
            self.optimizer,
            self.critic,
            self.average,
            self.sampler,
            self.entropy_control.coefficient,
        )


def find_starting_point(run: RunContext) -> StartingPoint:
    """The policy of the run's latest checkpoint, or the initial policy if there is no checkpoint.

    Raises:
        SettingError: if the settings do not fit the model, or a checkpoint cannot be read.
    """
    checkpoint = latest_checkpoint(run.log.checkpoints)
    if checkpoint is None:
        require_walkthroughs(run.config)
        iteration, policy = 0, initial_policy(run)
        require_prompt_room(run.config, policy, run.turns)
        require_listed_commands(run.config, run.turns)
    else:
        iteration, policy = checkpoint_iteration(checkpoint), load_checkpoint(checkpoint, run.compute)
    return StartingPoint(
        checkpoint, iteration, policy, agent_of_run(run.config, policy, run.turns, run.display.say)
    )


def new_state(run: RunContext, start: StartingPoint) -> TrainingState:
    """The state before the first iteration: after reading and the warm start, with the reference written.

    Raises:
        RunError: if the reference cannot be written.
    """
    if isinstance(start.agent, LanguageAgent):
        read(run, start.policy, start.agent)
        warm_start(run, start.policy, start.agent)
    if run.is_first:
        save_reference(run.log.reference, start.policy)
    run.wait_for_first()
    return _state(run, start)


def restored_state(run: RunContext, start: StartingPoint, checkpoint: Path) -> TrainingState:
    """The state that a checkpoint holds.

    Raises:
        SettingError: if the checkpoint cannot be read.
    """
    state = _state(run, start)
    load_optimizer(checkpoint, state.optimizer)
    # At iteration 0 the critic is untrained, and the checkpoint may be of an estimator without a critic.
    if state.critic is not None and start.iteration > 0:
        load_critic(checkpoint, state.critic)
    if state.average is not None:
        load_weights(checkpoint, AVERAGE, state.average)
    if state.sampler is not None:
        load_weights(checkpoint, SAMPLER, state.sampler)
    held = checkpoint_entropy_coefficient(checkpoint)
    if run.config.entropy_target.nats is not None and held is not None:
        state.entropy_control.coefficient = held
    return state


def _state(run: RunContext, start: StartingPoint) -> TrainingState:
    """The state with this policy; the optimizer and the critic are new, the reference is the run's."""
    config, policy, agent = run.config, start.policy, start.agent
    engine = ENGINES[config.engine](
        policy,
        run.log.folder / "engine" / str(run.processes.rank),
        max_tokens=agent.max_prompt_tokens + agent.max_response_tokens,
        memory_share=config.engine_memory,
    )
    if config.overlap and engine is policy:
        engine = WeightCopy(policy)
    critic = None
    if isinstance(config.estimator, CriticEstimator):
        # The critic starts from the reference's body.
        critic = Critic(load_policy(run.log.reference, run.compute), config.critic)
    parameters = [p for p in policy.model.parameters() if p.requires_grad]
    return TrainingState(
        policy=policy,
        engine=engine,
        agent=replace(agent, policy=engine),
        reference=load_reference(run.log.reference, policy) if config.loss.kl_coefficient else None,
        optimizer=torch.optim.AdamW(parameters, lr=config.learning_rate, weight_decay=0.0),
        critic=critic,
        average=WeightAverage(policy, config.weight_average_decay) if config.weight_average_decay else None,
        # An average without decay is the weights at its last update.
        sampler=WeightAverage(policy, 0.0) if config.overlap else None,
        entropy_control=EntropyControl(config.entropy_target, config.loss.entropy_coefficient),
    )
