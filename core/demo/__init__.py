"""The bundled models over the bundled corpus (PROVENANCE.md): the whole tool without a download.

How they were made: corpora (training text), steering (what each neuron was assigned), train.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
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
KEPT = "397"  # windows whose bits are kept, three in ten: 117 MB of the store


@dataclass(frozen=True)
class DemoModel:
    """A bundled model: its name among the checkpoints, its folder, the name to show, and `model.source.fingerprint`."""

    checkpoint: str
    folder: Path
    title: str
    fingerprint: str


MODEL = DemoModel(
    "final",
    FOLDER / "model",
    "ffnscope demo OPT",
    "e76b7a27dfa4d778524aca29086d825cd15ea465f7bd7702cd0b984ba8f0d73e",
)
CHECKPOINTS = (
    DemoModel(
        "early",
        FOLDER / "checkpoints" / "early",
        "ffnscope demo OPT, early checkpoint",
        "a6a19598cfc3787edb3f69b540756f3f867a5d8d982d33c8305e015136471a70",
    ),
    DemoModel(
        "middle",
        FOLDER / "checkpoints" / "middle",
        "ffnscope demo OPT, middle checkpoint",
        "3275d2bb6dcf096ddf82c837c9d60405e8a7459596efd27df8d5528da7e4296d",
    ),
    MODEL,
)


def checkpoint_stores(store: Path) -> list[tuple[DemoModel, Path]]:
    """The checkpoints in the order of training, each with its store: ``store`` is the trained model's, the others lie
    beside it, as in ``demo-early.ffn``."""
    places = [(model, store.with_name(f"{store.stem}-{model.checkpoint}{store.suffix}")) for model in CHECKPOINTS]
    return [*places[:-1], (MODEL, store)]


def demo_request(store: Path, model: DemoModel = MODEL) -> CollectRequest:
    """What ``ffnscope demo`` asks for; an interrupted demo is resumed."""
    sources = tuple(DomainSource(name, FOLDER / "corpus" / f"{name}.jsonl") for name in DOMAINS)
    # One layer after another: whoever looks on sees the first one soon.
    return CollectRequest(
        str(model.folder),
        sources,
        store,
        resume=is_store(store),
        title=model.title,
        group_layers=1,
        hidden="memory",
        keep=KEPT,
    )


def is_demo(info: ModelInfo, models: Sequence[DemoModel] = CHECKPOINTS) -> bool:
    """Whether a store's model is one of the bundled ones."""
    # Another version of transformers may fill the configuration with other defaults, which changes the fingerprint.
    return any(info.fingerprint == model.fingerprint or info.name == model.title for model in models)


def run_demo(store: Path, report: Report = lambda event: None, model: DemoModel = MODEL) -> None:
    """Collect the demo into ``store``. Raises UserError as ``collect`` does."""
    # Asking whether a store is the demo's must not load torch; loading it takes seconds.
    from ffnscope.core.run.compile_ahead import compile_ahead

    compile_ahead()
    from ffnscope.core.collect import collect

    collect(demo_request(store, model), report)
