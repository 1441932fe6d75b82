"""A live page over runs and files of rollouts, served on this machine."""
