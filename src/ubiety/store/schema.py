"""The tables, as SQLAlchemy metadata (design: "Data").

Rules that hold for all of them:

* People are referred to by ``users.id``, addresses by ``addresses.id``; both are never used a second time.
* Times are seconds since 1970 as double precision. Flags that the login packs into one number are 0 or 1.
* The ledger's tables (``messages``, ``deliveries``, ``archive``) have no foreign keys: a reference check
  per row would double the cost of a message, and a row for somebody deleted meanwhile must not spoil the
  batch. ``messages.gc_messages`` tidies up after them.
* Tables that are read "all of one person" are clustered by person (``WITHOUT ROWID`` on SQLite).
"""

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    Double,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    SmallInteger,
    String,
    Table,
    Text,
    UniqueConstraint,
    false,
    text,
    true,
)

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s",
        "pk": "pk_%(table_name)s",
    }
)

#: SQLite numbers rows itself only in a column of type INTEGER.
Identity = BigInteger().with_variant(Integer, "sqlite")

addresses = Table(
    "addresses",
    metadata,
    Column("id", Identity, primary_key=True),
    Column("jid", Text, nullable=False, unique=True),
    Column("merged_into", BigInteger, ForeignKey("addresses.id")),
    sqlite_autoincrement=True,
)

domains = Table(
    "domains",
    metadata,
    Column("id", Identity, primary_key=True),
    Column("name", Text, nullable=False, unique=True),
    Column("kind", String(16), nullable=False, server_default="local"),
    Column("is_default", Boolean, nullable=False, server_default=false()),
    Column("created", Double, nullable=False),
    sqlite_autoincrement=True,
)

users = Table(
    "users",
    metadata,
    Column("id", Identity, primary_key=True),
    Column("address_id", BigInteger, ForeignKey("addresses.id"), nullable=False, unique=True),
    Column("userid", Text, nullable=False),
    Column("domain_id", BigInteger, ForeignKey("domains.id"), nullable=False),
    Column("display_name", Text, nullable=False, server_default=""),
    Column("given_name", Text, nullable=False, server_default=""),
    Column("surname", Text, nullable=False, server_default=""),
    Column("mail", Text, nullable=False, server_default=""),
    Column("sip_uri", Text, nullable=False, server_default=""),
    Column("directory_uri", Text, nullable=False, server_default=""),
    Column("department", Text, nullable=False, server_default=""),
    Column("title", Text, nullable=False, server_default=""),
    Column("phone", Text, nullable=False, server_default=""),
    Column("enabled", Boolean, nullable=False, server_default=true()),
    Column("set_id", Integer, nullable=False, server_default=text("1")),
    Column("auth", String(16), nullable=False, server_default="local"),
    Column("scram", Text),
    Column("roster_version", BigInteger, nullable=False, server_default=text("0")),
    Column("revision", BigInteger, nullable=False, server_default=text("1")),
    Column("created", Double, nullable=False),
    Column("last_login", Double),
    Column("last_seen", Double),
    Column("last_status", Text, nullable=False, server_default=""),
    UniqueConstraint("domain_id", "userid"),
    Index("ix_users_department", "department"),
    sqlite_autoincrement=True,
)

roster_items = Table(
    "roster_items",
    metadata,
    Column("user_id", BigInteger, ForeignKey("users.id", ondelete="CASCADE"), primary_key=True),
    Column("contact_id", BigInteger, ForeignKey("addresses.id"), primary_key=True),
    Column("name", Text, nullable=False, server_default=""),
    Column("subscription", SmallInteger, nullable=False, server_default=text("0")),
    Column("ask", SmallInteger, nullable=False, server_default=text("0")),
    Column("pending_in", SmallInteger, nullable=False, server_default=text("0")),
    Column("approved", SmallInteger, nullable=False, server_default=text("0")),
    Column("listed", SmallInteger, nullable=False, server_default=text("1")),
    Column("state", Integer, nullable=False, server_default=text("0")),
    Column("pending_stanza", LargeBinary),
    CheckConstraint("subscription BETWEEN 0 AND 3", name="subscription"),
    Index("ix_roster_items_contact_id", "contact_id"),
    sqlite_with_rowid=False,
)

