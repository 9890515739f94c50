"""Between SIP and XMPP: who gets a request and why, what is translated how, and what is on its way."""
