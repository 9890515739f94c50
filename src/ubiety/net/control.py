"""What starts and stops the services that clients see, for the Control Center."""

from ubiety.cluster.control import Hooks
from ubiety.cluster.services import AUTHENTICATION, CONNECTION_MANAGER, PRESENCE_ENGINE, ROUTER
from ubiety.net.listeners import Listeners
from ubiety.net.service import C2sService
from ubiety.users import presence_service, router_service
from ubiety.users.context import Context
from ubiety.users.service import Users

NO_LOGINS = "Nobody can sign in at this moment. Try again later."


def client_hooks(
    context: Context, users: Users, service: C2sService, listeners: Listeners
) -> dict[str, Hooks]:
    """Return the hooks by service. None of these services runs until it is started."""
    context.engine.runs = False
    context.router.close()
    service.refusal = NO_LOGINS

    async def open_clients() -> None:
        await listeners.open()

    async def close_clients() -> None:
        listeners.close()
        await service.close_clients("The server takes no clients any more.")

    async def allow_logins() -> None:
        service.refusal = ""

    async def refuse_logins() -> None:
        service.refusal = NO_LOGINS

    return {
        ROUTER: Hooks(lambda: router_service.start(context), lambda: router_service.stop(context, users)),
        PRESENCE_ENGINE: Hooks(
            lambda: presence_service.start(context), lambda: presence_service.stop(context)
        ),
        AUTHENTICATION: Hooks(allow_logins, refuse_logins),
        CONNECTION_MANAGER: Hooks(open_clients, close_clients),
    }
