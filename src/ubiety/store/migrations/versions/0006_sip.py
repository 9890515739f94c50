"""SIP: routes, who is trusted, subscriptions and conversations with outsiders, messages on their way."""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

IDENTITY = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    """Create the tables."""
    _static_routes()
    _trust()
    _addresses()
    _subscriptions()
    _dialogs()
    _outgoing_messages()


def _static_routes() -> None:
    op.create_table(
        "static_routes",
        sa.Column("id", IDENTITY, nullable=False),
        sa.Column("pattern", sa.Text(), nullable=False),
        sa.Column("kind", sa.String(length=8), server_default="user", nullable=False),
        sa.Column("description", sa.Text(), server_default="", nullable=False),
        sa.Column("next_hop", sa.Text(), nullable=False),
        sa.Column("port", sa.Integer(), server_default=sa.text("5060"), nullable=False),
        sa.Column("transport", sa.String(length=8), server_default="tcp", nullable=False),
        sa.Column("priority", sa.Integer(), server_default=sa.text("1"), nullable=False),
        sa.Column("weight", sa.Integer(), server_default=sa.text("10"), nullable=False),
        sa.Column("allow_less_specific", sa.Boolean(), server_default=sa.true(), nullable=False),
        sa.Column("in_service", sa.Boolean(), server_default=sa.true(), nullable=False),
        sa.Column("is_blocked", sa.Boolean(), server_default=sa.false(), nullable=False),
        sa.CheckConstraint("kind IN ('domain', 'user')", name="kind"),
        sa.CheckConstraint("transport IN ('udp', 'tcp', 'tls')", name="transport"),
        sa.PrimaryKeyConstraint("id", name="pk_static_routes"),
        sa.UniqueConstraint(
            "kind",
            "pattern",
            "next_hop",
            "port",
            "transport",
            name="uq_static_routes_kind_pattern_next_hop_port_transport",
        ),
        sqlite_autoincrement=True,
    )


def _trust() -> None:
    op.create_table(
        "acl_entries",
        sa.Column("id", IDENTITY, nullable=False),
        sa.Column("kind", sa.String(length=8), nullable=False),
        sa.Column("value", sa.Text(), server_default="", nullable=False),
        sa.Column("description", sa.Text(), server_default="", nullable=False),
        sa.CheckConstraint("kind IN ('all', 'ip', 'fqdn', 'domain')", name="kind"),
        sa.PrimaryKeyConstraint("id", name="pk_acl_entries"),
        sa.UniqueConstraint("kind", "value", name="uq_acl_entries_kind_value"),
        sqlite_autoincrement=True,
    )
    op.create_table(
        "tls_peers",
        sa.Column("id", IDENTITY, nullable=False),
        sa.Column("subject", sa.Text(), nullable=False),
        sa.Column("description", sa.Text(), server_default="", nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_tls_peers"),
        sa.UniqueConstraint("subject", name="uq_tls_peers_subject"),
        sqlite_autoincrement=True,
    )


def _addresses() -> None:
    op.create_table(
        "microsoft_addresses",
        sa.Column("address", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("address", name="pk_microsoft_addresses"),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "federated_domains",
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("protocol", sa.String(length=8), server_default="sip", nullable=False),
        sa.Column("description", sa.Text(), server_default="", nullable=False),
        sa.CheckConstraint("protocol IN ('sip', 'xmpp')", name="protocol"),
        sa.PrimaryKeyConstraint("name", name="pk_federated_domains"),
    )


def _subscriptions() -> None:
    op.create_table(
        "sip_subscriptions",
        sa.Column("id", IDENTITY, nullable=False),
        sa.Column("user_id", sa.BigInteger(), nullable=False),
        sa.Column("peer_id", sa.BigInteger(), nullable=False),
        sa.Column("direction", sa.String(length=4), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("call_id", sa.Text(), nullable=False),
        sa.Column("record", sa.Text(), nullable=False),
        sa.Column("expires", sa.Double(), nullable=False),
        sa.CheckConstraint("direction IN ('in', 'out')", name="direction"),
        sa.ForeignKeyConstraint(
            ["user_id"], ["users.id"], name="fk_sip_subscriptions_user_id", ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(["peer_id"], ["addresses.id"], name="fk_sip_subscriptions_peer_id"),
        sa.PrimaryKeyConstraint("id", name="pk_sip_subscriptions"),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_sip_subscriptions_user_id_peer_id", "sip_subscriptions", ["user_id", "peer_id"])
    op.create_index("ix_sip_subscriptions_peer_id", "sip_subscriptions", ["peer_id"])
    op.create_index("ix_sip_subscriptions_expires", "sip_subscriptions", ["expires"])


def _dialogs() -> None:
    op.create_table(
        "sip_dialogs",
        sa.Column("id", IDENTITY, nullable=False),
        sa.Column("user_id", sa.BigInteger(), nullable=False),
        sa.Column("peer_id", sa.BigInteger(), nullable=False),
        sa.Column("call_id", sa.Text(), nullable=False),
        sa.Column("record", sa.Text(), nullable=False),
        sa.Column("updated", sa.Double(), nullable=False),
        sa.ForeignKeyConstraint(["user_id"], ["users.id"], name="fk_sip_dialogs_user_id", ondelete="CASCADE"),
        sa.ForeignKeyConstraint(["peer_id"], ["addresses.id"], name="fk_sip_dialogs_peer_id"),
        sa.PrimaryKeyConstraint("id", name="pk_sip_dialogs"),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_sip_dialogs_user_id_peer_id", "sip_dialogs", ["user_id", "peer_id"])
    op.create_index("ix_sip_dialogs_peer_id", "sip_dialogs", ["peer_id"])
    op.create_index("ix_sip_dialogs_updated", "sip_dialogs", ["updated"])


def _outgoing_messages() -> None:
    op.create_table(
        "outgoing_messages",
        sa.Column("sender_id", sa.BigInteger(), nullable=False),
        sa.Column("number", sa.BigInteger(), nullable=False),
        sa.Column("recipient", sa.Text(), nullable=False),
        sa.Column("stamp", sa.Double(), nullable=False),
        sa.Column("stanza", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("sender_id", "number", name="pk_outgoing_messages"),
        sqlite_with_rowid=False,
    )
