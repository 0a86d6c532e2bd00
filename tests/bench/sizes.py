"""What OPT models need for 5M tokens, by arithmetic: prints the table of the README.

    python tests/bench/sizes.py

bits a layer    tokens * F / 8 bytes
hidden states   2 * tokens * d * 2 bytes (float16: those that enter a group and those that leave it)
scratch         bits a layer * layers a group, and the hidden states where there is more than one group
weights         12 * d * d * 2 bytes a layer: each crosses the bus once for all data
disk traffic    bits and hidden states, each written once and read once, hidden states for every group
forward         (2 * 12 * d * d + 4 * T * d) * L * tokens floating-point operations at 400 TFLOP/s
counting        tokens * L * F neurons * 6 ms per million positions and neuron (5% active) on 16 cores
"""

from __future__ import annotations

from dataclasses import dataclass

TOKENS, SEQ_LEN = 5_000_000, 2048
FLOPS, CORES, COUNT_SECONDS = 400e12, 16, 6e-9
GB = 1e9


@dataclass(frozen=True)
class Shape:
    name: str
    layers: int
    width: int
    group: int

    @property
    def neurons(self) -> int:
        return 4 * self.width


SHAPES = (
    Shape("OPT-125m", 12, 768, 12),
    Shape("OPT-1.3b", 24, 2048, 24),
    Shape("OPT-6.7b", 32, 4096, 16),
    Shape("OPT-30b", 48, 7168, 8),
    Shape("OPT-66b", 64, 9216, 8),
)


def row(shape: Shape) -> str:
    bits = TOKENS * shape.neurons / 8
    groups = shape.layers // shape.group
    hidden = 2 * TOKENS * shape.width * 2 if groups > 1 else 0.0
    weights = 12 * shape.width**2 * 2
    traffic = 2 * bits * shape.layers + hidden * groups
    forward = (24 * shape.width**2 + 4 * SEQ_LEN * shape.width) * shape.layers * TOKENS / FLOPS
    counting = TOKENS * shape.layers * shape.neurons * COUNT_SECONDS / CORES
    return (
        f"| {shape.name} | {shape.layers} x {shape.neurons:,} | {groups} of {shape.group} "
        f"| {(bits * shape.group + hidden) / GB:,.0f} GB | {weights * shape.group / GB:,.1f} GB "
        f"| {weights * shape.layers / GB:,.1f} GB | {traffic / GB:,.0f} GB | {forward / 60:,.1f} min | {counting / 60:,.0f} min |"
    )


def main() -> None:
    heads = "model|neurons|groups of layers|scratch|weights on the GPU|moved to it|disk traffic|forward|counting"
    print("| " + heads.replace("|", " | ") + " |")
    print("|---|---|---|---|---|---|---|---|---|")
    for shape in SHAPES:
        print(row(shape))


if __name__ == "__main__":
    main()
