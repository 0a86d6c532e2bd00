"""What happens to a night's run beside it: damaged stores, shared scratch folders, inputs that change, full disks."""

from __future__ import annotations

import shutil
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny_models as tm
import torch
from exact import run, sources_of
from same_store import contents
from several_processes import collect

from ffnscope.core import collect as collecting
from ffnscope.core.activations import scratch_folder
from ffnscope.core.activations.budget import make_plan
from ffnscope.core.corpus.sources import DomainSource
from ffnscope.core.model.source import fingerprint, open_model
from ffnscope.core.processes import Processes
from ffnscope.store.errors import DamagedStoreError, UserError
from ffnscope.store.reader import Store
from ffnscope.store.records import Progress
from ffnscope.store.verify.check import verify
from ffnscope.store.writer import StoreWriter
from ffnscope.tui.cli import main

OPTIONS: dict[str, Any] = {"bos_id": tm.BOS_ID, "batch_size": 4, "min_occurrences": 2}


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """Five layers, of this test alone."""
    return tm.tiny("opt", tmp_path / "models", num_hidden_layers=5)


@pytest.fixture
def sources(tmp_path: Path) -> tuple[DomainSource, ...]:
    """One domain of windows in a file."""
    windows = tm.random_windows(np.random.default_rng(0), 14, 12, tm.VOCAB, 0)
    return sources_of(tmp_path / "data", {"all": windows})


def when(layers: int, work: Any) -> Any:
    """A report that does something once, when so many layers are finished."""
    done: list[bool] = []

    def report(event: Any) -> None:
        if isinstance(event, Progress) and event.state == "collecting" and event.layers_done == layers and not done:
            done.append(True)
            work()

    return report


def roots(store: Path) -> list[int]:
    """Offsets of the beginnings of pages: where LMDB says what a page is."""
    return [page + at for page in range(0, (store / "data.mdb").stat().st_size, 4096) for at in (0, 8, 10, 12, 13, 16)]


def test_no_damaged_store_is_deleted_unasked(model: Path, sources: tuple[DomainSource, ...], tmp_path: Path) -> None:
    store = run(model, sources, tmp_path / "run.ffn", **OPTIONS)
    whole, data = contents(store), (store / "data.mdb").read_bytes()
    inode, damaged = (store / "data.mdb").stat().st_ino, 0
    for offset in [*range(24, 160), *roots(store)[:600]]:
        flipped = bytearray(data)
        flipped[offset] ^= 1 << offset % 8
        (store / "data.mdb").write_bytes(flipped)
        with pytest.raises(UserError) as caught:
            run(model, sources, store, **OPTIONS)
        damaged += "damaged" in str(caught.value)
        assert (store / "data.mdb").read_bytes() == bytes(flipped), offset
        if "damaged" in str(caught.value) and damaged < 6:
            with suppress(UserError):  # one that says complete is left as it is
                run(model, sources, store, resume=True, **OPTIONS)
            assert (store / "data.mdb").stat().st_ino == inode
    assert damaged > 6
    (store / "data.mdb").write_bytes(data)
    run(model, sources, store, overwrite=True, **OPTIONS)
    assert contents(store) == whole


def test_a_store_without_its_run_entry_is_damaged_where_it_holds_more(
    model: Path, sources: tuple[DomainSource, ...], tmp_path: Path
) -> None:
    store = run(model, sources, tmp_path / "run.ffn", **OPTIONS)
    with StoreWriter.open(store) as writer:
        with writer._environment.begin(write=True, db=writer._databases["meta"]) as transaction:
            transaction.delete(b"format")
        before = (store / "data.mdb").read_bytes()
        assert not writer.begun
    for resume in (False, True):
        with pytest.raises(DamagedStoreError, match="run entry is missing"):
            run(model, sources, store, resume=resume, **OPTIONS)
    assert (store / "data.mdb").read_bytes() == before


