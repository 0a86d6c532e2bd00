"""What OPT models need for 5M tokens on one GPU, by arithmetic: prints the table of core/LARGE_MODELS.md.

    python tests/bench/sizes.py [--tflops 400]

Assumed, not measured: 400 TFLOP/s of a forward pass in half precision, 45 in float32, memory of a GPU at 2.5 TB/s, recording 4%.

hidden states   tokens * d * 2 bytes (float16), once, in the host's memory
bits a layer    tokens * F / 8 bytes, and 8 bytes a window and neuron for sums and maxima
scratch         bits of two layers: one is counted while the next one runs
weights         12 * d * d * 2 bytes a layer, with --offload; each crosses the bus once for all data
bus             weights once; bits of every layer to the host; where the GPU counts, up again twice, and in order to the host;
                hidden states between layers both ways
disk traffic    bits, written and read once; less where they stay in the page cache
forward         (2 * 12 * d * d + 2 * T * d) * L * tokens floating-point operations: attention looks back only
counting        tokens * L * F neurons * 2.2 ms per million positions and neuron on 14 cores, 1.6 ms where the GPU puts bits in
                order and counts n-grams: measured by tests/bench/counting.py --tokens 5000000, 6% active by liking of the token
n-grams         counted by the GPU, 0.04 ms per million positions and neuron: 95 bytes a position, by its memory
ordering        by the GPU, of the same neurons, 0.01 ms: 13 bytes a position, doubled since some are copied in strides
projecting      2 * F * (V + F) * d * L operations in float32
together        the slower of GPU (the model with recording, projecting, its share of ordering and n-grams) and host (counting),
                with the share for which that takes least; then the last layer's counting
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass

TOKENS, SEQ_LEN, VOCABULARY = 5_000_000, 2048, 50_272
FLOAT32_FLOPS, RECORDING = 45e12, 1.04
CORES = 14
ALL_SECONDS, REST_SECONDS, DEVICE_SECONDS = 2.2e-9, 1.6e-9, 0.05e-9  # per neuron and position; the host's per core
GB = 1e9
SHARES = [share / 100 for share in range(101)]


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


def row(shape: Shape, flops: float) -> str:
    """The table's line."""
    bits = TOKENS * shape.neurons / 8 + 8 * TOKENS / SEQ_LEN * shape.neurons
    hidden = TOKENS * shape.width * 2
    weights = 12 * shape.width**2 * 2
    counted = TOKENS * shape.layers * shape.neurons
    forward = (24 * shape.width**2 + 2 * SEQ_LEN * shape.width) * shape.layers * TOKENS / flops
    projecting = 2 * shape.neurons * (VOCABULARY + shape.neurons) * shape.width * shape.layers / FLOAT32_FLOPS

    def sides(share: float) -> tuple[float, float]:
        """Seconds of the GPU and of the host, where the GPU orders and counts that share of the neurons."""
        device = forward * RECORDING + projecting + share * counted * DEVICE_SECONDS
        return device, counted * (ALL_SECONDS - share * (ALL_SECONDS - REST_SECONDS)) / CORES

    share = min(SHARES, key=lambda share: max(sides(share)))
    together = max(sides(share)) + counted * REST_SECONDS / CORES / shape.layers
    bus = weights * shape.layers + (1 + 3 * share) * bits * shape.layers + 2 * hidden * (shape.layers - 1)
    return (
        f"| {shape.name} | {shape.layers} x {shape.neurons:,} | {hidden / GB:,.0f} GB | {2 * bits / GB:,.0f} GB "
        f"| {weights / GB:,.2f} GB | {bus / GB:,.0f} GB | {2 * bits * shape.layers / GB:,.0f} GB "
        f"| {forward / 60:,.1f} min | {sides(share)[1] / 60:,.1f} min | {share:.0%} | {together / 60:,.1f} min |"
    )


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--tflops", type=float, default=400.0)
    flops = parser.parse_args().tflops * 1e12
    heads = "model|neurons|hidden states|scratch|weights of a layer|bus|disk traffic|forward|counting|n-grams by the GPU|together"
    print("| " + heads.replace("|", " | ") + " |")
    print("|" + "---|" * len(heads.split("|")))
    for shape in SHAPES:
        print(row(shape, flops))


if __name__ == "__main__":
    main()
