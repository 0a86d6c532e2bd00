"""The store of a run: new, overwritten or resumed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from ffnscope.core.processes import Team
from ffnscope.core.run.identity import check_same_run
from ffnscope.core.run.progress import Report
from ffnscope.core.run.request import CollectRequest
from ffnscope.store.format.environment import is_store, remote_file_system
from ffnscope.store.reader import Store
from ffnscope.store.records import RunInfo
from ffnscope.store.writer import StoreWriter, is_begun, remove_store


@contextmanager
def _open_store(
    request: CollectRequest, run: RunInfo, fits: Callable[[], object], team: Team, report: Report
) -> Iterator[tuple[StoreWriter | None, bool]]:
    """The writer (None where this process does not lead) of a store that is new, overwritten, or resumed where
    model, corpus and settings are the same; and whether it is complete already. ``fits`` raises UserError where the
    run does not fit, before anything is overwritten."""

    def prepare() -> StoreWriter | None:
        if not team.leads:
            return None
        if is_store(request.store) and (request.overwrite or not is_begun(request.store)):
            fits()
            # One that was stopped before its run entry holds nothing that could be lost.
            remove_store(request.store)
        elif is_store(request.store):
            with Store.open(request.store) as store:
                check_same_run(request.store, store.run, run)
                if store.complete:
                    report(f"{request.store}: complete already, nothing to do")
                    return None
                if store.run.version != run.version:
                    report(f"{request.store}: begun by ffnscope {store.run.version}, gone on with by {run.version}")
        writer = StoreWriter.open(request.store)
        remote = remote_file_system(request.store)
        if remote:
            report(f"{request.store}: on a network file system ({remote}), where LMDB is slow and live viewing unsafe")
        return writer

    writer = team.together(prepare)
    complete = team.gather(writer is None)[0]
    try:
        yield writer, complete
    finally:
        if writer is not None:
            begun = writer.begun
            writer.close()
            if not begun:
                remove_store(request.store)
