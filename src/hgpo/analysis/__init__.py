"""What the groups of a rollout look like."""
