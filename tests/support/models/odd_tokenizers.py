"""Tokenizers of rarer makes."""

from __future__ import annotations

from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast


def fast(tokenizer: Tokenizer, **kwargs: object) -> PreTrainedTokenizerFast:
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, **kwargs)


def metaspace_bpe(old_style: bool = False) -> PreTrainedTokenizerFast:
    tokenizer = Tokenizer(models.BPE(byte_fallback=True, unk_token="<unk>", fuse_unk=True))
    if old_style:
        tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
        steps = [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
        tokenizer.decoder = decoders.Sequence(steps)
        tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="never")  # for training: merges within words
    else:
        tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
        tokenizer.decoder = decoders.Sequence([decoders.ByteFallback(), decoders.Metaspace()])
    trainer = trainers.BpeTrainer(
        vocab_size=350,
        special_tokens=["<unk>", "<s>", *(f"<0x{byte:02X}>" for byte in range(256))],
        limit_alphabet=30,
        show_progress=False,
    )
    tokenizer.train_from_iterator(["the cat sat on the mat", "a cat on a mat"], trainer)
    if old_style:
        tokenizer.pre_tokenizer = None
    return fast(tokenizer, bos_token="<s>", unk_token="<unk>")


class SlowTokenizer:
    """A tokenizer without a Rust backend: what transformers' Python classes offer."""

    def __init__(self, pieces: list[str]):
        self.pieces = pieces
        self.added_tokens_decoder = {0: pieces[0]}

    def __len__(self) -> int:
        return len(self.pieces)

    def convert_ids_to_tokens(self, token: int) -> str:
        return self.pieces[token] if token < len(self.pieces) else self.pieces[0]

    def convert_tokens_to_string(self, pieces: list[str]) -> str:
        return "".join(pieces).replace("▁", " ").strip()
