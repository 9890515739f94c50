"""The vCards of the sample organisation (XEP-0054), portrait included."""

from base64 import b64encode
from xml.sax.saxutils import escape

from ubiety.demo.organisation import Person
from ubiety.demo.photos import Photo


def render_vcard(person: Person, firm: str, address: str, photo: Photo) -> bytes:
    """Return a person's vCard as canonical XML."""
    return (
        "<vCard xmlns='vcard-temp'>"
        f"<FN>{escape(person.name)}</FN>"
        f"<N><FAMILY>{escape(person.surname)}</FAMILY><GIVEN>{escape(person.given_name)}</GIVEN></N>"
        f"<ORG><ORGNAME>{escape(firm)}</ORGNAME><ORGUNIT>{escape(person.department)}</ORGUNIT></ORG>"
        f"<TITLE>{escape(person.title)}</TITLE>"
        f"<TEL><WORK/><VOICE/><NUMBER>{escape(person.phone)}</NUMBER></TEL>"
        f"<EMAIL><INTERNET/><WORK/><USERID>{escape(person.mail)}</USERID></EMAIL>"
        f"<JABBERID>{escape(address)}</JABBERID>"
        f"<PHOTO><TYPE>image/png</TYPE><BINVAL>{b64encode(photo.data).decode('ascii')}</BINVAL></PHOTO>"
        "</vCard>"
    ).encode()
