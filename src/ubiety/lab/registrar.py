"""Real clients sign in: REGISTER with NTLM, and what a signed-in client may send (MS-SIPREGE, MS-SIPAE)."""

import base64
import binascii
import secrets
import time
from dataclasses import dataclass

from ubiety.lab.connection import Connection
from ubiety.lab.dialog import address_of
from ubiety.lab.front_end import FrontEnd
from ubiety.lab.ntlm import Keys, NtlmError, accept, read_authenticate, write_challenge
from ubiety.lab.people import Person
from ubiety.lab.real_client import RealClient
from ubiety.lab.roaming import HomeServer
from ubiety.lab.signing import REALM, VERSION, Association, read_credentials
from ubiety.lab.site import Site, new_token
from ubiety.sip.message import Request, Response, make_response
from ubiety.sip.uri import NameAddr

EXPIRES = 7200
EVENTS = (
    "vnd-microsoft-provisioning,vnd-microsoft-roaming-contacts,vnd-microsoft-roaming-ACL,presence,"
    "presence.wpending,vnd-microsoft-roaming-self,vnd-microsoft-provisioning-v2"
)
KEEP_ALIVE = "UAS; tcp=no; hop-hop=yes; end-end=no; timeout=300"


@dataclass(slots=True)
class _Handshake:
    opaque: str
    nonce: bytes


class Registrar:
    """Who is signed in with a real client, over all front ends of the pool."""

    def __init__(self, site: Site, home: HomeServer) -> None:
        self.site = site
        self.home = home
        self.clients: dict[Connection, RealClient] = {}
        self._handshakes: dict[Connection, _Handshake] = {}

    def watch(self, front_end: FrontEnd) -> None:
        """Takes note of closed connections of a front end."""
        front_end.on_closed = self.closed

    def closed(self, connection: Connection) -> None:
        """Signs out the client of a connection that is gone."""
        self._handshakes.pop(connection, None)
        client = self.clients.pop(connection, None)
        if client is not None:
            client.left()

    def screen(self, request: Request, origin: Connection, front_end: FrontEnd) -> Response | None:
        """Says what is answered to somebody who may not send this; None lets the request through."""
        client = self.clients.get(origin)
        if client is not None:
            is_right = client.association.is_signed(request)
            is_own = address_of(request.from_) == client.person.uri or bool(request.to.tag)
            return None if is_right and is_own else self.challenge(request, front_end)
        return None if self.site.is_trusted(origin) else self.challenge(request, front_end)

    def challenge(self, request: Request, front_end: FrontEnd, more: str = "") -> Response:
        """The 401 that asks for NTLM."""
        value = f'NTLM {more}realm="{REALM}", targetname="{front_end.plan.name}", version={VERSION}'
        headers = (("WWW-Authenticate", value), ("Date", time.strftime(DATE, time.gmtime())))
        return make_response(request, 401, to_tag=new_token(), headers=headers)

    def register(self, request: Request, origin: Connection, front_end: FrontEnd) -> Response:
        """Answers a REGISTER: one step of the handshake, or a signed-in client's refresh."""
        person = self.site.person(address_of(request.from_))
        if person is None:
            return make_response(request, 404, to_tag=new_token())
        offers = map(read_credentials, request.headers.all("Authorization"))
        given = next((one for one in offers if one["scheme"] == "NTLM"), None)
        client = self.clients.get(origin)
        if given is None:
            return self.challenge(request, front_end)
        if "gssapi-data" not in given:
            if client is None or not client.association.is_signed(request):
                return self.challenge(request, front_end)
            return self._bind(request, origin, front_end, client)
        if not given["gssapi-data"]:
            return self._begin(request, origin, front_end)
        keys = self._prove(given, person, origin)
        if keys is None:
            return make_response(request, 403, to_tag=new_token(), headers=(("Warning", FORBIDDEN),))
        version = int(given.get("version", "2"))
        association = Association(given.get("opaque", ""), front_end.plan.name, keys, version)
        client = RealClient(person, origin, front_end, association)
        return self._bind(request, origin, front_end, client)

    def _begin(self, request: Request, origin: Connection, front_end: FrontEnd) -> Response:
        handshake = _Handshake(secrets.token_hex(4).upper(), secrets.token_bytes(8))
        self._handshakes[origin] = handshake
        domain = self.site.plan.domains[0]
        data = write_challenge(handshake.nonce, domain, front_end.plan.name, time.time())
        packed = base64.b64encode(data).decode()
        return self.challenge(request, front_end, f'opaque="{handshake.opaque}", gssapi-data="{packed}", ')

    def _prove(self, given: dict[str, str], person: Person, origin: Connection) -> Keys | None:
        """The keys of a client that knows the password; None of one that does not."""
        handshake = self._handshakes.pop(origin, None)
        if handshake is None or given.get("opaque") != handshake.opaque or not person.plan.password:
            return None
        try:
            message = read_authenticate(base64.b64decode(given["gssapi-data"], validate=True))
            if message.user.lower() not in (person.uri, person.uri.partition("@")[0]):
                return None
            return accept(message, person.plan.password, handshake.nonce)
        except (NtlmError, binascii.Error):
            return None

    def _bind(
        self, request: Request, origin: Connection, front_end: FrontEnd, client: RealClient
    ) -> Response:
        contact = request.contact
        expires = EXPIRES if request.expires is None else min(request.expires, EXPIRES)
        if contact is None or expires == 0:
            self.clients.pop(origin, None)
            client.left()
            return self._ok(request, client, None, 0)
        self.clients[origin] = client
        origin.seal = client.association.seal
        client.bound(str(contact.uri))
        self.home.welcome(client)
        return self._ok(request, client, contact, expires)

    def _ok(self, request: Request, client: RealClient, contact: NameAddr | None, expires: int) -> Response:
        headers = [("Expires", str(expires)), ("Allow-Events", EVENTS), ("ms-keep-alive", KEEP_ALIVE)]
        # One header each: clients compare the whole value.
        headers += [("Supported", one) for one in ("adhoclist", "msrtc-event-categories")]
        headers += [("Server", "RTC/4.0"), ("presence-state", 'register-action="added"')]
        if contact is not None:
            instance = contact.param("+sip.instance") or ""
            value = f'<{contact.uri}>;expires={expires};+sip.instance="{instance}";gruu="{client.gruu}"'
            headers.append(("Contact", value))
        return make_response(request, 200, to_tag=new_token(), headers=headers)


DATE = "%a, %d %b %Y %H:%M:%S GMT"
FORBIDDEN = '310 lab "The user name or the password is wrong"'
