import sys
from pathlib import Path

import pytest

from remit.pytest_plugin import server_process
from remit.pytest_plugin.server_process import ServerProcess, ServerProcessError


def test_a_server_that_does_not_serve_in_time_is_killed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server_process, "DEADLINE_S", 1.0)
    process = ServerProcess(tmp_path, policies=None, launcher=(sys.executable, "-c", "import time; time.sleep(600)"))

    with pytest.raises(ServerProcessError, match="no `serving`"):
        process.start()

    assert -9 == process.exit_code()
