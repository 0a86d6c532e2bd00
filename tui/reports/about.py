"""Where a report's numbers come from, and what a reader must know before quoting them."""

from __future__ import annotations

from ffnscope.core.demo import is_demo
from ffnscope.store.definitions import FEW_WINDOWS
from ffnscope.store.figures.layers import ModelFigures
from ffnscope.store.reader import Store
from ffnscope.store.records import ModelInfo
from ffnscope.tui.drawing.numbers import count
from ffnscope.tui.reports.formats.values import layers_text, settings_text

FEWEST_PAPER_LAYERS = 12  # of OPT-125m, the paper's smallest model
PAPER_POSITIONS = 5_000_000


def about(store: Store) -> tuple[tuple[str, str], ...]:
    """(name, value): model, corpus, settings, fingerprints and version of a store."""
    run = store.run
    model, corpus = run.model, run.corpus
    domains = []
    for domain in corpus.domains:
        only = ", counts only" if domain.count_only else ""
        domains.append(f"{domain.name} ({count(domain.windows)} windows, fingerprint {domain.fingerprint[:16]}{only})")
    gated = ", gated" if model.gated else ""
    return (
        ("model", f"{model.name} ({model.architecture}), fingerprint {model.fingerprint}"),
        ("network", f"{model.layers} layers x {count(model.neurons)} neurons ({model.activation}{gated}), width "
         f"{count(model.width)}, vocabulary {count(model.vocabulary)}"),
        ("corpus", f"{count(corpus.windows)} windows x {count(corpus.seq_len)} = {count(corpus.positions)} positions, "
         f"fingerprint {corpus.fingerprint}"),
        ("domains", "; ".join(domains)),
        ("activated", run.activated.sentence.removeprefix("activated means ")),
        ("settings", settings_text(run.settings)),
        ("store fingerprint", run.run_id),
        ("collected", f"{run.created} by ffnscope {run.version}"),
        ("reported by", f"ffnscope {_version()}"),
    )  # fmt: skip


def model_text(model: ModelInfo) -> str:
    """A model in a title: its name says little where that is a folder's."""
    return f"{model.name} ({model.architecture}, {model.layers} layers x {count(model.neurons)} neurons)"


def warnings(store: Store, figures: ModelFigures, state: str) -> tuple[str, ...]:
    """Sentences that stand before every figure. ``state`` is that of the run when the figures were read."""
    texts, run = [], store.run
    if figures.missing:
        texts.append(
            f"Unfinished ({state}): layers {layers_text(figures.missing)} are missing; everything here "
            f"is of the {len(figures.layers)} of {len(figures.planned)} that are there."
        )
    elif not figures.whole:
        only = layers_text(figures.planned)
        texts.append(f"Only layers {only} of {run.model.layers} were collected; everything here is of these.")
    if figures.windows < FEW_WINDOWS:
        texts.append(
            f"Too few windows ({figures.windows}; {FEW_WINDOWS} are wanted): types of positional neurons and rare events "
            "are unsure."
        )
    if is_demo(run.model):
        texts.append(
            "The bundled demo model: small, and steered in its training to show what the paper finds in large "
            "models. It illustrates; it is not evidence for the paper's claims."
        )
    elif run.model.layers < FEWEST_PAPER_LAYERS:
        texts.append(
            f"{run.model.layers} layers are fewer than the paper's smallest model has ({FEWEST_PAPER_LAYERS}): weak "
            "evidence for or against its claims."
        )
    if run.model.activation != "relu" or run.activated.has_thresholds:
        texts.append(
            f"Activation {run.model.activation}: {run.activated.sentence}. The paper's claims are about ReLU and inputs "
            "above 0."
        )
    if run.corpus.positions < PAPER_POSITIONS:
        texts.append(
            f"{count(run.corpus.positions)} positions; the paper has over 5 million, and over 20 million for dead "
            "neurons. With more data fewer neurons are dead."
        )
    return tuple(texts)


def _version() -> str:
    from importlib.metadata import version

    return version("ffnscope")
