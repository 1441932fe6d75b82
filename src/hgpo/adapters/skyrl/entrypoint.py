"""The experiment that `trainer.override_entrypoint=hgpo.adapters.skyrl` starts."""

from __future__ import annotations

import sys
from typing import Any

import ray
from skyrl.backends.skyrl_train.inference_servers.utils import (  # pyright: ignore[reportMissingImports]
    resolve_policy_model_name,
)
from skyrl.train.entrypoints.main_base import BasePPOExp  # pyright: ignore[reportMissingImports]
from skyrl.train.utils import validate_cfg  # pyright: ignore[reportMissingImports]
from skyrl.train.utils.utils import initialize_ray  # pyright: ignore[reportMissingImports]

from hgpo.adapters.episodes import EpisodePlayer
from hgpo.adapters.skyrl.generator import StepwiseGenerator
from hgpo.adapters.skyrl.settings import StepwiseTrainConfig
from hgpo.adapters.skyrl.tasks import TaskDataset
from hgpo.adapters.skyrl.trainer import StepwiseTrainer
from hgpo.adapters.task_stream import TaskStream
from hgpo.policies.tokens import ChatTokenizer, end_tokens

OVERRIDE = "trainer.override_entrypoint="


class StepwiseExperiment(BasePPOExp):
    """SkyRL's experiment with the tasks of a suite, and with the trainer and generator of this package."""

    def get_train_dataset(self) -> Any:
        """The training tasks, as many as `trainer.max_training_steps` needs."""
        trainer, suite = self.cfg.trainer, self.cfg.hgpo.episodes.make_suite()
        stream = TaskStream(
            suite,
            suite.splits[:1],
            per_iteration=trainer.train_batch_size,
            seed=trainer.seed,
            limit=trainer.train_batch_size * trainer.max_training_steps,
        )
        return TaskDataset(stream)

    def get_eval_dataset(self) -> Any:
        """The tasks of the held-out splits; None if evaluation is switched off."""
        if self.cfg.trainer.eval_interval <= 0:
            return None
        suite, limit = self.cfg.hgpo.episodes.make_suite(), self.cfg.hgpo.evaluation_tasks
        return TaskDataset(TaskStream(suite, suite.splits[1:], per_iteration=1, seed=0, limit=limit))

    def get_generator(self, cfg: Any, tokenizer: Any, inference_engine_client: Any) -> StepwiseGenerator:
        """The generator."""
        return StepwiseGenerator(
            EpisodePlayer(cfg.hgpo.episodes),
            inference_engine_client,
            ChatTokenizer(tokenizer, end_tokens(tokenizer), cfg.generator.chat_template_kwargs),
            cfg.generator.max_input_length,
            resolve_policy_model_name(cfg),
        )

    def get_trainer(self, cfg: Any, *args: Any, **kwargs: Any) -> StepwiseTrainer:
        """The trainer."""
        return StepwiseTrainer(cfg, *args, **kwargs)


@ray.remote(num_cpus=1)
def run(cfg: StepwiseTrainConfig) -> None:
    """Train."""
    StepwiseExperiment(cfg).run()


def main() -> None:
    """Read SkyRL's settings from the command line and train; a wrong setting ends with exit code 2."""
    # SkyRL reads this setting before it calls this function; its configuration has no such field.
    settings = [setting for setting in sys.argv[1:] if not setting.startswith(OVERRIDE)]
    try:
        cfg = StepwiseTrainConfig.from_cli_overrides(settings)
    except ValueError as error:
        print(f"hgpo: {error}", file=sys.stderr)
        raise SystemExit(2) from None
    validate_cfg(cfg)
    initialize_ray(cfg)
    ray.get(run.remote(cfg))
