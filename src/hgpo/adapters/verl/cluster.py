"""Checks whether the Ray cluster in RAY_ADDRESS can be joined; Ray itself takes minutes to report failure."""

from __future__ import annotations

import os
import socket
import subprocess
import sys

VARIABLE = "RAY_ADDRESS"
"""The environment variable with the address of the Ray cluster; without it this machine is the cluster."""
PATIENCE = 30.0
"""Seconds to wait for Ray's answer."""

REMEDY = f"start it there (ray start --head), or unset {VARIABLE} to use this machine alone"
TOKEN = "set RAY_AUTH_MODE=token, and copy ~/.ray/auth_token from the head's machine"

_JOIN = """
import sys
import ray
try:
    ray.init(address=sys.argv[1], log_to_driver=False, logging_level="ERROR")
except (Exception, SystemExit) as error:
    sys.exit(" ".join(str(error).split()) or type(error).__name__)
"""
"""A program that joins Ray; if it fails, its last line on stderr is the reason."""


def named_address() -> str | None:
    """The value of RAY_ADDRESS; None if it is not set or empty."""
    return os.environ.get(VARIABLE) or None


def why_not_joined(address: str) -> str | None:
    """Why the Ray at this address cannot be joined, with what to do; None if it can."""
    reason = _no_connection(address) or _no_ray(address)
    return None if reason is None else f"no Ray at {address} ({VARIABLE}): {reason}"


def _no_connection(address: str) -> str | None:
    """Why no connection to an address [ray://]HOST:PORT is possible; other forms are left to Ray."""
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if "://" in host:
        return None
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=5).close()
    except OSError as error:
        return f"{error.strerror or error}; {REMEDY}"
    except (ValueError, OverflowError):
        return None
    return None


def _no_ray(address: str) -> str | None:
    """Why a separate process, which can be stopped after a timeout, cannot join Ray."""
    command = [sys.executable, "-P", "-c", _JOIN, address]
    try:
        tried = subprocess.run(command, capture_output=True, check=False, timeout=PATIENCE)
        joined, said = tried.returncode == 0, tried.stderr
    except subprocess.TimeoutExpired as late:
        joined, said = False, late.stderr or b""
        said += f"\nno answer in {PATIENCE:g} seconds; if it asks for a token, {TOKEN}".encode()
    if joined:
        return None
    if b"InvalidAuthToken" in said:
        return f"it asks for a token; {TOKEN}"
    return f"{said.decode(errors='replace').strip().splitlines()[-1]}; {REMEDY}"
