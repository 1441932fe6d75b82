"""Training: warm start, rollout, advantages, update, and the settings of a run."""
