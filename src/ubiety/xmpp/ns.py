"""The namespaces that this server speaks, by the document that defines them."""

from typing import Final

# RFC 6120
CLIENT: Final = "jabber:client"
SERVER: Final = "jabber:server"
STREAM: Final = "http://etherx.jabber.org/streams"
STREAM_ERRORS: Final = "urn:ietf:params:xml:ns:xmpp-streams"
STANZA_ERRORS: Final = "urn:ietf:params:xml:ns:xmpp-stanzas"
TLS: Final = "urn:ietf:params:xml:ns:xmpp-tls"
SASL: Final = "urn:ietf:params:xml:ns:xmpp-sasl"
BIND: Final = "urn:ietf:params:xml:ns:xmpp-bind"
SESSION: Final = "urn:ietf:params:xml:ns:xmpp-session"  # RFC 3921 §3

# RFC 6121
ROSTER: Final = "jabber:iq:roster"
ROSTER_VERSIONING: Final = "urn:xmpp:features:rosterver"
PRE_APPROVAL: Final = "urn:xmpp:features:pre-approval"

# Namespaces in XML
XML: Final = "http://www.w3.org/XML/1998/namespace"
XMLNS: Final = "http://www.w3.org/2000/xmlns/"

# XEPs, in their order
DATA_FORMS: Final = "jabber:x:data"  # XEP-0004
LAST: Final = "jabber:iq:last"  # XEP-0012
DISCO_INFO: Final = "http://jabber.org/protocol/disco#info"  # XEP-0030
DISCO_ITEMS: Final = "http://jabber.org/protocol/disco#items"
ADDRESS: Final = "http://jabber.org/protocol/address"  # XEP-0033
MUC: Final = "http://jabber.org/protocol/muc"  # XEP-0045
MUC_USER: Final = "http://jabber.org/protocol/muc#user"
PRIVATE: Final = "jabber:iq:private"  # XEP-0049
ADHOC: Final = "http://jabber.org/protocol/commands"  # XEP-0050
VCARD: Final = "vcard-temp"  # XEP-0054
RSM: Final = "http://jabber.org/protocol/rsm"  # XEP-0059
PUBSUB: Final = "http://jabber.org/protocol/pubsub"  # XEP-0060
PUBSUB_ERRORS: Final = "http://jabber.org/protocol/pubsub#errors"
PUBSUB_EVENT: Final = "http://jabber.org/protocol/pubsub#event"
PUBSUB_OWNER: Final = "http://jabber.org/protocol/pubsub#owner"
PUBSUB_PUBLISH_OPTIONS: Final = "http://jabber.org/protocol/pubsub#publish-options"
REGISTER: Final = "jabber:iq:register"  # XEP-0077
REGISTER_FEATURE: Final = "http://jabber.org/features/iq-register"
AVATAR_DATA: Final = "urn:xmpp:avatar:data"  # XEP-0084
AVATAR_METADATA: Final = "urn:xmpp:avatar:metadata"
CHAT_STATES: Final = "http://jabber.org/protocol/chatstates"  # XEP-0085
VERSION: Final = "jabber:iq:version"  # XEP-0092
CAPS: Final = "http://jabber.org/protocol/caps"  # XEP-0115
VCARD_UPDATE: Final = "vcard-temp:x:update"  # XEP-0153
DELIVERY_RECEIPTS: Final = "urn:xmpp:receipts"  # XEP-0184
BLOCKING: Final = "urn:xmpp:blocking"  # XEP-0191
BLOCKING_ERRORS: Final = "urn:xmpp:blocking:errors"
SM: Final = "urn:xmpp:sm:3"  # XEP-0198
PING: Final = "urn:xmpp:ping"  # XEP-0199
TIME: Final = "urn:xmpp:time"  # XEP-0202
DELAY: Final = "urn:xmpp:delay"  # XEP-0203
ATTENTION: Final = "urn:xmpp:attention:0"  # XEP-0224
CARBONS: Final = "urn:xmpp:carbons:2"  # XEP-0280
CARBONS_RULES: Final = "urn:xmpp:carbons:rules:0"
FORWARD: Final = "urn:xmpp:forward:0"  # XEP-0297
CORRECTION: Final = "urn:xmpp:message-correct:0"  # XEP-0308
IDLE: Final = "urn:xmpp:idle:1"  # XEP-0319
MAM: Final = "urn:xmpp:mam:2"  # XEP-0313
CHAT_MARKERS: Final = "urn:xmpp:chat-markers:0"  # XEP-0333
HINTS: Final = "urn:xmpp:hints"  # XEP-0334
CSI: Final = "urn:xmpp:csi:0"  # XEP-0352
STANZA_ID: Final = "urn:xmpp:sid:0"  # XEP-0359
VCARD_CONVERSION: Final = "urn:xmpp:pep-vcard-conversion:0"  # XEP-0398
BOOKMARKS: Final = "urn:xmpp:bookmarks:1"  # XEP-0402
SASL_CHANNEL_BINDING: Final = "urn:xmpp:sasl-cb:0"  # XEP-0440
OMEMO_DEVICES: Final = "eu.siacs.conversations.axolotl.devicelist"  # XEP-0384 (0.3)
