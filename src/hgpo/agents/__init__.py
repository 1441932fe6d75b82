"""Agents: what plays the episodes of a rollout."""

from hgpo.agents.language import LanguageAgent
from hgpo.agents.scripted import ExpertAgent, RandomAgent
from hgpo.rollouts.agent import Agent, Situation
from hgpo.rollouts.episodes import Decision

__all__ = ["Agent", "Decision", "ExpertAgent", "LanguageAgent", "RandomAgent", "Situation"]
