"""``ffnscope compare``: the figures of several stores side by side."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from typing import Annotated

import typer

from ffnscope.tui.commands.report import AsJson, CsvFolder, HtmlFile, Overwrite, deliver
from ffnscope.tui.commands.shared import open_store

Stores = Annotated[list[Path], typer.Argument(metavar="STORE", help="Two or more stores.", show_default=False)]
MOST = 26


def compare(
    stores: Stores,
    csv: CsvFolder = None,
    html: HtmlFile = None,
    as_json: AsJson = False,
    overwrite: Overwrite = False,
) -> None:
    """The figures side by side; neuron by neuron where shapes are equal."""
    from ffnscope.store.errors import UserError
    from ffnscope.tui.reports.comparison import comparison_document
    from ffnscope.tui.reports.reading import gather

    if not 2 <= len(stores) <= MOST:
        given = f"{len(stores)} store{'' if len(stores) == 1 else 's'} given"
        raise UserError(f"{given}; compare takes 2 to {MOST}, and `ffnscope report STORE` shows one")
    places = [path.resolve() for path in stores]
    repeated = next((path for path, place in zip(stores, places, strict=True) if places.count(place) > 1), None)
    if repeated is not None:
        raise UserError(f"{repeated}: given twice; compare takes different stores")
    with ExitStack() as opened:
        every_range = csv is not None or as_json
        open_stores = [opened.enter_context(open_store(path)) for path in stores]
        rules = [str(store.run.activated) for store in open_stores]
        if len(set(rules)) > 1:
            listed = ", ".join(f"{path} {rule}" for path, rule in zip(stores, rules, strict=True))
            raise UserError(
                f"{stores[0]}: neurons of these stores count as activated by different rules ({listed}), so their figures "
                "are not comparable; collect them with the same --activated"
            )
        gathered = [
            gather(store, label, every_range=every_range)
            for store, label in zip(open_stores, "abcdefghijklmnopqrstuvwxyz", strict=False)
        ]
        deliver(comparison_document(gathered), csv, html, as_json, overwrite)
