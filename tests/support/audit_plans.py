from sqlalchemy import event

from remit.audit.query.filter import DecisionFilter
from remit.audit.query.reader import AuditReader


def plan_of_page(store: AuditReader, where: DecisionFilter) -> list[str]:
    """The steps in which SQLite finds what is asked last for a page."""
    seen: list[tuple[str, object]] = []

    def note(_c: object, _cursor: object, statement: str, parameters: object, *_: object) -> None:
        seen.append((statement, parameters))

    with store.reading() as connection:
        event.listen(connection.engine, "before_cursor_execute", note)
        store.decisions(where)
        event.remove(connection.engine, "before_cursor_execute", note)
        statement, parameters = seen[-1]
        found = connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", parameters)  # type: ignore[arg-type]
        return [str(step[3]) for step in found]
