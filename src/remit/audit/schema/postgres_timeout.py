from typing import Any

from psycopg import Connection, OperationalError
from psycopg.pq import TransactionStatus


class ImpatientConnection(Connection[tuple[Any, ...]]):
    """Gives up on a server that does not answer, and is closed then.

    The server's own timeouts are of no help where its host or its network is gone, or its disk hangs.
    """

    timeout_s: float | None = None
    """Longest wait for an answer, in seconds; None for as long as it takes."""

    def wait(self, gen: Any, interval: float = 0.1, timeout: float | None = None) -> Any:
        try:
            return super().wait(gen, interval, self.timeout_s if timeout is None else timeout)
        except OperationalError as error:
            if self.pgconn.transaction_status != TransactionStatus.ACTIVE:
                raise
            self.close()
            raise OperationalError(f"the server did not answer within {self.timeout_s} s") from error
