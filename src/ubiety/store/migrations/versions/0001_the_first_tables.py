"""The first tables."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

IDENTITY = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    """Create everything."""
    _addresses()
    _domains()
    _users()
    _roster_items()
    _roster_groups()
    _policies()
    _policy_entries()
    _messages()
    _deliveries()
    _archive()
    _archive_prefs()
    _archive_pref_entries()
    _sm_streams()
    _leases()
    _vcards()
    _private_xml()
    _pep_nodes()
    _pep_items()
    _settings()
    _audit()
    _tokens()


def _addresses() -> None:
    op.create_table(
        "addresses",
        sa.Column("id", IDENTITY, nullable=False),
        sa.Column("jid", sa.Text(), nullable=False),
        sa.Column("merged_into", sa.BigInteger(), nullable=True),
        sa.ForeignKeyConstraint(["merged_into"], ["addresses.id"], name="fk_addresses_merged_into"),
        sa.PrimaryKeyConstraint("id", name="pk_addresses"),
        sa.UniqueConstraint("jid", name="uq_addresses_jid"),
        sqlite_autoincrement=True,
    )


def _domains() -> None:
    op.create_table(
        "domains",
        sa.Column("id", IDENTITY, nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("kind", sa.String(length=16), server_default="local", nullable=False),
        sa.Column("is_default", sa.Boolean(), server_default=sa.false(), nullable=False),
        sa.Column("created", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_domains"),
        sa.UniqueConstraint("name", name="uq_domains_name"),
        sqlite_autoincrement=True,
    )


def _users() -> None:
    op.create_table(
        "users",
        sa.Column("id", IDENTITY, nullable=False),
        sa.Column("address_id", sa.BigInteger(), nullable=False),
        sa.Column("userid", sa.Text(), nullable=False),
        sa.Column("domain_id", sa.BigInteger(), nullable=False),
        sa.Column("display_name", sa.Text(), server_default="", nullable=False),
        sa.Column("given_name", sa.Text(), server_default="", nullable=False),
        sa.Column("surname", sa.Text(), server_default="", nullable=False),
        sa.Column("mail", sa.Text(), server_default="", nullable=False),
        sa.Column("sip_uri", sa.Text(), server_default="", nullable=False),
        sa.Column("directory_uri", sa.Text(), server_default="", nullable=False),
        sa.Column("department", sa.Text(), server_default="", nullable=False),
        sa.Column("title", sa.Text(), server_default="", nullable=False),
        sa.Column("phone", sa.Text(), server_default="", nullable=False),
        sa.Column("enabled", sa.Boolean(), server_default=sa.true(), nullable=False),
        sa.Column("set_id", sa.Integer(), server_default=sa.text("1"), nullable=False),
        sa.Column("auth", sa.String(length=16), server_default="local", nullable=False),
        sa.Column("scram", sa.Text(), nullable=True),
        sa.Column("roster_version", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("revision", sa.BigInteger(), server_default=sa.text("1"), nullable=False),
        sa.Column("created", sa.Double(), nullable=False),
        sa.Column("last_login", sa.Double(), nullable=True),
        sa.Column("last_seen", sa.Double(), nullable=True),
        sa.Column("last_status", sa.Text(), server_default="", nullable=False),
        sa.ForeignKeyConstraint(["address_id"], ["addresses.id"], name="fk_users_address_id"),
        sa.ForeignKeyConstraint(["domain_id"], ["domains.id"], name="fk_users_domain_id"),
        sa.PrimaryKeyConstraint("id", name="pk_users"),
        sa.UniqueConstraint("address_id", name="uq_users_address_id"),
        sa.UniqueConstraint("domain_id", "userid", name="uq_users_domain_id_userid"),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_users_department", "users", ["department"])


def _roster_items() -> None:
    op.create_table(
        "roster_items",
        sa.Column("user_id", sa.BigInteger(), nullable=False),
        sa.Column("contact_id", sa.BigInteger(), nullable=False),
        sa.Column("name", sa.Text(), server_default="", nullable=False),
        sa.Column("subscription", sa.SmallInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("ask", sa.SmallInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("pending_in", sa.SmallInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("approved", sa.SmallInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("listed", sa.SmallInteger(), server_default=sa.text("1"), nullable=False),
        sa.Column("state", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("pending_stanza", sa.LargeBinary(), nullable=True),
        sa.CheckConstraint("subscription BETWEEN 0 AND 3", name=op.f("ck_roster_items_subscription")),
        sa.ForeignKeyConstraint(["contact_id"], ["addresses.id"], name="fk_roster_items_contact_id"),
        sa.ForeignKeyConstraint(
            ["user_id"], ["users.id"], name="fk_roster_items_user_id", ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("user_id", "contact_id", name="pk_roster_items"),
        sqlite_with_rowid=False,
    )
    op.create_index("ix_roster_items_contact_id", "roster_items", ["contact_id"])


def _roster_groups() -> None:
    op.create_table(
        "roster_groups",
        sa.Column("user_id", sa.BigInteger(), nullable=False),
        sa.Column("contact_id", sa.BigInteger(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["contact_id"], ["addresses.id"], name="fk_roster_groups_contact_id"),
        sa.ForeignKeyConstraint(
            ["user_id"], ["users.id"], name="fk_roster_groups_user_id", ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("user_id", "contact_id", "name", name="pk_roster_groups"),
        sqlite_with_rowid=False,
    )
    op.create_index("ix_roster_groups_contact_id", "roster_groups", ["contact_id"])


def _policies() -> None:
    op.create_table(
        "policies",
        sa.Column("user_id", sa.BigInteger(), nullable=False),
        sa.Column("default_action", sa.String(length=8), nullable=True),
        sa.CheckConstraint("default_action IN ('allow', 'block')", name=op.f("ck_policies_default_action")),
        sa.ForeignKeyConstraint(["user_id"], ["users.id"], name="fk_policies_user_id", ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("user_id", name="pk_policies"),
    )


def _policy_entries() -> None:
    op.create_table(
        "policy_entries",
        sa.Column("id", IDENTITY, nullable=False),
        sa.Column("user_id", sa.BigInteger(), nullable=False),
        sa.Column("action", sa.String(length=8), nullable=False),
        sa.Column("address_id", sa.BigInteger(), nullable=True),
        sa.Column("domain", sa.Text(), nullable=True),
        sa.CheckConstraint("action IN ('allow', 'block')", name=op.f("ck_policy_entries_action")),
        sa.CheckConstraint(
            "(address_id IS NULL) <> (domain IS NULL)", name=op.f("ck_policy_entries_one_target")
        ),
        sa.ForeignKeyConstraint(["address_id"], ["addresses.id"], name="fk_policy_entries_address_id"),
        sa.ForeignKeyConstraint(
            ["user_id"], ["users.id"], name="fk_policy_entries_user_id", ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name="pk_policy_entries"),
        sa.UniqueConstraint("user_id", "address_id", name="uq_policy_entries_user_id_address_id"),
        sa.UniqueConstraint("user_id", "domain", name="uq_policy_entries_user_id_domain"),
    )
    op.create_index("ix_policy_entries_address_id", "policy_entries", ["address_id"])


def _messages() -> None:
    op.create_table(
        "messages",
        sa.Column("id", IDENTITY, autoincrement=False, nullable=False),
        sa.Column("sender_id", sa.BigInteger(), nullable=True),
        sa.Column("recipient_id", sa.BigInteger(), nullable=True),
        sa.Column("stamp", sa.Double(), nullable=False),
        sa.Column("origin_id", sa.Text(), nullable=True),
        sa.Column("stanza", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_messages"),
    )
    op.create_index(
        "ix_messages_origin",
        "messages",
        ["sender_id", "stamp"],
        sqlite_where=sa.text("origin_id IS NOT NULL"),
        postgresql_where=sa.text("origin_id IS NOT NULL"),
    )


def _deliveries() -> None:
    op.create_table(
        "deliveries",
        sa.Column("user_id", sa.BigInteger(), nullable=False),
        sa.Column("message_id", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("user_id", "message_id", name="pk_deliveries"),
        sqlite_with_rowid=False,
    )
    op.create_index("ix_deliveries_message_id", "deliveries", ["message_id"])


def _archive() -> None:
    op.create_table(
        "archive",
        sa.Column("owner_id", sa.BigInteger(), nullable=False),
        sa.Column("number", sa.BigInteger(), nullable=False),
        sa.Column("message_id", sa.BigInteger(), nullable=False),
        sa.Column("peer_id", sa.BigInteger(), nullable=False),
        sa.Column("peer_resource", sa.Text(), server_default="", nullable=False),
        sa.Column("direction", sa.SmallInteger(), nullable=False),
        sa.PrimaryKeyConstraint("owner_id", "number", name="pk_archive"),
        sqlite_with_rowid=False,
    )
    op.create_index("ix_archive_message_id", "archive", ["message_id"])
    op.create_index("ix_archive_owner_peer", "archive", ["owner_id", "peer_id", "number"])


def _archive_prefs() -> None:
    op.create_table(
        "archive_prefs",
        sa.Column("user_id", sa.BigInteger(), nullable=False),
        sa.Column("default_action", sa.String(length=8), nullable=False),
        sa.CheckConstraint(
            "default_action IN ('always', 'never', 'roster')", name=op.f("ck_archive_prefs_default_action")
        ),
        sa.ForeignKeyConstraint(
            ["user_id"], ["users.id"], name="fk_archive_prefs_user_id", ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("user_id", name="pk_archive_prefs"),
    )


def _archive_pref_entries() -> None:
    op.create_table(
        "archive_pref_entries",
        sa.Column("user_id", sa.BigInteger(), nullable=False),
        sa.Column("address_id", sa.BigInteger(), nullable=False),
        sa.Column("action", sa.String(length=8), nullable=False),
        sa.CheckConstraint("action IN ('always', 'never')", name=op.f("ck_archive_pref_entries_action")),
        sa.ForeignKeyConstraint(["address_id"], ["addresses.id"], name="fk_archive_pref_entries_address_id"),
        sa.ForeignKeyConstraint(
            ["user_id"], ["users.id"], name="fk_archive_pref_entries_user_id", ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("user_id", "address_id", name="pk_archive_pref_entries"),
        sqlite_with_rowid=False,
    )


def _sm_streams() -> None:
    op.create_table(
        "sm_streams",
        sa.Column("smid", sa.Text(), nullable=False),
        sa.Column("user_id", sa.BigInteger(), nullable=False),
        sa.Column("h", sa.BigInteger(), nullable=False),
        sa.Column("updated", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("smid", name="pk_sm_streams"),
        sqlite_with_rowid=False,
    )
    op.create_index("ix_sm_streams_updated", "sm_streams", ["updated"])
    op.create_index("ix_sm_streams_user_id", "sm_streams", ["user_id"])


def _leases() -> None:
    op.create_table(
        "leases",
        sa.Column("set_id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("owner", sa.Text(), nullable=False),
        sa.Column("epoch", sa.BigInteger(), nullable=False),
        sa.Column("expires", sa.Double(), server_default=sa.text("0"), nullable=False),
        sa.PrimaryKeyConstraint("set_id", name="pk_leases"),
    )


def _vcards() -> None:
    op.create_table(
        "vcards",
        sa.Column("user_id", sa.BigInteger(), nullable=False),
        sa.Column("xml", sa.LargeBinary(), nullable=False),
        sa.Column("photo_hash", sa.String(length=40), server_default="", nullable=False),
        sa.ForeignKeyConstraint(["user_id"], ["users.id"], name="fk_vcards_user_id", ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("user_id", name="pk_vcards"),
    )


def _private_xml() -> None:
    op.create_table(
        "private_xml",
        sa.Column("user_id", sa.BigInteger(), nullable=False),
        sa.Column("ns", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("xml", sa.LargeBinary(), nullable=False),
        sa.ForeignKeyConstraint(["user_id"], ["users.id"], name="fk_private_xml_user_id", ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("user_id", "ns", "name", name="pk_private_xml"),
    )


def _pep_nodes() -> None:
    op.create_table(
        "pep_nodes",
        sa.Column("id", IDENTITY, nullable=False),
        sa.Column("user_id", sa.BigInteger(), nullable=False),
        sa.Column("node", sa.Text(), nullable=False),
        sa.Column("options", sa.Text(), server_default="{}", nullable=False),
        sa.ForeignKeyConstraint(["user_id"], ["users.id"], name="fk_pep_nodes_user_id", ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id", name="pk_pep_nodes"),
        sa.UniqueConstraint("user_id", "node", name="uq_pep_nodes_user_id_node"),
    )


def _pep_items() -> None:
    op.create_table(
        "pep_items",
        sa.Column("node_id", sa.BigInteger(), nullable=False),
        sa.Column("item_id", sa.Text(), nullable=False),
        sa.Column("position", sa.BigInteger(), nullable=False),
        sa.Column("publisher", sa.Text(), nullable=False),
        sa.Column("stamp", sa.Double(), nullable=False),
        sa.Column("xml", sa.LargeBinary(), nullable=False),
        sa.ForeignKeyConstraint(
            ["node_id"], ["pep_nodes.id"], name="fk_pep_items_node_id", ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("node_id", "item_id", name="pk_pep_items"),
    )
    op.create_index("ix_pep_items_position", "pep_items", ["node_id", "position"])


def _settings() -> None:
    op.create_table(
        "settings",
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("value", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("name", name="pk_settings"),
    )


def _audit() -> None:
    op.create_table(
        "audit",
        sa.Column("id", IDENTITY, nullable=False),
        sa.Column("at", sa.Double(), nullable=False),
        sa.Column("actor", sa.Text(), nullable=False),
        sa.Column("operation", sa.Text(), nullable=False),
        sa.Column("arguments", sa.Text(), nullable=False),
        sa.Column("outcome", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_audit"),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_audit_at", "audit", ["at"])


def _tokens() -> None:
    op.create_table(
        "tokens",
        sa.Column("id", IDENTITY, nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("hash", sa.String(length=64), nullable=False),
        sa.Column("permissions", sa.Text(), nullable=False),
        sa.Column("created", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_tokens"),
        sa.UniqueConstraint("hash", name="uq_tokens_hash"),
        sa.UniqueConstraint("name", name="uq_tokens_name"),
        sqlite_autoincrement=True,
    )
