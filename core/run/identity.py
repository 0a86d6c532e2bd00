"""The description and id of a run, and the differences between two runs."""

from __future__ import annotations

import hashlib
import json
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from ffnscope.core.corpus.windows import Corpus
from ffnscope.core.model.device import device_name
from ffnscope.core.model.layered import LayeredModel
from ffnscope.core.model.source import ModelSource, fingerprint
from ffnscope.core.model.variants.expert_kernels import BATCHED
from ffnscope.core.run.keep import choose_keep
from ffnscope.core.run.request import CollectRequest, choose_batch_size, parse_layers
from ffnscope.store.activation_rule import POSITIVE, ActivationRule
from ffnscope.store.errors import UserError
from ffnscope.store.records import CorpusInfo, DomainInfo, ModelInfo, RunInfo

UNIDENTIFIED = ("model_path", "model_commit", "gpu")  # settings in which a run and its continuation may differ
ABSENT = {"keep": 0, "activated": POSITIVE}  # what a setting is in runs that do not name it


def describe_run(request: CollectRequest, source: ModelSource, model: LayeredModel, corpus: Corpus) -> RunInfo:
    """The description of the run in its store; ``run_id`` is equal for equal model, corpus and settings."""
    text = source.text_config
    name = getattr(text, "activation_function", None) or getattr(text, "hidden_act", None)
    experts = model.experts
    model_info = ModelInfo(
        name=request.title or source.title,
        architecture=str(getattr(source.config, "model_type", "")),
        layers=model.count,
        neurons=model.neurons,
        width=model.width,
        vocabulary=source.vocabulary,
        positions=source.positions,
        activation=str(name or ("" if model.experts else type(model.activation(0)).__name__)),
        gated=model.ffns[0].gated,
        fingerprint=fingerprint(source),
        layer_neurons=model.layer_neurons if len(set(model.layer_neurons)) > 1 else (),
        experts=max((layer.count for layer in experts), default=0),
        experts_per_token=max((layer.chosen for layer in experts), default=0),
        experts_implementation=model.experts_implementation,
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
    keep = choose_keep(
        request.keep,
        request.keep_gb,
        [domain.windows for domain in domains if not domain.count_only],
        seq_len=corpus.seq_len,
        neurons=model.neurons,
        layers=len(settings["layers"]),
    )
    if keep:
        settings["keep"] = keep
    rule = ActivationRule.parse(request.activated)
    if rule.has_thresholds:
        settings["activated"] = str(rule)
    corpus_info = CorpusInfo(corpus.seq_len, corpus.bos_id, domains, corpus.fingerprint)
    by_row = [BATCHED] if model_info.experts_implementation == BATCHED else []
    identity = json.dumps([model_info.fingerprint, corpus_info.to_json(), settings, *by_row], sort_keys=True)
    values = (source.path, source.commit, device_name(model.device))
    unidentified = dict(zip(UNIDENTIFIED, values, strict=True))
    return RunInfo(
        model_info,
        corpus_info,
        settings | {name: value for name, value in unidentified.items() if value},
        datetime.now(UTC).isoformat(timespec="seconds"),
        version("ffnscope"),
        hashlib.sha256(identity.encode()).hexdigest(),
    )


def _corpus_difference(stored: CorpusInfo, now: CorpusInfo) -> str:
    """How two corpora with windows of the same length differ."""
    if stored.bos_id != now.bos_id:
        return f"the corpus (its BOS id was {stored.bos_id})"
    kinds = [[(domain.name, domain.count_only) for domain in corpus.domains] for corpus in (stored, now)]
    if kinds[0] != kinds[1]:
        names = ", ".join(domain.name + (" (count only)" if domain.count_only else "") for domain in stored.domains)
        return f"the corpus (its domains were {names})"
    pairs = zip(stored.domains, now.domains, strict=True)
    changed = [f"{a.name} had {a.windows:,} windows" for a, b in pairs if a.fingerprint != b.fingerprint]
    return f"the corpus ({', '.join(changed)}: other text, tokenizer or --max-tokens)"


def check_same_run(path: Path, stored: RunInfo, now: RunInfo) -> None:
    """Raise UserError that lists what differs between the run in the store at ``path`` and this one."""
    differing = []
    if stored.model.fingerprint != now.model.fingerprint:
        differing.append(f"the model (it has {stored.model.name})")
    before, value = (run.model.experts_implementation for run in (stored, now))
    if before and before != value:
        differing.append(f"how the experts are computed (it was by {before})")
    if stored.corpus.seq_len != now.corpus.seq_len:
        differing.append(f"--seq-len ({stored.corpus.seq_len})")
    elif stored.corpus.fingerprint != now.corpus.fingerprint:
        differing.append(_corpus_difference(stored.corpus, now.corpus))
    for name in dict.fromkeys([*now.settings, *ABSENT]):
        before, value = (run.settings.get(name, ABSENT.get(name)) for run in (stored, now))
        if name not in UNIDENTIFIED and before != value:
            differing.append(f"--{name.replace('_', '-')} ({before})")
    if differing:
        raise UserError(
            f"{path}: cannot be resumed, because its run differs in {', '.join(differing)}; "
            "give the same, or use --overwrite"
        )
