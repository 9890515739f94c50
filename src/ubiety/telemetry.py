"""What a node tells about itself: one call per event, plain integers on the hot path.

`event()` writes one line of JSON to the log and counts the event. What is counted per stanza is an attribute
of `Counters`, incremented in place; no Prometheus object is touched before somebody asks for /metrics.
The names of the counters in Cisco's documentation stand in the help texts (facts: RTMT objects).
"""

import contextlib
import logging
import logging.handlers
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import structlog
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.gc_collector import GCCollector
from prometheus_client.platform_collector import PlatformCollector
from prometheus_client.process_collector import ProcessCollector

LOG_BYTES = 10 * 1024 * 1024
LOG_FILES = 5
LEVELS = ("debug", "info", "warning", "error")
_HIDDEN = ("password", "secret", "token", "salted", "stored_key", "server_key")


def counter(original: str, sentence: str) -> Any:
    """Declares a number that only grows; `original` is its name in Cisco's counters, if any."""
    return field(default=0, metadata={"kind": "counter", "original": original, "sentence": sentence})


def gauge(original: str, sentence: str) -> Any:
    """Declares a number that goes up and down."""
    return field(default=0, metadata={"kind": "gauge", "original": original, "sentence": sentence})


@dataclass(slots=True)
class Counters:
    """The numbers of one node. Writers do `counters.messages += 1`; there is one writing thread, the loop."""

    online_users: int = gauge("JsmOnlineUsers", "People with at least one session.")
    im_sessions: int = gauge("JsmIMSessions", "Sessions of clients and composed sessions of people.")
    client_sessions: int = gauge("JsmSessionsClient", "Sessions of clients.")
    inactive_sessions: int = gauge("JsmSessionsClientInactive", "Sessions whose client said it is inactive.")
    composed_sessions: int = gauge("JsmSessionsComposed", "People whose presence is composed here.")
    active_sessions: int = gauge("ActiveJsmSessions", "People assigned to this node and served by it.")
    sockets: int = gauge("CmConnectedSockets", "Connected client sockets.")
    suspended_sessions: int = gauge("JsmSuspendedSessions", "Sessions that wait for their client to resume.")
    temporary_subscriptions: int = gauge("JsmTempPresenceSubsCount", "Temporary subscriptions.")
    roster_subscriptions: int = gauge("JsmRosterPresenceSubsCount", "Subscriptions of people loaded here.")
    roster_watchers: int = gauge("JsmRosterWatchersCount", "Watchers of people loaded here.")
    messages_in_slice: int = gauge("JsmMsgsInLastSlice", "Message packets within the last full 60 s.")
    ledger_bytes: int = gauge("", "Bytes that wait for their commit.")
    verdict_bytes: int = gauge("", "Bytes of messages to other nodes' people that no node has answered yet.")

    messages: int = counter("JsmTotalMessagePackets", "Message packets: once received, once delivered.")
    presences_in: int = counter("XMPPPresenceReceived", "Presence stanzas received from clients.")
    presences_out: int = counter("XMPPPresenceNotificationsSent", "Presence stanzas sent to watchers.")
    queries: int = counter("", "IQ stanzas received from clients.")
    sessions: int = counter("JsmSessionsTotal", "Sessions begun since the start.")
    resumed_sessions: int = counter("JsmResumedSessions", "Sessions resumed by their client (XEP-0198).")
    stored_messages: int = counter("", "Messages written to the ledger.")
    offline_messages: int = counter("", "Messages stored for people without a session.")
    refused_messages: int = counter("", "Messages answered with an error.")
    temporary_added: int = counter("JsmTempPresenceSubsAdded", "Temporary subscriptions made.")
    temporary_removed: int = counter("JsmTempPresenceSubsRemoved", "Temporary subscriptions ended.")
    temporary_updates: int = counter("JsmTempPresenceSubsUpdatesSent", "Presence sent on them.")
    scram_success: int = counter("", "Logins with SCRAM.")
    scram_failed: int = counter("", "Refused logins with SCRAM.")
    plain_success: int = counter("SASLPlainSuccess", "Logins with SASL PLAIN.")
    plain_failed: int = counter("SASLPlainFailed", "Refused logins with SASL PLAIN.")
    failed_license: int = counter("FailedLicense", "Right passwords of people who may not log in (disabled).")
    refused_connections: int = counter("", "Connections refused by pace or limits.")
    stream_errors: int = counter("", "Streams that this node ended with an error.")
    api_requests: int = counter("", "Requests to the administration interface.")
    unanswered_messages: int = counter(
        "", "Messages written here because the recipient's node gave no answer for three seconds."
    )
    sip_connections: int = gauge("", "SIP connections over TCP and TLS.")
    sip_requests_in: int = counter("", "SIP requests received, repeated ones included.")
    sip_requests_out: int = counter("", "SIP requests sent, repeated ones included.")
    sip_responses_in: int = counter("", "SIP responses received.")
    sip_responses_out: int = counter("", "SIP responses sent.")
    sip_conversations: int = gauge("", "Conversations with people outside over SIP.")
    sip_messages_in: int = counter("", "Messages of people outside, taken for people here.")
    sip_messages_out: int = counter("", "Messages of people here that the other side has taken.")
    sip_messages_failed: int = counter("", "Messages of people here that the other side did not take.")
    sip_malformed: int = counter("", "What came for SIP and is no SIP message.")
    sip_untrusted: int = counter(
        "", "SIP requests refused because the peer is not trusted, or not with them."
    )
    sip_dropped: int = counter("", "SIP datagrams dropped unread: too many from one address.")
    bus_messages_in: int = counter("", "Bus messages received from other nodes.")
    bus_messages_out: int = counter("", "Bus messages sent to other nodes.")
    bus_items_in: int = counter("", "Items (stanzas, presence, questions ...) received from other nodes.")
    bus_items_out: int = counter("", "Items sent to other nodes.")
    bus_resent: int = counter("", "Bus messages sent again because they were not acknowledged.")
    bus_gaps: int = counter("", "Times that presence was lost between nodes and shown anew.")

    def end_slice(self, messages_before: int) -> int:
        """Ends a slice of 60 s that began at `messages_before`; returns where the next one begins."""
        self.messages_in_slice = self.messages - messages_before
        return self.messages


