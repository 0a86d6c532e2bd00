"""What all tests share: one thread for tiny models, and the demo collected once a session."""

from __future__ import annotations

import fcntl
import gc
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

# Workers and the processes that tests start read what one of them has compiled.
sys.dont_write_bytecode = False
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)

# The same examples every time, however slow the machine is; `pytest --hypothesis-profile=search` looks for others.
unhurried = settings(
    deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture], print_blob=True
)
settings.register_profile("same", unhurried, derandomize=True)
settings.register_profile("search", unhurried)
settings.load_profile("same")

# Parts of paths. What these use of core/ and store/ has tests of its own: they run code of tui/, which is not measured, or all
# of it again.
UNMEASURED = (
    "/tui/browser/",
    "/tui/drawing/",
    "/tui/overview/",
    "/tui/terminal/",
    "/tui/test_keymap",
    "/tui/test_screens_as_pictures",
    "/tui/test_walks",
    "/test_long_windows",
    "/test_signals",
)

# Files that take longest begin first, so that no process ends with one of them; those that mostly wait in turn with those
# that compute.
LONGEST = (
    "/core/test_processes.py",
    "/tui/test_walks.py",
    "/test_emulated_gpu.py",
    "/test_exact.py",
    "/test_terminal_bytes.py",
    "/test_long_windows.py",
    "/tui/browser/test_places.py",
    "/test_hostile_store.py",
    "/test_screens_as_text.py",
    "/test_demo_counts.py",
    "/tui/overview/test_screen.py",
    "/test_faults.py",
    "/tui/browser/test_tasks.py",
    "/core/model/test_offload.py",
    "/tui/browser/test_screen.py",
    "/core/activations/test_forward.py",
    "/tui/prompt/test_screen.py",
    "/test_killed.py",
    "/tui/test_keymap.py",
    "/test_fuzz_corpus.py",
    "/test_background_run.py",
    "/figures/test_layers.py",
    "/tui/browser/test_damaged.py",
    "/core/activations/test_hidden_states.py",
)


def pytest_addoption(parser: pytest.Parser) -> None:
    """``--slow`` runs the tests that take minutes too."""
    parser.addoption("--slow", action="store_true", help="run the slow tests too")


def pytest_configure(config: pytest.Config) -> None:
    """Declare the marker; where tests run, one thread for their models."""
    config.addinivalue_line("markers", "slow: takes minutes; runs with --slow")
    if hasattr(config, "workerinput") or config.getoption("dist", "no") == "no":
        import torch  # not in the process that only starts the others, which wait for it

        torch.set_num_threads(1)


def pytest_sessionstart(session: pytest.Session) -> None:
    """Where all tests run, each worker begins to import them at another place: it compiles a share of them, and reads the
    others as already compiled."""
    worker = getattr(session.config, "workerinput", None)
    if worker is None or session.config.args != session.config.getini("testpaths"):
        return
    files = sorted(map(str, Path(__file__).parent.rglob("test_*.py")))
    first = len(files) * int(worker["workerid"].removeprefix("gw")) // worker["workercount"]
    session.config.args = files[first:] + files[:first]


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Skip what is slow unless asked for, and put the longest files first."""

    def place(item: pytest.Item) -> tuple[int, str]:
        path = item.path.as_posix()
        return next((place for place, name in enumerate(LONGEST) if path.endswith(name)), len(LONGEST)), path

    items.sort(key=place)
    if not config.getoption("--slow"):
        for item in items:
            if "slow" in item.keywords:
                item.add_marker(pytest.mark.skip(reason="slow; --slow runs it"))


def pytest_collection_finish() -> None:
    """Modules and collected tests stay: the garbage collector need not look through them again and again."""
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="module", autouse=True)
def measured(request: pytest.FixtureRequest) -> Iterator[None]:
    """Coverage, where CI asks for it, rests during some tests and in the processes they start: tracing takes half as long
    again."""
    coverage = sys.modules.get("coverage")
    running = coverage.Coverage.current() if coverage is not None else None
    rests = running is not None and any(part in request.path.as_posix() for part in UNMEASURED)
    if not rests:
        yield
        return
    with pytest.MonkeyPatch.context() as patch:
        for name in ("COVERAGE_PROCESS_START", "COVERAGE_PROCESS_CONFIG"):
            patch.delenv(name, raising=False)
        running.stop()  # type: ignore[union-attr]
        yield
        running.start()  # type: ignore[union-attr]


@pytest.fixture(scope="session")
def demo_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store of the demo model over the first 25 windows of each domain of the demo corpus. It is read only, and made by
    the first process that asks for it."""
    from exact import collect_demo

    own = tmp_path_factory.getbasetemp()
    shared = own.parent if "PYTEST_XDIST_WORKER" in os.environ else own
    with (shared / "demo.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        path, made = shared / "demo.ffn", shared / "demo.made"
        if not made.exists():
            collect_demo(path, windows=25)
            made.touch()
    return path
