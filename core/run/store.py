"""The store of a run: new, overwritten or resumed."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from ffnscope.core.run.identity import check_same_run
from ffnscope.core.run.prepare import Prepared
from ffnscope.core.run.progress import Report
from ffnscope.store.format.environment import is_store, remote_file_system
from ffnscope.store.reader import Store
from ffnscope.store.writer import StoreWriter, is_begun, remove_store


@contextmanager
def open_store(prepared: Prepared, report: Report) -> Iterator[tuple[StoreWriter | None, bool]]:
    """The writer (None on all processes but the main one) of a store that is new, overwritten, or resumed, which needs
    the same model, corpus and settings; and whether it is complete already.

    Raises UserError, before anything is overwritten, where the run does not fit.
    """
    processes = prepared.processes
    writer = processes.on_main(lambda: _open_writer(prepared, report))
    complete = processes.broadcast(writer is None)
    try:
        yield writer, complete
    finally:
        if writer is not None:
            begun = writer.begun
            writer.close()
            if not begun:
                remove_store(prepared.request.store)


def _open_writer(prepared: Prepared, report: Report) -> StoreWriter | None:
    """The writer of the store; None where it is complete."""
    path, run = prepared.request.store, prepared.run
    if is_store(path) and (prepared.request.overwrite or not is_begun(path)):
        prepared.check_fits()
        # A store without a run entry, from a run that was stopped early, holds nothing that could be lost.
        remove_store(path)
    elif is_store(path):
        with Store.open(path) as store:
            check_same_run(path, store.run, run)
            if store.complete:
                report(f"{path}: complete already, nothing to do")
                return None
            if store.run.version != run.version:
                report(f"{path}: started with ffnscope {store.run.version}, resumed with {run.version}")
            before, now = store.run.settings.get("gpu"), run.settings.get("gpu")
            if before and now and before != now:
                report(
                    f"{path}: started on {before}, resumed on {now}: kernels of different GPUs may differ in the last bit of "
                    "an activation, so that layers of both are not strictly of one run"
                )
    writer = StoreWriter.open(path)
    remote = remote_file_system(path)
    if remote:
        report(f"{path}: on a network file system ({remote}), where LMDB is slow and live viewing unsafe")
    return writer
