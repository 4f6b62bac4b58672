"""Weights as a pure function of (seed, tensor name, index), and numbers as the goldens store them.

h0 = FNV-1a-64(name) ^ (seed * GAMMA); u_i = mix(h0 + (i + 1) * GAMMA); t = u_i >> 40 (24 bits);
weight = (t - 2^23) * 2^-23 * scale, plus 1 for the kind "norm". All arithmetic is modulo 2^64; scales are powers
of two; every weight is exact in f32 (the kind "norm" rounds once, 1 + value, to nearest even).
"""

import numpy as np

GAMMA = 0x9E3779B97F4A7C15
MASK = (1 << 64) - 1


def fnv1a64(data):
    h = 0xCBF29CE484222325
    for byte in data:
        h = ((h ^ byte) * 0x100000001B3) & MASK
    return h


def splitmix_finalise(z):
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))


def weights(seed, name, shape, rule):
    """The f32 tensor `name` under the first matching rule {"suffix", "kind", "scale"}."""
    count = int(np.prod(shape))
    start = np.uint64(fnv1a64(name.encode()) ^ ((seed * GAMMA) & MASK))
    steps = np.arange(1, count + 1, dtype=np.uint64) * np.uint64(GAMMA)
    top = (splitmix_finalise(steps + start) >> np.uint64(40)).astype(np.int64)
    values = (top - (1 << 23)).astype(np.float64) * 2.0**-23 * rule["scale"]
    if rule["kind"] == "norm":
        values += 1.0
    return values.astype(np.float32).reshape(shape)


def rule_for(name, rules):
    """The first rule whose suffix ends the tensor's name."""
    return next(rule for rule in rules if name.endswith(rule["suffix"]))


def prompt_ids(seed, count, vocab):
    """A fixed prompt: id_i = u_i mod vocab, with the generator above under the name "prompt"."""
    start = np.uint64(fnv1a64(b"prompt") ^ ((seed * GAMMA) & MASK))
    steps = np.arange(1, count + 1, dtype=np.uint64) * np.uint64(GAMMA)
    return [int(u) for u in splitmix_finalise(steps + start) % np.uint64(vocab)]


def digits(value):
    return round(float(value), 7)
