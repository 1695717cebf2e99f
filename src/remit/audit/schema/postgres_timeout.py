from typing import Any

from psycopg import Connection, OperationalError
from psycopg.pq import TransactionStatus


class ImpatientConnection(Connection[tuple[Any, ...]]):
    """A PostgreSQL connection with a timeout: it closes if the server does not answer.

    The server's own timeouts do not help if its host or network is gone, or its disk hangs.
    """

    timeout_s: float | None = None
    """The longest wait for an answer, in seconds. None waits without limit."""

    def wait(self, gen: Any, interval: float = 0.1, timeout: float | None = None) -> Any:
        try:
            return super().wait(gen, interval, self.timeout_s if timeout is None else timeout)
        except OperationalError as error:
            if self.pgconn.transaction_status != TransactionStatus.ACTIVE:
                raise
            self.close()
            raise OperationalError(f"the server did not answer within {self.timeout_s} s") from error
