"""The part of ``ffnscope report --causal`` that runs the model."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from ffnscope.tui.commands.collect import check_address_space
from ffnscope.tui.commands.effects.ablate import show_progress
from ffnscope.tui.commands.shared import safe

if TYPE_CHECKING:
    from ffnscope.core.effects.causal import Causal
    from ffnscope.store.reader import Store

STORED = "auto"  # in place of MODEL: where the store was collected from


def take_away(store: Store, model: str, tokens: int, device: str) -> Causal:
    """The effects of the token detectors, and of neurons of each kind, with progress on stderr. Raises UserError."""
    check_address_space()
    from ffnscope.core.effects.causal import causal_effects
    from ffnscope.core.effects.windows import kept_windows
    from ffnscope.core.run.model import load_run_model
    from ffnscope.tui.commands.progress import Reporter

    windows = kept_windows(store, tokens)
    print(safe(f"taking neurons away on {windows.source}", sys.stderr), file=sys.stderr)
    with Reporter() as report:
        progress = show_progress(report)
        progress("loading the model", 0.0)
        loaded = load_run_model(store.run, None if model == STORED else model, device)
        return causal_effects(store, loaded, windows, progress=progress)
