"""What a run was asked for, what it is, and whether an existing store is the same run."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from ffnscope.core.loading import ModelSource, fingerprint
from ffnscope.core.model import LayeredModel
from ffnscope.core.plan import choose_batch_size, parse_layers
from ffnscope.core.windows import Corpus, DomainSource
from ffnscope.store.environment import is_store
from ffnscope.store.errors import DamagedStoreError, UserError
from ffnscope.store.reader import Store
from ffnscope.store.records import CorpusInfo, DomainInfo, ModelInfo, RunInfo
from ffnscope.store.writer import LOCK_NAME, is_begun

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
    min_occurrences: int = 5
    top_k: int = 50
    resume: bool = False
    overwrite: bool = False
    offload: bool = False
    scratch: Path | None = None
    scratch_gb: float | None = None
    group_layers: int | None = None
    bos_id: int | None = None
    trust_remote_code: bool = False


def check_request(request: CollectRequest) -> None:
    """Raise UserError for options that exclude each other, and for a store that is there already."""
    if request.resume and request.overwrite:
        raise UserError("--resume and --overwrite exclude each other; give one")
    if request.min_occurrences < 1:
        raise UserError(f"--min-occurrences {request.min_occurrences}: must be at least 1")
    if request.top_k < 1:
        raise UserError(f"--top-k {request.top_k}: must be at least 1")
    if request.store.exists() and not request.store.is_dir():
        raise UserError(f"{request.store}: is a file; --store names a folder")
    if request.scratch is not None and request.scratch.resolve() == request.store.resolve():
        raise UserError(f"--scratch {request.scratch}: is the store's own folder; leave it out, or name another")
    if _holds_run(request):
        if not request.resume and not request.overwrite:
            with Store.open(request.store) as store:
                progress, layers = store.progress(), len(store.layers())
            what = (
                "complete" if progress.state == "complete" else f"{layers} of {progress.layers_total} layers finished"
            )
            raise UserError(
                f"{request.store}: holds a run already ({what}); --resume goes on with it, --overwrite starts anew"
            )
    elif is_store(request.store) and not (request.store / LOCK_NAME).is_file():
        raise UserError(f"{request.store}: holds an LMDB environment of something else; --store names a new folder")
    elif request.store.is_dir() and any(each.name not in OWN_FILES for each in request.store.iterdir()):
        raise UserError(f"{request.store}: is a folder with other things in it; --store names a new one")


def _holds_run(request: CollectRequest) -> bool:
    try:
        return is_begun(request.store)
    except DamagedStoreError:
        if not request.overwrite:
            raise
        return True


def describe_run(request: CollectRequest, source: ModelSource, model: LayeredModel, corpus: Corpus) -> RunInfo:
    """The run as its store will name it; ``run_id`` is the same for the same model, corpus and settings."""
    text = source.text_config
    name = getattr(text, "activation_function", None) or getattr(text, "hidden_act", None)
    model_info = ModelInfo(
        name=source.title,
        architecture=str(getattr(source.config, "model_type", "")),
        layers=model.count,
        neurons=model.neurons,
        width=model.width,
        vocabulary=source.vocabulary,
        positions=source.positions,
        activation=str(name or type(model.activation(0)).__name__),
        gated=model.ffns[0].gated,
        fingerprint=fingerprint(source),
    )
    domains = tuple(
        DomainInfo(d.name, d.first_window, d.windows, d.documents, d.dropped_tokens, d.count_only, d.fingerprint)
        for d in corpus.domains
    )
    settings: dict[str, Any] = {
        "layers": list(parse_layers(request.layers, model.count)),
        "min_occurrences": request.min_occurrences,
        "top_k": request.top_k,
        "dtype": str(next(model.base.parameters()).dtype).removeprefix("torch."),
        "device": model.device.type,
        "batch_size": choose_batch_size(request.batch_size, corpus.seq_len, model.device),
    }
    corpus_info = CorpusInfo(corpus.seq_len, corpus.bos_id, domains, corpus.fingerprint)
    identity = json.dumps([model_info.fingerprint, corpus_info.to_json(), settings], sort_keys=True)
    return RunInfo(
        model_info,
        corpus_info,
        settings | {"model_path": source.path},
        datetime.now(UTC).isoformat(timespec="seconds"),
        version("ffnscope"),
        hashlib.sha256(identity.encode()).hexdigest(),
    )


def _corpus_difference(there: CorpusInfo, now: CorpusInfo) -> str:
    """In which way two corpora with windows of one length differ."""
    if there.bos_id != now.bos_id:
        return f"the corpus (its BOS id was {there.bos_id})"
    kinds = [[(each.name, each.count_only) for each in corpus.domains] for corpus in (there, now)]
    if kinds[0] != kinds[1]:
        names = ", ".join(each.name + (" (count only)" if each.count_only else "") for each in there.domains)
        return f"the corpus (its domains were {names})"
    pairs = zip(there.domains, now.domains, strict=True)
    changed = [f"{a.name} had {a.windows:,} windows" for a, b in pairs if a.fingerprint != b.fingerprint]
    return f"the corpus ({', '.join(changed)}: other text, tokenizer or --max-tokens)"


def check_same_run(path: Path, there: RunInfo, now: RunInfo) -> None:
    """Raise UserError that lists what differs between the run in the store at ``path`` and this one."""
    differing = []
    if there.model.fingerprint != now.model.fingerprint:
        differing.append(f"the model (it has {there.model.name})")
    if there.corpus.seq_len != now.corpus.seq_len:
        differing.append(f"--seq-len ({there.corpus.seq_len})")
    elif there.corpus.fingerprint != now.corpus.fingerprint:
        differing.append(_corpus_difference(there.corpus, now.corpus))
    for name, value in now.settings.items():
        if name != "model_path" and there.settings.get(name) != value:
            differing.append(f"--{name.replace('_', '-')} ({there.settings.get(name)})")
    if differing:
        raise UserError(
            f"{path}: cannot be resumed, because {', '.join(differing)} differed when it was begun; "
            "give the same, or --overwrite"
        )
