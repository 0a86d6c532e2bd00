"""Hidden states in memory: the same bytes as from files, whatever stops the run, and no disk for them but for snapshots."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny_models as tm
from exact import run, sources_of
from forks import ended, forked
from same_store import contents

from ffnscope.core.activations import budget, hidden_states
from ffnscope.core.activations.budget import GIB, Plan, make_plan
from ffnscope.core.activations.forward import Sweep
from ffnscope.core.activations.scratch import LayerScratch
from ffnscope.core.corpus.sources import DomainSource
from ffnscope.core.run.prepare import Prepared
from ffnscope.core.run.request import hidden_place, parse_scratch
from ffnscope.store.errors import UserError
from ffnscope.store.reader import Store

OPTIONS: dict[str, Any] = {"bos_id": tm.BOS_ID, "batch_size": 4, "min_occurrences": 2}
LAYERS = 5


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Five layers."""
    return tm.tiny("llama", tmp_path_factory.mktemp("model"), num_hidden_layers=LAYERS)


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory) -> tuple[DomainSource, ...]:
    """A counted domain and a count-only one."""
    rng = np.random.default_rng(0)
    domains = {f"domain{i}": tm.random_windows(rng, count, 12, tm.VOCAB, 0) for i, count in enumerate((9, 6))}
    return sources_of(tmp_path_factory.mktemp("data"), domains, ["domain1"])


@pytest.fixture(scope="module")
def whole(model: Path, sources: tuple[DomainSource, ...], tmp_path_factory: pytest.TempPathFactory) -> Any:
    """What a run says that keeps no hidden states."""
    return contents(run(model, sources, tmp_path_factory.mktemp("whole") / "run.ffn", **OPTIONS))


@pytest.fixture
def groups(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, set[str]]]:
    """The first layer of each group that runs, and the files of hidden states that are there when it begins."""
    seen: list[tuple[int, set[str]]] = []
    run_group = Sweep.run_group

    def running(self: Sweep, group: Any, advance: Any) -> Any:
        seen.append((group.first, {path.name for path in self.folder.glob("hidden-*")}))
        return run_group(self, group, advance)

    monkeypatch.setattr(Sweep, "run_group", running)
    return seen


def stopping(monkeypatch: pytest.MonkeyPatch, layer: int, error: BaseException) -> None:
    """Let the group that begins at ``layer`` fail in its second batch."""
    run_batch = Sweep._run_batch

    def running(self: Sweep, group: Any, first: int, *arguments: Any) -> Any:
        if group.first == layer and first:
            raise error
        return run_batch(self, group, first, *arguments)

    monkeypatch.setattr(Sweep, "_run_batch", running)


