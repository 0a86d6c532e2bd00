"""How many windows' activation bits a run keeps in its store."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

from ffnscope.store.errors import UserError
from ffnscope.store.format.kept_bits import LEAST_WINDOWS, kept_windows, position_bytes, windows_kept

GB = 10**9
MB = 10**6


def parse_keep(text: str | None, gigabytes: float) -> int | None:
    """``--keep``: how many windows, -1 for all, None where ``--keep-gb`` decides. Raises UserError."""
    if not gigabytes > 0:
        raise UserError(f"--keep-gb {gigabytes:g}: must be a size in GB above 0; --keep 0 keeps no bits")
    if text is None:
        return None
    if text.strip().lower() == "all":
        return -1
    if not (text.strip().isascii() and text.strip().isdigit()):
        raise UserError(f"--keep {text}: give all, 0 for none, or how many windows' bits to keep")
    return int(text)


def choose_keep(
    text: str | None, gigabytes: float, sizes: Sequence[int], *, seq_len: int, neurons: int, layers: int
) -> int:
    """K: windows of the counted domains, which have ``sizes`` windows each, whose bits are kept.

    As asked for, but never more than there are; else as many as fit ``gigabytes``, none where that is less than 16 of them
    (and less than all), and a few less where nearly all of them would be of even number: scores are compared between
    windows of even and of odd number. Raises UserError.
    """
    windows, number = sum(sizes), parse_keep(text, gigabytes)
    if number is not None:
        return windows if number < 0 else min(number, windows)
    fitting = min(windows, int(gigabytes * GB / kept_bytes(1, seq_len=seq_len, neurons=neurons, layers=layers)))
    least = min(LEAST_WINDOWS, windows)
    if fitting < least:
        return 0
    numbers = range(fitting, max(least, fitting - fitting // 8) - 1, -1)
    return next((keep for keep in numbers if is_balanced(sizes, keep)), fitting)


def is_balanced(sizes: Sequence[int], keep: int) -> bool:
    """Whether windows of even and of odd number are at least a third of the kept ones each."""
    odd = int((kept_windows(sizes, keep) % 2).sum())
    return 3 * min(odd, keep - odd) >= keep


def kept_bytes(windows: int, *, seq_len: int, neurons: int, layers: int) -> int:
    """Bytes that the bits of so many windows take in the store, at most."""
    return windows * seq_len * layers * position_bytes(neurons)


def describe_keep(keep: int, sizes: Sequence[int], size: int) -> str:
    """What a run keeps, in a sentence."""
    windows = sum(sizes)
    if not keep:
        return "keeps no activation bits, so `ffnscope ask` and `contexts` cannot answer; --keep and --keep-gb say how many"
    by_domain = ", ".join(f"{count:,}" for count in windows_kept(sizes, keep))
    domains = f" ({by_domain} of each domain)" if keep < windows and len(sizes) > 1 else ""
    written = f"{size / GB:.2f} GB" if size >= GB / 10 else f"{size / MB:.1f} MB"
    line = f"keeps the activation bits of {keep:,} of {windows:,} windows{domains}, {written}"
    if keep >= LEAST_WINDOWS and not is_balanced(sizes, keep):
        odd = int((kept_windows(sizes, keep) % 2).sum())
        line += (
            f"; {keep - odd:,} of them have an even number and {odd:,} an odd one, so that scores on one half say little: "
            "another --keep mixes them"
        )
    return line


def check_room(store: Path, size: int) -> None:
    """Raise UserError where the disk that the store lies on has not so many bytes free."""
    free = shutil.disk_usage(next(folder for folder in (store, *store.resolve().parents) if folder.exists())).free
    if size > free:
        raise UserError(
            f"{store}: kept activation bits take {size / GB:.2f} GB and {free / GB:.2f} GB are free; keep fewer with --keep "
            "or --keep-gb, or --keep 0"
        )
