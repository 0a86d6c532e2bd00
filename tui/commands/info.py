"""``ffnscope info``: what a store holds."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Annotated

import typer

from ffnscope.tui.commands.shared import StorePath, open_store, safe

if TYPE_CHECKING:
    from ffnscope.store.reader import Store
    from ffnscope.store.records import ModelInfo, Progress, RunInfo


def info(
    store: StorePath,
    as_json: Annotated[bool, typer.Option("--json", help="As JSON.")] = False,
) -> None:
    """Model, corpus, settings, progress and size on disk."""
    with open_store(store) as opened:
        # In this order: a run that ends between the two is then complete with all of its layers.
        progress, layers, run = opened.progress(), opened.layers(), opened.run
        if as_json:
            facts = {
                "store": str(opened.path),
                "model": run.model.to_json(),
                "corpus": run.corpus.to_json() | {"windows": run.corpus.windows, "positions": run.corpus.positions},
                "settings": run.settings,
                "activated": str(run.activated),
                "created": run.created,
                "version": run.version,
                "run_id": run.run_id,
                "progress": progress.to_json(),
                "layers": list(layers),
                "kept": _kept(opened),
                "bytes_on_disk": opened.size_on_disk(),
            }
            json.dump(facts, sys.stdout, indent=1)
            print()
            return
        for name, text in _lines(opened, run, progress, layers):
            print(f"{safe(name):<12} {safe(text)}")


def _lines(store: Store, run: RunInfo, progress: Progress, layers: tuple[int, ...]) -> list[tuple[str, str]]:
    from ffnscope.tui.drawing.numbers import count, filesize
    from ffnscope.tui.reports.formats.values import settings_text

    model, corpus = run.model, run.corpus
    gated = ", gated" if model.gated else ""
    limit = f", at most {count(model.positions)} positions" if model.positions else ""
    bos = f"BOS {safe(store.vocabulary.text(corpus.bos_id))} ({corpus.bos_id})" if corpus.bos_id is not None else "none"
    lines = [
        ("store", str(store.path)),
        ("model", f"{model.name} ({model.architecture}), fingerprint {model.fingerprint[:16]}"),
        (
            "",
            f"{model.layers} layers x {count(model.neurons)} neurons ({model.activation}{gated}), width "
            f"{count(model.width)}, vocabulary {count(model.vocabulary)}{limit}",
        ),
        (
            "corpus",
            f"{count(corpus.windows)} windows x {count(corpus.seq_len)} = {count(corpus.positions)} positions, "
            f"{bos}, fingerprint {corpus.fingerprint[:16]}",
        ),
    ]
    if model.experts:
        lines.insert(3, ("", _experts(model)))
    for domain in corpus.domains:
        only = ", count only" if domain.count_only else ""
        lines.append(
            (
                "",
                f"{domain.name}: {count(domain.windows)} windows, {count(domain.documents)} documents, "
                f"{count(domain.dropped_tokens)} tokens dropped{only}",
            )
        )
    lines.append(("settings", settings_text(run.settings)))
    lines.append(("activated", run.activated.sentence.removeprefix("activated means ")))
    kept = _kept(store)
    if kept is None:
        lines.append(("kept bits", "none: ask and contexts need `collect --keep`"))
    else:
        lines.append(
            (
                "kept bits",
                f"{count(kept['windows'])} of {count(corpus.counted_windows)} windows, {count(kept['positions'])} of "
                f"{count(corpus.positions)} positions, {filesize(kept['bytes'])} when complete",
            )
        )
    lines.append(("collected", f"{run.created} by ffnscope {run.version}, run {run.run_id[:16]}"))
    lines.append(("progress", describe_progress(progress, len(layers))))
    lines.append(("size", filesize(store.size_on_disk())))
    return lines


def _experts(model: ModelInfo) -> str:
    """How many experts a mixture has, and which layers are of another width than most."""
    from ffnscope.tui.drawing.numbers import count

    text = f"{count(model.experts)} routed experts per layer, {count(model.experts_per_token)} per token"
    if model.experts_implementation:
        text += f", computed by {model.experts_implementation}"
    others = [f"layer {layer} has {count(n)}" for layer, n in enumerate(model.layer_neurons) if n != model.neurons]
    more = f" and {len(others) - 3} more" if len(others) > 3 else ""
    return f"{text}; {', '.join(others[:3])}{more} neurons" if others else text


def _kept(store: Store) -> dict[str, int] | None:
    """How many windows and positions have their bits kept, and the bytes that all layers' take."""
    from ffnscope.store.bits.kept import kept_number
    from ffnscope.store.format.kept_bits import position_bytes

    if not kept_number(store):
        return None
    positions = store.kept.positions
    size = positions * sum(position_bytes(store.run.model.neurons_of(layer)) for layer in store.run.layers)
    return {"windows": len(store.kept.windows), "positions": positions, "bytes": size}


def describe_progress(progress: Progress, layers: int) -> str:
    """How far a run is, in a line."""
    from ffnscope.tui.drawing.numbers import count, duration, percent

    if progress.state == "complete":
        return f"complete, {layers} layers"
    line = f"{progress.state}, {layers} of {progress.layers_total} layers, {percent(progress.fraction)}"
    if progress.state == "collecting":
        if progress.phase:
            line += f", {progress.phase}"
        if progress.tokens_per_second:
            line += f", {count(round(progress.tokens_per_second))} tokens/s"
        if progress.seconds_left is not None:
            line += f", {duration(progress.seconds_left)} left"
        if progress.process and not _runs(progress):
            line += "; its process is gone: the same collect command with --resume continues"
    elif progress.state == "interrupted":
        line += "; the same collect command with --resume continues"
    return line


def _runs(progress: Progress) -> bool:
    """Whether the collector that wrote this last still runs, as far as this host can tell."""
    import os
    import socket

    if progress.host != socket.gethostname():
        return True
    try:
        os.kill(progress.process, 0)
    except ProcessLookupError:
        return False
    except (OSError, OverflowError):
        return True
    return True
