"""Fixtures for all tests."""

pytest_plugins = [
    "tests.nursery",
    "tests.node",
    "tests.postgres",
    "tests.nats",
    "tests.interop.own_node",
    "tests.order",
]
