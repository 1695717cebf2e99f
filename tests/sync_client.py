"""Writes the client for threads from the client for asyncio: `make client`."""

import re
import subprocess
import sys
from pathlib import Path
from typing import Final

CLIENT: Final = Path(__file__).parents[1] / "src" / "remit" / "client"
_DOC: Final = '"""The client for threads. `make client` writes it from async_client.py: do not edit.'
_CLASS_DOC: Final = '''\
class Client:
    """Asks a remit server. Safe to share between threads; close it, or use it in a `with`.

    Every method raises DecisionUnavailable if there is no answer. The guards raise AccessDenied if the answer is a
    deny. Nothing else is raised. The client never invents an answer: a server that is away is not an allow.
    """'''
_WORDS: Final = (
    ("    @pending\n", ""),
    ("AsyncTransport, pending", "AsyncTransport"),
    ("async_transport", "sync_transport"),
    ("AsyncTransport", "SyncTransport"),
    ("AsyncTenantClient", "TenantClient"),
    ("AsyncClient", "Client"),
    ("AsyncIterator", "Iterator"),
    ("grpc.aio", "grpc"),
    ("__aenter__", "__enter__"),
    ("__aexit__", "__exit__"),
    ("async def ", "def "),
    ("await ", ""),
)


def generated() -> str:
    """The text of sync_client.py."""
    text = (CLIENT / "async_client.py").read_text(encoding="utf-8")
    text = re.sub(r"^.*", _DOC, text, count=1)
    text = re.sub(r'^class AsyncClient:\n    """.*?"""', _CLASS_DOC, text, count=1, flags=re.DOTALL | re.MULTILINE)
    for of_asyncio, of_threads in _WORDS:
        text = text.replace(of_asyncio, of_threads)
    for command in (["check", "--select", "I", "--fix", "--quiet"], ["format"]):
        ruff = [Path(sys.executable).parent / "ruff", *command, "--stdin-filename", CLIENT / "sync_client.py", "-"]
        text = subprocess.run(ruff, input=text, capture_output=True, text=True, check=True).stdout
    return text


if __name__ == "__main__":
    (CLIENT / "sync_client.py").write_text(generated(), encoding="utf-8")
