"""The settings of the gateway, read and checked without its packages."""

from __future__ import annotations

from dataclasses import dataclass

from hgpo.errors import SettingError


@dataclass(frozen=True)
class GatewaySettings:
    """The server through which an agent of one's own asks the policy (agent:MODULE:NAME)."""

    host: str = "127.0.0.1"
    """The address to listen at; the default can be reached from this machine only. Requests need the run's
    key in any case."""
    port: int = 0
    """The port; 0 takes any free one."""
    episodes: int = 256
    """Number of episodes that are played at the same time, each in a thread."""
    wait: float = 10.0
    """Seconds that a request waits for those of the other episodes, with which it is answered in one batch.
    While all episodes ask within this time, the same seed gives the same run. Less is faster for agents that
    wait for tools; the last digits of log-probabilities then depend on timing."""
    queue: int = 1024
    """Number of requests that may wait; further ones get status 429."""

    def __post_init__(self) -> None:
        if not 0 <= self.port < 2**16:
            raise SettingError(f"--gateway.port is {self.port}: expected 0 to 65535")
        for name in ("episodes", "queue"):
            if getattr(self, name) < 1:
                raise SettingError(f"--gateway.{name} is {getattr(self, name)}: expected 1 or more")
        if not 0 <= self.wait < float("inf"):
            raise SettingError(f"--gateway.wait is {self.wait}: expected a number of at least 0")
