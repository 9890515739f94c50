"""Ubiety: an open, self-hosted instant messaging and presence service."""

__version__ = "0.1.0"
