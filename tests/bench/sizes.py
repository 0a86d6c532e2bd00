"""What OPT models need for 5M tokens, by arithmetic: prints the table of core/LARGE_MODELS.md.

    python tests/bench/sizes.py

bits a layer    tokens * F / 8 bytes, and 8 bytes a window and neuron for sums and maxima
hidden states   tokens * d * 2 bytes (float16)
scratch         bits a layer * layers a group; with more than one group, twice that (one is counted while the next runs)
                and three times the hidden states: what entered either, and what leaves the second
weights         12 * d * d * 2 bytes a layer: each crosses the bus once for all data
disk traffic    bits, and hidden states between groups, each written once and read once
forward         (2 * 12 * d * d + 4 * T * d) * L * tokens floating-point operations at 400 TFLOP/s
counting        tokens * L * F neurons * 2 ms per million positions and neuron (6% active) on 16 cores; while the GPU runs
                the next group
"""

from __future__ import annotations

from dataclasses import dataclass

TOKENS, SEQ_LEN = 5_000_000, 2048
FLOPS, CORES, COUNT_SECONDS = 400e12, 16, 2e-9
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
    Shape("OPT-6.7b", 32, 4096, 8),
    Shape("OPT-30b", 48, 7168, 4),
    Shape("OPT-66b", 64, 9216, 4),
)


def row(shape: Shape) -> str:
    bits = TOKENS * shape.neurons / 8 + 8 * TOKENS / SEQ_LEN * shape.neurons
    groups = shape.layers // shape.group
    hidden = TOKENS * shape.width * 2
    scratch = 2 * bits * shape.group + 3 * hidden if groups > 1 else bits * shape.group
    weights = 12 * shape.width**2 * 2
    traffic = 2 * bits * shape.layers + 2 * hidden * (groups - 1)
    forward = (24 * shape.width**2 + 4 * SEQ_LEN * shape.width) * shape.layers * TOKENS / FLOPS
    counting = TOKENS * shape.layers * shape.neurons * COUNT_SECONDS / CORES
    return (
        f"| {shape.name} | {shape.layers} x {shape.neurons:,} | {groups} of {shape.group} "
        f"| {scratch / GB:,.0f} GB | {weights * shape.group / GB:,.1f} GB "
        f"| {weights * shape.layers / GB:,.1f} GB | {traffic / GB:,.0f} GB | {forward / 60:,.1f} min | {counting / 60:,.1f} min |"
    )


def main() -> None:
    heads = "model|neurons|groups of layers|scratch|weights on the GPU|moved to it|disk traffic|forward|counting"
    print("| " + heads.replace("|", " | ") + " |")
    print("|---|---|---|---|---|---|---|---|---|")
    for shape in SHAPES:
        print(row(shape))


if __name__ == "__main__":
    main()
