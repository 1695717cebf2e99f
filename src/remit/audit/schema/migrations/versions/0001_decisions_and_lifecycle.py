"""decisions, lifecycle, and the table of the write probe"""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "0001"
down_revision: str | None = None
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None

_TEXT = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")


def upgrade() -> None:
    op.create_table(
        "decisions",
        sa.Column("id", sa.LargeBinary(16), primary_key=True, nullable=False),
        sa.Column("time_us", sa.BigInteger, nullable=False),
        sa.Column("node", _TEXT, nullable=False),
        sa.Column("caller", _TEXT, nullable=False),
        sa.Column("on_behalf_of", _TEXT, nullable=False),
        sa.Column("tenant", _TEXT, nullable=False),
        sa.Column("namespace", _TEXT, nullable=False),
        sa.Column("principal", _TEXT, nullable=False),
        sa.Column("action", _TEXT, nullable=False),
        sa.Column("kind", _TEXT, nullable=False),
        sa.Column("resource_id", _TEXT, nullable=False),
        sa.Column("effect", _TEXT, nullable=False),
        sa.Column("reason", _TEXT, nullable=False),
        sa.Column("rule", _TEXT, nullable=False),
        sa.Column("revision", _TEXT, nullable=False),
        sa.Column("latency_ns", sa.BigInteger, nullable=False),
        sa.Column("call_id", sa.LargeBinary(16), nullable=False),
        sa.Column("batch_index", sa.BigInteger, nullable=False),
        sa.Column("trace_id", _TEXT, nullable=False),
        sqlite_with_rowid=False,
    )
    op.create_index("decisions_by_principal", "decisions", ["tenant", "principal", "id"])
    op.create_table(
        "lifecycle",
        sa.Column("id", sa.LargeBinary(16), primary_key=True, nullable=False),
        sa.Column("time_us", sa.BigInteger, nullable=False),
        sa.Column("node", _TEXT, nullable=False),
        sa.Column("type", _TEXT, nullable=False),
        sa.Column("tenant", _TEXT, nullable=False),
        sa.Column("revision", _TEXT, nullable=False),
        sa.Column("detail", _TEXT, nullable=False),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "probe",
        sa.Column("id", sa.LargeBinary(16), primary_key=True, nullable=False),
        sa.Column("filler", sa.LargeBinary, nullable=False),
    )


def downgrade() -> None:
    op.drop_table("probe")
    op.drop_table("lifecycle")
    op.drop_table("decisions")
