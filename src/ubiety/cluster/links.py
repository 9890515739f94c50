"""The links of one node to the others: a flow to each of them, over a bus (implements `routing.links.Links`).

Whatever is sent within one turn of the loop leaves at its end as one message per node. One timer serves all
flows. Lists within items arrive as tuples.
"""

import asyncio
import itertools
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Any

from ubiety.cluster.bus import Bus
from ubiety.cluster.flow import BOUND, Flow
from ubiety.routing.links import Item, Kind, LinkEvent, NodeUnreachable
from ubiety.telemetry import Counters, event

_STALL = 0.5
"""A timer that is so late in seconds means that this process did not run."""
_FAR = float("inf")
_TALLIES = ("messages_in", "messages_out", "items_in", "items_out", "resent", "gaps")
_EVENTS = {
    LinkEvent.UP: ("link_came_up", "info"),
    LinkEvent.DOWN: ("link_went_down", "warning"),
    LinkEvent.RESTARTED: ("link_restarted", "info"),
    LinkEvent.GAP: ("link_lost_presence", "info"),
}

Answer = Callable[[int, Any], Awaitable[Any]]


class NodeLinks:
    """Sends to, hears and watches the other nodes of the cluster. Made and used in the loop."""

    def __init__(
        self,
        bus: Bus,
        cluster_id: str,
        node_id: int,
        counters: Counters,
        bound: int = BOUND,
        before_input: Callable[[], object] | None = None,
    ) -> None:
        """``before_input`` is called before anything that comes in is looked at, and on each timer."""
        self.node_id = node_id
        self._bus = bus
        self._subjects = f"ubiety.{cluster_id}.node."
        self._own_subject = f"{self._subjects}{node_id}.*"
        self._counters = counters
        self._bound = bound
        self._before_input = before_input
        self._loop = asyncio.get_running_loop()
        self._boot = time.time_ns()  # greater than that of the process before
        self._flows: dict[int, Flow] = {}
        self._past: Counter[str] = Counter()
        self._handlers: dict[int, Callable[[int, Item], None]] = {}
        self._watchers: list[Callable[[int, LinkEvent], None]] = []
        self._lost_watchers: list[Callable[[int, Sequence[Item]], None]] = []
        self._answers: dict[str, Answer] = {}
        self._numbers = itertools.count(1)
        self._asked: dict[int, tuple[int, asyncio.Future[Any]]] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._is_scheduled = False
        self._is_open = False
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at = _FAR
        self.handle(Kind.ASK, self._receive_ask)
        self.handle(Kind.ANSWER, self._receive_answer)
        bus.watch(self._bus_changed)

    # What others of this node use: routing.links.Links

    def send(self, node_id: int, item: Item, *, sheddable: bool = False) -> None:
        """Queue an item. Never waits. ``sheddable``: it may be dropped, then the other side gets a GAP."""
        flow = self._flows.get(node_id)
        if flow is None:
            if not sheddable:
                self._loop.call_soon(self._tell_lost, node_id, [item])
            return
        flow.send(item, sheddable)
        if not self._is_scheduled:
            self._is_scheduled = True
            self._loop.call_soon(self._turn)

    def handle(self, kind: Kind, receive: Callable[[int, Item], None]) -> None:
        """Have ``receive(node_id, item)`` called for each item of a kind, in the order of sending."""
        self._handlers[kind] = receive

    async def ask(self, node_id: int, name: str, value: Any, seconds: float = 5.0) -> Any:
        """Ask a node and return its answer. Raises NodeUnreachable, or ValueError with the other's words."""
        if node_id == self.node_id:
            is_ok, value = await self._find_answer(node_id, name, value)
            if not is_ok:
                raise ValueError(value)
            return value
        if node_id not in self._flows:
            raise NodeUnreachable(f"Node {node_id} is not a node of this cluster.")
        number = next(self._numbers)
        future: asyncio.Future[Any] = self._loop.create_future()
        self._asked[number] = (node_id, future)
        self.send(node_id, (Kind.ASK, number, name, value))
        try:
            async with asyncio.timeout(seconds):
                return await future
        except TimeoutError:
            raise NodeUnreachable(f"Node {node_id} did not answer within {seconds:g} s.") from None
        finally:
            del self._asked[number]

    def answer(self, name: str, fn: Answer) -> None:
        """Answer what others ask under a name with ``await fn(node_id, value)``."""
        self._answers[name] = fn

    def is_up(self, node_id: int) -> bool:
        """Tell whether a node was heard of lately; this node itself always is."""
        flow = self._flows.get(node_id)
        return flow.is_up if flow is not None else node_id == self.node_id

    def watch(self, notice: Callable[[int, LinkEvent], None]) -> None:
        """Have ``notice(node_id, event)`` called when a link changes."""
        self._watchers.append(notice)

    # What the owner uses

    @property
    def peers(self) -> list[int]:
        """The ids of the other nodes."""
        return list(self._flows)

    def waiting_bytes(self, node_id: int) -> int:
        """Memory held for what a node has not acknowledged."""
        flow = self._flows.get(node_id)
        return flow.waiting_bytes if flow is not None else 0

    def watch_lost(self, notice: Callable[[int, Sequence[Item]], None]) -> None:
        """Have ``notice(node_id, items)`` called when items were given up: perhaps delivered, else never."""
        self._lost_watchers.append(notice)

    def set_peers(self, ids: Iterable[int]) -> None:
        """Say which other nodes there are. What waits for one that is gone is lost, and told so."""
        wanted = set(ids) - {self.node_id}
        for node_id in self._flows.keys() - wanted:
            flow = self._flows[node_id]
            flow.give_up()
            self._tell(node_id, flow)
            if flow.is_up:
                self._notice(node_id, LinkEvent.DOWN)
            del self._flows[node_id]
            self._past.update({name: getattr(flow, name) for name in _TALLIES})
        for node_id in sorted(wanted - self._flows.keys()):
            self._flows[node_id] = Flow(self._boot, self._loop.time(), self._bound)
        self._schedule()

    async def start(self) -> None:
        """Listen, and greet the others. The bus has been started."""
        await self._bus.subscribe(self._own_subject, self._receive)
        self._is_open = True
        self._schedule()

    async def close(self, seconds: float = 1.0) -> None:
        """Wait a while for the last acknowledgements, say goodbye and stop."""
        try:
            async with asyncio.timeout(seconds):
                while self._is_busy():
                    await asyncio.sleep(0.01)
        except TimeoutError:
            event("links_closed_early", "warning", waiting_bytes=sum(map(self.waiting_bytes, self._flows)))
        for node_id, flow in self._flows.items():
            self._bus.publish(f"{self._subjects}{node_id}.{self.node_id}", flow.goodbye())
        if self._is_open:
            await self._bus.unsubscribe(self._own_subject, self._receive)
        self._is_open = False
        if self._timer is not None:
            self._timer.cancel()
        for task in self._tasks:
            task.cancel()

    def _is_busy(self) -> bool:
        if not self._is_open or not self._bus.connected:
            return False
        return any(flow.is_up and (flow.has_work or flow.waiting_bytes) for flow in self._flows.values())

    # Out

    def _schedule(self) -> None:
        if not self._is_scheduled:
            self._is_scheduled = True
            self._loop.call_soon(self._turn)

    def _turn(self) -> None:
        self._is_scheduled = False
        if not self._is_open:
            return
        now = self._loop.time()
        deadline = _FAR
        for node_id, flow in list(self._flows.items()):
            if flow.has_work:
                self._flush(node_id, flow, now)
                deadline = min(deadline, flow.deadline())
        self._arm(deadline)

    def _flush(self, node_id: int, flow: Flow, now: float) -> None:
        for data in flow.flush(now):
            self._bus.publish(f"{self._subjects}{node_id}.{self.node_id}", data)
        self._tell(node_id, flow)

    def _arm(self, deadline: float) -> None:
        if deadline < self._timer_at:
            if self._timer is not None:
                self._timer.cancel()
            self._timer_at = deadline
            self._timer = self._loop.call_at(deadline, self._on_timer)

    def _on_timer(self) -> None:
        if self._before_input is not None:
            self._before_input()
        now = self._loop.time()
        late = now - self._timer_at
        self._timer, self._timer_at = None, _FAR
        if not self._is_open:
            return
        deadline = _FAR
        for node_id, flow in list(self._flows.items()):
            if late > _STALL:
                flow.excuse(late)
            if flow.deadline() <= now:
                flow.tick(now)
                self._flush(node_id, flow, now)
            deadline = min(deadline, flow.deadline())
        self._arm(deadline)
        self._count()

    def _bus_changed(self, connected: bool) -> None:
        if connected:
            for flow in self._flows.values():
                flow.hurry(self._loop.time())
            self._schedule()

    def _count(self) -> None:
        for name in _TALLIES:
            total = self._past[name] + sum(getattr(flow, name) for flow in self._flows.values())
            setattr(self._counters, f"bus_{name}", total)

    # In

    def _receive(self, subject: str, data: bytes) -> None:
        if self._before_input is not None:
            self._before_input()
        sender = subject.rpartition(".")[2]
        node_id = int(sender) if sender.isdecimal() else 0
        flow = self._flows.get(node_id)
        if flow is None or not self._is_open:
            return  # a node that we do not know yet sends it again
        items = flow.receive(data, self._loop.time())
        self._tell(node_id, flow)
        for item in items:
            self._dispatch(node_id, item)
        if flow.is_urgent:
            self._schedule()
        else:
            self._arm(flow.deadline())

    def _dispatch(self, node_id: int, item: Item) -> None:
        try:
            self._handlers[item[0]](node_id, item)
        except Exception as error:  # noqa: BLE001  one mistaken handler must not stop what others sent
            kind = item[0] if isinstance(item, tuple) and item else None
            event("item_failed", "error", node=node_id, kind=kind, error=repr(error), exc_info=error)

    def _tell(self, node_id: int, flow: Flow) -> None:
        for happened in flow.take_events():
            self._notice(node_id, happened)
        lost = flow.take_lost()
        if lost:
            self._tell_lost(node_id, lost)

    def _notice(self, node_id: int, happened: LinkEvent) -> None:
        event(*_EVENTS[happened], node=node_id)
        if happened is LinkEvent.RESTARTED:
            self._fail_asked(node_id, list(self._asked))
        for notice in self._watchers:
            try:
                notice(node_id, happened)
            except Exception as error:  # noqa: BLE001  the others are to know as well
                event("link_watcher_failed", "error", node=node_id, error=repr(error), exc_info=error)

    def _tell_lost(self, node_id: int, items: Sequence[Item]) -> None:
        event("items_lost", "warning", node=node_id, items=len(items))
        self._fail_asked(node_id, [item[1] for item in items if item[0] == Kind.ASK])
        for notice in self._lost_watchers:
            try:
                notice(node_id, items)
            except Exception as error:  # noqa: BLE001  the others are to know as well
                event("link_watcher_failed", "error", node=node_id, error=repr(error), exc_info=error)

    # Questions

    def _receive_ask(self, node_id: int, item: Item) -> None:
        task = self._loop.create_task(self._reply(node_id, *item[1:]))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _reply(self, node_id: int, number: int, name: str, value: Any) -> None:
        self.send(node_id, (Kind.ANSWER, number, *await self._find_answer(node_id, name, value)))

    async def _find_answer(self, node_id: int, name: str, value: Any) -> tuple[bool, Any]:
        fn = self._answers.get(name)
        if fn is None:
            return (
                False,
                f"Node {self.node_id} does not know {name!r}: is it of another release?",
            )
        try:
            return True, await fn(node_id, value)
        except ValueError as error:
            return False, str(error)
        except Exception as error:  # noqa: BLE001  who asked is to be told
            event("answer_failed", "error", node=node_id, question=name, error=repr(error), exc_info=error)
            return False, f"Node {self.node_id} failed to answer {name!r}: {error!r}"

    def _receive_answer(self, _node_id: int, item: Item) -> None:
        _, number, is_ok, value = item
        _, future = self._asked.get(number, (0, None))
        if future is not None and not future.done():
            if is_ok:
                future.set_result(value)
            else:
                future.set_exception(ValueError(value))

    def _fail_asked(self, node_id: int, numbers: Iterable[int]) -> None:
        for number in numbers:
            asked, future = self._asked.get(number, (0, None))
            if asked == node_id and future is not None and not future.done():
                future.set_exception(NodeUnreachable(f"Node {node_id} went away before it could answer."))
