"""Machine words of bits in compiled loops: counting, finding and transposing them."""

from __future__ import annotations

from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from ffnscope.core.jit import jitable

WORD = 64  # positions in a word of bits


@intrinsic
def trailing_zeros(typing: Any, word: Any) -> Any:
    """Zero bits below the lowest bit set of a uint64."""

    def code(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.cttz(arguments[0], ir.Constant(ir.IntType(1), 0))

    return types.uint64(types.uint64), code


@intrinsic
def set_bits(typing: Any, word: Any) -> Any:
    """How many bits of a uint64 are set."""

    def code(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.ctpop(arguments[0])

    return types.uint64(types.uint64), code


@jitable
def turn(square: np.ndarray) -> None:
    """Transpose 64 x 64 bits in place: bit i of word j becomes bit j of word i."""
    mask = np.uint64(0x00000000FFFFFFFF)
    step = 32
    while step:
        shift = np.uint64(step)
        for first in range(0, 64, 2 * step):
            for low in range(first, first + step):
                swapped = ((square[low] >> shift) ^ square[low + step]) & mask
                square[low + step] ^= swapped
                square[low] ^= swapped << shift
        step >>= 1
        mask ^= mask << np.uint64(step)
