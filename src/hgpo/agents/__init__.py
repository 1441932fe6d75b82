"""Agents: what plays the episodes of a rollout."""

from hgpo.agents.base import Agent, Decision, Situation
from hgpo.agents.language import LanguageAgent
from hgpo.agents.scripted import ExpertAgent, RandomAgent

__all__ = ["Agent", "Decision", "ExpertAgent", "LanguageAgent", "RandomAgent", "Situation"]
