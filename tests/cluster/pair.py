"""Two node processes on one PostgreSQL database and a bus of their own, for the tests of a module."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType

from tests.nats import Nats
from tests.node import Node, NodeFactory
from tests.postgres import Postgres


@contextlib.contextmanager
def running_pair(
    postgres: Postgres,
    directory: Path,
    both: Mapping[str, str] = MappingProxyType({}),
    each: Sequence[Mapping[str, str]] = ({}, {}),
) -> Iterator[list[Node]]:
    """Run `node1` and `node2`; further parts of their environment: those of both and those of each."""
    with contextlib.ExitStack() as stack:
        url = postgres.make_database()
        stack.callback(postgres.drop_database, url)
        (place := directory / "nats").mkdir()
        nats = Nats(place)
        nats.start()
        stack.callback(nats.kill)
        factory = NodeFactory(directory)
        stack.callback(factory.close)
        about = {"UBIETY_BUS_URL": nats.url, "UBIETY_BUS_CA": str(nats.ca), **both}
        yield [
            factory(url, {**about, "UBIETY_NODE": f"node{number}", **own})
            for number, own in enumerate(each, start=1)
        ]
