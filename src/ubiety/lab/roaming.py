"""What a real client asks of its own server: contacts, settings, publications, batches of presence.

MS-SIP 3.7 (roaming contacts), MS-PRES 3.5 (self subscription), 3.10 (publications), 3.4 (batches).
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from xml.sax.saxutils import escape, quoteattr

from ubiety.element import Element, ElementError
from ubiety.lab.availability import Shown
from ubiety.lab.categories import CATEGORIES, read_batch, write_batch, write_categories
from ubiety.lab.dialog import Dialog, accepted
from ubiety.lab.people import BLOCKED, Person
from ubiety.lab.plan import bare
from ubiety.lab.publications import Book, parse_body, write_fault, write_roaming
from ubiety.lab.real_client import RealClient
from ubiety.lab.site import Site, new_token
from ubiety.sip.message import Request, Response, make_response

SELF, CONTACTS, PRESENCE = "vnd-microsoft-roaming-self", "vnd-microsoft-roaming-contacts", "presence"
SELF_TYPE = "application/vnd-microsoft-roaming-self+xml"
EXPIRES = 28800
BLOCKING = 32000
"""The container of those who see nothing."""
_SOAP = (
    '<SOAP-ENV:Envelope xmlns:SOAP-ENV="http://schemas.xmlsoap.org/soap/envelope/"'
    ' xmlns:m="http://schemas.microsoft.com/winrtc/2002/11/sip"><SOAP-ENV:Body>{}</SOAP-ENV:Body></SOAP-ENV:Envelope>'
)


@dataclass(slots=True)
class Held:
    """One subscription of a client to its own server."""

    dialog: Dialog
    is_best_effort: bool
    uris: dict[str, None] = field(default_factory=dict)
    version: int = 0


class HomeServer:
    """Serves the real clients of one pool."""

    def __init__(self, site: Site) -> None:
        self.site = site
        self.books: dict[str, Book] = {}
        self.held: dict[RealClient, dict[str, Held]] = {}
        self.delta = 1
        for person in site.people.values():
            person.on_change.append(self._changed)

    def welcome(self, client: RealClient) -> None:
        """Begins to serve a client."""
        if client not in self.held:
            self.held[client] = {}
            client.on_left.append(lambda: self._farewell(client))
            client.on_prompt = lambda watcher: self._prompt(client, watcher)

    def _farewell(self, client: RealClient) -> None:
        self.held.pop(client, None)
        person = client.person
        if not any(isinstance(one, RealClient) for one in person.endpoints):
            self._book(person).drop_endpoint()
        if not person.endpoints:
            person.show(Shown())

    def _book(self, person: Person) -> Book:
        return self.books.setdefault(person.uri, Book())

    # Subscriptions

    def subscribe(self, request: Request, client: RealClient) -> Response:
        """Answers a SUBSCRIBE of a client to its own data, or to a batch of people."""
        event = request.event.package if request.event else ""
        writers: dict[str, Callable[[Request, RealClient, Held], tuple[str, bytes]]] = {
            SELF: self._self_body,
            CONTACTS: self._contacts_body,
            PRESENCE: self._batch_body,
            "vnd-microsoft-provisioning": _old_provisioning,
            "vnd-microsoft-provisioning-v2": _provisioning,
            "vnd-microsoft-roaming-ACL": _acl,
            "presence.wpending": _pending,
        }
        if event not in writers:
            return make_response(request, 489, to_tag=new_token())
        known = self.held[client].get(event)
        is_refresh = known is not None and request.to.tag == known.dialog.local_tag
        if known is not None and is_refresh:
            held = known
            held.dialog.is_in_order(request)
        elif request.to.tag:
            return make_response(request, 481)
        else:
            supported = request.headers.values("Supported")
            held = Held(accepted(request, new_token()), "ms-benotify" in supported)
        expires = EXPIRES if request.expires is None else min(request.expires, EXPIRES)
        if expires:
            self.held[client][event] = held
        else:
            self.held[client].pop(event, None)
        try:
            kind, body = writers[event](request, client, held)
        except ElementError:
            return make_response(request, 400, to_tag=new_token())
        return self._answer(request, client, held, event, expires, (kind, body))

    def _answer(
        self,
        request: Request,
        client: RealClient,
        held: Held,
        event: str,
        expires: int,
        content: tuple[str, bytes],
    ) -> Response:
        """Accepts with the first notification in the answer (MS-SIP 3.4, ms-piggyback-first-notify)."""
        state = f"active;expires={expires}" if expires else "terminated;expires=0"
        held.dialog.local_cseq += 1
        headers = [
            ("Contact", f"<{client.front_end.contact}>"),
            ("Expires", str(expires)),
            ("Event", event),
            ("subscription-state", state),
            ("ms-piggyback-cseq", str(held.dialog.local_cseq)),
            ("Supported", "ms-benotify, ms-piggyback-first-notify"),
        ]
        kind, body = content
        if kind.startswith("multipart"):
            headers.append(("Require", "eventlist"))
        return make_response(
            request, 200, to_tag=held.dialog.local_tag, headers=headers, content_type=kind, body=body
        )

    def _push(self, client: RealClient, event: str, kind: str, body: bytes) -> None:
        held = self.held.get(client, {}).get(event)
        if held is not None:
            headers = (
                ("Contact", f"<{client.front_end.contact}>"),
                ("Event", event),
                ("subscription-state", f"active;expires={EXPIRES}"),
                ("Content-Type", kind),
            )
            client.push(held.dialog, headers, body, is_best_effort=held.is_best_effort)

    def _self_body(self, _request: Request, client: RealClient, _held: Held) -> tuple[str, bytes]:
        person, book = client.person, self._book(client.person)
        more = _containers(person) + _subscribers(person.asking)
        return SELF_TYPE, write_roaming(person.uri, book, list(book.entries), person.shown, more)

    def _contacts_body(self, _request: Request, client: RealClient, _held: Held) -> tuple[str, bytes]:
        rows = "".join(
            f'<contact uri={quoteattr(uri)} name="" groups="1" subscribed="true" externalURI=""/>'
            for uri in client.person.contacts
        )
        group = '<group id="1" name="~" externalURI=""/>'
        body = f'<contactList deltaNum="{self.delta}">{group}{rows}</contactList>'
        return "application/vnd-microsoft-roaming-contacts+xml", body.encode()

    def _batch_body(self, request: Request, client: RealClient, held: Held) -> tuple[str, bytes]:
        uris = tuple(held.uris)
        if request.body:
            batch = read_batch(request.body)
            uris = batch.uris
            for uri in uris:
                if batch.action == "unsubscribe":
                    held.uris.pop(uri, None)
                else:
                    held.uris[uri] = None
        people = [person for person in map(self.site.people.get, uris) if person is not None]
        known = [(person, self._seen_by(client, person)) for person in people]
        held.version += 1
        unknown = [uri for uri in uris if uri not in self.site.people]
        return write_batch(client.person.uri, known, unknown, held.version)

    def _seen_by(self, client: RealClient, person: Person) -> Shown:
        return Shown() if person.judge(client.person.uri, True) == BLOCKED else person.shown

    def _changed(self, person: Person) -> None:
        for client, subscriptions in self.held.items():
            held = subscriptions.get(PRESENCE)
            if held is not None and person.uri in held.uris:
                body = write_categories(person, self._seen_by(client, person))
                self._push(client, PRESENCE, CATEGORIES, body)

    def _prompt(self, client: RealClient, watcher: str) -> None:
        person = client.person
        body = write_roaming(person.uri, self._book(person), [], person.shown, _subscribers({watcher: None}))
        self._push(client, SELF, SELF_TYPE, body)

    # Services

    def serve(self, request: Request, client: RealClient) -> Response:
        """Answers a SERVICE request by the type of its body."""
        services = {
            "application/msrtc-category-publish+xml": self._publish,
            "application/msrtc-setcontainermembers+xml": self._set_members,
            "application/msrtc-presence-setsubscriber+xml": self._set_subscribers,
            "application/soap+xml": self._soap,
        }
        service = services.get(request.content_type)
        if service is None:
            return make_response(request, 415, to_tag=new_token())
        try:
            return service(request, client)
        except ElementError:
            return make_response(request, 400, to_tag=new_token())

    def _publish(self, request: Request, client: RealClient) -> Response:
        person, book = client.person, self._book(client.person)
        keys, wrong = book.publish(request.body)
        if wrong:
            fault = write_fault(wrong)
            kind = "application/msrtc-fault+xml"
            return make_response(request, 409, to_tag=new_token(), content_type=kind, body=fault)
        person.show(book.aggregate())
        body = write_roaming(person.uri, book, keys, person.shown)
        for other in self.held:
            if other.person is person and other is not client:
                self._push(other, SELF, SELF_TYPE, body)
        return make_response(request, 200, to_tag=new_token(), content_type=SELF_TYPE, body=body)

    def _set_members(self, request: Request, client: RealClient) -> Response:
        """Access levels: who is put into the blocking container sees nothing, who leaves it sees again."""
        for container in parse_body(request.body).elements:
            for member in container.elements:
                if member.get("type") == "user":
                    is_added = member.get("action") == "add"
                    is_blocking = container.get("id") == str(BLOCKING)
                    if is_added or is_blocking:
                        watcher = bare(member.get("value") or "")
                        client.person.decide(watcher, is_allowed=is_blocking != is_added)
        return make_response(request, 200, to_tag=new_token())

    def _set_subscribers(self, request: Request, client: RealClient) -> Response:
        for subscriber in parse_body(request.body).elements:
            watcher = bare(subscriber.get("user") or "")
            if subscriber.get("acknowledged") == "true" and watcher in client.person.asking:
                client.person.decide(watcher, is_allowed=True)
        return make_response(request, 200, to_tag=new_token())

    def _soap(self, request: Request, client: RealClient) -> Response:
        """Contact lists are changed by SOAP calls (MS-SIP 3.7.5)."""
        root = parse_body(request.body)
        call = next((one for part in root.elements for one in part.elements), None)
        if call is None:
            raise ElementError("no call in the envelope")
        contacts = client.person.contacts
        uri = bare(_child_text(call, "URI"))
        if call.name == "setContact" and uri and uri not in contacts:
            contacts.append(uri)
        elif call.name == "deleteContact" and uri in contacts:
            contacts.remove(uri)
        self.delta += 1
        result = "<m:groupID>2</m:groupID>" if call.name == "addGroup" else ""
        body = _SOAP.format(f"<m:{escape(call.name)}>{result}</m:{escape(call.name)}>").encode()
        kind = "application/SOAP+xml"
        return make_response(request, 200, to_tag=new_token(), content_type=kind, body=body)


def _child_text(element: Element, name: str) -> str:
    return next((child.text for child in element.elements if child.name == name), "")


def _containers(person: Person) -> str:
    """Who has which access: colleagues the usual one, other companies a little, the blocked none."""
    blocked = "".join(f'<member type="user" value={quoteattr(uri)}/>' for uri in sorted(person.blocked))
    return (
        '<containers xmlns="http://schemas.microsoft.com/2006/09/sip/containers">'
        '<container id="100" version="1"><member type="federated"/></container>'
        '<container id="200" version="1"><member type="sameEnterprise"/></container>'
        f'<container id="{BLOCKING}" version="1">{blocked}</container></containers>'
    )


def _subscribers(asking: dict[str, None]) -> str:
    rows = "".join(
        f'<subscriber user={quoteattr(uri)} displayName="" acknowledged="false" type="sameEnterprise"/>'
        for uri in asking
    )
    return f'<subscribers xmlns="http://schemas.microsoft.com/2006/09/sip/presence-subscribers">{rows}</subscribers>'


def _provisioning(_request: Request, _client: RealClient, _held: Held) -> tuple[str, bytes]:
    body = (
        '<provisionGroupList xmlns="http://schemas.microsoft.com/2006/09/sip/provisiongrouplist-notification">'
        '<provisionGroup name="ServerConfiguration">'
        "<ucPC2PCAVEncryption>SupportEncryption</ucPC2PCAVEncryption><ucPortRangeEnabled>false</ucPortRangeEnabled></provisionGroup></provisionGroupList>"
    )
    return "application/vnd-microsoft-roaming-provisioning-v2+xml", body.encode()


def _old_provisioning(_request: Request, client: RealClient, _held: Held) -> tuple[str, bytes]:
    body = f"<provision><user uri={quoteattr(f'sip:{client.person.uri}')}/></provision>"
    return "application/vnd-microsoft-roaming-provisioning+xml", body.encode()


def _acl(_request: Request, _client: RealClient, _held: Held) -> tuple[str, bytes]:
    return "application/vnd-microsoft-roaming-acls+xml", b'<ACLlist deltaNum="1"/>'


def _pending(_request: Request, _client: RealClient, _held: Held) -> tuple[str, bytes]:
    return "text/xml+msrtc.wpending", b"<watchers/>"
