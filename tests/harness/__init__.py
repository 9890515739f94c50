"""Shared test helpers: a raw XMPP client of our own make, independent of the code under test."""
