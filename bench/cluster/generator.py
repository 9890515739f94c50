"""The generator: its processes, and what they say together."""

from __future__ import annotations

import json
import select
import subprocess
import sys
from dataclasses import dataclass
from typing import Any

from bench import process
from bench.cluster.base import Cluster
from bench.process import BenchError

_PATIENCE = 1200.0


@dataclass(frozen=True)
class Tally:
    """What all processes counted since the last reset."""

    online: int
    lost: int
    attempts: int
    sent: int
    delivered: int
    refused: int
    same: list[float]
    cross: list[float]
    errors: dict[str, int]


class Generator:
    """One process for each node of the cluster, on this process's core."""

    def __init__(self, cluster: Cluster) -> None:
        ground = cluster.ground
        self._spread = ground.crowd.spread
        self._workers: list[subprocess.Popen[str]] = []
        for number in range(ground.crowd.nodes):
            worker = subprocess.Popen(
                [sys.executable, "-m", "bench.cluster.worker"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
            )
            self._workers.append(worker)
            first = {
                "crowd": ground.crowd.as_json(),
                "number": number,
                "workers": ground.crowd.nodes,
                "ports": cluster.ports,
                "tls": ground.tls,
            }
            _tell(worker, first)

    def enter(self, first: int, last: int, at_once: int) -> list[float]:
        """Sign people in, numbers `first` to `last`; returns when each was in, on the monotonic clock."""
        share = max(1, at_once // len(self._workers))
        return _times(self._ask("enter", first=first, last=last, at_once=share))

    def come_back(self, dead: int, at_once: int, watch: float) -> tuple[list[float], int]:
        """Sign in elsewhere whoever was at a dead node, and again who else is cut off.

        Ends when for `watch` seconds nobody was cut off. Returns when each was on, and how many had been
        elsewhere.
        """
        # People of the dead node belong to one process, unless they signed in anywhere.
        share = max(1, at_once // len(self._workers)) if self._spread else at_once
        answers = self._ask("come_back", dead=dead, at_once=share, watch=watch)
        return _times(answers), sum(answer["elsewhere"] for answer in answers)

    def chat(self, rate: float, seconds: float) -> int:
        """Single messages, so many a second in all; returns how many were sent."""
        answers = self._ask("chat", rate=rate / len(self._workers), seconds=seconds)
        return sum(answer["sent"] for answer in answers)

    def start_echo(self, chatters: int, is_cross: bool) -> None:
        """Have so many people keep one message in flight."""
        self._ask("start_echo", chatters=chatters, is_cross=is_cross)

    def stop_echo(self) -> None:
        """Let them arrive."""
        self._ask("stop_echo")

    def reset(self) -> None:
        """Count from zero."""
        self._ask("reset")

    def tally(self) -> Tally:
        """What was counted."""
        answers = self._ask("counts")
        sums = {
            key: sum(answer[key] for answer in answers)
            for key in ("online", "lost", "attempts", "sent", "delivered", "refused")
        }
        errors: dict[str, int] = {}
        for answer in answers:
            for words, count in answer["errors"].items():
                errors[words] = errors.get(words, 0) + count
        same = [delay for answer in answers for delay in answer["same"]]
        cross = [delay for answer in answers for delay in answer["cross"]]
        return Tally(**sums, same=same, cross=cross, errors=errors)

    def cpu(self) -> float:
        """CPU seconds that the processes have used."""
        return process.cpu_seconds([worker.pid for worker in self._workers])

    def close(self) -> None:
        """End the processes, and all sessions with them."""
        for worker in self._workers:
            worker.kill()
            worker.wait()

    def _ask(self, order: str, **words: object) -> list[dict[str, Any]]:
        for worker in self._workers:
            _tell(worker, {"do": order, **words})
        return [_hear(worker) for worker in self._workers]


def _tell(worker: subprocess.Popen[str], order: dict[str, object]) -> None:
    assert worker.stdin is not None
    worker.stdin.write(json.dumps(order) + "\n")
    worker.stdin.flush()


def _hear(worker: subprocess.Popen[str]) -> dict[str, Any]:
    assert worker.stdout is not None
    ready, _, _ = select.select([worker.stdout], [], [], _PATIENCE)
    if not ready:
        raise BenchError(f"a process of the generator is not done after {_PATIENCE:.0f} s")
    line = worker.stdout.readline()
    if not line:
        raise BenchError("a process of the generator has died; its words are above")
    answer: dict[str, Any] = json.loads(line)
    return answer


def _times(answers: list[dict[str, Any]]) -> list[float]:
    return sorted(time for answer in answers for time in answer["times"])
