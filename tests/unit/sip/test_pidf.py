"""Presence documents of every dialect are read, ours are read back, and none harms the reader."""

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ubiety.element import parse_element
from ubiety.sip import pidf
from ubiety.sip.pidf import CPIM_PIDF, PIDF, PidfError, SipPresence
from ubiety.sip.pidf_microsoft import MSRTC_PIDF, XPIDF, activity_of
from ubiety.sip.xmldoc import MAX_BYTES, DocumentError, read_document


def presence(*activities: str, note: str = "", name: str = "") -> SipPresence:
    return SipPresence(True, frozenset(activities), note, name)


CLOSED = SipPresence(False)
GONE = SipPresence(False, display_name="Y. Sam")
GONE_FISHING = SipPresence(False, frozenset(), "gone fishing", "Ann Able")

RFC_3863 = """<?xml version="1.0" encoding="UTF-8"?>
<presence xmlns="urn:ietf:params:xml:ns:pidf" xmlns:im="urn:ietf:params:xml:ns:pidf:im"
    xmlns:myex="http://id.example.com/presence/" entity="pres:someone@example.com">
  <tuple id="bs35r9">
    <status><basic>open</basic><im:im>busy</im:im><myex:location>home</myex:location></status>
    <contact priority="0.8">im:someone@mobilecarrier.net</contact>
    <note xml:lang="en">Don't Disturb Please!</note>
    <timestamp>2001-10-27T16:49:29Z</timestamp>
  </tuple>
  <tuple id="eg92n8"><status><basic>closed</basic></status></tuple>
</presence>"""

RFC_4480 = """<presence xmlns="urn:ietf:params:xml:ns:pidf" xmlns:dm="urn:ietf:params:xml:ns:pidf:data-model"
    xmlns:lt="urn:ietf:params:xml:ns:location-type" xmlns:rpid="urn:ietf:params:xml:ns:pidf:rpid"
    entity="pres:someone@example.com">
  <tuple id="7c8dqui"><status><basic>open</basic></status>
    <contact>sip:someone@example.com</contact></tuple>
  <dm:person id="p1">
    <rpid:activities from="2005-05-30T12:00:00+05:00" until="2005-05-30T17:00:00+05:00">
      <rpid:note>Far away</rpid:note><rpid:away/><rpid:On-The-Phone/><rpid:other>Gardening</rpid:other>
    </rpid:activities>
    <dm:note>Scoring 120</dm:note>
  </dm:person>
</presence>"""

SIPE_2005 = """<?xml version="1.0" encoding="UTF-8"?>
<presence xmlns="urn:ietf:params:xml:ns:pidf" xmlns:ep="urn:ietf:params:xml:ns:pidf:status:rpid-status"
    xmlns:ci="urn:ietf:params:xml:ns:pidf:cipid" entity="sip:ysam@implync.net">
  <tuple id="0"><status><basic>open</basic>
    <ep:activities><ep:activity>do-not-disturb</ep:activity></ep:activities></status></tuple>
  <ci:display-name>Y. Sam</ci:display-name>
</presence>"""

XPIDF_DOCUMENT = """<?xml version="1.0"?>
<!DOCTYPE presence PUBLIC "-//IETF//DTD RFCxxxx XPIDF 1.0//EN" "xpidf.dtd">
<presence>
<presentity uri="sip:a@example.com;method=SUBSCRIBE" />
<atom id="1000"><address uri="sip:a@example.com;user=ip" priority="0.800000">
<status status="{status}" /><msnsubstatus substatus="{substatus}" /></address></atom>
</presence>"""

MSRTC = """<?xml version="1.0" encoding="utf-16"?>
<presentity uri="sip:a@example.com">
<availability aggregate="{availability}" description="online"/>
<activity aggregate="{activity}" note="x"/>
<displayName displayName="Ann Able"/>
<userInfo><note>gone fishing</note></userInfo>
</presentity>"""

FISHING = {"note": "gone fishing", "name": "Ann Able"}

STATES = """<presence><userInfo>
<states><state avail="3500" since="2026-01-01"/><state avail="{avail}"/></states>
</userInfo></presence>"""


