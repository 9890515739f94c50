"""For whose people a trusted SIP peer may speak."""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None

BEFORE = sa.Table(
    "acl_entries",
    sa.MetaData(),
    sa.Column("id", sa.Integer(), nullable=False),
    sa.Column("kind", sa.String(length=8), nullable=False),
    sa.Column("value", sa.Text(), server_default="", nullable=False),
    sa.Column("description", sa.Text(), server_default="", nullable=False),
    sa.CheckConstraint("kind IN ('all', 'ip', 'fqdn', 'domain')", name="ck_acl_entries_kind"),
    sa.PrimaryKeyConstraint("id", name="pk_acl_entries"),
    sa.UniqueConstraint("kind", "value", name="uq_acl_entries_kind_value"),
    sqlite_autoincrement=True,
)
"""What SQLite's table is made anew from: read from the database its defaults would come back changed."""


def upgrade() -> None:
    """Add the column; entries that are there already keep speaking for everybody."""
    is_sqlite = op.get_bind().dialect.name == "sqlite"
    with op.batch_alter_table(
        "acl_entries", recreate="always" if is_sqlite else "never", copy_from=BEFORE if is_sqlite else None
    ) as entries:
        entries.add_column(sa.Column("domains", sa.Text(), server_default="", nullable=False))
