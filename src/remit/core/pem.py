"""Errors of PEM files that a server and a client both report."""

import ssl
from pathlib import Path

File = Path | str


def not_a_pair(cert: File, key: File, error: ssl.SSLError) -> OSError:
    """The error for a certificate and a private key that cannot be used together."""
    return OSError(f"`{cert}` and `{key}` are no certificate with its key: {_reason(error)}")


def no_authority(file: File, error: ssl.SSLError) -> OSError:
    """The error for a file without the certificate of an authority."""
    return OSError(f"`{file}` holds no certificate of an authority: {_reason(error)}")


def _reason(error: ssl.SSLError) -> str:
    return (error.reason or str(error)).replace("_", " ").lower()
