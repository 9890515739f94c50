"""Sealed secrets of people for SIP."""

import json

from ubiety.sip.digest import MD5, SHA_256, make_ha1
from ubiety.store.database import Database
from ubiety.store.digests import FIELD, Vault, load_vault


def vault(realm: str = "ubiety-1") -> Vault:
    return Vault(b"k" * 32, realm)


def test_what_is_sealed_comes_back_for_its_person_alone() -> None:
    keys = json.dumps({"sha256": [], FIELD: vault().seal("ann", "secret", with_md5=False)})
    assert vault().open("ann", keys) == {SHA_256: make_ha1("ann", "ubiety-1", "secret")}
    assert vault().open("bob", keys) == {}  # put into another row it is worth nothing
    assert Vault(b"x" * 32, "ubiety-1").open("ann", keys) == {}
    assert "secret" not in keys and make_ha1("ann", "ubiety-1", "secret") not in keys


def test_md5_is_kept_only_when_asked_for() -> None:
    keys = json.dumps({FIELD: vault().seal("ann", "secret", with_md5=True)})
    assert vault().open("ann", keys)[MD5] == make_ha1("ann", "ubiety-1", "secret", MD5)


def test_what_is_not_there_or_broken_is_none() -> None:
    for keys in (None, "", "{}", "[]", "no json", json.dumps({FIELD: "!"}), json.dumps({FIELD: "AAAA"})):
        assert vault().open("ann", keys) == {}


def test_the_vault_of_a_cluster_is_always_the_same(database: Database) -> None:
    first, again = database.write_now(load_vault), database.write_now(load_vault)
    assert first.realm == again.realm
    assert again.open("ann", json.dumps({FIELD: first.seal("ann", "secret", with_md5=False)}))