class Metrics:
    """Everything that /metrics shows: the counters, gauges asked for on demand, events and the process."""

    def __init__(self, counters: Counters) -> None:
        self.counters = counters
        self._gauges: dict[str, tuple[str, Callable[[], float]]] = {}
        self._registry = CollectorRegistry()
        self._registry.register(self)
        ProcessCollector(registry=self._registry)
        PlatformCollector(registry=self._registry)
        GCCollector(registry=self._registry)

    def gauge(self, name: str, sentence: str, measure: Callable[[], float]) -> None:
        """Adds `ubiety_<name>`, measured each time that somebody asks; `measure` must be quick."""
        self._gauges[name] = (sentence, measure)

    def values(self) -> dict[str, int]:
        """The counters by the name of their attribute."""
        return {item.name: getattr(self.counters, item.name) for item in fields(Counters)}

    def by_original_name(self) -> dict[str, int]:
        """The counters that have a name in Cisco's documentation, by that name."""
        named = {
            item.metadata["original"]: item.name for item in fields(Counters) if item.metadata["original"]
        }
        return {original: getattr(self.counters, name) for original, name in named.items()}

    def render(self) -> bytes:
        """The text exposition format of Prometheus."""
        return generate_latest(self._registry)

    def collect(self) -> Iterator[Metric]:
        """Yields what Prometheus reads. Called by its registry."""
        for item in fields(Counters):
            original = item.metadata["original"]
            sentence = item.metadata["sentence"] + (f" [{original}]" if original else "")
            family = CounterMetricFamily if item.metadata["kind"] == "counter" else GaugeMetricFamily
            yield family(f"ubiety_{item.name}", sentence, value=getattr(self.counters, item.name))
        for name, (sentence, measure) in self._gauges.items():
            yield GaugeMetricFamily(f"ubiety_{name}", sentence, value=measure())
        yield _event_family()


def _event_family() -> Metric:
    family = CounterMetricFamily("ubiety_events", "Events written to the log.", labels=["event", "level"])
    for (name, level), count in event_counts().items():
        family.add_metric([name, level], count)
    return family


# The log belongs to the process as standard output does: it is the one thing here that is not handed around.
_events: Counter[tuple[str, str]] = Counter()
_events_lock = threading.Lock()
_log = structlog.get_logger("ubiety")


def event(name: str, level: str = "info", **about: Any) -> None:
    """Writes one event to the log and counts it; safe from any thread.

    `name` is a literal in snake_case and the past tense (`login_refused`), never built from input. Values
    whose name speaks of a secret are hidden.
    """
    with _events_lock:
        _events[name, level] += 1
    getattr(_log, level)(name, **about)


def event_counts() -> dict[tuple[str, str], int]:
    """How often each (event, level) happened in this process."""
    with _events_lock:
        return dict(_events)


class _PatientHandler(logging.handlers.RotatingFileHandler):
    """A log file that, when the disk is full, loses lines and not the node."""

    def handleError(self, record: logging.LogRecord) -> None:
        with _events_lock:
            _events["log_line_lost", "error"] += 1

    def close(self) -> None:
        """Closes the file; what cannot be written any more is given up."""
        with contextlib.suppress(OSError):
            super().close()


def configure_log(path: Path | None, level: str = "info", console: bool = True) -> None:
    """Sends events, and what the libraries log, to `path`; warnings to standard error too if `console`.

    Raises OSError when the file cannot be opened.
    """
    shared: list[Any] = [
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.format_exc_info,
        hide_secrets,
    ]
    structlog.configure(
        processors=[structlog.stdlib.filter_by_level, *shared, _hand_over],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=False,
    )
    handlers: list[logging.Handler] = []
    if path is not None:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        path.touch(mode=0o600)
        file = _PatientHandler(path, maxBytes=LOG_BYTES, backupCount=LOG_FILES, encoding="utf-8", delay=False)
        file.setFormatter(_formatter(structlog.processors.JSONRenderer(default=str), shared))
        handlers.append(file)
    if console:
        screen = logging.StreamHandler()
        screen.setLevel(logging.WARNING)
        screen.setFormatter(_formatter(structlog.dev.ConsoleRenderer(colors=False), shared))
        handlers.append(screen)
    root = logging.getLogger()
    for old in root.handlers[:]:
        root.removeHandler(old)
        old.close()
    for handler in handlers or [logging.NullHandler()]:
        root.addHandler(handler)
    root.setLevel(logging.WARNING)
    set_level(level)


def set_level(level: str) -> None:
    """Sets the least level that is written: debug, info, warning or error."""
    logging.getLogger("ubiety").setLevel(level.upper())


def hide_secrets(_logger: Any, _method: str, values: Any) -> Any:
    """Replaces values whose name speaks of a secret (a structlog processor)."""
    for name in values:
        if any(word in name.lower() for word in _HIDDEN):
            values[name] = "***"
    return values


_hand_over = structlog.stdlib.ProcessorFormatter.wrap_for_formatter


def _formatter(renderer: Any, shared: list[Any]) -> logging.Formatter:
    return structlog.stdlib.ProcessorFormatter(
        processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, renderer],
        foreign_pre_chain=[structlog.stdlib.add_logger_name, *shared],
    )
