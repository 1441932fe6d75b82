"""Trains the small model of `hgpo train` on household games with TRL.

    pip install 'hgpo[trl]'
    python examples/trl_household.py --out runs/trl

It makes a model from scratch that has imitated 60 games, as `hgpo train` does, and trains it with TRL's GRPO
trainer on one row per step, with HGPO's advantages. docs/results.md has what it learns.
"""

import argparse
from pathlib import Path

from hgpo.adapters.trl import StepwiseGRPOConfig, StepwiseGRPOTrainer
from hgpo.cli import main as hgpo

SETTINGS = {
    # As in `hgpo train`: short answers, returns not divided by their standard deviation, an entropy bonus.
    **{"response": "text", "max_prompt_tokens": 320, "max_completion_length": 10, "entropy_coef": 0.05},
    "estimator_settings": {"discount": 0.95, "normalization": "mean", "invalid_penalty": 0.1},
    # 16 tasks with 16 trajectories each; their steps make 4 optimizer steps of 4 micro-batches.
    **{"num_generations": 16, "per_device_train_batch_size": 16, "steps_per_generation": 16},
    **{"gradient_accumulation_steps": 4, "learning_rate": 6e-4, "warmup_steps": 20, "logging_steps": 4},
    **{"bf16": False, "use_cpu": True, "gradient_checkpointing": False, "report_to": "none", "seed": 0},
}


def main() -> None:
    """Train, and print the success rate on the held-out games before and after."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, default=Path("runs/trl"), help="folder for all models")
    parser.add_argument("--iterations", type=int, default=20, help="of 16 games, played 16 times each")
    options = parser.parse_args()
    run, start = options.out / "hgpo", options.out / "start"
    if not start.exists():
        for command in (["train", "--iterations", "0", "--out", str(run)], ["export", str(run), str(start)]):
            if code := hgpo(command):
                raise SystemExit(code)
    arguments = StepwiseGRPOConfig(
        str(options.out / "trl"), max_steps=4 * options.iterations, save_steps=40, **SETTINGS
    )
    trainer = StepwiseGRPOTrainer(str(start), arguments)
    before = trainer.evaluate()
    trainer.train()
    trainer.save_model()
    for name, value in trainer.evaluate().items():
        if name.endswith("success_rate"):
            print(f"{name}: {before[name]:.1%} before, {value:.1%} after")


if __name__ == "__main__":
    main()
