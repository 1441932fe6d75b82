"""Adapters to other training frameworks; each module needs its framework, and importing hgpo loads none."""
