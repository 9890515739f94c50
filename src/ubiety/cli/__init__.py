"""The `ubiety` command."""
