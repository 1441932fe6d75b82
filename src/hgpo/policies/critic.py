"""The critic: predicts the return to go from the agent's prompt. Only PPO needs one."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from hgpo.policies.batching import split_by_length
from hgpo.policies.gradients import add_gradients
from hgpo.policies.settings import CriticTraining
from hgpo.policies.transformers import TransformersPolicy


class Critic:
    """A copy of a causal LM's body with a head that computes a value from the prompt's last token.

    The head starts at 0, so before training every value is 0 and every advantage is the return.
    """

    def __init__(self, policy: TransformersPolicy, training: CriticTraining) -> None:
        """Copy the body of the policy's model with its current weights."""
        self.policy, self.training = policy, training
        body = copy.deepcopy(policy.model.base_model).float().requires_grad_(True)
        head = nn.Linear(body.config.hidden_size, 1, device=policy.compute.device)
        nn.init.zeros_(head.weight)
        nn.init.zeros_(head.bias)
        self.model = nn.ModuleDict({"body": body, "head": head}).eval()
        self.optimizer = torch.optim.AdamW(
            self.model.parameters(), lr=training.learning_rate, weight_decay=0.0
        )

    @torch.no_grad()
    def values(self, prompts: Sequence[tuple[int, ...]]) -> NDArray[np.float64]:
        """The value of each prompt, [prompts]; equal prompts are processed once."""
        distinct = sorted(set(prompts), key=lambda prompt: (len(prompt), prompt))
        value_of: dict[tuple[int, ...], float] = {}
        for part in self._parts(distinct):
            found = self._forward([distinct[i] for i in part]).tolist()
            value_of.update(zip([distinct[i] for i in part], found, strict=True))
        return np.array([value_of[prompt] for prompt in prompts], np.float64)

    def fit(
        self,
        prompts: Sequence[tuple[int, ...]],
        targets: NDArray[np.float64],
        rng: np.random.Generator,
        on_rows: Callable[[int, int], None] = lambda done, total: None,
    ) -> float:
        """Fit the values to targets by squared error; returns the mean of (V − target)² / 2 before each step.

        Rows with the same prompt have the same value, so each prompt is used once, with the mean of its
        targets and their number: Σ (V − y_i)² = n (V − mean y)² + a term that does not depend on V.

        Args:
            prompts: token ids of each row's prompt.
            targets: target value of each row, [rows].
            rng: assigns the prompts to the mini-batches.
            on_rows: called after every forward pass with the number of prompts done and the total.
        """
        number: dict[tuple[int, ...], int] = {}
        row = np.array([number.setdefault(prompt, len(number)) for prompt in prompts])
        count = np.bincount(row).astype(np.float64)
        mean = np.bincount(row, targets) / count
        distinct = list(number)
        losses, done, total = [], 0, self.training.ppo_epochs * len(distinct)
        for _ in range(self.training.ppo_epochs):
            batches = np.array_split(rng.permutation(len(distinct)), self.training.num_minibatches)
            for batch in (batch for batch in batches if len(batch)):
                order = sorted(batch.tolist(), key=lambda i: len(distinct[i]))
                rows = count[batch].sum()

                def loss_of(chosen: Sequence[int], rows: float = rows) -> tuple[Tensor, tuple[float, int]]:
                    values = self._forward([distinct[i] for i in chosen])
                    errors = values.cpu() - torch.from_numpy(mean[chosen]).float()
                    weights = torch.from_numpy(count[chosen] / rows).float()
                    part_loss = (weights * errors**2).sum() / 2
                    return part_loss, (part_loss.item(), len(chosen))

                parts = [order[p.start : p.stop] for p in self._parts([distinct[i] for i in order])]
                loss = 0.0
                for part_loss, prompts_done in add_gradients(
                    self.policy.compute, list(self.model.parameters()), parts, loss_of
                ):
                    loss += part_loss
                    done += prompts_done
                    on_rows(done, total)
                losses.append(loss)
                nn.utils.clip_grad_norm_(self.model.parameters(), self.training.max_gradient_norm)
                self.optimizer.step()
                self.optimizer.zero_grad()
        return float(np.mean(losses))

    def save(self, path: Path) -> None:
        """Write the weights and the optimizer's state."""
        torch.save({"model": self.model.state_dict(), "optimizer": self.optimizer.state_dict()}, path)

    def load(self, path: Path) -> None:
        """Read the weights and the optimizer's state from a file that `save` wrote."""
        state = torch.load(path, map_location="cpu", weights_only=True)
        self.model.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])

    def _parts(self, prompts: Sequence[tuple[int, ...]]):
        return split_by_length(
            [len(prompt) for prompt in prompts], self.policy.token_budget, self.policy.compute.call_tokens
        )

    def _forward(self, prompts: Sequence[tuple[int, ...]]) -> Tensor:
        ids, mask, positions = self.policy.pad(prompts)
        with self.policy.compute.autocast():
            hidden = self.model["body"](
                input_ids=ids, attention_mask=mask, position_ids=positions, use_cache=False
            ).last_hidden_state
        # Padding is on the left, so the last column holds every prompt's last token.
        return self.model["head"](hidden[:, -1].float())[:, 0]
