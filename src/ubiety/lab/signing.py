"""Signed SIP messages between a front end and its clients: the security association of MS-SIPAE."""

import re
from dataclasses import dataclass

from ubiety.lab.ntlm import Keys
from ubiety.sip.message import Request, Response
from ubiety.sip.uri import NameAddr, OtherUri, SipSyntaxError, SipUri

REALM = "SIP Communications Service"
VERSION = 4
"""The version of the scheme that we offer: with To and asserted identity in the signature."""
_PARAMETER = re.compile(r'([a-z-]+)=(?:"([^"]*)"|([^",\s]+))')
IDENTITIES = ("P-Asserted-Identity", "P-Preferred-Identity")


def read_credentials(value: str) -> dict[str, str]:
    """The parameters of an Authorization header, by their names; "scheme" is what stands before them."""
    scheme, _, rest = value.strip().partition(" ")
    found = {name: quoted or plain for name, quoted, plain in _PARAMETER.findall(rest)}
    return {**found, "scheme": scheme}


def signed_text(
    message: Request | Response, scheme: str, rand: str, number: str, target: str, version: int = VERSION
) -> bytes:
    """The text that a signature covers (MS-SIPAE 3.2.4.1, 3.2.5.2), each part in angle brackets."""
    parts = [scheme, rand, number, REALM, target, message.call_id]
    parts += [str(message.cseq.number), message.cseq.method]
    parts += [_url(message.from_), message.from_.tag or ""]
    if version >= 3:
        parts.append(_url(message.to))
    parts.append(message.to.tag or "")
    if version >= 3:
        parts += asserted(message)
    parts.append(message.headers.get("Expires") or "")
    if isinstance(message, Response):
        parts.append(str(message.status))
    return "".join(f"<{part}>" for part in parts).encode()


def _url(name: NameAddr) -> str:
    return str(name.uri)


def asserted(message: Request | Response) -> list[str]:
    """The sip: and the tel: address that the sender asserts, empty where there is none."""
    found = {"sip": "", "tel": ""}
    for header in IDENTITIES:
        for value in message.headers.values(header):
            try:
                uri = NameAddr.parse(value).uri
            except SipSyntaxError:
                continue
            if isinstance(uri, SipUri) or (isinstance(uri, OtherUri) and uri.scheme == "tel"):
                found["tel" if uri.scheme == "tel" else "sip"] = str(uri)
        if any(found.values()):
            break
    return [found["sip"], found["tel"]]


@dataclass(slots=True)
class Association:
    """What a front end and one client sign with; `opaque` names it."""

    opaque: str
    target: str
    keys: Keys
    version: int = VERSION
    count: int = 0

    def seal(self, message: Request | Response) -> Request | Response:
        """The message with our signature, for the client."""
        self.count += 1
        rand = f"{self.count * 2654435761 % 2**32:08X}"
        text = signed_text(message, "NTLM", rand, str(self.count), self.target, self.version)
        value = (
            f'NTLM qop="auth", opaque="{self.opaque}", srand="{rand}", snum="{self.count}", '
            f'rspauth="{self.keys.sign(text)}", targetname="{self.target}", realm="{REALM}", '
            f"version={self.version}"
        )
        return message.replace(headers=message.headers.with_("Authentication-Info", value))

    def is_signed(self, request: Request) -> bool:
        """Whether a request of the client bears a right signature."""
        for name in ("Authorization", "Proxy-Authorization"):
            for value in request.headers.all(name):
                given = read_credentials(value)
                if given.get("opaque") == self.opaque and "response" in given:
                    text = signed_text(
                        request,
                        given["scheme"],
                        given.get("crand", ""),
                        given.get("cnum", ""),
                        self.target,
                        self.version,
                    )
                    return self.keys.verify(text, given["response"])
        return False
