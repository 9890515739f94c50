"""The servers under test, each started as a child with a private configuration and data directory."""