def test_two_runs_of_the_same_never_share_a_scratch_folder(
    model: Path, sources: tuple[DomainSource, ...], tmp_path: Path
) -> None:
    scratch, said = tmp_path / "scratch", []

    def second() -> None:
        with pytest.raises(UserError, match="another run of the same"):
            run(model, sources, tmp_path / "other.ffn", scratch=scratch, offload=True, **OPTIONS)
        said.append(True)

    store = run(model, sources, tmp_path / "run.ffn", when(1, second), scratch=scratch, group_layers=1, **OPTIONS)
    assert said and contents(store) == contents(run(model, sources, tmp_path / "alone.ffn", **OPTIONS))
    assert contents(run(model, sources, tmp_path / "other.ffn", scratch=scratch, **OPTIONS)) == contents(store)


@pytest.mark.slow
def test_processes_that_see_different_scratch_folders_stop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tm.tiny("opt", tmp_path).rename(tmp_path / "model")
    for name in ("a", "b"):
        np.save(tmp_path / f"{name}.npy", tm.random_windows(np.random.default_rng(5), 6, 24, 64, bos_id=2))
    # Each process has a folder of its own by the relative name, as hosts without a shared disk have.
    launcher = tmp_path / "sitecustomize.py"
    launcher.write_text(
        "import os\n"
        "rank = os.environ.get('RANK')\n"
        "if rank is not None and 'LOCAL_RANK' in os.environ:\n"
        "    from pathlib import Path\n"
        "    here = Path(os.environ['HERE'])\n"
        "    own = here / f'host{rank}'\n"
        "    own.mkdir(exist_ok=True)\n"
        "    for name in ('model', 'a.npy', 'b.npy'):\n"
        "        (own / name).exists() or (own / name).symlink_to(here / name)\n"
        "    os.chdir(own)\n"
    )
    monkeypatch.setenv("HERE", str(tmp_path))
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    done = collect(tmp_path, str(tmp_path / "run.ffn"), 2, "--scratch", "scratch")
    assert done.returncode != 0
    assert done.stderr.count("ffnscope: ") == 1 and "sees another folder under this path" in done.stderr
    assert not (tmp_path / "run.ffn" / "data.mdb").exists()


@pytest.mark.parametrize("offload", [False, True])
def test_weights_that_change_end_the_run_before_they_count(
    offload: bool, model: Path, sources: tuple[DomainSource, ...], tmp_path: Path
) -> None:
    weights, kept = model / "model.safetensors", tmp_path / "kept"
    shutil.copy2(weights, kept)
    whole = contents(run(model, sources, tmp_path / "whole.ffn", **OPTIONS))

    def edit() -> None:
        data = bytearray(weights.read_bytes())
        data[-4000:] = bytes(4000)
        weights.write_bytes(data)

    store = tmp_path / "run.ffn"
    with pytest.raises(UserError, match=r"model\.safetensors: changed while the run was reading it"):
        run(model, sources, store, when(2, edit), group_layers=1, offload=offload, **OPTIONS)
    with Store.open(store) as opened:
        assert opened.layers() == (0, 1) and list(verify(opened)) == []
    with pytest.raises(UserError, match="cannot be resumed"):
        run(model, sources, store, resume=True, offload=offload, **OPTIONS)
    shutil.copy2(kept, weights)
    run(model, sources, store, resume=True, offload=offload, group_layers=1, **OPTIONS)
    assert contents(store) == whole


def test_windows_written_anew_while_the_run_goes_on_do_not_count(
    model: Path, sources: tuple[DomainSource, ...], tmp_path: Path
) -> None:
    whole = contents(run(model, sources, tmp_path / "whole.ffn", **OPTIONS))
    windows = np.load(sources[0].path).astype(np.int32)  # what is not copied for its type
    np.save(sources[0].path, windows)

    def write() -> None:
        mapped = np.load(sources[0].path, mmap_mode="r+")
        mapped[:] = np.roll(windows, 1, axis=0)
        mapped.flush()

    store = run(model, sources, tmp_path / "run.ffn", when(1, write), group_layers=1, **OPTIONS)
    assert contents(store) == whole


