"""Why a connection failed. gRPC does not say whose certificate is wrong, or that one side speaks no TLS."""

import re
import socket
import ssl
import time
from threading import Lock
from typing import Any, Final
from urllib.parse import unquote

import grpc

from remit.client.tls import MutualTls, ServerTls
from remit.core.addresses import parse_address

_TIMEOUT_S: Final = 0.5
_EVERY_S: Final = 1.0
_FAILED: Final = "failed to connect to all addresses"
_ADDRESS: Final = re.compile(r"last error: \w+: ipv[46]:(\S+?): ").search
"""The address in the text of such an error. The brackets of an IPv6 address are percent-encoded."""
_SETTINGS: Final = b"\x04"
# Both sides of HTTP/2 begin with a frame SETTINGS, whose fourth byte is its type.
_PREFACE: Final = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes((0, 0, 0, 4, 0, 0, 0, 0, 0))
_EXPIRED, _NOT_YET_VALID = 10, 9
_OTHER_NAMES: Final = (62, 64)
_OTHER_AUTHORITIES: Final = (2, 18, 19, 20, 21)
"""Codes of OpenSSL (`X509_V_ERR_...`)."""


def is_connection_failure(error: grpc.RpcError) -> bool:
    return error.code() is grpc.StatusCode.UNAVAILABLE and (error.details() or "").startswith(_FAILED)


class ConnectionProbe:
    """Makes a connection of its own after one that failed. Safe to share between threads."""

    def __init__(self, host: str, port: int, tls: MutualTls | ServerTls | None) -> None:
        """`host` is the name that the server's certificate must have."""
        self._host = host
        self._port = port
        self._tls = tls
        self._peer = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        self._mutex = Lock()
        self._again_at = 0.0
        self._cause = ""

    @classmethod
    def of(cls, target: str, tls: MutualTls | ServerTls | None) -> "ConnectionProbe | None":
        """None for a name of gRPC's that only gRPC reads."""
        address = parse_address(target)
        return cls(*address, tls) if address is not None else None

    def cause(self, error: grpc.RpcError) -> str:
        """Why the connection of this error failed, and what to do; '' if that is unknown.

        Takes half a second if the server is silent, else milliseconds. Calls that fail within one second share a probe.
        """
        found = _ADDRESS(error.details() or "")
        address = parse_address(unquote(found[1])) if found is not None else None
        # Another port is that of a proxy.
        if address is None or address[1] != self._port or not self._mutex.acquire(timeout=_TIMEOUT_S):
            return ""
        try:
            if time.monotonic() >= self._again_at:
                self._cause = self._probe(address)
                self._again_at = time.monotonic() + _EVERY_S
            return self._cause
        finally:
            self._mutex.release()

    def _probe(self, address: tuple[str, int]) -> str:
        try:
            return self._probe_tls(self._tls, address) if self._tls is not None else self._probe_plain(address)
        except ConnectionRefusedError:
            return f"nothing listens on `{self._peer}`: is `remit serve` running there?"
        except (OSError, ValueError):
            return ""

    def _probe_plain(self, address: tuple[str, int]) -> str:
        with socket.create_connection(address, _TIMEOUT_S) as plain:
            plain.sendall(_PREFACE)
            answer = _received(plain)
        if answer[3:4] == _SETTINGS:
            return ""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        try:
            self._shake_hands(context, address)
        except ssl.SSLError:
            return f"`{self._peer}` is no gRPC server: is another program there?"
        return (
            f"`{self._peer}` speaks TLS, and this client does not: name the authority that signed the server's "
            "certificate (`server_ca` or `tls`; `--tls-server-ca`)"
        )

    def _probe_tls(self, tls: MutualTls | ServerTls, address: tuple[str, int]) -> str:
        context = tls.context()
        context.set_alpn_protocols(["h2"])
        try:
            protocol, answer = self._shake_hands(context, address)
        except ssl.SSLCertVerificationError as error:
            return self._refusal(error, tls, address)
        except ssl.SSLError as error:
            if error.reason == "WRONG_VERSION_NUMBER":
                return (
                    f"`{self._peer}` speaks no TLS, and this client does: set `tls_cert` and `tls_key` of the server, or "
                    "connect without certificates and tokens"
                )
            return f"the TLS handshake with `{self._peer}` failed: {error.reason or error}"
        if answer[3:4] == _SETTINGS:
            return ""
        if protocol != "h2":
            return f"`{self._peer}` speaks TLS, and is no gRPC server: is another program there?"
        if isinstance(tls, MutualTls):
            return (
                f"`{self._peer}` refuses this client's certificate `{tls.cert}`: it has expired, or no authority in the "
                "server's `tls_client_ca` signed it"
            )
        return f"`{self._peer}` needs a certificate of this client, with its key (`tls`; `--tls-cert` and `--tls-key`)"

    def _refusal(
        self, error: ssl.SSLCertVerificationError, tls: MutualTls | ServerTls, address: tuple[str, int]
    ) -> str:
        certificate = f"the certificate of `{self._peer}`"
        if error.verify_code == _EXPIRED:
            return f"{certificate} has expired: the server needs a new one"
        if error.verify_code == _NOT_YET_VALID:
            return f"{certificate} is not valid yet: compare the clocks of both machines"
        if error.verify_code in _OTHER_NAMES:
            return f"{certificate} is not for `{self._host}`{self._names(tls, address)}"
        if error.verify_code in _OTHER_AUTHORITIES:
            return f"no authority in `{tls.server_ca}` signed {certificate}"
        return f"{certificate} does not count: {error.verify_message}"

    def _names(self, tls: MutualTls | ServerTls, address: tuple[str, int]) -> str:
        """The names of the server's certificate."""
        context = tls.context()
        context.check_hostname = False
        with socket.create_connection(address, _TIMEOUT_S) as plain, context.wrap_socket(plain) as secure:
            certificate: Any = secure.getpeercert()
        alternatives = certificate.get("subjectAltName", ())
        names = ", ".join(f"`{name}`" for kind, name in alternatives if kind in {"DNS", "IP Address"})
        return f": connect to a name that it has, {names}" if names else ", and names no host"

    def _shake_hands(self, context: ssl.SSLContext, address: tuple[str, int]) -> tuple[str | None, bytes]:
        """The protocol of the connection, and the first bytes that the server sends. Raises OSError."""
        with (
            socket.create_connection(address, _TIMEOUT_S) as plain,
            context.wrap_socket(plain, server_hostname=self._host) as secure,
        ):
            try:
                secure.sendall(_PREFACE)
                return secure.selected_alpn_protocol(), _received(secure)
            except TimeoutError:
                raise
            except OSError:
                # The client's certificate is refused after the handshake.
                return secure.selected_alpn_protocol(), b""


def _received(connection: socket.socket) -> bytes:
    try:
        return connection.recv(9)
    except ConnectionError:
        return b""
