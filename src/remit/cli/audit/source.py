from collections.abc import Callable
from typing import Any, Final, NamedTuple, TypeVar

import typer

from remit.audit.errors import NotCountedError
from remit.audit.query.reader import AuditReader
from remit.cli.audit.options import STORE_DEFAULT, StoreOption
from remit.cli.common.open_store import opened
from remit.cli.common.option_group import option, option_group
from remit.cli.common.output import Exit, fail
from remit.cli.common.server_options import Connection, TargetOption, connection_options, server_asked
from remit.client import Client, DecisionUnavailable
from remit.core.errors import InvalidNameError, MalformedQuestionError
from remit.policy.revisions.archive import RevisionNotStoredError

_Answer = TypeVar("_Answer")

_EXITS: Final = {"INVALID_ARGUMENT": Exit.USAGE, "NOT_FOUND": Exit.NO}


class Source(NamedTuple):
    """The source of the audit: a server if one is named, otherwise the store itself."""

    audit: str
    target: str | None
    connection: Connection

    def answer(self, locally: Callable[[AuditReader], _Answer], remotely: Callable[[Client], _Answer]) -> _Answer:
        """Returns the answer of the store or of the server. Ends the command if there is no answer."""
        try:
            if self.target is None:
                with opened(self.audit) as store:
                    return locally(store)
            with self.connection.client(self.target) as client:
                return remotely(client)
        except (MalformedQuestionError, InvalidNameError, NotCountedError) as error:
            fail(Exit.USAGE, str(error))
        except RevisionNotStoredError as error:
            fail(Exit.NO, str(error))
        except DecisionUnavailable as error:
            fail(_EXITS.get(error.code, Exit.UNAVAILABLE), str(error))


def _source(context: typer.Context, audit: str, target: str | None, **connection: Any) -> Source:
    return Source(audit, target if server_asked(context, "audit") else None, Connection(**connection))


reads: Final = option_group(
    "source",
    _source,
    (
        option("context", typer.Context),
        option("audit", StoreOption, STORE_DEFAULT),
        option("target", TargetOption),
        *connection_options(10.0),
    ),
)
"""Decorates a command that takes a `source` with the options that name the source."""
