"""``ffnscope ablate``: what taking neurons away does to the model's loss."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ffnscope.store.definitions import ABLATION_MODES, TESTED_TOKENS
from ffnscope.store.errors import UserError
from ffnscope.tui.commands.collect import check_address_space
from ffnscope.tui.commands.contexts import parse_neuron
from ffnscope.tui.commands.shared import StorePath, open_store, prepare_stdout, safe, say_rule

if TYPE_CHECKING:
    from ffnscope.core.effects import Effect
    from ffnscope.core.effects.ablation import Key
    from ffnscope.core.effects.rows import EffectFile, Origin
    from ffnscope.core.effects.windows import TestedWindows
    from ffnscope.store.reader import Store
    from ffnscope.store.records import Progress

FORMATS = ("table", "csv", "jsonl")
_WIDTHS = {"delta loss": 10, "95% interval": 22, "active": 9, "where active": 12, "trigger logit": 13, "changed": 7}
TABLE_HEAD = " ".join([f"{'neuron':<12}", *(f"{name:>{width}}" for name, width in _WIDTHS.items())])


def ablate(
    store: StorePath,
    model: Annotated[
        str | None,
        typer.Argument(metavar="MODEL", help="Where the store's model is; default: where it was collected from."),
    ] = None,
    neurons: Annotated[str, typer.Option(metavar="L2N10,L3N4", help="Which ones, separated by commas.")] = "",
    where: Annotated[str, typer.Option(metavar="FILTER", help="All that fit, e.g. 'kind:token layer:0-2'.")] = "",
    together: Annotated[
        bool, typer.Option("--together", help="Take all of them away at once, as one set, instead of one at a time.")
    ] = False,
    mode: Annotated[
        str,
        typer.Option(metavar="|".join(ABLATION_MODES), help="Set them to 0, or to their mean over the kept windows."),
    ] = "zero",
    tokens: Annotated[
        int, typer.Option(metavar="N", min=1, help="Test kept windows of about N tokens.")
    ] = TESTED_TOKENS,
    data: Annotated[
        Path | None,
        typer.Option(metavar="PATH", help="Test this text instead: a file or folder, as for collect."),
    ] = None,
    text: Annotated[str | None, typer.Option(metavar="TEXT", help="Test this text instead, as one window.")] = None,
    intervals: Annotated[
        bool, typer.Option("--intervals", help="More columns: the 95% intervals of the other two means.")
    ] = False,
    batch_size: Annotated[
        int | None,
        typer.Option(metavar="N", help="Windows per batch; changes results by rounding only."),
    ] = None,
    device: Annotated[str, typer.Option(metavar="auto|cpu|cuda|mps", help="What to compute on.")] = "auto",
    trust_remote_code: Annotated[
        bool, typer.Option("--trust-remote-code", help="Run the Python code that comes with the model.")
    ] = False,
    format: Annotated[
        str | None,
        typer.Option(metavar="|".join(FORMATS), help="How to write it; default table, into a file csv."),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output", "-o", metavar="FILE", help="Append rows to FILE; neurons that it has already are left out."
        ),
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace FILE if it exists.")] = False,
) -> None:
    """Take neurons away and say what that does to the loss: over the kept windows of a store, or other text."""
    if bool(neurons) == bool(where):
        raise UserError("say which neurons to take away: --neurons L2N10,L3N4 or --where FILTER, one of them")
    if data is not None and text is not None:
        raise UserError("--data and --text exclude each other; give one")
    if mode not in ABLATION_MODES:
        raise UserError(f"--mode {mode}: known are {', '.join(ABLATION_MODES)}")
    format = _format(format, output)
    check_address_space()
    with open_store(store) as opened, ExitStack() as stack:
        keys = [parse_neuron(name) for name in neurons.split(",")] if neurons else _selected(opened, where)
        if not keys:
            print(safe(f"no neuron fits {where}", sys.stderr), file=sys.stderr)
            raise typer.Exit(1)
        from ffnscope.core.effects import rows
        from ffnscope.core.effects.ablation import ablate as run
        from ffnscope.core.effects.ablation import check_neurons
        from ffnscope.core.effects.replay import zero_when_off
        from ffnscope.core.run.model import load_run_model
        from ffnscope.tui.commands.progress import Reporter

        keys = check_neurons(opened, keys)
        tested = _windows(opened, model, tokens, data, text, trust_remote_code)
        columns = (*rows.COLUMNS, *rows.INTERVALS) if intervals else rows.COLUMNS
        file = None
        if output is not None:
            origin = rows.Origin.of(opened, tested)
            file = stack.enter_context(_open_file(output, format, mode, origin, columns, together, overwrite))
        left = [key for key in keys if file is None or key not in file.finished]
        say_rule(opened)
        _describe(keys, left, tested, together)
        if not left:
            return
        done = 0
        try:
            with Reporter() as report:
                progress = show_progress(report)
                progress("loading the model", 0.0)
                loaded = load_run_model(opened.run, model, device, trust_remote_code)
                if mode == "zero" and not zero_when_off(loaded):
                    report("this model's activation function is not 0 where a neuron is off: every window is replayed")
                options: dict[str, Any] = {"together": together, "mode": mode, "windows": tested}
                options |= {"batch_size": batch_size, "progress": progress}
                for effect in _written(run(opened, left, loaded, **options), file, format, columns):
                    done += len(effect.neurons)
        except KeyboardInterrupt:
            kept = f"; the rows of {len(keys) - len(left) + done:,} of {len(keys):,} are in {output}" if file else ""
            again = ", and the same command continues" if file and not together else ""
            print(safe(f"ffnscope: stopped{kept}{again}", sys.stderr), file=sys.stderr)
            raise
    if file is not None:
        print(f"{done:,} neurons written to {safe(str(output), sys.stderr)}", file=sys.stderr)


def _format(format: str | None, output: Path | None) -> str:
    if format is None:
        if output is None:
            return "table"
        return row_format(output)
    if format not in FORMATS:
        raise UserError(f"--format {format}: known are {', '.join(FORMATS)}")
    if output is not None and format == "table":
        raise UserError("--output: a table is for the terminal; give --format csv or jsonl")
    return format


def row_format(path: Path) -> str:
    """The format of a file of rows, by its name."""
    return "jsonl" if path.suffix == ".jsonl" else "csv"


def _selected(store: Store, where: str) -> list[tuple[int, int]]:
    from ffnscope.store.query import columns
    from ffnscope.store.query.filter import parse_filter
    from ffnscope.store.query.select import own_marks, select

    parsed = parse_filter(where, columns.domain_names(store))
    return [(layer, neuron) for layer, neuron in select(store, parsed, None, *own_marks(store, parsed)).tolist()]


def _windows(
    store: Store, model: str | None, tokens: int, data: Path | None, text: str | None, trust: bool
) -> TestedWindows:
    from ffnscope.core.effects.windows import kept_windows, window_of_text, windows_of_files

    if data is None and text is None:
        return kept_windows(store, tokens)
    from ffnscope.core.model.tokenizer import load_tokenizer
    from ffnscope.core.run.model import open_run_model

    tokenizer = load_tokenizer(open_run_model(store.run, model, trust))
    if data is not None:
        return windows_of_files(store, data.expanduser(), tokenizer, tokens)
    return window_of_text(store, text or "", tokenizer)


def _open_file(
    output: Path, format: str, mode: str, origin: Origin, columns: tuple[str, ...], together: bool, overwrite: bool
) -> EffectFile:
    from ffnscope.core.effects.rows import EffectFile
    from ffnscope.store.atomic_write import check_writable

    # Rows of single neurons are continued; the row of a set doesn't say which set it was.
    check_writable(output, overwrite or not together)
    file = EffectFile(output, format, mode, origin, columns, fresh=overwrite or together)
    if not file.tied:
        print(safe(untied(output), sys.stderr), file=sys.stderr)
    return file


def untied(path: Path) -> str:
    """A line for a file of rows that does not say which store they are of."""
    return (
        f"{path}: started by an earlier version of ffnscope, whose rows do not say which store and windows they are of; make "
        "sure that it is this one"
    )


def _describe(keys: list[Key], left: list[Key], tested: TestedWindows, together: bool) -> None:
    length = tested.tokens.shape[1]
    what = f"{len(keys):,} neurons" + (" together" if together else "") if len(keys) > 1 else "1 neuron"
    line = f"{what} on {tested.source}, {tested.positions:,} positions of windows of {length:,}"
    if len(left) < len(keys):
        line += f"; {len(keys) - len(left):,} are in the file already"
    print(safe(line, sys.stderr), file=sys.stderr)


def show_progress(report: Callable[[Progress | str], None]) -> Callable[[str, float], None]:
    """Reports what is being done and the share that is done, with the time left."""
    from ffnscope.store.records import Progress

    started = time.monotonic()

    def say(what: str, share: float) -> None:
        seconds = (time.monotonic() - started) * (1 - share) / share if share > 0.05 else None
        report(Progress("collecting", phase=what, fraction=share, seconds_left=seconds))

    return say


def _written(
    effects: Iterator[Effect], file: EffectFile | None, format: str, columns: tuple[str, ...]
) -> Iterator[Effect]:
    """The effects, each after it was written."""
    from ffnscope.core.effects.rows import header, line

    if file is None:
        prepare_stdout()
        print(
            TABLE_HEAD if format == "table" else header(format, columns).rstrip("\n"),
            end="\n" if format != "jsonl" else "",
        )
    for effect in effects:
        if file is not None:
            file.append(effect)
        else:
            text = f"{table_line(effect)}\n" if format == "table" else line(effect, format, columns)
            sys.stdout.write(text)
            sys.stdout.flush()
        yield effect


def table_line(effect: Effect) -> str:
    """One effect as a line under ``TABLE_HEAD``."""
    from ffnscope.tui.drawing.numbers import count, freq

    name = f"{len(effect.neurons):,} together" if effect.together else f"L{effect.layer}N{effect.neuron}"
    interval = f"{_signed(effect.delta_loss_low)} {_signed(effect.delta_loss_high)}"
    return (
        f"{name:<12} {_signed(effect.delta_loss):>10} {interval:>22} {count(effect.active_positions):>9} "
        f"{_signed(effect.delta_loss_active):>12} {_signed(effect.delta_trigger_logit):>13} {freq(effect.changed):>7}"
    )


def _signed(value: float) -> str:
    return "-" if value != value else f"{value:+.2e}" if value else "0"
