"""What ``ffnscope collect`` was asked for: its options, read and checked."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ffnscope.core.corpus.sources import DomainSource
from ffnscope.core.run.keep import parse_keep
from ffnscope.store.activation_rule import POSITIVE, ActivationRule
from ffnscope.store.bits.kept import kept_number
from ffnscope.store.definitions import KEEP_GB, MIN_OCCURRENCES, TOP_K
from ffnscope.store.errors import DamagedStoreError, UserError
from ffnscope.store.format.environment import is_store
from ffnscope.store.reader import Store
from ffnscope.store.writer import LOCK_NAME, is_begun

if TYPE_CHECKING:
    import torch

BATCH_POSITIONS = {"cpu": 4096, "mps": 4096}  # positions per batch
GPU_BATCH_POSITIONS = 16384

OWN_FILES = (LOCK_NAME, "data.mdb", "lock.mdb", "scratch", "notes")


@dataclass(frozen=True)
class CollectRequest:
    """What ``ffnscope collect`` was asked for; names as its options."""

    model: str
    sources: tuple[DomainSource, ...]
    store: Path
    seq_len: int | None = None
    max_tokens: int | None = None
    batch_size: int | None = None
    layers: str = "all"
    device: str = "auto"
    dtype: str = "auto"
    min_occurrences: int = MIN_OCCURRENCES
    top_k: int = TOP_K
    resume: bool = False
    overwrite: bool = False
    offload: bool = False
    scratch: Path | None = None
    hidden: str = "auto"  # where hidden states are kept between groups: auto, memory or disk
    scratch_gb: float | None = None
    group_layers: int | None = None
    count_on: str = "auto"  # what counts n-grams: auto, host or device
    bos_id: int | None = None
    trust_remote_code: bool = False
    keep: str | None = None  # all, 0 or how many windows; None: as many as fit keep_gb
    keep_gb: float = KEEP_GB
    activated: str = POSITIVE  # when a neuron counts as activated: positive or share:Q
    revision: str | None = None
    title: str | None = None  # the model's name to show, if not that of its folder, file or hub id

    @property
    def scratch_folder(self) -> Path:
        """Where scratch files are kept: the folder of --scratch, or else one inside the store."""
        return self.scratch or self.store / "scratch"


PLACES = ("memory", "disk")


def parse_scratch(text: str | None) -> tuple[str, Path | None]:
    """``--scratch``: where hidden states are kept (auto, memory or disk), and the folder, None for the store's own.

    ``DIR``, ``memory``, ``disk``, ``memory:DIR`` or ``disk:DIR``.
    """
    if text is None:
        return "auto", None
    place, _, folder = text.partition(":")
    if place not in PLACES:
        return "auto", Path(text)
    return place, Path(folder) if folder else None


def hidden_place(choice: str, device: str) -> str:
    """Where hidden states are kept: as asked for, else in memory where they fit, but on the disk where the model runs on
    the host's own memory."""
    return "disk" if choice == "auto" and device != "cuda" else choice


def counting_overlaps(device: torch.device) -> bool:
    """Whether a group of layers is counted while the next one runs: where these are different processors that several
    threads may use (not MPS)."""
    return device.type == "cuda"


def counts_on_device(choice: str, device: torch.device) -> bool:
    """Whether the device counts n-grams: as ``--count-on`` asks, else where the host counts beside it and would fall behind."""
    return choice == "device" or (choice == "auto" and counting_overlaps(device))


def check_request(request: CollectRequest) -> None:
    """Raise UserError for options that exclude each other, and for a store that exists already."""
    if request.resume and request.overwrite:
        raise UserError("--resume and --overwrite exclude each other; give one")
    if request.min_occurrences < 1:
        raise UserError(f"--min-occurrences {request.min_occurrences}: must be at least 1")
    if request.top_k < 1:
        raise UserError(f"--top-k {request.top_k}: must be at least 1")
    parse_keep(request.keep, request.keep_gb)
    ActivationRule.parse(request.activated)
    if request.scratch_gb is not None and not 0 < request.scratch_gb < math.inf:
        raise UserError(f"--scratch-gb {request.scratch_gb:g}: must be a size in GiB above 0")
    if request.store.exists() and not request.store.is_dir():
        raise UserError(f"{request.store}: is a file; --store takes a folder")
    if request.scratch is not None and request.scratch.resolve() == request.store.resolve():
        raise UserError(f"--scratch {request.scratch}: is the store's own folder; leave --scratch out, or name another")
    if _holds_run(request):
        if not request.resume and not request.overwrite:
            with Store.open(request.store) as store:
                progress, layers = store.progress(), len(store.layers())
            state = (
                "complete" if progress.state == "complete" else f"{layers} of {progress.layers_total} layers finished"
            )
            raise UserError(
                f"{request.store}: contains a run already ({state}); --resume continues it, --overwrite starts over"
            )
    elif is_store(request.store) and not (request.store / LOCK_NAME).is_file():
        raise UserError(f"{request.store}: contains the LMDB database of another program; give --store a new folder")
    elif request.store.is_dir() and any(entry.name not in OWN_FILES for entry in request.store.iterdir()):
        raise UserError(f"{request.store}: is a folder that contains other files; give --store a new one")


def stored_keep(request: CollectRequest) -> str | None:
    """``--keep`` as asked for; where it isn't, that of the run that ``--resume`` continues."""
    if request.keep is None and request.resume and not request.overwrite and is_begun(request.store):
        with Store.open(request.store) as store:
            return str(kept_number(store))
    return request.keep


def _holds_run(request: CollectRequest) -> bool:
    try:
        return is_begun(request.store)
    except DamagedStoreError:
        if not request.overwrite:
            raise
        return True


def parse_layers(text: str, count: int) -> tuple[int, ...]:
    """``all``, or numbers and ranges such as ``0-5,8``, of a model with ``count`` layers. Raises UserError."""
    if text.strip() == "all":
        return tuple(range(count))
    wanted: set[int] = set()
    for part in text.split(","):
        first, dash, last = part.strip().partition("-")
        try:
            low = int(first)
            high = int(last) if dash else low
        except ValueError:
            raise UserError(
                f"--layers {text}: {part.strip()!r} is not a layer; give all, or a list such as 0-5,8"
            ) from None
        if not 0 <= low <= high < count:
            raise UserError(f"--layers {text}: {part.strip()} is not in the model's layers 0-{count - 1}")
        wanted.update(range(low, high + 1))
    return tuple(sorted(wanted))


def choose_batch_size(requested: int | None, seq_len: int, device: torch.device) -> int:
    """Windows per batch. Raises UserError for fewer than one."""
    if requested is not None:
        if requested < 1:
            raise UserError(f"--batch-size {requested}: must be at least 1")
        return requested
    return max(1, BATCH_POSITIONS.get(device.type, GPU_BATCH_POSITIONS) // seq_len)
