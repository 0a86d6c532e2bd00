"""A store's layers as a table on stdout."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ffnscope.store.reader import Store
    from ffnscope.store.summary import LayerSummary


def print_layers(store: Store) -> None:
    """Per layer: dead, mean frequency of the alive, detectors, positional neurons."""
    from rich.table import Table

    from ffnscope.store.summary import layer_summary
    from ffnscope.tui.commands.stores import console, safe
    from ffnscope.tui.text import count

    summaries = [layer_summary(store, layer) for layer in store.layers()]
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
    for summary in summaries:
        table.add_row(*_row(summary))
    out.print(table)
    out.print(
        "freq: mean frequency of the alive neurons. token, bigram, trigram: detectors. tokens: different detected "
        "tokens. suppress: token detectors that suppress their triggers. Positional neurons: osc(illatory), both, "
        "one, other.",
        style="dim",
    )


_HEADINGS = ("layer", "dead", "freq", "token", "bigram", "trigram", "tokens", "suppress")
_POSITIONAL = ("osc", "both", "one", "other")


def _row(summary: LayerSummary) -> list[str]:
    from ffnscope.tui.text import count, freq, percent

    mean, share = summary.mean_frequency_alive, summary.suppressing_share
    positional = [
        sum(number for (type_, _), number in summary.positional.items() if type_ == wanted)
        for wanted in ("oscillatory", "both", "one", "other")
    ]
    return [
        str(summary.layer),
        percent(summary.dead_share, 1),
        "-" if mean is None else freq(mean).strip(),
        count(summary.token_detectors),
        count(summary.bigram_detectors),
        count(summary.trigram_detectors),
        count(summary.detected_tokens),
        "-" if share is None else percent(share),
        *(count(number) for number in positional),
    ]
