"""The simulated people's SCRAM against an independent server side (scramp)."""

import base64

import pytest
from scramp import ScramMechanism

from ubiety.demo.scram import ScramClient


def encode(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


def decode(text: str) -> str:
    return base64.b64decode(text).decode()


def test_logs_in_with_the_right_password_only() -> None:
    mechanism = ScramMechanism("SCRAM-SHA-256")
    keys = mechanism.make_auth_info("plum-otter-42", iteration_count=4096)
    for password, is_right in (("plum-otter-42", True), ("plum-otter-43", False)):
        client = ScramClient("anna.adler", password, "clientnonce")
        server = mechanism.make_server(lambda _user: keys)
        server.set_client_first(decode(client.first()))
        final = client.final(encode(server.get_server_first()))
        if not is_right:
            with pytest.raises(Exception, match="proof"):
                server.set_client_final(decode(final))
            continue
        server.set_client_final(decode(final))
        assert client.is_genuine(encode(server.get_server_final()))
        assert not client.is_genuine(encode("v=AAAA"))


@pytest.mark.parametrize(
    "challenge", ["r=other,s=AAAA,i=4096", "r=clientnonceX,i=4096", "r=clientnonceX,s=AAAA"]
)
def test_refuses_a_challenge_that_does_not_fit(challenge: str) -> None:
    client = ScramClient("anna.adler", "secret", "clientnonce")
    with pytest.raises(ValueError, match="nonce"):
        client.final(encode(challenge))