def xpidf(status: str, substatus: str) -> str:
    return XPIDF_DOCUMENT.format(status=status, substatus=substatus)


def msrtc(availability: int, activity: int) -> str:
    return MSRTC.format(availability=availability, activity=activity)


@pytest.mark.parametrize(
    ("document", "content_type", "expected"),
    [
        (RFC_3863, PIDF, presence(note="Don't Disturb Please!")),
        (RFC_4480, PIDF, presence("away", "on-the-phone", "gardening", note="Scoring 120")),
        (SIPE_2005, PIDF, presence("do-not-disturb", name="Y. Sam")),
        (SIPE_2005.replace(":pidf\"", ":cpim-pidf\""), CPIM_PIDF, presence("do-not-disturb", name="Y. Sam")),
        (SIPE_2005.replace("open", "closed").replace("do-not-disturb", "unknown"), PIDF, GONE),
        ("<presence xmlns='urn:ietf:params:xml:ns:pidf' entity='a@aol.com'/>", PIDF, CLOSED),
        ("<presence><tuple id='a'><status/></tuple></presence>", PIDF, presence()),
        (xpidf("open", "online"), XPIDF, presence()),
        (xpidf("inuse", "onthephone"), XPIDF, presence("busy", "on-the-phone")),
        (xpidf("inactive", "berightback"), XPIDF, presence("away", "be-right-back")),
        (xpidf("closed", "offline"), XPIDF, CLOSED),
        (msrtc(300, 400), MSRTC_PIDF, presence(**FISHING)),
        (msrtc(300, 100), MSRTC_PIDF, presence("away", **FISHING)),
        (msrtc(300, 300), MSRTC_PIDF, presence("be-right-back", **FISHING)),
        (msrtc(300, 500), MSRTC_PIDF, presence("on-the-phone", **FISHING)),
        (msrtc(300, 600), MSRTC_PIDF, presence("busy", **FISHING)),
        (msrtc(0, 0), MSRTC_PIDF, GONE_FISHING),
        (STATES.format(avail=6500), MSRTC_PIDF, presence("busy")),
        (STATES.format(avail=18500), MSRTC_PIDF, CLOSED),
    ],
)  # fmt: skip
def test_documents_are_read(document: str, content_type: str, expected: SipPresence) -> None:
    assert pidf.read(document.encode(), content_type) == expected


@pytest.mark.parametrize(
    ("number", "activity"),
    [
        (0, None), (2999, None), (3000, ""), (3500, ""), (4499, ""), (4500, ""), (5999, ""), (6000, "busy"),
        (6500, "busy"), (7500, "busy"), (8999, "busy"), (9000, "do-not-disturb"), (9500, "do-not-disturb"),
        (11999, "do-not-disturb"), (12000, "be-right-back"), (14999, "be-right-back"),
        (15000, "away"), (15500, "away"), (17999, "away"), (18000, None), (18500, None),
    ],
)  # fmt: skip
def test_availability_numbers(number: int, activity: str | None) -> None:
    assert activity_of(number) == activity


@pytest.mark.parametrize(
    "encode",
    [
        lambda text: text.encode(),
        lambda text: b"\xef\xbb\xbf" + text.encode(),
        lambda text: b"\r\n" + text.partition("?>")[2].encode(),
        lambda text: text.encode("utf-16"),
        lambda text: text.encode("utf-16-le"),
        lambda text: text.encode("utf-16-be"),
        lambda text: b"\xfe\xff" + text.encode("utf-16-be"),
        lambda text: text.replace("utf-16", "iso-8859-1").encode("latin-1"),
    ],
)
def test_encodings(encode: object) -> None:
    assert callable(encode)
    document = encode(MSRTC.format(availability=300, activity=400).replace("Ann", "Änn"))
    assert pidf.read(document, MSRTC_PIDF).display_name == "Änn Able"


def test_the_charset_of_the_content_type_counts() -> None:
    document = "<presence><note>Grüße</note><tuple><status><basic>open</basic></status></tuple></presence>"
    assert pidf.read(document.encode("cp1252"), PIDF, "Windows-1252") == presence(note="Grüße")


