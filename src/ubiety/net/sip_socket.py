"""Sockets of the SIP transports: UDP sockets, keep-alive of streams, the address that a peer sees."""

import socket

from ubiety.config import Listen
from ubiety.net.listener import ListenError

KEEP_ALIVE = ((socket.TCP_KEEPIDLE, 60), (socket.TCP_KEEPINTVL, 15), (socket.TCP_KEEPCNT, 4))
UNANSWERED_MS = 30_000
"""What we sent and was not acknowledged for so long means that the peer is gone."""
UDP_BUFFER = 4 * 1024 * 1024


def keep_alive(sock: socket.socket | None) -> None:
    """Have the kernel notice a peer that is gone without a word."""
    if sock is None:
        return
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for option, value in KEEP_ALIVE:
            sock.setsockopt(socket.IPPROTO_TCP, option, value)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, UNANSWERED_MS)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    except OSError:
        return  # the peer is gone already


def open_udp(address: Listen, setting: str) -> socket.socket:
    """Open a UDP socket. Raises ListenError."""
    is_v6 = ":" in address.host
    sock = socket.socket(socket.AF_INET6 if is_v6 else socket.AF_INET, socket.SOCK_DGRAM)
    try:
        if is_v6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, UDP_BUFFER)
        sock.bind((address.host, address.port))
        sock.setblocking(False)
    except OSError as error:
        sock.close()
        raise ListenError(
            f"Cannot listen on {address} (UDP): {error.strerror or error}. "
            f"Stop what uses the port, or choose another one with {setting}."
        ) from error
    return sock


def own_address(peer: str) -> str:
    """The address of this machine that packets to `peer` leave from; "" if there is no way. Sends nothing."""
    family = socket.AF_INET6 if ":" in peer else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as sock:
        try:
            sock.connect((peer, 9))
            return str(sock.getsockname()[0])
        except OSError:
            return ""


def in_uri(host: str) -> str:
    """A host as it stands in a URI or Via: an IPv6 address in brackets."""
    return f"[{host}]" if ":" in host and not host.startswith("[") else host
