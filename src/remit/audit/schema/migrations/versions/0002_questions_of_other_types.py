"""decisions: which type of question was asked, and what else its answer told"""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "0002"
down_revision: str | None = "0001"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None

_TEXT = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")


def upgrade() -> None:
    # Until now only Check, BatchCheck and Explain were answered, and a record did not tell them apart.
    op.add_column("decisions", sa.Column("question", _TEXT, nullable=False, server_default=sa.text("'CHECK'")))
    op.add_column("decisions", sa.Column("detail", _TEXT, nullable=False, server_default=sa.text("''")))


def downgrade() -> None:
    op.drop_column("decisions", "detail")
    op.drop_column("decisions", "question")
