"""admin/api.py, http.py and server.py, over real sockets."""

import asyncio
import hashlib
import json
import ssl
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from tests.unit.admin.small_node import SmallNode, do, served
from ubiety.admin import server
from ubiety.admin.http import MAX_BODY
from ubiety.admin.operations import OPERATIONS
from ubiety.cluster.health import Health
from ubiety.store import users
from ubiety.store.errors import DatabaseUnavailable


@pytest.fixture
async def client(node: SmallNode) -> AsyncIterator[httpx.AsyncClient]:
    """A client of the TLS port that shows an administrator's token."""
    token = (await do(node, "token.add", name="test")).token
    async with served(node) as made:
        made.headers["Authorization"] = f"Bearer {token}"
        yield made


def _unchecked() -> ssl.SSLContext:
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return context


def check_problem(answer: httpx.Response, status: int) -> dict[str, Any]:
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    document: dict[str, Any] = answer.json()
    assert document["status"] == status and document["type"].startswith("urn:ubiety:problem:")
    assert document["detail"]
    return document


async def test_every_operation_has_a_route_in_openapi(client: httpx.AsyncClient) -> None:
    document = (await client.get("/api/openapi.json")).json()
    for operation in OPERATIONS:
        path = document["paths"][f"/api/{operation.name.replace('.', '/')}"]
        assert path["post" if operation.changes else "get"]["operationId"] == operation.name.replace(".", "_")
    assert document["components"]["securitySchemes"]["HTTPBearer"]["scheme"] == "bearer"


async def test_the_index_lists_every_operation_without_a_token(client: httpx.AsyncClient) -> None:
    del client.headers["Authorization"]
    page = await client.get("/api")
    assert page.status_code == 200 and "<script" not in page.text
    assert all(f"/api/{operation.name.replace('.', '/')}<" in page.text for operation in OPERATIONS)


async def test_a_person_is_added_and_listed(client: httpx.AsyncClient) -> None:
    added = await client.post(
        "/api/user/add", json={"userid": "user1", "name": "User One", "password": "secret"}
    )
    assert added.status_code == 200 and added.json()["address"] == "user1@example.org"
    assert "secret" not in added.text
    listed = await client.get("/api/user/list", params={"text": "one", "limit": 5})
    assert [one["userid"] for one in listed.json()["people"]] == ["user1"]
    assert listed.headers["date"] and listed.headers["cache-control"] == "no-store"


@pytest.mark.parametrize("header", ["", "Bearer ubi_wrong", "Bearer x y", "Basic dTpw"])
async def test_without_a_good_token_nothing_is_done(client: httpx.AsyncClient, header: str) -> None:
    client.headers["Authorization"] = header
    answer = await client.get("/api/user/list")
    document = check_problem(answer, 401)
    assert "ubiety token add" in document["cure"] and answer.headers["www-authenticate"] == "Bearer"


async def test_guessing_tokens_gets_slower(client: httpx.AsyncClient) -> None:
    good = client.headers["Authorization"]
    client.headers["Authorization"] = "Bearer ubi_guess"
    codes = [(await client.get("/api/user/list")).status_code for _ in range(7)]
    assert codes == [401] * 5 + [429] * 2
    client.headers["Authorization"] = good
    answer = await client.get("/api/user/list")
    check_problem(answer, 429)
    assert int(answer.headers["retry-after"]) >= 1
    await asyncio.sleep(1.1)
    assert (await client.get("/api/user/list")).status_code == 200


async def test_a_token_has_its_permissions_and_ends(client: httpx.AsyncClient) -> None:
    made = (await client.post("/api/token/add", json={"name": "watch", "role": "monitoring"})).json()
    administrator = client.headers["Authorization"]
    client.headers["Authorization"] = f"Bearer {made['token']}"
    assert (await client.get("/api/node/status")).json()["domains"] == ["example.org"]
    assert (
        "people.write"
        in check_problem(await client.post("/api/user/add", json={"userid": "u"}), 403)["detail"]
    )
    client.headers["Authorization"] = administrator
    tokens = (await client.get("/api/token/list")).json()["tokens"]
    assert [one["name"] for one in tokens] == ["test", "watch"] and "token" not in tokens[0]
    assert (await client.post("/api/token/delete", json={"name": "watch"})).status_code == 200
    client.headers["Authorization"] = f"Bearer {made['token']}"
    check_problem(await client.get("/api/node/status"), 401)


