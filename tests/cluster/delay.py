"""A slow line: `python -m tests.cluster.delay NETNS ADDRESS BRIDGE DEVICE MILLISECONDS`.

Carries Ethernet frames between a TAP device inside a network namespace and one on a bridge, each frame after
a delay: the kernels that tests run on often have no netem. Prints a word when the line is up.
"""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import heapq
import os
import select
import struct
import subprocess
import sys
import time

_TUNSETIFF, _IFF_TAP, _IFF_NO_PI = 0x400454CA, 0x0002, 0x1000
_CLONE_NEWNET = 0x40000000
_FRAME = 65_536


def open_tap(name: str) -> int:
    """Make a TAP device in the current namespace and return its descriptor; closing it removes it."""
    descriptor = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
    fcntl.ioctl(descriptor, _TUNSETIFF, struct.pack("16sH", name.encode(), _IFF_TAP | _IFF_NO_PI))
    return descriptor


def enter(netns: str) -> None:
    """Move this thread into a network namespace. Raises OSError."""
    libc = ctypes.CDLL(None, use_errno=True)
    with open(f"/run/netns/{netns}", "rb") as place:
        if libc.setns(place.fileno(), _CLONE_NEWNET):
            raise OSError(ctypes.get_errno(), f"setns {netns}")


def relay(one: int, other: int, seconds: float) -> None:
    """Carry frames both ways, each after `seconds`, until a device is gone."""
    waiting: list[tuple[float, int, int, bytes]] = []
    number = 0
    while True:
        wait = max(0.0, waiting[0][0] - time.monotonic()) if waiting else None
        readable, _, _ = select.select([one, other], [], [], wait)
        for source in readable:
            for frame in _read_all(source):
                number += 1
                target = other if source == one else one
                heapq.heappush(waiting, (time.monotonic() + seconds, number, target, frame))
        while waiting and waiting[0][0] <= time.monotonic():
            _, _, target, frame = heapq.heappop(waiting)
            _write(target, frame)


def _read_all(source: int) -> list[bytes]:
    frames: list[bytes] = []
    while len(frames) < 100:
        try:
            frames.append(os.read(source, _FRAME))
        except BlockingIOError:
            break
    return frames


def _write(target: int, frame: bytes) -> None:
    with contextlib.suppress(BlockingIOError):  # a full device drops frames, as a line does
        os.write(target, frame)


def main() -> None:
    """Make both devices and carry frames between them."""
    netns, address, bridge, device, delay = sys.argv[1:]
    outside = open_tap(device)
    subprocess.run(["ip", "link", "set", device, "master", bridge, "up"], check=True)
    enter(netns)
    inside = open_tap("eth0")
    subprocess.run(["ip", "address", "add", address, "dev", "eth0"], check=True)
    for name in ("lo", "eth0"):
        subprocess.run(["ip", "link", "set", name, "up"], check=True)
    print("up", flush=True)
    relay(inside, outside, float(delay) / 1000)


if __name__ == "__main__":
    main()