def test_an_edit_of_one_number_is_another_model(tmp_path: Path) -> None:
    folder = tm.tiny("opt", tmp_path)
    torch.save({"padding": torch.zeros(70 << 20, dtype=torch.float32)}, tmp_path / "large.bin")
    weights = folder / "pytorch_model.bin"
    (folder / "model.safetensors").unlink()
    (tmp_path / "large.bin").rename(weights)
    assert weights.stat().st_size > 1 << 28
    before = fingerprint(open_model(str(folder)))
    with weights.open("r+b") as file:
        file.seek(37 << 20)
        file.write(b"\1")
    assert fingerprint(open_model(str(folder))) != before


def test_what_an_earlier_attempt_left_is_no_used_space(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "run-x"
    folder.mkdir()
    given: dict[str, Any] = {"layer_bytes": 10 * 16 * 64 // 8, "width": 16, "itemsize": 4, "folder": folder}
    needed = make_plan((0, 1, 2), 10, 16, **given).scratch_bytes
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage._replace(free=0))
    with pytest.raises(UserError, match="of scratch are needed"):
        make_plan((0, 1, 2), 10, 16, **given)
    (folder / "bits-00000").write_bytes(b"\1" * 4 * needed)
    assert make_plan((0, 1, 2), 10, 16, **given).groups == 1


def test_a_note_of_progress_that_cannot_be_written_ends_nothing(
    model: Path, sources: tuple[DomainSource, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = contents(run(model, sources, tmp_path / "whole.ffn", **OPTIONS))
    write, failed = StoreWriter.write_progress, []

    def failing(self: StoreWriter, progress: Progress) -> None:
        if progress.state == "collecting" and progress.layers_done < 3:
            failed.append(progress)
            raise UserError("the disk is full")
        write(self, progress)

    monkeypatch.setattr(StoreWriter, "write_progress", failing)
    store = run(model, sources, tmp_path / "run.ffn", group_layers=1, **OPTIONS)
    assert len(failed) > 2 and contents(store) == whole


@pytest.mark.parametrize(
    "said",
    ["CUDA out of memory. Tried to allocate 2.00 GiB", "MPS backend out of memory", "CUBLAS_STATUS_ALLOC_FAILED"],
)
def test_a_device_that_is_full_is_a_line(
    said: str,
    model: Path,
    sources: tuple[DomainSource, ...],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: Any,
) -> None:
    def full(*_: Any) -> None:
        raise torch.OutOfMemoryError(said)

    monkeypatch.setattr(collecting.Sweep, "_run_batch", full)
    data = f"all={sources[0].path}"
    code = main(["collect", str(model), "--data", data, "--store", str(tmp_path / "run.ffn"), "--bos-id", "0"])
    err = capsys.readouterr().err
    assert code == 2 and "out of memory" in err and "--batch-size" in err and "--resume" in err and said in err


def test_going_on_with_a_complete_run_leaves_nothing(
    model: Path, sources: tuple[DomainSource, ...], tmp_path: Path
) -> None:
    store = run(model, sources, tmp_path / "run.ffn", **OPTIONS)
    run(model, sources, store, resume=True, **OPTIONS)
    assert {path.name for path in store.iterdir()} <= {"data.mdb", "lock.mdb", "collector.lock"}


def test_the_stores_own_folder_is_no_scratch_folder(
    model: Path, sources: tuple[DomainSource, ...], tmp_path: Path
) -> None:
    with pytest.raises(UserError, match="is the store's own folder"):
        run(model, sources, tmp_path / "run.ffn", scratch=tmp_path / "run.ffn", **OPTIONS)


def test_a_scratch_folder_that_cannot_be_made_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="name another folder with --scratch"):
        with scratch_folder.lock_folder(tmp_path / "file" / "run", Processes()):
            pass