@pytest.mark.parametrize("overlaps", [False, True])
@pytest.mark.parametrize(("size", "offload"), [(None, False), (2, False), (None, True), (2, True)])
def test_the_store_is_the_same(
    size: int | None,
    offload: bool,
    overlaps: bool,
    model: Path,
    sources: tuple[DomainSource, ...],
    whole: Any,
    groups: list[tuple[int, set[str]]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(Prepared, "overlaps", overlaps)
    said: list[object] = []
    options = OPTIONS | {"group_layers": size, "offload": offload, "hidden": "memory"}
    assert contents(run(model, sources, tmp_path / "run.ffn", said.append, **options)) == whole
    assert groups == [(first, set()) for first in range(0, LAYERS, size or 1)]
    assert any(str(line).startswith("hidden states between groups are kept in memory") for line in said)


@pytest.mark.parametrize("then", ["memory", "disk"])
@pytest.mark.parametrize("layer", [0, 2, LAYERS - 1])
def test_a_stopped_run_loses_no_finished_layer(
    layer: int,
    then: str,
    model: Path,
    sources: tuple[DomainSource, ...],
    whole: Any,
    groups: list[tuple[int, set[str]]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        stopping(patch, layer, KeyboardInterrupt())
        run(model, sources, tmp_path / "run.ffn", hidden="memory", **OPTIONS)
    with Store.open(tmp_path / "run.ffn") as store:
        assert store.layers() == tuple(range(layer))
    groups.clear()
    again = {"hidden": then, "group_layers": 1, "resume": True}
    assert contents(run(model, sources, tmp_path / "run.ffn", **OPTIONS, **again)) == whole
    assert [first for first, _ in groups] == list(range(LAYERS))  # from the embeddings: nothing else was kept


@pytest.mark.parametrize("then", ["memory", "disk"])
@pytest.mark.parametrize("overlaps", [False, True])
def test_a_stopped_run_goes_on_from_its_last_snapshot(
    overlaps: bool,
    then: str,
    model: Path,
    sources: tuple[DomainSource, ...],
    whole: Any,
    groups: list[tuple[int, set[str]]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(Prepared, "overlaps", overlaps)
    monkeypatch.setattr(hidden_states, "SNAPSHOT_SECONDS", 0)
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        stopping(patch, 4, KeyboardInterrupt())
        run(model, sources, tmp_path / "run.ffn", hidden="memory", **OPTIONS)
    names = {path.name for path in (tmp_path / "run.ffn").rglob("hidden-*")}
    assert "hidden-00003" in names
    groups.clear()
    again = {"hidden": then, "group_layers": 1, "resume": True}
    with Store.open(tmp_path / "run.ffn") as store:
        missing = len(store.layers())  # what was being counted when it stopped is counted again
    assert contents(run(model, sources, tmp_path / "run.ffn", **OPTIONS, **again)) == whole
    assert groups[0][0] == min(missing, 3) > 0
    assert not list((tmp_path / "run.ffn").rglob("hidden-*"))


def test_no_more_than_two_snapshots_are_there(
    model: Path,
    sources: tuple[DomainSource, ...],
    whole: Any,
    groups: list[tuple[int, set[str]]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(hidden_states, "SNAPSHOT_SECONDS", 0)
    assert contents(run(model, sources, tmp_path / "run.ffn", hidden="memory", **OPTIONS)) == whole
    assert [names for _, names in groups] == [set(), set(), {"hidden-00001"}, {"hidden-00002"}, {"hidden-00003"}]


def test_a_killed_run_goes_on(model: Path, sources: tuple[DomainSource, ...], whole: Any, tmp_path: Path) -> None:
    def work(pipe: int) -> None:
        run_batch = Sweep._run_batch

        def running(self: Sweep, group: Any, first: int, *arguments: Any) -> Any:
            if group.first == 3 and first:
                os.kill(os.getpid(), signal.SIGKILL)
            return run_batch(self, group, first, *arguments)

        Sweep._run_batch = running  # type: ignore[method-assign]
        hidden_states.SNAPSHOT_SECONDS = 0
        run(model, sources, tmp_path / "run.ffn", hidden="memory", **OPTIONS)

    status, said = ended(*forked(work))
    assert os.waitstatus_to_exitcode(status) == -signal.SIGKILL, said
    with Store.open(tmp_path / "run.ffn") as store:
        assert store.layers() == (0, 1, 2)
    assert contents(run(model, sources, tmp_path / "run.ffn", hidden="memory", resume=True, **OPTIONS)) == whole


def test_a_snapshot_that_was_cut_short_is_not_read(
    model: Path, sources: tuple[DomainSource, ...], whole: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hidden_states, "SNAPSHOT_SECONDS", 0)
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        stopping(patch, 3, KeyboardInterrupt())
        run(model, sources, tmp_path / "run.ffn", hidden="memory", **OPTIONS)
    (snapshot,) = [path for path in (tmp_path / "run.ffn").rglob("hidden-*") if path.suffix != ".part"]
    os.truncate(snapshot, snapshot.stat().st_size - 1)
    with pytest.raises(UserError, match="--resume"):
        run(model, sources, tmp_path / "run.ffn", hidden="memory", resume=True, **OPTIONS)
    assert contents(run(model, sources, tmp_path / "run.ffn", hidden="memory", resume=True, **OPTIONS)) == whole


# What is chosen

BITS = LayerScratch.bytes_needed(100, 24, 13)
GIVEN: dict[str, Any] = {"layer_bytes": BITS, "width": 16, "itemsize": 2}
COPY = 100 * 13 * 16 * 2


def plan(folder: Path, **options: Any) -> Plan:
    """12 layers, 100 windows of 13 positions."""
    return make_plan(tuple(range(12)), 100, 13, folder=folder, **GIVEN, **options)


def test_hidden_states_are_kept_in_memory_where_they_fit(tmp_path: Path) -> None:
    room = plan(tmp_path, hidden="auto", memory=2 * COPY, groups_at_once=2)
    assert room.hidden_in_memory and room == Plan(1, 12, 2 * BITS) and room.hidden_bytes == COPY
    assert "kept in memory" in room.hidden_line() and "fit" in room.hidden_line()
    tight = plan(tmp_path, hidden="auto", memory=COPY, groups_at_once=2)
    assert not tight.hidden_in_memory and tight == Plan(3, 4, 6 * BITS + 3 * COPY)
    assert "in scratch files" in tight.hidden_line() and "do not fit" in tight.hidden_line()
    assert not plan(tmp_path, hidden="auto", memory=None).hidden_in_memory
    assert plan(tmp_path, hidden="auto", memory=COPY, host_share=0.5).hidden_in_memory


def test_memory_that_is_asked_for_is_used_or_refused(tmp_path: Path) -> None:
    assert plan(tmp_path, hidden="memory", memory=COPY).hidden_in_memory
    assert plan(tmp_path, hidden="memory", memory=None, group_layers=5) == Plan(5, 3, 5 * BITS)
    assert not plan(tmp_path, hidden="memory", group_layers=12).hidden_in_memory
    with pytest.raises(
        UserError, match=r"--scratch memory: hidden states take .*--scratch disk.*--max-tokens"
    ) as error:
        plan(tmp_path, hidden="memory", memory=COPY - 1)
    assert "\n" not in str(error.value)
    assert not plan(tmp_path, hidden="disk", memory=1 << 60).hidden_in_memory


def test_snapshots_need_room_on_the_disk(tmp_path: Path) -> None:
    least = (BITS + 2 * COPY) / GIB
    assert plan(tmp_path, hidden="memory", scratch_gb=least).snapshots
    without = plan(tmp_path, hidden="memory", scratch_gb=least - 1 / GIB)
    assert not without.snapshots and "repeats its forward pass" in without.hidden_line()
    assert not plan(tmp_path, scratch_gb=1e3 * least).snapshots


def test_where_groups_overlap_there_are_at_least_four(tmp_path: Path) -> None:
    assert plan(tmp_path, groups_at_once=2) == Plan(3, 4, 6 * BITS + 3 * COPY)
    assert plan(tmp_path, groups_at_once=2, most_layers=2).group_layers == 2
    # One group keeps no hidden states: it may fit where several do not.
    tight = (2 * BITS + 3 * COPY - 1) / GIB
    assert tight < 12 * BITS / GIB
    with pytest.raises(UserError, match="of scratch are needed"):
        plan(tmp_path, groups_at_once=2, scratch_gb=tight)
    wide = make_plan((0, 1, 2), 100, 13, layer_bytes=BITS, width=1600, itemsize=2, folder=tmp_path, groups_at_once=2,
                     scratch_gb=4 * BITS / GIB)  # fmt: skip
    assert wide == Plan(3, 1, 3 * BITS)


def test_what_scratch_says() -> None:
    assert parse_scratch(None) == ("auto", None)
    assert parse_scratch("/fast/disk") == ("auto", Path("/fast/disk"))
    assert parse_scratch("memory") == ("memory", None)
    assert parse_scratch("disk:/fast") == ("disk", Path("/fast"))
    assert parse_scratch("memory:x") == ("memory", Path("x"))
    assert parse_scratch("./memory") == ("auto", Path("./memory"))
    assert hidden_place("auto", "cpu") == "disk" and hidden_place("auto", "cuda") == "auto"
    assert hidden_place("memory", "cpu") == "memory"


def test_a_control_group_limits_the_memory(tmp_path: Path) -> None:
    root, own = tmp_path / "cgroup", tmp_path / "own"
    (root / "job" / "step").mkdir(parents=True)
    own.write_text("0::/job/step\n")
    for folder, most, used, cached in ((root / "job", "1000", 700, 100), (root / "job" / "step", "max", 700, 100)):
        (folder / "memory.max").write_text(most + "\n")
        (folder / "memory.current").write_text(f"{used}\n")
        (folder / "memory.stat").write_text(f"anon 600\nfile {cached}\n")
    assert budget._control_group_memory(root, own) == 400
    own.write_text("12:memory:/job\n")
    assert budget._control_group_memory(root, own) is None
    assert budget._control_group_memory(root, tmp_path / "absent") is None
