"""What fake_cuda knows of its device: memory that is in use, streams and who waited for whom, and what it was asked to do.

Every stream has a clock that each of its operations advances. A stream, and each thread of the host, knows up to which
moment of every other stream it has waited: vector clocks. Whoever uses what another stream wrote later than that, has not
waited for it.
"""

from __future__ import annotations

import itertools
import sys
import threading
from collections import Counter, defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

HOMES = ("/core/", "transformers/", "accelerate/", "/tests/")  # whose lines are named in problems


def where() -> str:
    """The line of core/ that the calling operation comes from, and the first one outside torch."""
    frame = sys._getframe(2)
    first = None
    while frame is not None:
        name = frame.f_code.co_filename
        ours = "fake_cuda" in name or "fake_gpu" in name or "site-packages/torch" in name
        if not ours and any(home in name for home in HOMES):
            label = f"{Path(name).name}:{frame.f_lineno}"
            if "/core/" in name:
                return label if first is None else f"{label} ({first})"
            first = first or label
        frame = frame.f_back
    return first or "?"


class Block:
    """Memory of the device: how many tensors use it, its size, the stream it was made on, and whether record_stream has
    told the allocator of another one."""

    def __init__(self, size: int, stream: int):
        self.users, self.size, self.stream, self.recorded = 0, size, stream, False


