"""Entity capabilities (XEP-0115): the hash over what somebody can do. Pure."""

import base64
import hashlib
from collections.abc import Iterable
from dataclasses import dataclass

from ubiety.element import Element, escape_attribute
from ubiety.xmpp import ns

HASHES = {"sha-1": "sha1", "sha-256": "sha256", "sha-512": "sha512"}
"""Hash functions that a client may use, by their names in the registry of XEP-0300."""

FormFields = dict[str, list[str]]


@dataclass(frozen=True, slots=True)
class Identity:
    """What somebody is (XEP-0030 §3.1)."""

    category: str
    type: str
    name: str = ""
    lang: str = ""

    def render(self) -> str:
        """Return ``<identity/>``."""
        lang = f" xml:lang='{escape_attribute(self.lang)}'" if self.lang else ""
        name = f" name='{escape_attribute(self.name)}'" if self.name else ""
        return f"<identity category='{self.category}' type='{self.type}'{lang}{name}/>"


def verification(
    identities: Iterable[Identity],
    features: Iterable[str],
    forms: Iterable[FormFields] = (),
    hash_name: str = "sha1",
) -> str:
    """Return the verification string: the hash, in base64, of all that is said (XEP-0115 §5.1)."""
    parts = sorted(f"{i.category}/{i.type}/{i.lang}/{i.name}" for i in identities)
    parts += sorted(features)
    for form in sorted(forms, key=_form_type):
        parts.append(_form_type(form))
        for var in sorted(form):
            if var != "FORM_TYPE":
                parts += [var, *sorted(form[var])]
    text = "".join(f"{part}<" for part in parts)
    return base64.b64encode(hashlib.new(hash_name, text.encode()).digest()).decode()


def verify(info: Element, hash_name: str, ver: str) -> bool:
    """Tell whether an answer of disco#info has this hash; an ambiguous answer has none (§5.4)."""
    if hash_name not in HASHES:
        return False
    identities = [
        Identity(i.get("category") or "", i.get("type") or "", i.get("name") or "", i.get("xml:lang") or "")
        for i in info.findall("identity", ns.DISCO_INFO)
    ]
    features = features_of(info)
    forms = [_fields(form) for form in info.findall("x", ns.DATA_FORMS)]
    types = [_form_type(form) for form in forms if _form_type(form)]
    if (
        len(set(identities)) != len(identities)
        or len(set(features)) != len(features)
        or len(set(types)) != len(types)
    ):
        return False
    hashed = [form for form in forms if _form_type(form)]
    return verification(identities, features, hashed, HASHES[hash_name]) == ver


def features_of(info: Element) -> list[str]:
    """Return the features in an answer of disco#info."""
    return [feature.get("var") or "" for feature in info.findall("feature", ns.DISCO_INFO)]


def _fields(form: Element) -> FormFields:
    return {
        field.get("var") or "": [value.text for value in field.findall("value", ns.DATA_FORMS)]
        for field in form.findall("field", ns.DATA_FORMS)
    }


def _form_type(form: FormFields) -> str:
    return next(iter(form.get("FORM_TYPE", ())), "")
