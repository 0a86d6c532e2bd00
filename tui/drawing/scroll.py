"""The first row shown, so that the cursor stays in view."""

from __future__ import annotations


def scroll(top: int, cursor: int, rows: int, height: int, step: int = 0) -> int:
    """The first row in view so that the cursor is; scrolls ``step`` rows at least, 0 for a quarter page.

    Beside other panes every row is sent again, so that over SSH scrolling by a quarter page takes a quarter of the bytes; a list
    on its own is moved by the terminal, and row by row sends least at once.
    """
    height = max(height, 1)
    step = step or max(height // 4, 1)
    if cursor < top:
        top = cursor if top - cursor > height else max(cursor - step + 1, 0)
    elif cursor >= top + height:
        far = cursor - (top + height) >= height
        top = cursor - height // 2 if far else cursor - height + step
    return max(0, min(top, rows - height))
