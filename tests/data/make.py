"""Make the golden stores of the present format, and the CSV that every later version must export from each.

``python tests/data/make.py`` from the repository's root. One is synthetic, the same bytes on every machine; the others
are collected from tiny random models, for the groups of arrays that only real runs have. A format that was released is
never made anew: a store of it must stay readable as it is.
"""

from __future__ import annotations

import io
import sys
import tempfile
from pathlib import Path
from typing import Any
from unittest import mock

import lmdb
import numpy as np

HERE = Path(__file__).parent
sys.path.extend(map(str, (HERE.parent / "support").iterdir()))

import tiny_experts  # noqa: E402
import tiny_models  # noqa: E402
from exact import run, sources_of  # noqa: E402
from synthetic import write_store  # noqa: E402

from ffnscope.store.export.write import write  # noqa: E402
from ffnscope.store.format.schema import FORMAT_VERSION  # noqa: E402
from ffnscope.store.reader import Store  # noqa: E402
from ffnscope.store.verify.check import verify  # noqa: E402


def main() -> None:
    """Write format-N/data.mdb and format-N.csv beside this file, and those of the collected stores."""
    name = f"format-{FORMAT_VERSION}"
    with (
        tempfile.TemporaryDirectory() as scratch,
        mock.patch("time.time", return_value=1_767_225_600.0),
        mock.patch("socket.gethostname", return_value="golden"),
        mock.patch("os.getpid", return_value=1),
    ):
        made = write_store(
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
        keep_golden(made, name)
        llama = tiny_models.tiny("llama", Path(scratch) / "llama", num_hidden_layers=2)
        keep_golden(collected(Path(scratch) / "thresholds", llama, activated="share:0.05"), f"{name}-thresholds")
        experts = tiny_experts.tiny_experts("deepseek_v3", Path(scratch) / "experts")
        keep_golden(collected(Path(scratch) / "routed", experts), f"{name}-experts")


def collected(folder: Path, model: Path, **options: Any) -> Path:
    """A run over random windows with most of its windows' bits kept, so that it has descriptions."""
    rng = np.random.default_rng(0)
    domains = {
        name: tiny_models.random_windows(rng, count, 24, tiny_models.VOCAB, tiny_models.BOS_ID)
        for name, count in (("one", 30), ("two", 20), ("more", 4))
    }
    options |= {"bos_id": tiny_models.BOS_ID, "batch_size": 8, "min_occurrences": 1, "top_k": 4, "keep": "37"}
    return run(model, sources_of(folder / "data", domains, ["more"]), folder / "run.ffn", **options)


def keep_golden(made: Path, name: str) -> None:
    """Copy a store beside this file, with the CSV that it exports."""
    folder = HERE / name
    folder.mkdir(exist_ok=True)
    (folder / "data.mdb").unlink(missing_ok=True)
    with lmdb.open(str(made), readonly=True, max_dbs=8) as environment:
        environment.copy(str(folder), compact=True)
    with Store.open(made) as store, io.StringIO() as out:
        assert not list(verify(store))
        write(store, out)
        (HERE / f"{name}.csv").write_bytes(out.getvalue().encode())


if __name__ == "__main__":
    main()
