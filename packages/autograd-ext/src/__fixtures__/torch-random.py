"""Writes torch-random.json: what torch draws on CPU. python3 torch-random.py > torch-random.json"""
import json
import torch

SEEDS = [0, 1, 42, 1234, 2**32 - 1, 2**32 + 42, 2**53 + 7, 2**63 - 1, 2**64 - 2, -1]
SIZES = [1, 7, 15, 16, 21, 32, 256, 1000]
# Sizes mix on purpose: an odd call below 16 leaves a cached normal, which calls of 16 and more neither use nor clear.
MIXED = [("randn", 3), ("randn", 16), ("randn", 1), ("rand", 5), ("randn", 7), ("randint", -5, 100, 9), ("randn", 21),
         ("randn", 2), ("rand", 17), ("randint", 0, 2**27 + 3, 4), ("randn", 15), ("randn", 33), ("randn", 5)]


def draw(generator, kind, *args):
    if kind == "randint":
        low, high, n = args
        return torch.randint(low, high, (n,), generator=generator).tolist()
    return [float(f"{x:.9g}") for x in getattr(torch, kind)(args[0], generator=generator).tolist()]  # 9 digits name a float32


def seeded(seed):
    return torch.Generator().manual_seed(seed)


def wide(seed, low, high, n):
    """randint of ranges from 2^28: since torch 2.7 it is 64 random bits modulo the range; the bits are torch's own."""
    bits = torch.empty(n, dtype=torch.int64).random_(-2**63, None, generator=seeded(seed)).tolist()
    return [low + (b % 2**64) % (high - low) for b in bits]


print(json.dumps({
    "torch": torch.__version__,
    "randn": [{"seed": str(s), "n": n, "values": draw(seeded(s), "randn", n)} for s in [0, 42] for n in SIZES],
    "seeds": [{"seed": str(s), "randn": draw(seeded(s), "randn", 20), "rand": draw(seeded(s), "rand", 20),
               "randint": draw(seeded(s), "randint", 0, 1000, 20)} for s in SEEDS],
    "mixed": [{"seed": str(s), "calls": [{"call": list(c), "values": draw(g, *c)} for c in MIXED]}
              for s in [0, 7] for g in [seeded(s)]],
    "wide": [{"seed": str(s), "low": lo, "high": hi, "values": wide(s, lo, hi, 8)}
             for s in [0, 3] for lo, hi in [(0, 2**28), (-2**31, 2**31), (5, 2**30 + 12345)]],
}))
