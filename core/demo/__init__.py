"""The bundled model over the bundled corpus (PROVENANCE.md): the whole tool without a download."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from ffnscope.core.corpus.sources import DomainSource
from ffnscope.core.run.request import CollectRequest
from ffnscope.store.format.environment import is_store
from ffnscope.store.records import ModelInfo

if TYPE_CHECKING:
    from ffnscope.core.run.progress import Report

FOLDER = Path(__file__).parent
DOMAINS = ("wiki", "code", "math", "speech")
TITLE = "ffnscope demo OPT"
FINGERPRINT = "20cc2ccced442e40d22d7f43efcc9ef896af63314b744bab6f937588edbd70ba"  # model.source.fingerprint of model/


def demo_request(store: Path) -> CollectRequest:
    """What ``ffnscope demo`` asks for; an interrupted demo is resumed."""
    sources = tuple(DomainSource(name, FOLDER / "corpus" / f"{name}.jsonl") for name in DOMAINS)
    # One layer after another: whoever looks on sees the first one soon.
    return CollectRequest(str(FOLDER / "model"), sources, store, resume=is_store(store), title=TITLE, group_layers=1)


def is_demo(model: ModelInfo) -> bool:
    """Whether a store's model is the bundled one."""
    # Another version of transformers may fill the configuration with other defaults, which changes the fingerprint.
    return model.fingerprint == FINGERPRINT or model.name == TITLE


def run_demo(store: Path, report: Report = lambda event: None) -> None:
    """Collect the demo into ``store``. Raises UserError as ``collect`` does."""
    # Asking whether a store is the demo's must not load torch.
    from ffnscope.core.collect import collect

    collect(demo_request(store), report)
