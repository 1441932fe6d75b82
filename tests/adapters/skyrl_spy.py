"""SkyRL's own training loop on a CPU, with stand-ins for its workers and engines, which need GPUs.

    python tests/adapters/skyrl_spy.py FOLDER SETTING…

trains the model in FOLDER/model with these settings of SkyRL's command line, and writes what was played and
what every loss read to FOLDER/run.pickle. The loss is the one that SkyRL has registered.
"""

from __future__ import annotations

import asyncio
import pickle
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch
from skyrl.backends.skyrl_train.distributed.dispatch import WorkerOutput  # pyright: ignore
from skyrl.backends.skyrl_train.utils.ppo_utils import PolicyLossRegistry  # pyright: ignore
from skyrl.train.utils import validate_cfg  # pyright: ignore
from transformers import AutoModelForCausalLM

from hgpo.adapters.skyrl import StepwiseExperiment, StepwiseTrainConfig


class Engine:
    """SkyRL's inference engines: samples from the model."""

    def __init__(self, model: Any) -> None:
        self.model, self.random = model, torch.Generator().manual_seed(0)

    @torch.no_grad()
    async def generate(self, input_batch: dict[str, Any], model: str | None = None) -> dict[str, Any]:
        (prompt,), sampling = input_batch["prompt_token_ids"], input_batch["sampling_params"]
        tokens, logprobs = list(prompt), []
        for _ in range(sampling["max_tokens"]):
            scores = self.model(torch.tensor([tokens])).logits[0, -1].log_softmax(-1)
            tokens.append(int(torch.multinomial(scores.exp(), 1, generator=self.random)))
            logprobs.append(float(scores[tokens[-1]]))
            if tokens[-1] in sampling["stop_token_ids"]:
                break
        return {
            **{"response_ids": [tokens[len(prompt) :]], "response_logprobs": [logprobs]},
            **{"responses": [""], "stop_reasons": ["stop"]},
        }


class Workers:
    """SkyRL's workers, all in this process; `read` has the rows of each mini-batch that the loss read."""

    def __init__(self, model: Any, cfg: Any) -> None:
        self.model, self.cfg, self.read = model, cfg, []
        self.optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
        self.loss = PolicyLossRegistry.get(cfg.trainer.algorithm.policy_loss_type)

    def get_lcm_dp_size(self) -> int:
        return 8

    def logprobs(self, data: Any) -> torch.Tensor:
        """Log-probabilities of the tokens of the answers, [rows, tokens]."""
        count, mask = data.metadata["response_length"], data["attention_mask"]
        places = (mask.cumsum(-1) - 1).clamp(min=0)
        logits = self.model(data["sequences"], attention_mask=mask, position_ids=places).logits
        of_tokens = logits[:, :-1].log_softmax(-1).gather(-1, data["sequences"][:, 1:, None])[..., 0]
        return of_tokens[:, -count:]

    @torch.no_grad()
    def forward(self, model: str, data: Any) -> WorkerOutput:
        return WorkerOutput(loss_fn_outputs=[{"logprobs": row} for row in self.logprobs(data).tolist()])

    def stage_data(self, model: str, data: Any, boundaries: list[tuple[int, int]]) -> list[Any]:
        return [data[start:stop] for start, stop in boundaries]

    def forward_backward_from_staged(self, model: str, data: Any) -> WorkerOutput:
        count = data.metadata["response_length"]
        self.read.append(
            [
                (
                    tuple(sequence[:-count][seen[:-count].bool()].tolist()),
                    tuple(sequence[-count:][written.bool()].tolist()),
                    # The loss reduction has divided advantages by the number of tokens in the mini-batch.
                    (advantage * data["loss_mask"].sum()).tolist(),
                    written.tolist(),
                )
                for sequence, seen, written, advantage in zip(
                    *(data["sequences"], data["attention_mask"], data["loss_mask"], data["advantages"]),
                    strict=True,
                )
            ]
        )
        loss, _ = self.loss(
            self.logprobs(data),
            data["action_log_probs"],
            data["advantages"],
            config=self.cfg.trainer.algorithm,
            loss_mask=data["loss_mask"],
            rollout_logprobs=data["rollout_logprobs"],
        )
        loss.backward()
        return WorkerOutput(metrics={"policy_loss": loss.item()})

    def optim_step(self, model: str) -> None:
        self.optimizer.step()
        self.optimizer.zero_grad()

    async def save_weights_for_sampler(self) -> None:
        """The engine samples from the same weights."""

    def get_timing_metrics(self) -> dict[str, float]:
        return {}

    def init_weight_sync_state(self, client: Any) -> None:
        """There is nothing to connect."""

    def empty_cache(self, model: str | None = None) -> None:
        """There is no memory of a GPU."""

    def finalize_pending_saves(self, model: str) -> None:
        """Nothing is saved."""


class Log:
    """SkyRL's tracker."""

    def __init__(self) -> None:
        self.lines: list[dict[str, Any]] = []

    def log(self, data: dict[str, Any], step: int, commit: bool = False) -> None:
        self.lines.append(dict(data))

    def finish(self) -> None:
        """Nothing is open."""


def train(folder: Path, settings: list[str]) -> None:
    cfg = StepwiseTrainConfig.from_cli_overrides(settings)
    validate_cfg(cfg)
    experiment, log = StepwiseExperiment(cfg), Log()
    model = AutoModelForCausalLM.from_pretrained(folder / "model")
    generator = experiment.get_generator(cfg, experiment.tokenizer, Engine(model))
    played: list[Any] = []
    generate = generator.generate

    async def noted(input_batch: Any) -> Any:
        output = await generate(input_batch)
        rows = zip(output["step_records"], output["prompt_token_ids"], output["response_ids"], strict=True)
        phase = input_batch["batch_metadata"].training_phase
        played.append((phase, [(record, tuple(prompt), tuple(answer)) for record, prompt, answer in rows]))
        return output

    generator.generate = noted
    trainer = experiment.get_trainer(
        cfg=cfg,
        tracker=log,
        tokenizer=experiment.tokenizer,
        train_dataset=experiment.train_dataset,
        eval_dataset=experiment.eval_dataset,
        inference_engine_client=generator._client,
        generator=generator,
        colocate_pg=None,
    )
    trainer.dispatch = workers = Workers(model, cfg)
    before = weights_of(model)
    asyncio.run(trainer.train())
    record = {
        **{"played": played, "read": workers.read, "log": log.lines},
        **{"before": before, "after": weights_of(model)},
    }
    (folder / "run.pickle").write_bytes(pickle.dumps(record))


def weights_of(model: Any) -> np.ndarray:
    return np.concatenate([each.detach().numpy().ravel() for each in model.parameters()])


if __name__ == "__main__":
    torch.set_num_threads(1)
    train(Path(sys.argv[1]), sys.argv[2:])
