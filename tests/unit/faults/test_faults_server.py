import sys
from pathlib import Path

import pytest

from remit.faults import server
from remit.faults.promise import BrokenPromiseError
from remit.faults.server import ServerProcess


def test_a_server_that_does_not_serve_in_time_is_killed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "DEADLINE_S", 1.0)
    process = ServerProcess(tmp_path, policies=None, launcher=(sys.executable, "-c", "import time; time.sleep(600)"))

    with pytest.raises(BrokenPromiseError, match="no `serving`"):
        process.start()

    assert -9 == process.exit_code()
