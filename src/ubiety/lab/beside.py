"""A simulated Microsoft pool in the process of a node: what `ubiety serve --with-microsoft-lab` adds.

The node shares its domain with the pool, sends there whom it does not know, and trusts its requests; all that
is set down as an administrator would do it, and stays.
"""

from ubiety.admin import federation, sip_routes, trust
from ubiety.admin.context import Node
from ubiety.admin.operation import Nothing
from ubiety.admin.problems import CONFLICT, Problem
from ubiety.admin.rbac import Caller
from ubiety.gateway.patterns import DOMAIN
from ubiety.gateway.peers import IP
from ubiety.lab.control import Control
from ubiety.lab.pool import Pool
from ubiety.lab.samples import PASSWORD, make_sample
from ubiety.net.sip_socket import own_address

CALLER = Caller("lab", frozenset({"*"}))
LOOPBACK = "127.0.0.1"
ANYWHERE = "192.0.2.1"
"""An address of nobody: what is sent there leaves from our own address that most others see."""
CONTROL = "lab.sock"
DESCRIPTION = "The Microsoft lab"


class MicrosoftLab:
    """The pool, and the node's way to it."""

    def __init__(self, node: Node) -> None:
        """Take a node that listens for SIP."""
        self._node = node
        self._pool: Pool | None = None
        self._control: Control | None = None

    async def start(self) -> str:
        """Start the pool and have the node share its domain with it; returns what to tell people.

        Raises OSError, StoreError and Problem.
        """
        node = self._node
        domain = node.domains[0]
        plan = make_sample(domain, back=(LOOPBACK, node.ports["sip"], "tcp"))
        pool = self._pool = Pool(plan)
        await pool.start()
        port = pool.front_ends[0].ports["tcp"]
        await self._lead_to(domain, port)
        for address in dict.fromkeys((LOOPBACK, own_address(ANYWHERE) or LOOPBACK)):
            await self._trust(address, domain)
        await federation.enable(node, CALLER, federation.Enable(mode=None))
        path = node.config.data_dir / CONTROL
        self._control = Control(pool, path)
        await self._control.start()
        return render_banner(plan.users[0].uri, [one.uri for one in plan.users], port, str(path))

    async def stop(self) -> None:
        """Stop the pool."""
        if self._control is not None:
            await self._control.stop()
        if self._pool is not None:
            await self._pool.stop()

    async def _lead_to(self, domain: str, port: int) -> None:
        """Make the route to the pool, or have the one from the last start lead to its port."""
        node = self._node
        pattern = "." + ".".join(reversed(domain.split(".")))
        known = await sip_routes.list_routes(node, CALLER, Nothing())
        for route in known.routes:
            if (route.pattern, route.kind, route.next_hop) == (pattern, DOMAIN, LOOPBACK):
                await sip_routes.change(node, CALLER, sip_routes.SetRoute(id=route.id, port=port))
                return
        made = sip_routes.AddRoute(
            pattern=pattern, kind=DOMAIN, next_hop=LOOPBACK, port=port, description=DESCRIPTION
        )
        await sip_routes.add(node, CALLER, made)

    async def _trust(self, address: str, domain: str) -> None:
        entry = trust.AddEntry(entry=address, kind=IP, description=DESCRIPTION, domains=[domain])
        try:
            await trust.add_entry(self._node, CALLER, entry)
        except Problem as problem:
            if problem.kind is not CONFLICT:
                raise


def render_banner(first: str, people: list[str], port: int, control: str) -> str:
    """Return the part of the start-up message about the pool."""
    told = f"ubiety lab tell --control {control}"
    return "\n".join(
        (
            "A simulated Microsoft pool shares the domain: add one of these as a contact and write to them.",
            *(f"  {uri}" for uri in people),
            f"What they do is told from another terminal: {told} help",
            f"  for instance  {told} availability {first} busy",
            f"A Lync client signs in at 127.0.0.1:{port} over TCP, with NTLM and the password {PASSWORD}.",
            "",
        )
    )
