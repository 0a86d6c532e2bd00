"""How transformers computes a mixture's experts, and capacity limits, which are refused."""

from __future__ import annotations

from typing import Any

from torch import nn

from ffnscope.store.errors import UserError

# Of transformers' implementations of experts: all rows in one product, sorted by expert, its default; or each row by
# itself, for sizes that torch's grouped product does not take. In both, ffnscope sees every row.
GROUPED, BATCHED = "grouped_mm", "batched_mm"
STACKED = "bmm"  # experts that all run for every token (every_token.py) have no other way
GROUPED_BYTES = 16  # rows of the grouped product are multiples of it


def choose_implementation(module: nn.Module, neurons: int, width: int) -> None:
    """Let experts with ``neurons`` each in a residual stream of ``width`` values be computed in the grouped product, or
    row by row where their configuration asks for that or the sizes of any layer need it."""
    weights: Any = module.down_proj
    configuration: Any = module.config
    aligned = all(size * weights.element_size() % GROUPED_BYTES == 0 for size in (neurons, width))
    by_row = configuration._experts_implementation == BATCHED
    configuration._experts_implementation = GROUPED if aligned and not by_row else BATCHED


def implementation(experts: nn.Module) -> str:
    """How an experts module is computed, as transformers calls it."""
    configuration: Any = getattr(experts, "config", None)
    return STACKED if configuration is None else str(configuration._experts_implementation)


def describe_implementation(chosen: str, asked: str | None) -> str:
    """A line's part that says how experts are computed, where their configuration ``asked`` for something."""
    if chosen == STACKED:
        return "its experts all run for every token; recorded are those that the token is routed to"
    line = f"its experts are computed by transformers' {chosen}"
    if asked == chosen:
        return f"{line}, as its configuration asks"
    if asked is None:
        return line if chosen == GROUPED else f"{line}, since torch's grouped product does not take their sizes"
    reason = (
        "since torch's grouped product does not take their sizes" if asked == GROUPED else "which shows every neuron"
    )
    return f"{line}, {reason}, not by {asked} as its configuration asks; values may differ in their last bits"


def refuse_capacity(layer: nn.Module, path: str, name: str) -> None:
    """Raise UserError where the experts ``path`` of a decoder layer, or their router, have a capacity: a token that is
    dropped beyond it is not seen by its expert, and which tokens these are depends on the others in the batch."""
    home, _, _ = path.rpartition(".")
    for inner, module in layer.get_submodule(home).named_modules():
        for attribute, value in vars(module).items():
            limited = "capacity" in attribute and isinstance(value, int | float) and value > 0
            if limited or (attribute == "drop_tokens" and value is True):
                where = ".".join(part for part in (home, inner, attribute) if part)
                raise UserError(
                    f"{name}: its experts have a capacity ({where} is {value}): tokens beyond it are dropped, so that counts "
                    "would depend on which windows run together; ffnscope cannot record such a mixture exactly"
                )
