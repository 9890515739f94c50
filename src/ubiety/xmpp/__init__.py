"""XMPP protocol cores: bytes and time come in, effects go out as values."""
