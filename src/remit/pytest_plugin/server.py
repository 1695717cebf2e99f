"""A real server for a test run, behind the fixture `remit_server`."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from remit.pytest_plugin.server_process import ServerProcess, ServerProcessError


@contextmanager
def serving(policies: Path, folder: Path) -> Iterator[ServerProcess]:
    """`remit serve` over `policies`, on free ports of the loopback address, with its audit in `folder`."""
    if not policies.is_dir():
        pytest.fail(f"`remit_policies` is `{policies}`: expected a policy directory", pytrace=False)
    with ExitStack() as stack:
        server = ServerProcess(folder, policies=policies.absolute())
        stack.push(server)
        try:
            server.start()
        except ServerProcessError:
            text = "\n".join(str(line["event"]) for line in server.logs)
            raise pytest.fail.Exception(f"`remit serve` over `{policies}`:\n{text}", pytrace=False) from None
        yield server
        server.terminate()
