"""Numbers as short text."""

from __future__ import annotations

import math


def freq(x: float) -> str:
    """A frequency or probability in exactly 5 characters: `    0`, ` 1.00`, ` .500`, `.0512`, ` 2e-5`; NaN is `-`.

    At most 3 significant digits. A value above 0 never reads 0 and one below 1 never reads 1. A negative
    value reads as in `signed`.
    """
    return _freq(float(x)).rjust(5)


def _freq(x: float) -> str:
    if math.isnan(x):
        return "-"
    if x == 0:
        return "0"
    if x < 0:
        return signed(x)
    if x >= 1:
        if math.isinf(x):
            return "inf"
        digits = next((d for d in (2, 1, 0) if len(f"{x:.{d}f}") <= 4), 0)
        plain = f"{x:.{digits}f}"
        return plain if len(plain) <= 5 else _short_exponent(x)
    if x >= 0.9995:
        rounded = f"{x:.4f}"
        return rounded[1:] if rounded[0] == "0" else ">.999"
    if x < 0.00095:
        return _short_exponent(x)
    return f"{x:.{3 if x >= 0.0995 else 4}f}"[1:]


def _short_exponent(x: float) -> str:
    mantissa, exponent = f"{x:.0e}".split("e")
    return f"{mantissa}e{int(exponent)}"


def count(n: int, compact: bool = False) -> str:
    """A count with thousands separators; `compact` keeps 3 digits from 10,000 on: `36.9k`, `12.3M`."""
    n = int(n)
    if not compact or abs(n) < 10_000:
        return f"{n:,}"
    return _scaled(n, 1000, ("", "k", "M", "G", "T", "P"))


def _scaled(n: float, step: float, units: tuple[str, ...], gap: str = "") -> str:
    value, unit = float(n), 0
    while abs(value) >= step * 0.9995 and unit < len(units) - 1:
        value /= step
        unit += 1
    size = abs(value)
    digits = 0 if unit == 0 or size >= 99.95 else 1 if size >= 9.995 else 2
    return f"{value:.{digits}f}{gap}{units[unit]}"


def percent(share: float, decimals: int = 0) -> str:
    """A share in 0..1 as a percentage. What is neither 0 nor 1 reads neither: `<1%`, `>-1%`, `>99%`; `-` for NaN."""
    if math.isnan(share):
        return "-"
    least = 10.0**-decimals
    text = f"{100 * share:.{decimals}f}"
    if share and float(text) == 0:
        return f"{'<' if share > 0 else '>-'}{least:.{decimals}f}%"
    if share < 1 and float(text) == 100:
        return f">{100 - least:.{decimals}f}%"
    return text + "%"


def signed(x: float) -> str:
    """Two decimals in at least 5 characters: `  .11`, ` -.14`, ` 1.25`; a minus survives rounding (` -.00`)."""
    if math.isnan(x):
        return "    -"
    if math.isinf(x):
        return "-inf".rjust(5) if x < 0 else "inf".rjust(5)
    text = f"{abs(x):.2f}"
    return (("-" if x < 0 else "") + (text[1:] if text.startswith("0.") else text)).rjust(5)


def duration(seconds: float) -> str:
    """Seconds in the units that matter: `0.4 s`, `12 s`, `2 min 05 s`, `1 h 23 min`, `2 d 4 h`; `-`: not known."""
    if not math.isfinite(seconds) or seconds < 0:
        return "-"
    if seconds < 9.95:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    if whole < 86400:
        return f"{whole // 3600} h {whole % 3600 // 60:02d} min"
    return f"{whole // 86400} d {whole % 86400 // 3600} h"


def filesize(n: int) -> str:
    """Bytes in powers of 1000 with 3 digits: `512 B`, `4.10 kB`, `1.25 GB`."""
    return _scaled(int(n), 1000, ("B", "kB", "MB", "GB", "TB", "PB"), gap=" ")
