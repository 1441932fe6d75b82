"""verl on a CPU, for tests and dry runs: a platform, and a server that generates.

`dry_run` turns a configuration into one that runs here; `plugin` is what every process of such a run imports.
"""

ROLLOUT = "hgpo_cpu"
"""What the server is called in `actor_rollout_ref.rollout.name`."""
TRANSFER = "hgpo_ray"
"""What brings weights to it from elsewhere, in `actor_rollout_ref.rollout.checkpoint_engine.backend`."""