roster_groups = Table(
    "roster_groups",
    metadata,
    Column("user_id", BigInteger, ForeignKey("users.id", ondelete="CASCADE"), primary_key=True),
    Column("contact_id", BigInteger, ForeignKey("addresses.id"), primary_key=True),
    Column("name", Text, primary_key=True),
    Index("ix_roster_groups_contact_id", "contact_id"),
    sqlite_with_rowid=False,
)

policies = Table(
    "policies",
    metadata,
    Column("user_id", BigInteger, ForeignKey("users.id", ondelete="CASCADE"), primary_key=True),
    Column("default_action", String(8)),
    CheckConstraint("default_action IN ('allow', 'block')", name="default_action"),
)

policy_entries = Table(
    "policy_entries",
    metadata,
    Column("id", Identity, primary_key=True),
    Column("user_id", BigInteger, ForeignKey("users.id", ondelete="CASCADE"), nullable=False),
    Column("action", String(8), nullable=False),
    Column("address_id", BigInteger, ForeignKey("addresses.id")),
    Column("domain", Text),
    UniqueConstraint("user_id", "address_id"),
    UniqueConstraint("user_id", "domain"),
    CheckConstraint("action IN ('allow', 'block')", name="action"),
    CheckConstraint("(address_id IS NULL) <> (domain IS NULL)", name="one_target"),
    Index("ix_policy_entries_address_id", "address_id"),
)

messages = Table(
    "messages",
    metadata,
    Column("id", Identity, primary_key=True, autoincrement=False),
    Column("sender_id", BigInteger),
    Column("recipient_id", BigInteger),
    Column("stamp", Double, nullable=False),
    Column("origin_id", Text),
    Column("stanza", LargeBinary, nullable=False),
)
Index(
    "ix_messages_origin",
    messages.c.sender_id,
    messages.c.stamp,
    sqlite_where=messages.c.origin_id.is_not(None),
    postgresql_where=messages.c.origin_id.is_not(None),
)

deliveries = Table(
    "deliveries",
    metadata,
    Column("user_id", BigInteger, primary_key=True),
    Column("message_id", BigInteger, primary_key=True),
    Index("ix_deliveries_message_id", "message_id"),
    sqlite_with_rowid=False,
)

archive = Table(
    "archive",
    metadata,
    Column("owner_id", BigInteger, primary_key=True),
    Column("number", BigInteger, primary_key=True),
    Column("message_id", BigInteger, nullable=False),
    Column("peer_id", BigInteger, nullable=False),
    Column("peer_resource", Text, nullable=False, server_default=""),
    Column("direction", SmallInteger, nullable=False),
    Index("ix_archive_owner_peer", "owner_id", "peer_id", "number"),
    Index("ix_archive_message_id", "message_id"),
    sqlite_with_rowid=False,
)

archive_prefs = Table(
    "archive_prefs",
    metadata,
    Column("user_id", BigInteger, ForeignKey("users.id", ondelete="CASCADE"), primary_key=True),
    Column("default_action", String(8), nullable=False),
    CheckConstraint("default_action IN ('always', 'never', 'roster')", name="default_action"),
)

archive_pref_entries = Table(
    "archive_pref_entries",
    metadata,
    Column("user_id", BigInteger, ForeignKey("users.id", ondelete="CASCADE"), primary_key=True),
    Column("address_id", BigInteger, ForeignKey("addresses.id"), primary_key=True),
    Column("action", String(8), nullable=False),
    CheckConstraint("action IN ('always', 'never')", name="action"),
    sqlite_with_rowid=False,
)

