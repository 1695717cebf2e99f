"""What loads policies for a reloader without a process of its own."""

from collections.abc import Generator

from remit.engine.pacing import Pacing
from remit.policy.build.scan import Found, RestoreRequest, ScanRequest, run


class InProcess:
    """Loads in this process."""

    def carry_out(self, order: ScanRequest | RestoreRequest, pace: Pacing) -> Generator[Found, None, None]:
        del pace
        yield from run(order)

    def end(self) -> None:
        pass

    def close(self) -> None:
        pass
