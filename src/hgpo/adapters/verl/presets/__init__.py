"""Configurations of verl: `stepwise.yaml`, on which every run is based, and the published settings."""