sm_streams = Table(
    "sm_streams",
    metadata,
    Column("smid", Text, primary_key=True),
    Column("user_id", BigInteger, nullable=False),
    Column("h", BigInteger, nullable=False),
    Column("updated", Double, nullable=False),
    Index("ix_sm_streams_user_id", "user_id"),
    Index("ix_sm_streams_updated", "updated"),
    sqlite_with_rowid=False,
)

leases = Table(
    "leases",
    metadata,
    Column("set_id", Integer, primary_key=True, autoincrement=False),
    Column("owner", Text, nullable=False),
    Column("epoch", BigInteger, nullable=False),
    Column("expires", Double, nullable=False, server_default=text("0")),
    Column("successor", Integer, nullable=False, server_default=text("0")),
)

vcards = Table(
    "vcards",
    metadata,
    Column("user_id", BigInteger, ForeignKey("users.id", ondelete="CASCADE"), primary_key=True),
    Column("xml", LargeBinary, nullable=False),
    Column("photo_hash", String(40), nullable=False, server_default=""),
)

private_xml = Table(
    "private_xml",
    metadata,
    Column("user_id", BigInteger, ForeignKey("users.id", ondelete="CASCADE"), primary_key=True),
    Column("ns", Text, primary_key=True),
    Column("name", Text, primary_key=True),
    Column("xml", LargeBinary, nullable=False),
)

pep_nodes = Table(
    "pep_nodes",
    metadata,
    Column("id", Identity, primary_key=True),
    Column("user_id", BigInteger, ForeignKey("users.id", ondelete="CASCADE"), nullable=False),
    Column("node", Text, nullable=False),
    Column("options", Text, nullable=False, server_default="{}"),
    UniqueConstraint("user_id", "node"),
)

pep_items = Table(
    "pep_items",
    metadata,
    Column("node_id", BigInteger, ForeignKey("pep_nodes.id", ondelete="CASCADE"), primary_key=True),
    Column("item_id", Text, primary_key=True),
    Column("position", BigInteger, nullable=False),
    Column("publisher", Text, nullable=False),
    Column("stamp", Double, nullable=False),
    Column("xml", LargeBinary, nullable=False),
    Index("ix_pep_items_position", "node_id", "position"),
)

settings = Table(
    "settings",
    metadata,
    Column("name", Text, primary_key=True),
    Column("value", Text, nullable=False),
)

audit = Table(
    "audit",
    metadata,
    Column("id", Identity, primary_key=True),
    Column("at", Double, nullable=False),
    Column("actor", Text, nullable=False),
    Column("operation", Text, nullable=False),
    Column("arguments", Text, nullable=False),
    Column("outcome", Text, nullable=False),
    Index("ix_audit_at", "at"),
    sqlite_autoincrement=True,
)

tokens = Table(
    "tokens",
    metadata,
    Column("id", Identity, primary_key=True),
    Column("name", Text, nullable=False, unique=True),
    Column("hash", String(64), nullable=False, unique=True),
    Column("permissions", Text, nullable=False),
    Column("created", Double, nullable=False),
    sqlite_autoincrement=True,
)

redundancy_groups = Table(
    "redundancy_groups",
    metadata,
    Column("id", Identity, primary_key=True),
    Column("name", Text, nullable=False, unique=True),
    Column("description", Text, nullable=False, server_default=""),
    Column("ha_enabled", Boolean, nullable=False, server_default=false()),
    sqlite_autoincrement=True,
)

#: ``id`` is also the id of the set of people assigned to the node (``users.set_id``; 0: to none).
nodes = Table(
    "nodes",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=False),
    Column("name", Text, nullable=False, unique=True),
    Column("group_id", BigInteger, ForeignKey("redundancy_groups.id"), nullable=False),
    Column("is_publisher", Boolean, nullable=False, server_default=false()),
    Column("address", Text, nullable=False, server_default=""),
    Column("ports", Text, nullable=False, server_default="{}"),
    Column("state", Text, nullable=False, server_default="Unknown"),
    Column("reason", Text, nullable=False, server_default="Unknown"),
    Column("state_since", Double, nullable=False, server_default=text("0")),
    Column("release", Text, nullable=False, server_default=""),
    Column("boot", Text, nullable=False, server_default=""),
    Column("started", Double, nullable=False, server_default=text("0")),
    Column("draining", Boolean, nullable=False, server_default=false()),
)

