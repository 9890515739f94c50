"""Fixtures for all tests."""

pytest_plugins = ["tests.node", "tests.postgres", "tests.interop.own_node"]
