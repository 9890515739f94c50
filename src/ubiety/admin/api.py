"""REST: every operation of the table at /api/<subject>/<verb>, with OpenAPI, beside /metrics and /healthz."""

from collections.abc import Iterable
from html import escape
from typing import Annotated, Any

from fastapi import Depends, FastAPI, Query, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import HTMLResponse, JSONResponse, Response
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from prometheus_client import CONTENT_TYPE_LATEST
from pydantic import BaseModel
from starlette.exceptions import HTTPException

from ubiety import __version__
from ubiety.admin.context import Node
from ubiety.admin.guard import Guard
from ubiety.admin.http import App, Limited, Receive, Scope, Send
from ubiety.admin.operation import Arguments, Operation, call
from ubiety.admin.operations import OPERATIONS
from ubiety.admin.problems import (
    FORBIDDEN,
    INVALID,
    NOT_FOUND,
    TOO_MANY,
    UNAUTHENTICATED,
    Kind,
    Problem,
    from_error,
)
from ubiety.admin.rbac import ROLES, Caller
from ubiety.admin.starting import health_document
from ubiety.admin.tokens import find_caller
from ubiety.settings import Setting
from ubiety.telemetry import event

METRICS_OPEN = Setting(
    "api.open_metrics",
    bool,
    False,
    "",
    "Whether /metrics is served to everybody; otherwise only to this machine and with a token.",
)
SETTINGS = (METRICS_OPEN,)

DESCRIPTION = "/api/openapi.json"
LOCAL_CALLER = "ubiety.caller"
"""Where the wrapper for the local socket puts the caller into the ASGI scope."""
_LOOPBACK = ("127.0.0.1", "::1", "::ffff:127.0.0.1")
_bearer = HTTPBearer(auto_error=False, description="A token made with `ubiety token add NAME`.")
_INDEX = """<!doctype html><html lang="en"><meta charset="utf-8"><title>Ubiety</title>
<h1>Ubiety {version}</h1>
<p>The operations of this node, as REST. In full: <a href="/api/openapi.json">/api/openapi.json</a>.
<p>Make a token with <code>ubiety token add NAME</code>; send it as <code>Authorization: Bearer TOKEN</code>.
<table><tr><th>Method<th>Path<th>Does<th>Permission{rows}</table></html>
"""
_PROBLEM: dict[int | str, dict[str, Any]] = {
    "default": {
        "description": "A problem (RFC 9457), with `detail` and `cure`",
        "content": {"application/problem+json": {"schema": {"type": "object"}}},
    }
}


def make_app(node: Node) -> App:
    """The administration interface of a node, for the network: callers show a token."""
    return Limited(_Growing(node))


def trust_local(app: App) -> App:
    """The same for the local socket: who can open it (mode 0600) may do everything."""

    async def trusted(scope: Scope, receive: Receive, send: Send) -> None:
        name = (scope.get("client") or ("unix", 0))[0]
        scope[LOCAL_CALLER] = Caller(name, frozenset(ROLES["administrator"]))
        await app(scope, receive, send)

    return trusted


