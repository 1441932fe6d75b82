"""`hgpo serve`: an environment behind a server, for training stacks that speak its protocol."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Literal

import tyro

from hgpo.cli.environments import parse_with_environment
from hgpo.envs.base import describe
from hgpo.errors import SettingError
from hgpo.gateway.address import listening


@dataclass(frozen=True)
class Serve:
    """Serve an environment on this machine until Ctrl-C.

    hgpo serve household --port 8000

    hgpo serve my_games.py:Suite --env.level hard --sessions 256
    """

    name: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="NAME")]
    """The environment: a name, or MODULE:CLASS or FILE.py:CLASS of your own; its settings are options."""
    protocol: Literal["openenv"] = "openenv"
    """The protocol; openenv is what clients of OpenEnv speak (pip install 'hgpo[openenv]')."""
    host: str = "127.0.0.1"
    """The address to listen at; the default can be reached from this machine only. The server asks for no
    password."""
    port: int = 8000
    """The port; 0 takes any free one."""
    sessions: int = 64
    """Number of episodes that can be played at the same time; further ones are refused."""

    def __post_init__(self) -> None:
        if not 0 <= self.port < 2**16:
            raise SettingError(f"--port is {self.port}: expected 0 to 65535")
        if self.sessions < 1:
            raise SettingError(f"--sessions is {self.sessions}: expected 1 or more")


def main(args: Sequence[str]) -> int:
    """Run the command."""
    command = parse_with_environment(Serve, args, "hgpo serve")
    # Commands without a server need none of its packages.
    from hgpo.adapters.openenv import server_of

    with listening(command.host, command.port) as address:
        server = server_of(command.env, command.sessions)
        host, port = address.getsockname()[:2]
        print(
            f"{describe(command.env)} at http://{host}:{port} (protocol {command.protocol}; Ctrl-C stops it)"
        )
        server.run(sockets=[address])
    return 0
