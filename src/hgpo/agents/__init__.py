"""Agents, which play the episodes of a rollout."""

from hgpo.agents.language import LanguageAgent
from hgpo.agents.scripted import ErringExpertAgent, ExpertAgent, RandomAgent
from hgpo.rollouts.agent import Agent, Situation
from hgpo.rollouts.episodes import Decision

__all__ = [
    "Agent",
    "Decision",
    "ErringExpertAgent",
    "ExpertAgent",
    "LanguageAgent",
    "RandomAgent",
    "Situation",
]