class _Growing:
    """Makes the route of an operation when it is first asked for.

    To make all of them takes a tenth of the time in which a node starts, and few are ever used on one node.
    """

    def __init__(self, node: Node) -> None:
        self._node = node
        self._authenticate = _make_authenticate(node, Guard())
        self._app = _make_fastapi(node, self._authenticate, ())
        self._missing = {_path(operation): operation for operation in OPERATIONS}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serves one request."""
        if scope["path"] == DESCRIPTION and self._missing:  # of all, in the order of their table
            self._missing = {}
            self._app = _make_fastapi(self._node, self._authenticate, OPERATIONS)
        operation = self._missing.pop(scope["path"].rstrip("/"), None)
        if operation is not None:
            _add_route(self._app, self._node, operation, self._authenticate)
        await self._app(scope, receive, send)


def _make_fastapi(node: Node, authenticate: Any, operations: Iterable[Operation[Any, Any]]) -> FastAPI:
    app = FastAPI(
        title="Ubiety",
        version=__version__,
        summary="Administration of an Ubiety installation.",
        docs_url=None,  # they load scripts from elsewhere
        redoc_url=None,
        openapi_url=DESCRIPTION,
        responses=_PROBLEM,
    )
    for operation in operations:
        _add_route(app, node, operation, authenticate)
    _add_index(app)
    _add_monitoring(app, node, authenticate)
    app.add_exception_handler(Problem, _answer_problem)
    app.add_exception_handler(RequestValidationError, _answer_invalid)
    app.add_exception_handler(HTTPException, _answer_http)
    app.add_exception_handler(Exception, _answer_fault)
    return app


def _path(operation: Operation[Any, Any]) -> str:
    return f"/api/{operation.name.replace('.', '/')}"


def _add_route(app: FastAPI, node: Node, operation: Operation[Any, Any], authenticate: Any) -> None:
    model = operation.arguments
    given = model if operation.changes else Annotated[model, Query()]

    async def serve(arguments: Arguments, caller: Caller) -> BaseModel:
        result: BaseModel = await call(operation, node, caller, arguments)
        return result

    serve.__annotations__ = {
        "arguments": given,
        "caller": Annotated[Caller, Depends(authenticate)],
        "return": operation.result,
    }
    serve.__name__ = operation.name.replace(".", "_")
    app.add_api_route(
        _path(operation),
        serve,
        methods=["POST" if operation.changes else "GET"],
        summary=operation.sentence,
        description=f"{operation.sentence} Permission: `{operation.permission}`.",
        tags=[operation.name.partition(".")[0]],
        operation_id=operation.name.replace(".", "_"),
    )


def _add_index(app: FastAPI) -> None:
    async def index() -> Response:
        rows = "".join(
            f"<tr><td>{'POST' if one.changes else 'GET'}<td>{_path(one)}"
            f"<td>{escape(one.sentence)}<td>{one.permission}"
            for one in OPERATIONS
        )
        return HTMLResponse(_INDEX.format(version=__version__, rows=rows))

    app.add_api_route("/api", index, methods=["GET"], include_in_schema=False)


def _add_monitoring(app: FastAPI, node: Node, authenticate: Any) -> None:
    async def metrics(request: Request) -> Response:
        host = request.client.host if request.client else ""
        if not (node.settings.get(METRICS_OPEN) or host in _LOOPBACK or LOCAL_CALLER in request.scope):
            caller: Caller = await authenticate(request, await _bearer(request))
            if not caller.holds("system.read"):
                raise Problem(FORBIDDEN, f"{caller.name} lacks the permission system.read.")
        return Response(node.metrics.render(), media_type=CONTENT_TYPE_LATEST)

    async def health() -> Response:
        found = node.health
        return JSONResponse(health_document(found), status_code=200 if found.is_active else 503)

    app.add_api_route(
        "/metrics", metrics, methods=["GET"], summary="Counters for Prometheus.", tags=["monitoring"]
    )
    app.add_api_route(
        "/healthz", health, methods=["GET"], summary="Whether clients may be sent here.", tags=["monitoring"]
    )


def _make_authenticate(node: Node, guard: Guard) -> Any:
    async def authenticate(
        request: Request, shown: Annotated[HTTPAuthorizationCredentials | None, Depends(_bearer)]
    ) -> Caller:
        node.metrics.counters.api_requests += 1
        local: Caller | None = request.scope.get(LOCAL_CALLER)
        if local is not None:
            return local
        host = request.client.host if request.client else ""
        wait = guard.wait(host, node.clock.monotonic())
        if wait > 0:
            raise Problem(TOO_MANY, "Too many requests, or too many wrong tokens.", retry_after=int(wait) + 1)
        caller = await find_caller(node, shown.credentials) if shown else None
        if caller is None:
            failures = guard.failed(host, node.clock.monotonic()) if shown else 0
            event("api_login_refused", "warning", remote=host, failures=failures)
            cure = "Make one with `ubiety token add NAME` and send it as: Authorization: Bearer TOKEN"
            raise Problem(UNAUTHENTICATED, "The token is missing or not valid.", cure)
        guard.succeeded(host)
        return caller

    return authenticate


def _respond(problem: Problem) -> Response:
    headers = {}
    if problem.kind is UNAUTHENTICATED:
        headers["WWW-Authenticate"] = "Bearer"
    if "retry_after" in problem.about:
        headers["Retry-After"] = str(problem.about["retry_after"])
    return JSONResponse(
        problem.document(),
        status_code=problem.kind.status,
        headers=headers,
        media_type="application/problem+json",
    )


async def _answer_problem(_request: Request, error: Exception) -> Response:
    return _respond(from_error(error))


async def _answer_invalid(_request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    # Without `input`: a wrong password must not come back in an answer or a log.
    faults = [{"where": list(fault["loc"]), "reason": fault["msg"]} for fault in error.errors()]
    first = faults[0] if faults else {"where": ["body"], "reason": "not readable"}
    where = ".".join(str(part) for part in first["where"][1:]) or str(first["where"][0])
    return _respond(Problem(INVALID, f"{where}: {first['reason']}.", faults=faults))


async def _answer_http(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    if error.status_code == 404:
        return _respond(Problem(NOT_FOUND, f"There is nothing at {request.url.path}.", f"See {DESCRIPTION}."))
    return _respond(
        Problem(Kind("http", "The request cannot be served", error.status_code), str(error.detail))
    )


async def _answer_fault(request: Request, error: Exception) -> Response:
    problem = from_error(error)
    if problem.kind.status == 500:
        event("api_failed", "error", path=request.url.path, exc_info=error)
    return _respond(problem)
