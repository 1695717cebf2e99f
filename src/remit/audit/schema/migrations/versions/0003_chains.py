"""decisions and lifecycle: chained; checkpoints, tombstones, counts and the revisions that records name"""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "0003"
down_revision: str | None = "0002"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None

_TEXT = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")


def upgrade() -> None:
    for table in ("decisions", "lifecycle"):
        # What was written before stays outside the chains, and says so by its place.
        op.add_column(table, sa.Column("seq", sa.BigInteger, nullable=False, server_default=sa.text("0")))
        op.add_column(table, sa.Column("hash", sa.LargeBinary(32), nullable=False, server_default=sa.text("''")))
    op.create_table(
        "chains",
        *_keys("of_table", "tenant", "node"),
        sa.Column("seq", sa.BigInteger, nullable=False),
        sa.Column("hash", sa.LargeBinary(32), nullable=False),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "checkpoints",
        *_keys("of_table", "tenant", "node"),
        sa.Column("seq", sa.BigInteger, primary_key=True, nullable=False, autoincrement=False),
        sa.Column("hash", sa.LargeBinary(32), nullable=False),
        sa.Column("previous_seq", sa.BigInteger, nullable=False),
        sa.Column("previous_hash", sa.LargeBinary(32), nullable=False),
        sa.Column("time_us", sa.BigInteger, nullable=False),
        sa.Column("key_id", _TEXT, nullable=False),
        sa.Column("signature", sa.LargeBinary(64), nullable=False),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "tombstones",
        *_keys("tenant", "node"),
        sa.Column("seq", sa.BigInteger, primary_key=True, nullable=False, autoincrement=False),
        sa.Column("hash", sa.LargeBinary(32), nullable=False),
        sa.Column("before_us", sa.BigInteger, nullable=False),
        sa.Column("time_us", sa.BigInteger, nullable=False),
        sa.Column("key_id", _TEXT, nullable=False),
        sa.Column("signature", sa.LargeBinary, nullable=False),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "counts",
        *_keys("tenant", "dimension"),
        sa.Column("hour_us", sa.BigInteger, primary_key=True, nullable=False, autoincrement=False),
        *_keys("value", "effect", "reason", "node"),
        sa.Column("recorded", sa.BigInteger, nullable=False),
        sa.Column("unrecorded", sa.BigInteger, nullable=False),
        sa.Column("minutes", sa.BigInteger, nullable=False),
        sqlite_with_rowid=False,
    )
    for dimension in ("", "principal", "namespace", "revision", "caller", "question"):
        op.execute(_counted(dimension))
    op.create_table(
        "revisions",
        *_keys("revision"),
        sa.Column("tenant", _TEXT, nullable=False),
        sa.Column("kept_us", sa.BigInteger, nullable=False),
        sa.Column("archive", sa.LargeBinary, nullable=False),
        sqlite_with_rowid=False,
    )
    op.create_index("lifecycle_by_type", "lifecycle", ["tenant", "type", "id"])


def downgrade() -> None:
    op.drop_index("lifecycle_by_type", "lifecycle")
    for table in ("revisions", "counts", "tombstones", "checkpoints", "chains"):
        op.drop_table(table)
    for table in ("lifecycle", "decisions"):
        op.drop_column(table, "hash")
        op.drop_column(table, "seq")


def _keys(*names: str) -> list[sa.Column[str]]:
    return [sa.Column(name, _TEXT, primary_key=True, nullable=False) for name in names]


def _counted(dimension: str) -> str:
    """What is there already. The sum of distinct powers of two is their union, which SQLite has no word for."""
    value = dimension or "''"
    return f"""
        INSERT INTO counts
        SELECT tenant, '{dimension}', time_us - time_us % 3600000000, {value}, effect, reason, node, count(*), 0,
          CAST(sum(DISTINCT CAST(1 AS BIGINT) << CAST(time_us / 60000000 % 60 AS INTEGER)) AS BIGINT)
        FROM decisions GROUP BY 1, 3, 4, 5, 6, 7
    """  # noqa: S608 (names of our own)
