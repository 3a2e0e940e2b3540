"""Draws that depend on what is drawn for, and on nothing that was drawn before."""

from __future__ import annotations

from torch import Tensor


def even_number(items: Tensor, seed: int) -> Tensor:
    """An even number in [0, 1) for each whole number, the same on every machine (the finaliser of MurmurHash3, in 32 bits)."""
    x = (items.long() + 0x9E3779B9 * (seed + 1)) & 0xFFFFFFFF
    for shift, factor in ((16, 0x85EBCA6B), (13, 0xC2B2AE35)):
        x = ((x ^ (x >> shift)) * factor) & 0xFFFFFFFF
    return ((x ^ (x >> 16)) & 0xFFFFFFFF).double() / 2**32