session_records = Table(
    "session_records",
    metadata,
    Column(
        "node_id",
        Integer,
        ForeignKey("nodes.id", ondelete="CASCADE"),
        primary_key=True,
        autoincrement=False,
    ),
    Column("sessions", Integer, nullable=False),
    Column("at", Double, nullable=False),
)

node_services = Table(
    "node_services",
    metadata,
    Column("node_id", Integer, ForeignKey("nodes.id", ondelete="CASCADE"), primary_key=True),
    Column("service", Text, primary_key=True),
    Column("activated", Boolean, nullable=False, server_default=true()),
    Column("stopped", Boolean, nullable=False, server_default=false()),
    Column("auto_restart", Boolean, nullable=False, server_default=true()),
)

alarms = Table(
    "alarms",
    metadata,
    Column("id", Identity, primary_key=True),
    Column("node_id", Integer, ForeignKey("nodes.id", ondelete="CASCADE"), nullable=False),
    Column("name", Text, nullable=False),
    Column("severity", String(16), nullable=False),
    Column("text", Text, nullable=False),
    Column("raised", Double, nullable=False),
    Column("cleared", Double),
    Index("ix_alarms_node_id_name", "node_id", "name"),
    sqlite_autoincrement=True,
)

#: What other nodes have to read again. ``xact`` is the transaction that wrote the row (see ``changes``).
changes = Table(
    "changes",
    metadata,
    Column("revision", Identity, primary_key=True),
    Column("kind", String(16), nullable=False),
    Column("ref_id", BigInteger, nullable=False, server_default=text("0")),
    Column("at", Double, nullable=False),
    Column("xact", BigInteger, nullable=False),
    Index("ix_changes_xact", "xact"),
    Index("ix_changes_at", "at"),
    sqlite_autoincrement=True,
)

secrets = Table(
    "secrets",
    metadata,
    Column("name", Text, primary_key=True),
    Column("value", LargeBinary, nullable=False),
)

#: Where requests for a domain, or for users of any domain, are sent (facts: Presence > Routing).
static_routes = Table(
    "static_routes",
    metadata,
    Column("id", Identity, primary_key=True),
    Column("pattern", Text, nullable=False),
    Column("kind", String(8), nullable=False, server_default="user"),
    Column("description", Text, nullable=False, server_default=""),
    Column("next_hop", Text, nullable=False),
    Column("port", Integer, nullable=False, server_default=text("5060")),
    Column("transport", String(8), nullable=False, server_default="tcp"),
    Column("priority", Integer, nullable=False, server_default=text("1")),
    Column("weight", Integer, nullable=False, server_default=text("10")),
    Column("allow_less_specific", Boolean, nullable=False, server_default=true()),
    Column("in_service", Boolean, nullable=False, server_default=true()),
    Column("is_blocked", Boolean, nullable=False, server_default=false()),
    UniqueConstraint("kind", "pattern", "next_hop", "port", "transport"),
    CheckConstraint("kind IN ('domain', 'user')", name="kind"),
    CheckConstraint("transport IN ('udp', 'tcp', 'tls')", name="transport"),
    sqlite_autoincrement=True,
)

#: Who may send SIP requests without proving who they are.
acl_entries = Table(
    "acl_entries",
    metadata,
    Column("id", Identity, primary_key=True),
    Column("kind", String(8), nullable=False),
    Column("value", Text, nullable=False, server_default=""),
    Column("description", Text, nullable=False, server_default=""),
    Column("domains", Text, nullable=False, server_default=""),  # separated by commas; empty: all
    UniqueConstraint("kind", "value"),
    CheckConstraint("kind IN ('all', 'ip', 'fqdn', 'domain')", name="kind"),
    sqlite_autoincrement=True,
)