async def test_bad_arguments_are_named_and_passwords_not_repeated(client: httpx.AsyncClient) -> None:
    answer = await client.post("/api/user/add", json={"userid": "", "password": ["topsecret"], "extra": 1})
    document = check_problem(answer, 422)
    assert {tuple(fault["where"])[-1] for fault in document["faults"]} == {"userid", "password", "extra"}
    assert "topsecret" not in answer.text
    check_problem(await client.post("/api/user/add", content=b"{"), 422)
    check_problem(await client.get("/api/user/list", params={"limit": "many"}), 422)
    check_problem(await client.get("/api/nothing"), 404)
    check_problem(await client.get("/api/user/add"), 405)


async def test_a_body_may_not_be_too_large(client: httpx.AsyncClient) -> None:
    check_problem(await client.post("/api/user/add", content=b" " * (MAX_BODY + 1)), 413)

    async def parts() -> AsyncIterator[bytes]:
        for _ in range(MAX_BODY // 65536 + 2):
            yield b" " * 65536

    try:
        answer = await client.post("/api/user/add", content=parts())
    except httpx.TransportError:
        return  # it was cut off while it still sent
    check_problem(answer, 413)


async def test_health_and_metrics(node: SmallNode, client: httpx.AsyncClient) -> None:
    del client.headers["Authorization"]
    node.metrics.counters.online_users = 3
    answer = await client.get("/healthz")
    assert (answer.status_code, answer.json()) == (200, {"status": "active"})
    node.health = Health(False, "standby", "Another node serves the people of this one.")
    answer = await client.get("/healthz")
    assert answer.status_code == 503
    assert answer.json() == {"status": "standby", "reason": "Another node serves the people of this one."}
    text = (await client.get("/metrics")).text  # from this machine
    assert "ubiety_online_users 3.0" in text and "ubiety_api_requests_total" in text


async def test_the_local_socket_is_trusted_and_closed_to_others(
    node: SmallNode, client: httpx.AsyncClient
) -> None:
    path = node.config.control_socket
    assert path.stat().st_mode & 0o777 == 0o600
    transport = httpx.AsyncHTTPTransport(uds=str(path))
    async with httpx.AsyncClient(transport=transport, base_url="http://node") as local:
        assert (await local.post("/api/user/add", json={"userid": "user1"})).status_code == 200
        entries = (await local.get("/api/audit/list")).json()["entries"]
    assert entries[0]["actor"].startswith("unix:")


async def test_the_network_cannot_pose_as_the_local_socket(client: httpx.AsyncClient) -> None:
    del client.headers["Authorization"]
    forged = {"X-Forwarded-For": "127.0.0.1", "ubiety.caller": "unix:root", "Host": "localhost"}
    check_problem(await client.get("/api/user/list", headers=forged), 401)


async def test_a_new_certificate_is_served_at_once(node: SmallNode, client: httpx.AsyncClient) -> None:
    before = node.certificates.current.fingerprint
    assert (await client.post("/api/domain/add", json={"name": "example.com"})).json()["in_certificate"]
    shown = (await client.get("/api/certificate/show")).json()
    assert shown["fingerprint"] != before and "example.com" in shown["names"]
    _, writer = await asyncio.open_connection("127.0.0.1", node.ports["api"], ssl=_unchecked())
    der = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
    writer.close()
    assert hashlib.sha256(der).hexdigest() == shown["fingerprint"]


async def test_a_client_that_never_asks_is_closed(
    node: SmallNode, client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server, "HEADER_TIMEOUT", 0.2)
    reader, writer = await asyncio.open_unix_connection(str(node.config.control_socket))
    writer.write(b"GET / HTTP/1.1\r\nHost: x\r\n")
    async with asyncio.timeout(3):
        assert await reader.read() == b""
    writer.close()


async def test_a_fault_of_ours_says_nothing_of_the_inside(
    node: SmallNode, client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(node.sessions, "list", lambda: json.loads("inside"))
    document = check_problem(await client.get("/api/session/list"), 500)
    assert "inside" not in json.dumps(document) and "log" in document["cure"]


async def test_a_database_that_fails_is_a_503(node: SmallNode, client: httpx.AsyncClient) -> None:
    def gone(*_: object) -> None:
        raise DatabaseUnavailable("no answer")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(users, "count", gone)
        check_problem(await client.get("/api/node/status"), 503)
