"""verl on a CPU, for tests and dry runs: a platform and a server for generation.

`dry_run` changes a configuration so that it runs on a CPU; every process of such a run imports `plugin`.
"""

ROLLOUT = "hgpo_cpu"
"""The server's name in `actor_rollout_ref.rollout.name`."""
TRANSFER = "hgpo_ray"
"""Name of the weight transfer in `actor_rollout_ref.rollout.checkpoint_engine.backend`."""
