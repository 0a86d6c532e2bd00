"""``ffnscope demo``: the whole path on the bundled model and corpus."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ffnscope.store.errors import UserError
from ffnscope.tui.commands.collect import check_address_space
from ffnscope.tui.commands.shared import open_store, safe

if TYPE_CHECKING:
    from ffnscope.core.demo import DemoModel
    from ffnscope.store.figures import LayerFigures
    from ffnscope.store.reader import Store


def demo(
    store: Annotated[Path, typer.Option(metavar="DIR", help="Where to keep the statistics.")] = Path("demo.ffn"),
    view: Annotated[
        bool, typer.Option("--view/--no-view", help="Open the browser at once; layers appear as they finish.")
    ] = True,
    checkpoints: Annotated[
        bool,
        typer.Option(
            "--checkpoints", help="Collect two earlier checkpoints of the model's training, too, and compare all three."
        ),
    ] = False,
) -> None:
    """Collect statistics for the bundled model over the bundled corpus, then browse them."""
    if checkpoints:
        _compare_checkpoints(store, view)
        return
    if _complete(store):
        print(f"{safe(str(store), sys.stderr)}: collected already, opening it", file=sys.stderr)
    else:
        if view and _can_browse():
            from ffnscope.tui.commands.background_run import collect_and_browse

            check_address_space()
            arguments = ["demo", "--store", str(store), "--no-view"]
            collect_and_browse(arguments, store, lambda: _summary(store), again="the same command")
            return
        _collect(store)
    browsing = view and _can_browse()
    _summary(store, hint=not browsing)
    if browsing:
        from ffnscope.tui.commands.view import browse

        browse([store])


def _collect(store: Path, model: DemoModel | None = None) -> None:
    from ffnscope.core.demo import MODEL, run_demo
    from ffnscope.tui.commands.progress import Reporter

    check_address_space()
    with Reporter() as report:
        run_demo(store, report, model or MODEL)


def _compare_checkpoints(store: Path, view: bool) -> None:
    """Collect what is missing of the three, print the comparison, and open the browser on all of them."""
    from ffnscope.core.demo import checkpoint_stores
    from ffnscope.tui.commands.compare import compare

    places = checkpoint_stores(store)
    missing = [(model, path) for model, path in places if not _complete(path, model)]
    for model, path in missing:
        print(f"{safe(str(path), sys.stderr)}: {model.title}", file=sys.stderr)
        _collect(path, model)
    paths = [path for _, path in places]
    compare(paths)
    stores = " ".join(safe(str(path)) for path in paths)
    print(f"\nffnscope compare {stores}   prints this again; --html FILE makes a page of it")
    print(f"ffnscope view {stores}   opens the browser on all three: o, then b, shows their curves in one plot")
    if view and _can_browse():
        from ffnscope.tui.commands.view import browse

        browse(paths)


def _summary(store: Path, hint: bool = True) -> None:
    with open_store(store) as opened:
        print_layers(opened)
    if hint:
        print(f"\nffnscope view {safe(str(store))}   opens the browser")


def _can_browse() -> bool:
    from ffnscope.tui.commands.view import check_terminal

    try:
        check_terminal()
    except UserError:
        return False
    return True


def _complete(path: Path, model: DemoModel | None = None) -> bool:
    from ffnscope.store.format.environment import is_store

    if not is_store(path):
        return False
    from ffnscope.core.demo import MODEL, is_demo

    model = model or MODEL
    with open_store(path) as opened:
        if opened.complete and not is_demo(opened.run.model, [model]):
            what = "the demo" if model is MODEL else f"{model.title}"
            raise UserError(
                f"{path}: holds a run of {opened.run.model.name}, not {what}; give another --store, or `ffnscope view` it"
            )
        return opened.complete


def print_layers(store: Store) -> None:
    """Per layer: dead, mean frequency of the alive, detectors, positional neurons."""
    from rich.table import Table

    from ffnscope.store.figures import layer_figures
    from ffnscope.tui.commands.shared import console, safe
    from ffnscope.tui.drawing.numbers import count

    layers = [layer_figures(store, layer) for layer in store.layers()]
    run = store.run
    domains = ", ".join(domain.name for domain in run.corpus.domains)
    out = console()
    out.print(
        safe(
            f"{run.model.name}: {run.model.layers} layers x {count(run.model.neurons)} neurons over "
            f"{count(run.corpus.positions)} positions ({domains})"
        ),
        soft_wrap=True,
    )
    table = Table(box=None, pad_edge=False, padding=(0, 1, 0, 0), header_style="bold")
    for heading in (*_HEADINGS, *_POSITIONAL):
        table.add_column(heading, justify="right", no_wrap=True)
    for layer in layers:
        table.add_row(*_row(layer))
    out.print(table)
    out.print(
        "freq: mean frequency of the alive neurons. token, bigram, trigram: detectors. tokens: different detected "
        "tokens. suppress: token detectors that suppress their triggers. Positional neurons: osc(illatory), both, "
        "one, other.",
        style="dim",
    )


_HEADINGS = ("layer", "dead", "freq", "token", "bigram", "trigram", "tokens", "suppress")
_POSITIONAL = ("osc", "both", "one", "other")


def _row(layer: LayerFigures) -> list[str]:
    from ffnscope.tui.drawing.numbers import count, freq, percent

    mean, share = layer.mean_frequency_alive, layer.tokens.suppressing_share
    return [
        str(layer.layer),
        percent(layer.dead_share, 1),
        "-" if mean is None else freq(mean).strip(),
        *(count(ngrams.detectors) for ngrams in layer.ngrams),
        count(layer.tokens.detected),
        "-" if share is None else percent(share),
        *(count(number) for number in layer.positional_by_type.values()),
    ]
