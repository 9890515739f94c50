"""The one table of operations: REST, the command line and the web pages are faces of it (design §7)."""

from typing import Any

from ubiety.admin import (
    assignment,
    checks,
    domains,
    draining,
    federation,
    gateways,
    ha,
    importing,
    nodes,
    people,
    perf,
    policies,
    prg,
    replication,
    services,
    sessions,
    settings,
    sip,
    sip_routes,
    system,
    tokens,
    trust,
)
from ubiety.admin.operation import Operation

OPERATIONS: tuple[Operation[Any, Any], ...] = (
    *people.OPERATIONS,
    *importing.OPERATIONS,
    *policies.OPERATIONS,
    *assignment.OPERATIONS,
    *nodes.OPERATIONS,
    *domains.OPERATIONS,
    *federation.OPERATIONS,
    *sip_routes.OPERATIONS,
    *trust.OPERATIONS,
    *gateways.OPERATIONS,
    *sip.OPERATIONS,
    *draining.OPERATIONS,
    *settings.OPERATIONS,
    *sessions.OPERATIONS,
    *system.OPERATIONS,
    *ha.OPERATIONS,
    *prg.OPERATIONS,
    *perf.OPERATIONS,
    *services.OPERATIONS,
    *replication.OPERATIONS,
    *checks.OPERATIONS,
    *tokens.OPERATIONS,
)
BY_NAME = {operation.name: operation for operation in OPERATIONS}
