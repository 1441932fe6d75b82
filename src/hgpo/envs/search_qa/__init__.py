"""Search QA: answer questions by searching an encyclopaedia, made up from a seed or the user's own."""

from hgpo.envs.search_qa.suite import SearchQASuite

__all__ = ["SearchQASuite"]