LAUGHS = '<!DOCTYPE p [<!ENTITY a "ha"><!ENTITY b "&a;&a;&a;">]><presence>&b;</presence>'
FILE = '<!DOCTYPE p [<!ENTITY a SYSTEM "file:///etc/passwd">]><presence><note>&a;</note></presence>'


@pytest.mark.parametrize(
    "document",
    [
        b"",
        b"<presence>",
        b"not xml",
        b"<html/>",
        b"\xff\xfe<",
        b"\xff\xff\xff",
        LAUGHS.encode(),
        LAUGHS.encode("utf-16"),
        FILE.encode(),
        b"<presence>" + b"<tuple>" * 100,
        b"<presence>" + b"<tuple/>" * 5000 + b"</presence>",
        b"<presence><note>" + b"x" * MAX_BYTES + b"</note></presence>",
        b"<x:presence/>",
    ],
)
def test_what_is_refused(document: bytes) -> None:
    with pytest.raises(PidfError):
        pidf.read(document, PIDF)


def test_an_external_entity_is_never_fetched() -> None:
    document = b'<!DOCTYPE presence SYSTEM "file:///etc/passwd"><presence><note>&who;</note></presence>'
    assert read_document(document).find("note") is not None
    assert pidf.read(document, PIDF) == CLOSED


def test_what_is_written() -> None:
    content_type, document = pidf.write("sip:ann@example.com", presence("busy", "on-the-phone", note="<hi>"))
    assert content_type == PIDF
    root = parse_element(document.partition(b"\n")[2], ns="")
    assert root.get("entity") == "sip:ann@example.com"
    status = root.find("tuple")
    assert status is not None
    status = status.find("status")
    assert status is not None
    # facts §5.4: what Microsoft's side looks at stands inside the status.
    activities = status.find("activities", pidf.NS_STATUS_RPID)
    assert activities is not None
    assert [activity.text for activity in activities.elements] == ["busy", "on-the-phone"]
    person = root.find("person", pidf.NS_DATA_MODEL)
    assert person is not None
    activities = person.find("activities", pidf.NS_RPID)
    assert activities is not None
    assert [activity.name for activity in activities.elements] == ["busy", "on-the-phone"]


def test_only_what_is_known_is_written() -> None:
    assert pidf.write("sip:a@b", CLOSED, CPIM_PIDF)[0] == CPIM_PIDF
    assert pidf.NS_CPIM_PIDF.encode() in pidf.write("sip:a@b", CLOSED, CPIM_PIDF)[1]
    with pytest.raises(PidfError):
        pidf.write("sip:a@b", CLOSED, XPIDF)


WRITTEN = st.sampled_from(
    ["away", "busy", "be-right-back", "do-not-disturb", "on-the-phone", "meeting", "out-of-office"]
)
XML_TEXT = st.text(
    st.characters(codec="utf-8", exclude_categories=["Cc", "Cs"], exclude_characters="\ufffe\uffff"),
    max_size=50,
)


@given(st.booleans(), st.frozensets(WRITTEN), XML_TEXT, XML_TEXT, st.sampled_from([PIDF, CPIM_PIDF]))
def test_what_is_written_is_read_back(
    is_open: bool, activities: frozenset[str], note: str, name: str, content_type: str
) -> None:
    written = SipPresence(is_open, activities, note.strip(), name.strip())
    _, document = pidf.write("sip:a&b@example.com", written, content_type)
    found = pidf.read(document, content_type)
    # RFC 4480 has no name for some, so its nearest comes back as well.
    nearest = {pidf.RPID_NAMES[token] for token in activities if token in pidf.RPID_NAMES}
    assert found == SipPresence(is_open, activities | nearest, note.strip(), name.strip())


@given(
    st.binary(max_size=200) | st.text(max_size=100).map(lambda text: f"<presence>{text}</presence>".encode())
)
def test_nothing_else_comes_out_of_reading(document: bytes) -> None:
    with suppress(PidfError):
        pidf.read(document, PIDF)
    with suppress(DocumentError):
        read_document(document)
