"""Adapters to other training frameworks. Each module needs its framework; importing hgpo loads none."""
