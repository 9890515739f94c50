"""Operations on the services of a node: the Control Center (facts §3)."""

from collections.abc import Awaitable, Callable
from typing import Any

from pydantic import Field

from ubiety.admin.context import Node
from ubiety.admin.operation import Line, OnNode, Operation, Result
from ubiety.admin.problems import CONFLICT, NOT_FOUND, Problem
from ubiety.admin.rbac import Caller
from ubiety.cluster.control import ControlCenter, Service
from ubiety.cluster.services import ServiceError


class ServiceView(Result):
    """One service of a node."""

    name: str
    aliases: list[str]
    kind: str = Field(description="feature, network, or outside: not part of the node.")
    group: str
    sentence: str
    requires: list[str]
    critical: bool
    status: str = Field(description="STARTED, STARTING, STOPPED or STOPPING.")
    reason: str = Field(description="Why it does not run.")
    activated: bool
    auto_restart: bool = Field(description="Whether it is started again when it fails.")
    started: float | None = Field(description="Seconds since 1970; null while it does not run.")
    uptime: float | None = Field(description="Seconds; null while it does not run.")
    restart_needed: list[str] = Field(description="Settings that take effect when it is restarted.")


class ServiceViews(Result):
    """The services of a node."""

    node: str
    primary: bool = Field(description="Whether the node is the publisher.")
    services: list[ServiceView]


class NamedService(OnNode):
    """Which service."""

    service: Line = Field(description="Full name of the service, or a short alias such as `router`.")


class AutoRestart(NamedService):
    """Which service, and what about it."""

    enabled: bool = Field(description="Whether the service is started again when it fails.")


async def list_services(node: Node, caller: Caller, arguments: OnNode) -> ServiceViews:
    """Lists the services of a node."""
    publisher = node.topology.value.publisher
    return ServiceViews(
        node=node.config.node,
        primary=publisher is None or publisher.id == node.homes.node_id,
        services=[_view(node, service) for service in node.services.all()],
    )


async def show_service(node: Node, caller: Caller, arguments: NamedService) -> ServiceView:
    """Shows one service."""
    return await _do(node, lambda center: _found(center, arguments.service))


async def start(node: Node, caller: Caller, arguments: NamedService) -> ServiceView:
    """Starts a service, and nothing else."""
    return await _do(node, lambda center: center.start(arguments.service))


async def stop(node: Node, caller: Caller, arguments: NamedService) -> ServiceView:
    """Stops a service and those that need it; they stay stopped when the node starts again."""
    return await _do(node, lambda center: center.stop(arguments.service))


async def restart(node: Node, caller: Caller, arguments: NamedService) -> ServiceView:
    """Restarts a service, and those that need it and run."""
    return await _do(node, lambda center: center.restart(arguments.service))


async def activate(node: Node, caller: Caller, arguments: NamedService) -> ServiceView:
    """Lets a feature service run on a node, and starts it."""
    return await _do(node, lambda center: center.activate(arguments.service))


async def deactivate(node: Node, caller: Caller, arguments: NamedService) -> ServiceView:
    """Stops a feature service and keeps it from being started."""
    return await _do(node, lambda center: center.deactivate(arguments.service))


async def auto_restart(node: Node, caller: Caller, arguments: AutoRestart) -> ServiceView:
    """Says whether a service is started again when it fails."""
    return await _do(node, lambda center: center.set_auto_restart(arguments.service, arguments.enabled))


async def _found(center: ControlCenter, name: str) -> Service:
    return center.find(name)


async def _do(node: Node, order: Callable[[ControlCenter], Awaitable[Service]]) -> ServiceView:
    try:
        return _view(node, await order(node.services))
    except ServiceError as error:
        raise Problem(NOT_FOUND if error.is_unknown else CONFLICT, error.detail, error.cure) from error


def _view(node: Node, service: Service) -> ServiceView:
    declared, decision = service.declared, service.decision
    started = service.started_at if service.is_running else None
    return ServiceView(
        name=declared.name,
        aliases=list(declared.aliases),
        kind=declared.kind.value,
        group=declared.group,
        sentence=declared.sentence,
        requires=list(declared.requires),
        critical=declared.is_critical,
        status=service.state.value,
        reason=service.reason,
        activated=decision.activated,
        auto_restart=decision.auto_restart,
        started=started,
        uptime=node.clock.now() - started if started is not None else None,
        restart_needed=node.settings.restart_needed().get(declared.name, []),
    )


READ, WRITE = "services.read", "services.write"


def _order(verb: str, function: Any, arguments: Any = NamedService) -> Operation[Any, Any]:
    sentence = str(function.__doc__)
    return Operation(f"service.{verb}", sentence, arguments, ServiceView, WRITE, True, function, "node")


OPERATIONS: tuple[Operation[Any, Any], ...] = (
    Operation(
        "service.list",
        "Lists the services of a node.",
        OnNode,
        ServiceViews,
        READ,
        False,
        list_services,
        "node",
    ),
    Operation(
        "service.show", "Shows one service.", NamedService, ServiceView, READ, False, show_service, "node"
    ),
    _order("start", start),
    _order("stop", stop),
    _order("restart", restart),
    _order("activate", activate),
    _order("deactivate", deactivate),
    _order("auto_restart", auto_restart, AutoRestart),
)
