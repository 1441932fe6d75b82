"""WebShop as a text environment: a catalogue, goals, a search, pages and a reward (arXiv 2207.01206)."""

from hgpo.envs.webshop.suite import WebshopSuite

__all__ = ["WebshopSuite"]
