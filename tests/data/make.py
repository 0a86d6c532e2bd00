"""Make the golden store of the present format, and the CSV that every later version must export from it.

``python tests/data/make.py`` from the repository's root. A format that was released is never made anew: a store of it
must stay readable as it is.
"""

from __future__ import annotations

import io
import sys
import tempfile
from pathlib import Path
from unittest import mock

import lmdb

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent / "support"))

from synthetic import make_store  # noqa: E402

from ffnscope.store.export.write import write  # noqa: E402
from ffnscope.store.format.schema import FORMAT_VERSION  # noqa: E402
from ffnscope.store.reader import Store  # noqa: E402
from ffnscope.store.verify.check import verify  # noqa: E402


def main() -> None:
    """Write format-N/data.mdb and format-N.csv beside this file, the same bytes on every machine."""
    folder = HERE / f"format-{FORMAT_VERSION}"
    folder.mkdir(exist_ok=True)
    with (
        tempfile.TemporaryDirectory() as scratch,
        mock.patch("time.time", return_value=1_767_225_600.0),
        mock.patch("socket.gethostname", return_value="golden"),
        mock.patch("os.getpid", return_value=1),
    ):
        made = make_store(
            Path(scratch) / "made.ffn",
            layers=2,
            neurons=8,
            seed=5,
            vocabulary=120,
            seq_len=16,
            windows=24,
            top_k=4,
            count_only=("extra",),
            hostile=True,
            name="golden",
            keep=17,
        )
        (folder / "data.mdb").unlink(missing_ok=True)
        with lmdb.open(str(made), readonly=True, max_dbs=8) as environment:
            environment.copy(str(folder), compact=True)
        with Store.open(made) as store, io.StringIO() as out:
            assert not list(verify(store))
            write(store, out)
            (HERE / f"{folder.name}.csv").write_bytes(out.getvalue().encode())


if __name__ == "__main__":
    main()
