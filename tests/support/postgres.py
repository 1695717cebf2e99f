from collections.abc import Iterator
from contextlib import contextmanager

import psycopg
from tools.faults.postgresql import OwnServer


class Postgres(OwnServer):
    @contextmanager
    def frozen(self) -> Iterator[None]:
        """It does not answer and closes nothing, like a network that drops every packet."""
        processes = self.processes()
        for process in processes:
            process.suspend()
        try:
            yield
        finally:
            for process in processes:
                process.resume()

    def new_database(self) -> None:
        self.databases = getattr(self, "databases", 0) + 1
        admin = self.url.partition("?")[2]
        with psycopg.connect(f"postgresql://postgres@/postgres?{admin}", autocommit=True) as connection:
            connection.execute(f"CREATE DATABASE audit_{self.databases}")
        self.url = f"postgresql+psycopg://postgres:@/audit_{self.databases}?{admin}"
