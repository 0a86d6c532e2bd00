"""Numbers as JSON text: float32 in its shortest form that reads back exactly."""

from __future__ import annotations

import numpy as np

_LONGEST = 12  # characters that 9 digits, a sign and a point, or an exponent can take


def float_texts(values: np.ndarray) -> list[str]:
    """The shortest decimal text of each float32 that reads back as the same float32; "null" for NaN and infinities.

    The digits are those of ``str(numpy.float32)``, found several times as fast: numpy converts one number at a time.
    """
    flat = np.asarray(values, np.float32).ravel()
    finite = np.isfinite(flat)
    exact = np.where(finite, flat, 0).astype(np.float64)
    exponent = np.floor(np.log10(np.abs(np.where(exact == 0, 1.0, exact))))
    shortest = exact.copy()
    rest = np.arange(len(flat))  # those that fewer digits may do for
    for digits in range(9, 0, -1):
        power = np.power(10.0, digits - 1 - exponent[rest])
        candidate = np.rint(exact[rest] * power) / power
        with np.errstate(over="ignore"):
            same = candidate.astype(np.float32) == flat[rest]
        rest, candidate = (rest, np.where(same, candidate, shortest)) if digits > 6 else (rest[same], candidate[same])
        shortest[rest] = candidate
        if not len(rest):
            break
    texts = [repr(value) for value in shortest.tolist()]
    # The division does not always give the double nearest to a short decimal: numpy's own conversion does.
    for i in np.flatnonzero(np.fromiter(map(len, texts), np.int64, len(texts)) > _LONGEST).tolist():
        texts[i] = str(flat[i])
    for i in np.flatnonzero(~finite).tolist():
        texts[i] = "null"
    return texts
