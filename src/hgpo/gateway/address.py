"""The addresses at which servers listen."""

from __future__ import annotations

import socket

from hgpo.errors import SettingError


def listening(host: str, port: int) -> socket.socket:
    """A socket at this address; port 0 is any free one.

    Raises:
        SettingError: if the address cannot be used.
    """
    try:
        return socket.create_server((host, port))
    except OSError as error:
        raise SettingError(
            f"cannot listen at {host}, port {port}: {error.strerror}; choose another --port or --host"
        ) from None