class Gpu:
    """All that is known of the device. ``problems`` are what a real one would punish, at times."""

    def __init__(self, total: int):
        self.total = total
        self.lock = threading.RLock()
        self.waits: Counter[str] = Counter()  # of the host for the device, by kind
        self.to_device: Counter[str] = Counter()  # bytes, by "pinned" or "pageable"
        self.to_host: Counter[str] = Counter()
        self.kernels = 0
        self.problems: list[str] = []
        self.blocks: dict[int, Block] = {}
        self.bytes = self.peak = 0
        self.pinned: set[int] = set()
        self.pinnable = 1 << 60  # bytes of the host's memory that may still be pinned
        self.streams: dict[int, Stream] = {}
        self.numbers = itertools.count()
        self.writes: dict[int, tuple[int, int]] = {}
        self.reads: dict[int, dict[int, int]] = defaultdict(dict)
        self.local = threading.local()
        self.default = Stream(self)

    def stream(self) -> Stream:
        """The calling thread's current stream."""
        return getattr(self.local, "stream", self.default)

    def seen(self) -> dict[int, int]:
        """Up to which moment of each stream the calling thread has waited."""
        if not hasattr(self.local, "seen"):
            self.local.seen = {}
        return self.local.seen

    def problem(self, text: str) -> None:
        """Note what is wrong at a line, once."""
        line = f"{text} @ {where()} [{threading.current_thread().name.split('_')[0]}]"
        if line not in self.problems:
            self.problems.append(line)

    def hold(self, key: int, size: int) -> None:
        """A tensor uses the memory ``key``."""
        with self.lock:
            if key not in self.blocks:
                block = self.blocks[key] = Block(-(-size // 512) * 512, self.stream().number)
                self.bytes += block.size
                self.peak = max(self.peak, self.bytes)
            self.blocks[key].users += 1

    def drop(self, key: int) -> None:
        """A tensor that used the memory ``key`` is gone."""
        with self.lock:
            block = self.blocks.get(key)
            if block is None:
                return
            block.users -= 1
            if block.users:
                return
            del self.blocks[key]
            self.bytes -= block.size
            readers = self.reads.pop(key, {})
            self.writes.pop(key, None)
            if block.recorded:
                return
            known = self.streams[block.stream].known
            for other, clock in readers.items():
                if other != block.stream and max(known.get(other, 0), self.seen().get(other, 0)) < clock:
                    self.problem(f"memory of stream {block.stream} freed while stream {other} may still read it")

    def use(self, stream: Stream, reads: set[int], writes: set[int]) -> None:
        """An operation on ``stream``: is it queued behind all that it depends on?"""
        known = stream.known
        for other, clock in self.seen().items():
            known[other] = max(known.get(other, 0), clock)
        stream.clock += 1
        known[stream.number] = stream.clock
        reads, writes = reads - {0}, writes - {0}
        for key in reads | writes:
            by, clock = self.writes.get(key, (stream.number, 0))
            if by != stream.number and known.get(by, 0) < clock:
                self.problem(f"stream {stream.number} uses what stream {by} wrote without waiting for it")
        for key in writes:
            for by, clock in self.reads.pop(key, {}).items():
                if by != stream.number and known.get(by, 0) < clock:
                    self.problem(f"stream {stream.number} writes what stream {by} may still read")
            self.writes[key] = (stream.number, stream.clock)
        for key in reads:
            self.reads[key][stream.number] = stream.clock

    def wait(self, stream: Stream, kind: str, known: dict[int, int] | None = None) -> None:
        """The calling thread waits for a stream, or up to the moment that an event ``known`` remembers; copies that are
        done by then arrive."""
        with self.lock:
            self.waits[kind] += 1
            self.learn(stream.known | {stream.number: stream.clock} if known is None else known)
            for other in self.streams.values():
                done = self.seen().get(other.number, 0)
                for clock, deliver in other.pending:
                    if clock <= done:
                        deliver()
                other.pending = [each for each in other.pending if each[0] > done]

    def learn(self, known: dict[int, int]) -> None:
        """The calling thread knows what another one, or an event, knew."""
        seen = self.seen()
        for number, clock in known.items():
            seen[number] = max(seen.get(number, 0), clock)


class Stream:
    """torch.cuda.Stream."""

    def __init__(self, gpu: Gpu, priority: int = 0):
        self.gpu = gpu
        self.number = next(gpu.numbers)
        self.clock = 0
        self.known: dict[int, int] = {}
        self.pending: list[tuple[int, Callable[[], Any]]] = []
        self.priority = priority
        self.device = torch.device("cuda", 0)
        gpu.streams[self.number] = self

    def wait_stream(self, other: Stream) -> None:
        """What comes on this stream from now on waits for what ``other`` has been given."""
        self.learn(other.known | {other.number: other.clock})

    def wait_event(self, event: Event) -> None:
        """What comes on this stream from now on waits for the event."""
        self.learn(event.known)

    def learn(self, known: dict[int, int]) -> None:
        """Wait for what ``known`` remembers."""
        with self.gpu.lock:
            for number, clock in known.items():
                self.known[number] = max(self.known.get(number, 0), clock)

    def record_event(self, event: Event | None = None) -> Event:
        """An event behind all that the stream has been given."""
        event = event or Event(self.gpu)
        event.record(self)
        return event

    def synchronize(self) -> None:
        """The host waits for the stream."""
        self.gpu.wait(self, "stream")

    def query(self) -> bool:
        """Whether it is done."""
        return True

    def __enter__(self) -> Stream:
        self.before = self.gpu.stream()
        self.gpu.local.stream = self
        return self

    def __exit__(self, *_: object) -> None:
        self.gpu.local.stream = self.before


class Event:
    """torch.cuda.Event."""

    def __init__(self, gpu: Gpu):
        self.gpu = gpu
        self.known: dict[int, int] = {}
        self.stream = gpu.default

    def record(self, stream: Stream | None = None) -> None:
        """Remember what the stream has been given."""
        self.stream = stream or self.gpu.stream()
        with self.gpu.lock:
            self.known = self.stream.known | {self.stream.number: self.stream.clock}

    def wait(self, stream: Stream | None = None) -> None:
        """What comes on ``stream`` waits for the event."""
        (stream or self.gpu.stream()).wait_event(self)

    def synchronize(self) -> None:
        """The host waits for the event."""
        self.gpu.wait(self.stream, "event", self.known)

    def query(self) -> bool:
        """Whether it has happened."""
        return True
