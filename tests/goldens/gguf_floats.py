"""A GGUF file's weights as an F32 GGUF file, for llama.cpp and Verbatim to compute the same in floats.

    pip install gguf numpy
    python gguf_floats.py FILE.gguf OUT.gguf [--dither SEED]

The metadata are copied byte for byte; blocks become the floats that the `gguf` package makes of them. With --dither each
weight of a block is moved by up to half of its step, uniformly: the weights then lie on no format's grid, and rounding
them to the format that they came in costs what it costs on weights that were never rounded.
"""

import argparse
import struct

import numpy as np
from gguf import GGMLQuantizationType as T
from gguf import GGUFReader
from gguf.quants import dequantize


def halves(data):
    return np.ascontiguousarray(data).view(np.float16).astype(np.float32)


def steps(kind, data):
    """The distance between neighbouring values of each weight's block, in the order of the weights."""
    blocks = data.reshape(-1, data.shape[-1])
    if kind == T.Q8_0:
        return np.repeat(np.abs(halves(blocks.reshape(-1, 34)[:, :2])), 32, axis=1)
    if kind == T.Q5_0:
        return np.repeat(np.abs(halves(blocks.reshape(-1, 22)[:, :2])), 32, axis=1)
    if kind == T.Q4_K:
        blocks = blocks.reshape(-1, 144)
        packed = blocks[:, 4:16].astype(np.int32)
        scales = np.empty((len(blocks), 8), np.float32)
        for j in range(4):
            scales[:, j] = packed[:, j] & 63
            scales[:, j + 4] = (packed[:, j + 8] & 15) | ((packed[:, j] >> 6) << 4)
        return np.repeat(halves(blocks[:, :2]) * scales, 32, axis=1)
    if kind == T.Q6_K:
        blocks = blocks.reshape(-1, 210)
        scales = np.ascontiguousarray(blocks[:, 192:208]).view(np.int8).astype(np.float32)
        return np.repeat(np.abs(halves(blocks[:, 208:210]) * scales), 16, axis=1)
    raise SystemExit(f"--dither does not know the steps of {kind.name}")


def floats(tensor, rng):
    """The weights of a tensor, moved off their grid if there is a generator."""
    if tensor.tensor_type == T.F32:
        return np.array(tensor.data, np.float32).reshape(-1)
    weights = dequantize(tensor.data, tensor.tensor_type).astype(np.float32).reshape(-1)
    if rng is not None:
        step = steps(tensor.tensor_type, tensor.data).reshape(-1)
        part = 1 << 24
        for i in range(0, len(weights), part):
            drawn = rng.random(len(weights[i:i + part]), np.float32)
            weights[i:i + part] += (drawn - 0.5) * step[i:i + part]
    return weights


def convert(source, out, dither=None):
    """Writes the F32 file of `source`."""
    reader = GGUFReader(source)
    alignment = reader.alignment
    rng = None if dither is None else np.random.default_rng(dither)
    keys_end = min(tensor.field.offset for tensor in reader.tensors)
    with open(source, "rb") as file:
        version, tensor_count, key_count = struct.unpack("<IQQ", file.read(24)[4:])
        keys = file.read(keys_end - 24)
    infos, offset = [], 0
    for tensor in reader.tensors:
        name = tensor.name.encode()
        shape = [int(size) for size in tensor.shape]
        info = struct.pack(f"<Q{len(name)}sI", len(name), name, len(shape))
        infos.append(info + struct.pack(f"<{len(shape)}QIQ", *shape, T.F32, offset))
        offset += -(-4 * tensor.n_elements // alignment) * alignment
    with open(out, "wb") as file:
        head = struct.pack("<4sIQQ", b"GGUF", version, tensor_count, key_count) + keys + b"".join(infos)
        file.write(head + b"\0" * (-len(head) % alignment))
        for tensor in reader.tensors:
            data = floats(tensor, rng).tobytes()
            file.write(data + b"\0" * (-len(data) % alignment))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file")
    parser.add_argument("out")
    parser.add_argument("--dither", type=int, metavar="SEED")
    args = parser.parse_args()
    convert(args.file, args.out, args.dither)


if __name__ == "__main__":
    main()
