"""The small parts of the simulator: availability, presence bodies, IM bodies, the users file."""

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ubiety.lab import imbody
from ubiety.lab.availability import NAMES, AvailabilityError, Shown, parse_availability, range_of
from ubiety.lab.pidf import BodyError, read_pidf, write_pidf
from ubiety.lab.plan import PlanError, bare, load_plan, make_plan
from ubiety.lab.presence import choose_type

SMALL = {"domains": ["example.org"], "front_ends": [{"name": "fe", "tcp_port": 0}]}


@pytest.mark.parametrize(
    ("number", "name"),
    [
        (3000, "available"),
        (4499, "available"),
        (4500, "idle"),
        (6000, "busy"),
        (7500, "busy-idle"),
        (9000, "do-not-disturb"),
        (12000, "be-right-back"),
        (15000, "away"),
        (17999, "away"),
        (18000, "offline"),
        (18500, "offline"),
        (0, "offline"),
    ],
)
def test_ranges(number: int, name: str) -> None:
    assert range_of(number).name == name
    assert Shown(number).is_online == (name != "offline")


def test_names() -> None:
    assert {parse_availability(name) for name in NAMES} >= {3500, 6500, 9500, 12500, 15500, 18500}
    assert parse_availability(" BRB ") == 12500
    for wrong in ("", "cheerful", "12", "99999"):
        with pytest.raises(AvailabilityError):
            parse_availability(wrong)


@pytest.mark.parametrize(
    ("shown", "basic", "token"),
    [
        (Shown(3500), "open", None),
        (Shown(6500), "open", "busy"),
        (Shown(6500, "on-the-phone"), "open", "on-the-phone"),
        (Shown(9500), "open", "do-not-disturb"),
        (Shown(12500), "open", "be-right-back"),
        (Shown(15500), "open", "away"),
        (Shown(18500), "closed", None),
    ],
)
def test_presence_bodies(shown: Shown, basic: str, token: str | None) -> None:
    body = write_pidf("sip:bob@example.org", shown, "Bob & <Co>")
    assert f"<basic>{basic}</basic>".encode() in body
    seen = read_pidf(body)
    assert seen.entity == "sip:bob@example.org"
    assert seen.display_name == "Bob & <Co>"
    assert seen.activities == ((token,) if token else ())
    assert seen.shown.name == shown.name


def test_published_rpid_is_read_too() -> None:
    body = b"""<?xml version="1.0"?><presence xmlns="urn:ietf:params:xml:ns:pidf"
      xmlns:rpid="urn:ietf:params:xml:ns:pidf:rpid" entity="pres:ann@example.org"><tuple id="a"><status>
      <basic>open</basic><rpid:activities><rpid:busy/></rpid:activities></status></tuple></presence>"""
    assert read_pidf(body).shown.name == "busy"


@pytest.mark.parametrize(
    "body",
    [b"", b"<presence", b"<presence/>", b'<!DOCTYPE x [<!ENTITY a "b">]><presence>&a;</presence>'],
)
def test_broken_bodies(body: bytes) -> None:
    with pytest.raises(BodyError):
        read_pidf(body)


@given(st.text(st.characters(codec="utf-8", exclude_categories=("Cs", "Cc"))))
def test_first_message(text: str) -> None:
    header = imbody.first_message(text)
    assert imbody.read_first_message(header) == (text or None)
    assert "\n" not in header


def test_session_description() -> None:
    assert imbody.offers_messages(imbody.write_sdp("127.0.0.1"))
    assert imbody.offers_messages(b"v=0\r\nm=x-ms-message 5060 sip sip:bob@example.org\r\n")
    assert not imbody.offers_messages(b"v=0\r\nm=message 0 sip null\r\n")
    assert not imbody.offers_messages(b"v=0\r\nm=audio 4000 RTP/AVP 0\r\n")


def test_keyboard() -> None:
    assert imbody.read_keyboard(imbody.write_keyboard(True)) is True
    assert imbody.read_keyboard(imbody.write_keyboard(False)) is False
    assert imbody.read_keyboard(b"<other/>") is None


@pytest.mark.parametrize(
    ("accept", "chosen"),
    [
        ((), "application/pidf+xml"),
        (("application/pidf+xml", "application/cpim-pidf+xml"), "application/pidf+xml"),
        (("application/cpim-pidf+xml",), "application/cpim-pidf+xml"),
        (("*/*",), "application/pidf+xml"),
        (("application/rlmi+xml",), ""),
    ],
)
def test_choice_of_type(accept: tuple[str, ...], chosen: str) -> None:
    assert choose_type(accept) == chosen


def test_addresses() -> None:
    assert bare("<sip:Bob@Example.ORG;transport=tls>") == "bob@example.org"


def test_users_file(tmp_path: Path) -> None:
    toml = tmp_path / "users.toml"
    toml.write_text(
        'domains = ["Example.org"]\ntrusted = ["IM.example.org"]\n'
        '[[front_ends]]\nname = "fe1"\ntcp_port = 0\n'
        '[routes."example.org"]\nhost = "im.example.org"\nport = 5060\ntransport = "tcp"\n'
        '[[users]]\nuri = "sip:Bob@example.org"\ncontacts = ["Ann@example.org"]\nsigned_in = "busy"\n'
    )
    plan = load_plan(toml)
    assert plan.domains == ("example.org",)
    assert plan.trusted == ("im.example.org",)
    assert plan.users[0].uri == "bob@example.org"
    assert plan.users[0].contacts == ("ann@example.org",)
    assert plan.routes["example.org"].transport == "tcp"
    assert plan.pool_name == "fe1"
    as_json = tmp_path / "users.json"
    as_json.write_text(json.dumps({**SMALL, "users": [{"uri": "bob@example.org"}]}))
    assert load_plan(as_json).users[0].prompts == "ask"


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"domains": []}, "domains"),
        ({"front_ends": []}, "front_ends"),
        ({"front_ends": [{"name": "fe"}]}, "tcp_port"),
        ({"front_ends": [{"name": "fe", "tls_port": 0}]}, "certificate"),
        ({"front_ends": [{"tcp_port": 0}]}, "name"),
        ({"users": [{"uri": "bob"}]}, "name@domain"),
        ({"users": [{"uri": "bob@other.example"}]}, "none of the domains"),
        ({"users": [{"uri": "bob@example.org", "prompts": "maybe"}]}, "prompts"),
        ({"users": [{"uri": "bob@example.org", "signed_in": "happy"}]}, "happy"),
        ({"users": [{"uri": "bob@example.org", "shoe": 42}]}, "shoe"),
        ({"routes": {"example.org": {"host": "x", "transport": "udp"}}}, "udp"),
        ({"colour": "red"}, "colour"),
    ],
)
def test_mistakes_in_the_users_file(change: dict[str, object], word: str) -> None:
    with pytest.raises(PlanError, match=word):
        make_plan({**SMALL, **change})
