"""decisions: the index by principal holds namespace and effect too"""

from collections.abc import Sequence

from alembic import op

revision: str = "0004"
down_revision: str | None = "0003"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None


def upgrade() -> None:
    _with("tenant", "principal", "id", "namespace", "effect")


def downgrade() -> None:
    _with("tenant", "principal", "id")


def _with(*columns: str) -> None:
    op.drop_index("decisions_by_principal", "decisions")
    op.create_index("decisions_by_principal", "decisions", list(columns))
