"""Compiles what tells torch of a CUDA device; needs g++."""

from __future__ import annotations

import subprocess
from pathlib import Path

import torch


def build(folder: Path) -> Path:
    """Compile fake_cuda_guard.cpp, which tells torch of such a device. Raises CalledProcessError with what g++ says."""
    home = Path(torch.__file__).parent
    made = folder / "guard.so"
    command = ["g++", "-O1", "-shared", "-fPIC", "-std=c++20", f"-I{home}/include"]
    source = Path(__file__).with_name("fake_cuda_guard.cpp")
    links = [f"-L{home}/lib", "-lc10", f"-Wl,-rpath,{home}/lib", "-o", str(made)]
    subprocess.run([*command, str(source), *links], check=True, capture_output=True, text=True)
    return made
