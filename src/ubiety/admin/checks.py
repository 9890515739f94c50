"""The operation that looks for what is wrong with an installation and how to mend it."""

import asyncio
from dataclasses import asdict
from typing import Any

from ubiety.admin.context import Node
from ubiety.admin.finding import Finding, Outcome, worst
from ubiety.admin.inspect_cluster import inspect_cluster
from ubiety.admin.inspect_dns import inspect_dns
from ubiety.admin.inspect_federation import inspect_federation
from ubiety.admin.inspect_host import inspect_host
from ubiety.admin.inspect_node import (
    inspect_certificate,
    inspect_database,
    inspect_ports,
    inspect_settings,
)
from ubiety.admin.operation import OnNode, Operation, Result
from ubiety.admin.rbac import Caller


class FindingView(Result):
    """The outcome of one check."""

    check: str
    outcome: Outcome
    text: str
    cure: str
    lines: list[str]


class CheckReport(Result):
    """The outcome of all checks."""

    outcome: Outcome
    findings: list[FindingView]


async def check(node: Node, caller: Caller, arguments: OnNode) -> CheckReport:
    """Looks at certificate, DNS, ports, database, clock, limits; ends within seconds without a network."""
    dns, ports, database, cluster, federation, host = await asyncio.gather(
        inspect_dns(node.domains, node.ports, node.config.hostnames),
        inspect_ports(node),
        inspect_database(node),
        inspect_cluster(node),
        inspect_federation(node),
        asyncio.to_thread(lambda: list(inspect_host(node.config, node.clock.now()))),
    )
    findings: list[Finding] = [
        *inspect_certificate(node),
        *dns,
        *ports,
        *database,
        *cluster,
        inspect_settings(node),
        *federation,
        *host,
    ]
    views = [FindingView.model_validate(asdict(one)) for one in findings]
    return CheckReport(outcome=worst(findings), findings=views)


OPERATIONS: tuple[Operation[Any, Any], ...] = (
    Operation(
        "node.check",
        "Looks for what is wrong with this installation and how to mend it.",
        OnNode,
        CheckReport,
        "system.read",
        False,
        check,
        place="node",
    ),
)
