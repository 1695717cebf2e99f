"""A network namespace for a node, whose cable can be pulled: packets vanish, and no connection is told."""

import ctypes
import os
import secrets
import shutil
import socket
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from ipaddress import ip_network
from pathlib import Path
from typing import Final

from remit.core.errors import RemitError

_CLONE_NEWNET: Final = 0x40000000
_NAMESPACES: Final = Path("/run/netns")
# 198.18.0.0/15 is for tests of networks: no machine has such an address.
_BLOCK: Final = "198.18"


class NoNetworkError(RemitError):
    """This machine does not allow network namespaces."""


class NodeNetwork:
    """A namespace, connected with this one by a pair of virtual Ethernet devices."""

    def __init__(self) -> None:
        token = secrets.token_hex(3)
        # Another run at the same time, or one that was killed, has other addresses.
        block = f"{_BLOCK}.{secrets.randbelow(256)}.{4 * secrets.randbelow(64)}"
        network = ip_network(f"{block}/30")
        self._name = f"remit-{token}"
        self._here, self._there = f"rm{token}a", f"rm{token}b"
        self.host = str(network[1])
        """The address of this side."""
        self._address = str(network[2])

    @property
    def prefix(self) -> tuple[str, ...]:
        """Runs a command within the namespace."""
        return ("ip", "netns", "exec", self._name)

    def cut(self) -> None:
        _ip("link", "set", self._here, "down")

    def heal(self) -> None:
        _ip("link", "set", self._here, "up")

    def new_socket(self) -> socket.socket:
        """A TCP socket that lives in the namespace."""
        # A thread keeps the namespace that it entered: this one ends with the call.
        with ThreadPoolExecutor(1) as thread:
            return thread.submit(self._new_socket).result()

    def make(self) -> None:
        """Raises NoNetworkError."""
        try:
            _ip("netns", "add", self._name)
            _ip("link", "add", self._here, "type", "veth", "peer", "name", self._there, "netns", self._name)
            _ip("address", "add", f"{self.host}/30", "dev", self._here)
            _ip("link", "set", self._here, "up")
            for command in (
                ("address", "add", f"{self._address}/30", "dev", self._there),
                ("link", "set", self._there, "up"),
                ("link", "set", "lo", "up"),
            ):
                _ip("-n", self._name, *command)
            self.new_socket().close()
        except OSError as error:
            raise NoNetworkError(f"needs network namespaces, which this machine does not allow: {error}") from error

    def remove(self) -> None:
        for command in (("link", "delete", self._here), ("netns", "delete", self._name)):
            subprocess.run(["ip", *command], capture_output=True, check=False)

    def _new_socket(self) -> socket.socket:
        descriptor = os.open(_NAMESPACES / self._name, os.O_RDONLY)
        try:
            if ctypes.CDLL(None, use_errno=True).setns(descriptor, _CLONE_NEWNET):
                code = ctypes.get_errno()
                raise OSError(code, f"cannot enter a network namespace: {os.strerror(code)}")
        finally:
            os.close(descriptor)
        return socket.socket()


@contextmanager
def node_network() -> Iterator[NodeNetwork]:
    """Raises NoNetworkError."""
    if shutil.which("ip") is None:
        raise NoNetworkError("needs network namespaces: the program `ip` (package iproute2) is not installed")
    network = NodeNetwork()
    try:
        network.make()
        yield network
    finally:
        network.remove()


def _ip(*command: str) -> None:
    done = subprocess.run(["ip", *command], capture_output=True, text=True, check=False)
    if done.returncode:
        raise OSError(f"`ip {' '.join(command)}`: {done.stderr.strip()}")
