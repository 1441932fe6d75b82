"""Trains agents as they are: they play by themselves and ask the policy through OpenAI's chat completions.

A gateway on this machine answers an agent's requests with the policy that learns, and records each as a row:
the tokens of prompt and response, with the log-probabilities as sampled. The modules:

- `suite`: the agent's function and the tasks in a file; `results`: what the function may return
- `protocol`: requests and replies; `server`: the HTTP server; `exchange`: its queue to the policy
- `workers`: the agent's function in threads; `agent`: all of these, as the agent of a run
"""

from hgpo.gateway.results import Result
from hgpo.gateway.suite import AgentSuite

__all__ = ["AgentSuite", "Result"]
