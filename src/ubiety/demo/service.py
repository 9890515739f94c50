"""The sample organisation on a running node: brought in once, then simulated until the node stops."""

from ubiety.admin.context import Node
from ubiety.demo.banner import render_banner
from ubiety.demo.client import Endpoint
from ubiety.demo.people import SamplePeople
from ubiety.demo.seeding import prepare
from ubiety.directory.passwords import ITERATIONS
from ubiety.store import addresses

_LOOPBACK = {"0.0.0.0": "127.0.0.1", "::": "::1"}


class SampleOrganisation:
    """What `ubiety serve --demo` adds to a node."""

    def __init__(self, node: Node) -> None:
        """Take a node that listens already."""
        self._node = node
        self._people: SamplePeople | None = None

    async def start(self) -> str:
        """Bring in the people and let the simulated ones log in; returns the start-up message.

        Raises NotEmptyError where the installation has people of its own, StoreError and OSError.
        """
        node = self._node
        firm = await prepare(
            node.database,
            node.config.data_dir,
            node.domains[0],
            node.clock.now(),
            node.settings.get(ITERATIONS),
        )
        everybody = [firm.address(person) for person in firm.people]
        ids = await node.database.read(addresses.lookup_many, everybody)
        await node.people_changed(list(ids.values()))
        host = _reachable(node.config.hosts[0])
        authority = node.certificates.ca_path
        endpoint = Endpoint(host, node.ports["c2s_tls"], firm.domain, authority)
        self._people = SamplePeople(firm, endpoint)
        self._people.start()
        trusted = authority or node.certificates.current.path
        return render_banner(firm, host, node.ports, node.config.data_dir, trusted)

    async def stop(self) -> None:
        """Log the simulated people out."""
        if self._people is not None:
            await self._people.stop()


def _reachable(host: str) -> str:
    """Return the address at which this machine reaches a listener of its own."""
    return _LOOPBACK.get(host, host)
