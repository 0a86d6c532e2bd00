"""``ffnscope ask``: the neurons that fire on a set of positions."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated, Any, TextIO

import typer
from typer.core import TyperCommand

from ffnscope.tui.commands.shared import (
    OutputFile,
    Overwrite,
    StorePath,
    check_format,
    open_store,
    safe,
    say_rule,
    write_result,
)

if TYPE_CHECKING:
    from ffnscope.store.query.ask import Answer

FORMATS = ("table", "csv", "jsonl")
TABLE_ROWS = 20


class QueryCommand(TyperCommand):
    """A command whose last argument is a query. It may begin with the - of a negated term, which is not an option."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Put a query that begins with - behind ``--``, after all options."""
        valued = {name for param in self.params for name in param.opts if not getattr(param, "is_flag", False)}
        for index, argument in enumerate(args):
            if argument == "--":
                break
            if _negated(argument) and (index == 0 or args[index - 1] not in valued):
                args = [*args[:index], *args[index + 1 :], "--", argument]
                break
        return super().parse_args(ctx, args)


def _negated(argument: str) -> bool:
    if not argument.startswith("-") or ":" not in argument:
        return False
    from ffnscope.store.query.positions import TERMS

    return argument[1:].partition(":")[0].lower() in TERMS


def ask(
    store: StorePath,
    query: Annotated[
        str,
        typer.Argument(
            metavar="QUERY",
            help=r"Terms that must all hold, e.g. 'text:/\b(19|20)\d\d\b/ -domain:math'. Terms: text:/REGEX/, ends:/REGEX/, "
            "token:, prev:, domain:, position:, label:, concept:, neuron:L2N10; - before one negates it, | means or.",
        ),
    ],
    by: Annotated[str, typer.Option(metavar="f1|phi|mi|precision|recall|lift", help="What to rank by.")] = "f1",
    where: Annotated[
        str, typer.Option(metavar="FILTER", help="Only neurons that fit, e.g. 'layer:0-2 freq<0.1'.")
    ] = "",
    top: Annotated[
        int | None,
        typer.Option(metavar="N", min=1, help=f"The first N; default {TABLE_ROWS} in a table, else all."),
    ] = None,
    min_hits: Annotated[
        int, typer.Option(metavar="N", min=0, help="Only neurons activated at N or more of the positions.")
    ] = 0,
    format: Annotated[str, typer.Option(metavar="|".join(FORMATS), help="How to write it.")] = "table",
    output: OutputFile = None,
    overwrite: Overwrite = False,
) -> None:
    """Neurons that fire on a set of positions, best first: exact over the windows whose bits `collect --keep` kept."""
    from ffnscope.store.export.answers import write_answer
    from ffnscope.store.query.ask import ask as rank

    check_format(format, FORMATS, output, overwrite)
    with open_store(store) as opened:
        answer = rank(opened, query, by, where, TABLE_ROWS if top is None and format == "table" else top, min_hits)
        rule = say_rule(opened)
    print(safe(describe(answer), sys.stderr), file=sys.stderr)
    if not answer.matches:
        raise typer.Exit(1)

    def write(out: TextIO) -> None:
        if format == "table":
            out.write(f"{rule}\n" if rule and output else "")
            out.writelines(f"{line}\n" for line in table(answer))
        else:
            write_answer(out, answer, format)

    write_result(write, output, overwrite)


def describe(answer: Answer) -> str:
    """A sentence on a ranking: how large the set is, over what, and what chance reaches."""
    from ffnscope.tui.drawing.numbers import count, freq

    query = answer.query or "an empty query"
    where = f"{count(answer.positions)} kept of {count(answer.corpus_positions)} positions"
    if not answer.matches:
        return f"no position of {where} fits {query}"
    return (
        f"{count(answer.matches)} of {where} fit {query}; chance (the set moved by half of the kept windows) reaches "
        f"f1 {freq(answer.chance).strip()}"
    )


def table(answer: Answer) -> list[str]:
    """A ranking as lines."""
    from ffnscope.tui.drawing.numbers import count, freq, signed

    shares = ("f1", "precision", "recall", "f1_even", "f1_odd")
    head = f"{'neuron':<12} {'f1':>5} {'prec':>5} {'recall':>6} {'even':>5} {'odd':>5} {'phi':>5} {'mi':>5} {'lift':>7}"
    lines = [f"{head} {'hits':>11} {'activations':>11}"]
    for row in range(len(answer)):
        values = {name: column[row].item() for name, column in answer.columns.items()}
        f1, precision, recall, even, odd = (freq(values[name]) for name in shares)
        name = f"L{values['layer']}N{values['neuron']}"
        lift = f"{values['lift']:.3g}" if values["lift"] == values["lift"] else "-"
        lines.append(
            f"{name:<12} {f1:>5} {precision:>5} {recall:>6} {even:>5} {odd:>5} {signed(values['phi']):>5} "
            f"{freq(values['mi']):>5} {lift:>7} {count(values['hits']):>11} {count(values['activations']):>11}"
        )
    return lines
