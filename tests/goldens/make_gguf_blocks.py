"""Blocks of every GGUF type that is served, and the floats that the `gguf` package makes of them.

    pip install gguf numpy
    python make_gguf_blocks.py [--ggml LIBRARY]

Bytes are drawn from a seed; f16 scales are kept finite, for others are no weights. With --ggml the library of ggml
(libggml-base.so) makes the floats too, and any difference is an error.
"""

import argparse
import base64
import ctypes
import importlib.metadata
import json
from pathlib import Path

import numpy as np
from gguf import GGMLQuantizationType as T
from gguf.constants import GGML_QUANT_SIZES
from gguf.quants import dequantize

# Where a block has its f16 numbers.
HALVES = {
    T.Q4_0: [0], T.Q4_1: [0, 2], T.Q5_0: [0], T.Q5_1: [0, 2], T.Q8_0: [0],
    T.Q2_K: [80, 82], T.Q3_K: [108], T.Q4_K: [0, 2], T.Q5_K: [0, 2], T.Q6_K: [208],
    T.IQ4_NL: [0], T.IQ4_XS: [0], T.MXFP4: [], T.NVFP4: [],
}
ELEMENTS = 512


def blocks(kind, rng):
    elements, size = GGML_QUANT_SIZES[kind]
    data = rng.integers(0, 256, (ELEMENTS // elements, size), dtype=np.uint8)
    for at in HALVES[kind]:
        # Every sign, and every exponent but the one of infinities; zeros and subnormal numbers too.
        halves = rng.integers(0, 1 << 16, len(data), dtype=np.uint16)
        halves[(halves & 0x7C00) == 0x7C00] ^= 0x4000
        if at == HALVES[kind][0]:
            halves[:2] = [0x8000, 0x0001]
        data[:, at:at + 2] = halves.view(np.uint8).reshape(-1, 2)
    if kind == T.MXFP4:
        # Not every exponent: twelve times the largest is infinite, and 255 is no number.
        data[:, 0] = [0, 1, 2, 127, 128, 200, 100, 251] + [126] * (len(data) - 8)
    if kind == T.NVFP4:
        # The highest bit of an unsigned float is not used; the two first are both ends.
        data[:, :4] &= 0x7F
        data[0, :4] = [0, 1, 0x7F, 0x7E]
        data[1, :4] = [7, 8, 9, 0x38]
    return data


def by_ggml(library, kind, data):
    out = np.empty(ELEMENTS, np.float32)
    bytes_ = np.ascontiguousarray(data).reshape(-1)
    function = getattr(library, f"dequantize_row_{kind.name.lower().replace('_k', '_K')}")
    function(bytes_.ctypes.data_as(ctypes.c_void_p), out.ctypes.data_as(ctypes.c_void_p), ctypes.c_int64(ELEMENTS))
    return out


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent)
    parser.add_argument("--ggml", type=Path, help="libggml-base.so, to compare with")
    args = parser.parse_args()
    library = ctypes.CDLL(str(args.ggml)) if args.ggml else None
    types = {}
    for number, kind in enumerate(HALVES):
        data = blocks(kind, np.random.default_rng(number))
        floats = dequantize(data, kind).astype(np.float32).reshape(-1)
        assert len(floats) == ELEMENTS and np.isfinite(floats).all(), kind
        if library:
            ggml = by_ggml(library, kind, data)
            differ = np.flatnonzero(ggml.view(np.uint32) != floats.view(np.uint32))
            assert len(differ) == 0, (kind, differ[:8], ggml[differ[:8]], floats[differ[:8]])
        types[kind.name] = {
            "number": int(kind),
            "blocks": base64.b64encode(data.tobytes()).decode(),
            "floats": base64.b64encode(floats.tobytes()).decode(),
        }
    golden = {"gguf": importlib.metadata.version("gguf"), "types": types}
    (args.out / "gguf_blocks.json").write_text(json.dumps(golden, indent=1) + "\n")


main()
