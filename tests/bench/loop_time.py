"""How long the interface's thread is busy at a time: `python tests/bench/loop_time.py STORE [COLUMNSxROWS]`
walks and reports.

Counted in CPU time of the thread, so that other work on the machine does not show; what waits for a disk or a lock is
counted by the clock beside it.
"""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

sys.path.extend(map(str, (Path(__file__).resolve().parents[1] / "support").iterdir()))

from screens import press

from ffnscope.tui.app import FfnscopeApp
from ffnscope.tui.drawing.glyphs import UNICODE

# (what it is called, keys): every screen and everything that reads the store.
WALK: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("move", ("j", "j", "j", "k")),
    ("page", ("ctrl+d", "ctrl+d", "ctrl+u")),
    ("last and first", ("G", "g")),
    ("another layer", ("h", "j", "j", "k", "l")),
    ("sort", ("s", "a", "S", "s", "m", "s", "n", "S")),
    ("filter line", ("f", *"kind:token uni<=3 ")),
    ("filter", ("enter", "j")),
    ("filter by text", ("f", "ctrl+u", "text:promotes:sch", "enter")),
    ("no filter", ("f", "ctrl+u", "enter")),
    ("mark all", ("*", "*")),
    ("goto", (":", *"L1N30000", "enter")),
    ("neuron", ("enter", "l", "l", "h", "ctrl+d", "ctrl+d", "]", "[", "escape")),
    ("contexts", ("c", "j", "j", "enter", "escape", "escape")),
    ("position", ("z", "l", "l", "+", "d", "escape")),
    ("search", ("/", *"school", "down", "enter", "n")),
    ("promotes", ("t", *"sch", "down", "escape")),
    ("overview", ("o", "l", "l", "j", "j", "l", "l", "l", "l", "l", "h", "escape")),
    ("note", ("a", *"x", "enter", "a", "ctrl+u", "enter")),
    ("help", ("?", "ctrl+d", "escape")),
    ("palette", ("ctrl+p", *"so", "escape")),
)


@dataclass
class Busy:
    """The longest call of the loop in a stretch: CPU and clock in milliseconds, and what it was."""

    cpu: float = 0.0
    clock: float = 0.0
    what: str = ""
    calls: list[float] = field(default_factory=list)


@contextmanager
def watched(busy: Busy) -> Iterator[None]:
    """Measure every callback that the loops of this thread run meanwhile."""
    run = asyncio.Handle._run

    def measured(handle: asyncio.Handle) -> None:
        cpu, clock = time.thread_time(), time.perf_counter()
        run(handle)
        spent = 1000 * (time.thread_time() - cpu)
        busy.calls.append(spent)
        if spent > busy.cpu:
            busy.cpu, busy.clock = spent, 1000 * (time.perf_counter() - clock)
            owner = getattr(handle._callback, "__self__", None)
            busy.what = owner.get_name() if isinstance(owner, asyncio.Task) else repr(handle._callback)[:80]

    asyncio.Handle._run = measured  # type: ignore[method-assign]
    try:
        yield
    finally:
        asyncio.Handle._run = run  # type: ignore[method-assign]


async def walk(store: Path, size: tuple[int, int]) -> dict[str, Busy]:
    """The longest call of each stretch of the walk, the start first."""
    out = {"start": Busy()}
    with watched(out["start"]):
        app = FfnscopeApp([store], UNICODE)
        context = app.run_test(size=size)
        pilot = await context.__aenter__()
        await press(pilot, (), 0.5)
    for name, keys in WALK:
        out[name] = Busy()
        with watched(out[name]):
            await press(pilot, keys, 0.3)
    await context.__aexit__(None, None, None)
    app.close()
    return out


def main() -> None:
    """Print the walk's longest calls."""
    columns, _, rows = (sys.argv[2] if len(sys.argv) > 2 else "160x48").partition("x")
    found = asyncio.run(walk(Path(sys.argv[1]), (int(columns), int(rows))))
    for name, busy in found.items():
        over = sum(call > 30 for call in busy.calls)
        print(
            f"{name:<16} longest {busy.cpu:6.1f} ms CPU ({busy.clock:6.1f} by the clock), {over} over 30 ms  {busy.what}"
        )


if __name__ == "__main__":
    main()
