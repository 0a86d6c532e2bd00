"""What OPT models need for 5M tokens on one GPU, by arithmetic: prints the table of core/LARGE_MODELS.md.

    python tests/bench/sizes.py

hidden states   tokens * d * 2 bytes (float16), once, in the host's memory
bits a layer    tokens * F / 8 bytes, and 8 bytes a window and neuron for sums and maxima
scratch         bits of two layers: one is counted while the next one runs
weights         12 * d * d * 2 bytes a layer, with --offload; each crosses the bus once for all data
bus             weights once; bits of every layer to the host, and up again to be counted; hidden states between layers both ways
disk traffic    bits, written and read once; less where they stay in the page cache
forward         (2 * 12 * d * d + 4 * T * d) * L * tokens floating-point operations at 400 TFLOP/s
counting        tokens * L * F neurons * 2.7 ms per million positions and neuron on 14 cores, the n-grams counted by the GPU;
                3.6 ms without it. Measured by CPU time on 1M positions of invented tokens, 6% active by liking of the token
projecting      2 * F * (V + F) * d * L operations in float32 at 45 TFLOP/s
together        the slower of model with recording (4% on top) and projecting, and counting; then the last layer's counting
"""

from __future__ import annotations

from dataclasses import dataclass

TOKENS, SEQ_LEN, VOCABULARY = 5_000_000, 2048, 50_272
FLOPS, FLOAT32_FLOPS, RECORDING = 400e12, 45e12, 1.04
CORES, COUNT_SECONDS = 14, 2.7e-9
GB = 1e9


@dataclass(frozen=True)
class Shape:
    name: str
    layers: int
    width: int

    @property
    def neurons(self) -> int:
        return 4 * self.width


SHAPES = (
    Shape("OPT-125m", 12, 768),
    Shape("OPT-1.3b", 24, 2048),
    Shape("OPT-6.7b", 32, 4096),
    Shape("OPT-30b", 48, 7168),
    Shape("OPT-66b", 64, 9216),
)


def row(shape: Shape) -> str:
    bits = TOKENS * shape.neurons / 8 + 8 * TOKENS / SEQ_LEN * shape.neurons
    hidden = TOKENS * shape.width * 2
    weights = 12 * shape.width**2 * 2
    bus = weights * shape.layers + 2 * bits * shape.layers + 2 * hidden * (shape.layers - 1)
    forward = (24 * shape.width**2 + 4 * SEQ_LEN * shape.width) * shape.layers * TOKENS / FLOPS
    counting = TOKENS * shape.layers * shape.neurons * COUNT_SECONDS / CORES
    projecting = 2 * shape.neurons * (VOCABULARY + shape.neurons) * shape.width * shape.layers / FLOAT32_FLOPS
    together = max(forward * RECORDING + projecting, counting) + counting / shape.layers
    return (
        f"| {shape.name} | {shape.layers} x {shape.neurons:,} | {hidden / GB:,.0f} GB | {2 * bits / GB:,.0f} GB "
        f"| {weights / GB:,.2f} GB | {bus / GB:,.0f} GB | {2 * bits * shape.layers / GB:,.0f} GB "
        f"| {forward / 60:,.1f} min | {counting / 60:,.1f} min | {together / 60:,.1f} min |"
    )


def main() -> None:
    heads = "model|neurons|hidden states|scratch|weights of a layer|bus|disk traffic|forward|counting|together"
    print("| " + heads.replace("|", " | ") + " |")
    print("|---|---|---|---|---|---|---|---|---|---|")
    for shape in SHAPES:
        print(row(shape))


if __name__ == "__main__":
    main()
