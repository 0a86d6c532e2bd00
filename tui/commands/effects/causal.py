"""The part of ``ffnscope report --causal`` that runs the model."""

from __future__ import annotations

import sys
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ffnscope.store.atomic_write import check_writable
from ffnscope.tui.commands.collect import check_address_space
from ffnscope.tui.commands.effects.ablate import row_format, show_progress, untied
from ffnscope.tui.commands.shared import safe

if TYPE_CHECKING:
    from ffnscope.core.effects.causal import Causal
    from ffnscope.store.reader import Store

STORED = "auto"  # in place of MODEL: where the store was collected from


def take_away(store: Store, model: str, tokens: int, device: str, rows: Path | None) -> Causal:
    """The effects of the token detectors, and of neurons of each kind, with progress on stderr; ``rows`` is a file that keeps
    those of single neurons, so that a run that was stopped goes on. Raises UserError."""
    check_address_space()
    from ffnscope.core.effects.causal import causal_effects
    from ffnscope.core.effects.rows import COLUMNS, INTERVALS, EffectFile, Origin
    from ffnscope.core.effects.windows import kept_windows
    from ffnscope.core.run.model import load_run_model
    from ffnscope.tui.commands.progress import Reporter

    windows = kept_windows(store, tokens)
    print(safe(f"taking neurons away on {windows.source}", sys.stderr), file=sys.stderr)
    with ExitStack() as stack:
        report = stack.enter_context(Reporter())
        progress = show_progress(report)
        given: dict[str, Any] = {"progress": progress}
        if rows is not None:
            check_writable(rows, True)
            instead = "give another --causal-rows, or delete it"
            origin, columns = Origin.of(store, windows), (*COLUMNS, *INTERVALS)
            file = stack.enter_context(EffectFile(rows, row_format(rows), "zero", origin, columns, instead=instead))
            if not file.tied:
                report(untied(rows))
            given |= {"known": file.effects, "keep": file.append}
            if file.effects:
                report(f"{rows}: {len(file.effects):,} neurons are in the file already")
        progress("loading the model", 0.0)
        loaded = load_run_model(store.run, None if model == STORED else model, device)
        return causal_effects(store, loaded, windows, **given)