#: Names in the certificates of servers that may speak SIP with us over mutual TLS.
tls_peers = Table(
    "tls_peers",
    metadata,
    Column("id", Identity, primary_key=True),
    Column("subject", Text, nullable=False, unique=True),
    Column("description", Text, nullable=False, server_default=""),
    sqlite_autoincrement=True,
)

#: Phone systems that say who is on the phone.
presence_gateways = Table(
    "presence_gateways",
    metadata,
    Column("id", Identity, primary_key=True),
    Column("kind", String(16), nullable=False, server_default="cucm"),
    Column("address", Text, nullable=False, unique=True),
    Column("port", Integer, nullable=False, server_default=text("5060")),
    Column("transport", String(8), nullable=False, server_default="tcp"),
    Column("is_asked", Boolean, nullable=False, server_default=false()),
    Column("description", Text, nullable=False, server_default=""),
    CheckConstraint("kind IN ('cucm')", name="kind"),
    CheckConstraint("transport IN ('udp', 'tcp', 'tls')", name="transport"),
    sqlite_autoincrement=True,
)

#: Who has an account on the Microsoft side; read in the advanced routing mode only.
microsoft_addresses = Table(
    "microsoft_addresses",
    metadata,
    Column("address", Text, primary_key=True),
    sqlite_with_rowid=False,
)

#: Domains of others with whom our own people exchange presence and messages, each over one protocol.
federated_domains = Table(
    "federated_domains",
    metadata,
    Column("name", Text, primary_key=True),
    Column("protocol", String(8), nullable=False, server_default="sip"),
    Column("description", Text, nullable=False, server_default=""),
    CheckConstraint("protocol IN ('sip', 'xmpp')", name="protocol"),
)

#: Subscriptions to presence over SIP: by outsiders to our people (in), by our people to outsiders (out).
sip_subscriptions = Table(
    "sip_subscriptions",
    metadata,
    Column("id", Identity, primary_key=True),
    Column("user_id", BigInteger, ForeignKey("users.id", ondelete="CASCADE"), nullable=False),
    Column("peer_id", BigInteger, ForeignKey("addresses.id"), nullable=False),
    Column("direction", String(4), nullable=False),
    Column("state", String(16), nullable=False),
    Column("call_id", Text, nullable=False),
    Column("record", Text, nullable=False),
    Column("expires", Double, nullable=False),
    CheckConstraint("direction IN ('in', 'out')", name="direction"),
    Index("ix_sip_subscriptions_user_id_peer_id", "user_id", "peer_id"),
    Index("ix_sip_subscriptions_peer_id", "peer_id"),
    Index("ix_sip_subscriptions_expires", "expires"),
    sqlite_autoincrement=True,
)

#: Conversations over SIP, so that the other node of the group can take them over.
sip_dialogs = Table(
    "sip_dialogs",
    metadata,
    Column("id", Identity, primary_key=True),
    Column("user_id", BigInteger, ForeignKey("users.id", ondelete="CASCADE"), nullable=False),
    Column("peer_id", BigInteger, ForeignKey("addresses.id"), nullable=False),
    Column("call_id", Text, nullable=False),
    Column("record", Text, nullable=False),
    Column("updated", Double, nullable=False),
    Index("ix_sip_dialogs_user_id_peer_id", "user_id", "peer_id"),
    Index("ix_sip_dialogs_peer_id", "peer_id"),
    Index("ix_sip_dialogs_updated", "updated"),
    sqlite_autoincrement=True,
)

#: Messages of our people to outsiders that are acknowledged and not yet taken by the other side. Without
#: foreign keys, as the ledger's tables.
outgoing_messages = Table(
    "outgoing_messages",
    metadata,
    Column("sender_id", BigInteger, primary_key=True),
    Column("number", BigInteger, primary_key=True),
    Column("recipient", Text, nullable=False),
    Column("stamp", Double, nullable=False),
    Column("stanza", LargeBinary, nullable=False),
    sqlite_with_rowid=False,
)
