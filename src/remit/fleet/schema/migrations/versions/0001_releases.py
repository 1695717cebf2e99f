"""Releases, the chains of changes, and the nodes that serve them."""

from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa
from alembic import op

revision: str = "0001"
down_revision: str | None = None
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None

_TEXT = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")


def _column(name: str, type_: sa.types.TypeEngine[Any]) -> sa.Column[Any]:
    return sa.Column(name, type_, nullable=False, autoincrement=False)


def upgrade() -> None:
    number, blob = sa.BigInteger(), sa.LargeBinary()
    op.create_table(
        "releases",
        _column("seq", number),
        _column("hash", _TEXT),
        _column("format", number),
        _column("body", _TEXT),
        _column("key_id", _TEXT),
        _column("signature", blob),
        sa.PrimaryKeyConstraint("seq"),
    )
    op.create_index("releases_by_hash", "releases", ["hash"], unique=True)
    op.create_table("folders", _column("digest", _TEXT), _column("content", blob), sa.PrimaryKeyConstraint("digest"))
    op.create_table(
        "changes",
        _column("tenant", _TEXT),
        _column("seq", number),
        _column("hash", blob),
        _column("time_us", number),
        _column("kind", _TEXT),
        _column("caller", _TEXT),
        _column("body", _TEXT),
        _column("request_id", _TEXT),
        _column("key_id", _TEXT),
        _column("signature", blob),
        sa.PrimaryKeyConstraint("tenant", "seq"),
    )
    named = sa.text("request_id != ''")
    op.create_index(
        "changes_by_request",
        "changes",
        ["tenant", "request_id"],
        unique=True,
        sqlite_where=named,
        postgresql_where=named,
    )
    op.create_table(
        "bindings",
        _column("tenant", _TEXT),
        _column("member", _TEXT),
        _column("holds", _TEXT),
        _column("scope", _TEXT),
        _column("expires_us", number),
        _column("seq", number),
        sa.PrimaryKeyConstraint("tenant", "member", "holds", "scope"),
    )
    has_end = sa.text("expires_us != 0")
    op.create_index(
        "bindings_by_end", "bindings", ["tenant", "expires_us"], sqlite_where=has_end, postgresql_where=has_end
    )
    op.create_table(
        "heads",
        _column("tenant", _TEXT),
        _column("seq", number),
        _column("hash", blob),
        sa.PrimaryKeyConstraint("tenant"),
    )
    op.create_table(
        "nodes",
        _column("node", _TEXT),
        _column("instance", _TEXT),
        _column("version", _TEXT),
        _column("formats", _TEXT),
        _column("seen_us", number),
        _column("stopped_us", number),
        _column("report", _TEXT),
        sa.PrimaryKeyConstraint("node"),
    )


def downgrade() -> None:
    for name in ("nodes", "heads", "bindings", "changes", "folders", "releases"):
        op.drop_table(name)
