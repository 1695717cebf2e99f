"""What loads policies for a reloader without a process of its own."""

from collections.abc import Generator

from remit.engine.pacing import Pacing
from remit.policy.build.scan import RestoreRequest, ScanRequest, ScanResult, run


class InProcess:
    """Loads in this process."""

    def run(self, order: ScanRequest | RestoreRequest, pacing: Pacing) -> Generator[ScanResult, None, None]:
        del pacing
        yield from run(order)

    def end(self) -> None:
        pass

    def close(self) -> None:
        pass
