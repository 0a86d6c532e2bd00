"""The bundled model over the bundled corpus (PROVENANCE.md): the whole tool with no download."""

from __future__ import annotations

from pathlib import Path

from ffnscope.core.collect import CollectRequest, collect
from ffnscope.core.corpus.sources import DomainSource
from ffnscope.core.run.progress import Report
from ffnscope.store.format.environment import is_store

FOLDER = Path(__file__).parent
DOMAINS = ("wiki", "code", "math", "speech")


def demo_request(store: Path) -> CollectRequest:
    """What ``ffnscope demo`` asks for; an interrupted demo goes on."""
    sources = tuple(DomainSource(name, FOLDER / "corpus" / f"{name}.jsonl") for name in DOMAINS)
    return CollectRequest(str(FOLDER / "model"), sources, store, resume=is_store(store))


def run_demo(store: Path, report: Report = lambda event: None) -> None:
    """Collect the demo into ``store``. Raises UserError as ``collect`` does."""
    collect(demo_request(store), report)
