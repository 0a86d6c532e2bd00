"""``ffnscope collect``: options to a request, and the run under a progress bar."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ffnscope.store.activation_rule import POSITIVE
from ffnscope.store.definitions import KEEP_GB, MIN_OCCURRENCES, TOP_K
from ffnscope.store.errors import UserError
from ffnscope.tui.commands import shared
from ffnscope.tui.commands.shared import is_main_process, safe

if TYPE_CHECKING:
    from ffnscope.core.run.request import CollectRequest

LEAST_ADDRESS_SPACE = 2 << 30
COUNT_ON = ("auto", "host", "device")
DTYPES = ("auto", "float32", "float16", "bfloat16")


def collect(
    model: Annotated[
        str, typer.Argument(metavar="MODEL", help="A folder, a hub id, or a .gguf file.", show_default=False)
    ],
    data: Annotated[
        list[str],
        typer.Option(metavar="NAME=PATH", help="A domain and its file or folder; repeat for more.", show_default=False),
    ],
    store: Annotated[Path, typer.Option(metavar="DIR", help="Folder for the statistics.", show_default=False)],
    count_only: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME=PATH", help="A domain for frequencies and dead neurons only."),
    ] = None,
    text_field: Annotated[
        list[str] | None,
        typer.Option(metavar="FIELD", help="Field or column of rows; NAME=FIELD for one domain."),
    ] = None,
    revision: Annotated[
        str | None,
        typer.Option(metavar="REV", help="Branch, tag or commit of a hub model.", show_default=False),
    ] = None,
    seq_len: Annotated[
        int | None, typer.Option(metavar="T", min=2, help="Positions per window; default: the model's.")
    ] = None,
    max_tokens: Annotated[int | None, typer.Option(metavar="N", min=1, help="At most N tokens per domain.")] = None,
    batch_size: Annotated[
        int | None, typer.Option(metavar="N", min=1, help="Windows run together; default: chosen.")
    ] = None,
    layers: Annotated[str, typer.Option(metavar="0-5,8", help="Layers to collect.")] = "all",
    device: Annotated[str, typer.Option(metavar="auto|cpu|cuda|mps", help="Where to run.")] = "auto",
    dtype: Annotated[str, typer.Option(metavar="|".join(DTYPES), help="Type of the weights.")] = "auto",
    min_occurrences: Annotated[
        int, typer.Option(metavar="N", min=1, help="Least occurrences of a detected n-gram.")
    ] = MIN_OCCURRENCES,
    top_k: Annotated[
        int, typer.Option(metavar="K", min=1, help="Length of the promoted and suppressed lists.")
    ] = TOP_K,
    resume: Annotated[bool, typer.Option("--resume", help="Continue the run in the store.")] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace the run in the store.")] = False,
    offload: Annotated[bool, typer.Option("--offload", help="Keep one group of layers on the device.")] = False,
    scratch: Annotated[
        str | None,
        typer.Option(
            metavar="DIR|memory|disk",
            help="Folder for temporary files; memory or disk (memory:DIR) say where hidden states are kept.",
            show_default=False,
        ),
    ] = None,
    scratch_gb: Annotated[
        float | None, typer.Option(metavar="N", min=0.0, help="At most N GiB of temporary files.")
    ] = None,
    group_layers: Annotated[
        int | None,
        typer.Option(metavar="N", min=1, help="Layers per group; default: as many as fit."),
    ] = None,
    count_on: Annotated[
        str,
        typer.Option(
            metavar="|".join(COUNT_ON), help="What counts n-grams; auto: the host, and a GPU where it would wait."
        ),
    ] = "auto",
    bos_id: Annotated[int | None, typer.Option(metavar="ID", min=0, help="The token that begins each window.")] = None,
    keep: Annotated[
        str | None,
        typer.Option(
            metavar="all|N|0",
            help="Keep the activation bits of all, N or no windows, for ask and contexts; default as many as fit --keep-gb.",
        ),
    ] = None,
    keep_gb: Annotated[
        float, typer.Option(metavar="X", help="At most X GB of activation bits in the store.")
    ] = KEEP_GB,
    activated: Annotated[
        str,
        typer.Option(
            metavar="positive|share:Q",
            help="When a neuron counts as activated: its input is above 0, or |a| is among its largest share Q (for gated "
            "FFNs, as in share:0.01).",
        ),
    ] = POSITIVE,
    plan: Annotated[
        bool,
        typer.Option(
            "--plan", help="Print the groups, memory, scratch and time that the run would take; start nothing."
        ),
    ] = False,
    view: Annotated[
        bool, typer.Option("--view", help="Open the browser at once; layers appear as they finish.")
    ] = False,
    trust_remote_code: Annotated[
        bool, typer.Option("--trust-remote-code", help="Run code that comes with the model.")
    ] = False,
) -> None:
    """Run MODEL over a corpus and fill a store with the statistics of its neurons."""
    _check("--dtype", dtype, DTYPES)
    _check("--count-on", count_on, COUNT_ON)
    check_address_space()
    name = safe(str(store), sys.stderr)
    if view and not plan:
        _browse_meanwhile(store, name, group_layers)
        return
    from ffnscope.core.corpus.sources import parse_sources

    sources = parse_sources(data, count_only or (), text_field or ())
    try:
        # In the try block: the imports alone take seconds, in which a user may press Ctrl-C.
        from ffnscope.core.run.compile_ahead import compile_ahead

        compile_ahead()  # before PyTorch is imported, which takes seconds
        from ffnscope.core.collect import collect as run
        from ffnscope.core.run.request import CollectRequest, parse_scratch
        from ffnscope.tui.commands.progress import Reporter, ignore_lost_stderr

        hidden, folder = parse_scratch(scratch)
        request = CollectRequest(
            model=model,
            sources=sources,
            store=store,
            seq_len=seq_len,
            max_tokens=max_tokens,
            batch_size=batch_size,
            layers=layers,
            device=device,
            dtype=dtype,
            min_occurrences=min_occurrences,
            top_k=top_k,
            resume=resume,
            overwrite=overwrite,
            offload=offload,
            scratch=folder,
            hidden=hidden,
            scratch_gb=scratch_gb,
            group_layers=group_layers,
            count_on=count_on,
            bos_id=bos_id,
            keep=keep,
            keep_gb=keep_gb,
            activated=activated,
            trust_remote_code=trust_remote_code,
            revision=revision,
        )
        if plan:
            _print_plan(request)
            return
        with Reporter() as report:
            run(request, report)
        if is_main_process():
            with ignore_lost_stderr():
                print(f"{name}: complete; ffnscope view {name} opens it", file=sys.stderr)
    except KeyboardInterrupt:
        if is_main_process():
            print(f"ffnscope: stopped; the same command with --resume continues ({name})", file=sys.stderr)
        raise


def _print_plan(request: CollectRequest) -> None:
    """A line for each figure of the plan, each with how it is known."""
    from ffnscope.core.run.plan import plan_run
    from ffnscope.tui.commands.progress import Reporter

    with Reporter() as report:
        lines = plan_run(request, report)
    names, kinds = (
        max(len(part) for part in column) for column in zip(*((x.name, x.kind) for x in lines), strict=True)
    )
    for line in lines:
        print(f"{line.name:<{names}}  {line.kind:<{kinds}}  {safe(line.text, sys.stdout)}")


def _browse_meanwhile(store: Path, name: str, group_layers: int | None) -> None:
    """The same command in a process of its own, and the browser on its store."""
    from ffnscope.tui.commands.background_run import collect_and_browse
    from ffnscope.tui.commands.view import check_terminal

    check_terminal("collect --view", "without --view it runs without one")
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise UserError("--view: several processes collect here; start them without it, and `ffnscope view` the store")
    arguments = [argument for argument in shared.given if argument != "--view"]
    if group_layers is None:
        arguments += ["--group-layers", "1"]  # layers of one group are finished together, at its end
    done = f"{name}: complete"
    collect_and_browse(arguments, store, lambda: print(done, file=sys.stderr), again="the same command with --resume")


def check_address_space() -> None:
    """Raise UserError for less address space than PyTorch and numba need: they abort or hang without it."""
    import resource

    limit = resource.getrlimit(resource.RLIMIT_AS)[0]
    if limit != resource.RLIM_INFINITY and limit < LEAST_ADDRESS_SPACE:
        raise UserError(
            f"collecting needs {LEAST_ADDRESS_SPACE >> 30} GiB of address space more than the model, but "
            f"`ulimit -v` allows {limit / (1 << 30):.1f} GiB; raise it"
        )


def _check(option: str, given: str, known: tuple[str, ...]) -> None:
    if given not in known:
        raise UserError(f"{option} {given!r}: must be one of {', '.join(known)}")
