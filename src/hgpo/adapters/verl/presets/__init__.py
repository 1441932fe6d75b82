"""Configurations of verl: `stepwise.yaml`, what every run of ours needs, and the published settings on it."""
