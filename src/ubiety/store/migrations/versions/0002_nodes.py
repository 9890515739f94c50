"""Nodes, redundancy groups, services, alarms, and the list of changes that nodes read."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

IDENTITY = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    """Create the tables of a cluster; who was there belongs to set 1, the set of the first node."""
    _redundancy_groups()
    _nodes()
    _node_services()
    _alarms()
    _changes()


def _redundancy_groups() -> None:
    op.create_table(
        "redundancy_groups",
        sa.Column("id", IDENTITY, nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("description", sa.Text(), server_default="", nullable=False),
        sa.Column("ha_enabled", sa.Boolean(), server_default=sa.false(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_redundancy_groups"),
        sa.UniqueConstraint("name", name="uq_redundancy_groups_name"),
        sqlite_autoincrement=True,
    )


def _nodes() -> None:
    op.create_table(
        "nodes",
        sa.Column("id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("group_id", sa.BigInteger(), nullable=False),
        sa.Column("is_publisher", sa.Boolean(), server_default=sa.false(), nullable=False),
        sa.Column("address", sa.Text(), server_default="", nullable=False),
        sa.Column("ports", sa.Text(), server_default="{}", nullable=False),
        sa.Column("state", sa.Text(), server_default="Unknown", nullable=False),
        sa.Column("reason", sa.Text(), server_default="Unknown", nullable=False),
        sa.Column("state_since", sa.Double(), server_default=sa.text("0"), nullable=False),
        sa.Column("release", sa.Text(), server_default="", nullable=False),
        sa.Column("boot", sa.Text(), server_default="", nullable=False),
        sa.Column("started", sa.Double(), server_default=sa.text("0"), nullable=False),
        sa.Column("draining", sa.Boolean(), server_default=sa.false(), nullable=False),
        sa.ForeignKeyConstraint(["group_id"], ["redundancy_groups.id"], name="fk_nodes_group_id"),
        sa.PrimaryKeyConstraint("id", name="pk_nodes"),
        sa.UniqueConstraint("name", name="uq_nodes_name"),
    )


def _node_services() -> None:
    op.create_table(
        "node_services",
        sa.Column("node_id", sa.Integer(), nullable=False),
        sa.Column("service", sa.Text(), nullable=False),
        sa.Column("activated", sa.Boolean(), server_default=sa.true(), nullable=False),
        sa.Column("stopped", sa.Boolean(), server_default=sa.false(), nullable=False),
        sa.Column("auto_restart", sa.Boolean(), server_default=sa.true(), nullable=False),
        sa.ForeignKeyConstraint(
            ["node_id"], ["nodes.id"], name="fk_node_services_node_id", ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("node_id", "service", name="pk_node_services"),
    )


def _alarms() -> None:
    op.create_table(
        "alarms",
        sa.Column("id", IDENTITY, nullable=False),
        sa.Column("node_id", sa.Integer(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("severity", sa.String(length=16), nullable=False),
        sa.Column("text", sa.Text(), nullable=False),
        sa.Column("raised", sa.Double(), nullable=False),
        sa.Column("cleared", sa.Double(), nullable=True),
        sa.ForeignKeyConstraint(["node_id"], ["nodes.id"], name="fk_alarms_node_id", ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id", name="pk_alarms"),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_alarms_node_id_name", "alarms", ["node_id", "name"])


def _changes() -> None:
    op.create_table(
        "changes",
        sa.Column("revision", IDENTITY, nullable=False),
        sa.Column("kind", sa.String(length=16), nullable=False),
        sa.Column("ref_id", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("at", sa.Double(), nullable=False),
        sa.Column("xact", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("revision", name="pk_changes"),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_changes_xact", "changes", ["xact"])
    op.create_index("ix_changes_at", "changes", ["at"])
