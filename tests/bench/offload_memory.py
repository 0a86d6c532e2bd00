"""Peak memory of `collect` with and without --offload: `python tests/bench/offload_memory.py`.

Makes an OPT of random weights (24 layers of 50 MB by default) in shards, runs both in processes of their own, and
checks that the two stores are the same to the byte. Exits 1 where they differ or where the offloaded run takes more
than three layers, the embeddings and 1 GiB.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

sys.path.extend(map(str, (Path(__file__).resolve().parents[1] / "support").iterdir()))

import numpy as np

MIB = 1 << 20
RUN = """
import json, resource, sys, time
from pathlib import Path
from ffnscope.core.collect import collect
from ffnscope.core.run.request import CollectRequest
from ffnscope.core.corpus.sources import DomainSource
model, data, store, offload, batch = sys.argv[1:]
begun = time.perf_counter()
collect(CollectRequest(model, (DomainSource("random", Path(data)),), Path(store), device="cpu",
                       offload=offload == "True", batch_size=int(batch)))
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
print(json.dumps([peak, time.perf_counter() - begun]))
"""


def main() -> int:
    """Make the checkpoint and the data, run both, print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--layers", type=int, default=24)
    parser.add_argument("--width", type=int, default=1024)
    parser.add_argument("--vocabulary", type=int, default=8_192)
    parser.add_argument("--seq-len", type=int, default=256)
    parser.add_argument("--windows", type=int, default=8)
    parser.add_argument("--batch-size", type=int, default=4)
    parser.add_argument("--bin", action="store_true", help="one pytorch_model.bin in place of safetensors shards")
    parser.add_argument("--folder", type=Path, help="where to put the checkpoint and the stores; default temporary")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=given.folder) as name:
        return _measure(given, Path(name))


def _measure(given: argparse.Namespace, folder: Path) -> int:
    arguments = [str(folder / "model"), str(folder / "tokens.npy")]
    # The checkpoint is made in a process of its own, as its memory is not to be measured.
    made = subprocess.run(
        [sys.executable, "-c", f"import sys; sys.path.insert(0, {str(Path(__file__).parent)!r})\n"
         f"import offload_memory as o; o.make({given.layers}, {given.width}, {given.vocabulary}, {given.seq_len}, "
         f"{given.bin}, o.Path({arguments[0]!r}))"],
        check=True, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    layer, around = json.loads(made.stdout)
    shape = (given.windows, given.seq_len)
    np.save(arguments[1], np.random.default_rng(0).integers(3, given.vocabulary, shape, dtype=np.int64))
    limit = 3 * layer + around + 1024 * MIB
    print(f"{given.layers} layers of {layer / MIB:.0f} MiB, {around / MIB:.0f} MiB around them")
    peaks = {}
    for offload in (False, True):
        store = folder / f"store-{offload}"
        ran = subprocess.run(
            [sys.executable, "-c", RUN, *arguments, str(store), str(offload), str(given.batch_size)],
            check=True, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        peaks[offload], seconds = json.loads(ran.stdout.splitlines()[-1])
        print(f"{'--offload' if offload else 'resident':>10}: peak {peaks[offload] / MIB:6.0f} MiB, {seconds:.1f} s")
    from same_store import differing

    differ = differing(folder / "store-False", folder / "store-True")
    print(f"stores: {'the same to the byte' if not differ else 'DIFFER in ' + ', '.join(differ[:5])}")
    print(f"limit of 3 layers + embeddings + 1 GiB: {limit / MIB:.0f} MiB, used {peaks[True] / limit:.2f} of it")
    return 1 if differ or peaks[True] > limit else 0


def make(layers: int, width: int, vocabulary: int, seq_len: int, bin: bool, folder: Path) -> None:
    """Save an OPT of random weights; print the bytes of a layer and of what surrounds the layers, as JSON."""
    import torch
    from transformers import OPTConfig, OPTForCausalLM

    torch.manual_seed(0)
    model = OPTForCausalLM(
        OPTConfig(
            vocab_size=vocabulary,
            hidden_size=width,
            ffn_dim=4 * width,
            num_hidden_layers=layers,
            num_attention_heads=width // 64,
            word_embed_proj_dim=width,
            max_position_embeddings=max(2048, seq_len),
        )
    )
    with torch.no_grad():
        for layer in model.model.decoder.layers:
            layer.fc1.bias.fill_(-0.9)  # some 5% of the neurons are active
    if bin:
        folder.mkdir()
        model.config.save_pretrained(folder)
        torch.save(model.state_dict(), folder / "pytorch_model.bin")
    else:
        model.save_pretrained(folder, max_shard_size="300MB")
    sizes = [each.numel() * each.element_size() for each in model.model.decoder.layers[0].parameters()]
    total = sum(each.numel() * each.element_size() for each in model.parameters())
    print(json.dumps([sum(sizes), total - layers * sum(sizes)]))


if __name__ == "__main__":
    raise SystemExit(main())
