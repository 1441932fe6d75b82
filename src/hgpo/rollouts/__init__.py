"""Episodes: what an agent is shown and does, played by many at a time."""
