"""A Bloom filter over keys: whether a key is surely not in a store, answered without asking the store.

Bloom 1970. The keys are uniform digests, so pieces of a key are its hash functions: five pieces of four bytes. With ten
bits a key and five functions about one absent key in a hundred looks present.
"""

from __future__ import annotations

import struct

BITS_PER_KEY = 10
_PIECES = struct.Struct("<5I")


class Bloom:
    """Keys of at least 20 bytes. It never forgets one: it is rebuilt when `full`."""

    __slots__ = ("_bits", "_mask", "added", "capacity")

    def __init__(self, capacity: int) -> None:
        bits = 1 << max(10, (capacity * BITS_PER_KEY - 1).bit_length())  # a power of two: a mask is faster than modulo
        self._bits = bytearray(bits >> 3)
        self._mask = bits - 1
        self.capacity = bits // BITS_PER_KEY
        self.added = 0

    def add(self, key: bytes) -> None:
        """Note a key."""
        bits, mask = self._bits, self._mask
        for piece in _PIECES.unpack_from(key):
            at = piece & mask
            bits[at >> 3] |= 1 << (at & 7)
        self.added += 1

    def __contains__(self, key: bytes) -> bool:
        bits, mask = self._bits, self._mask
        for piece in _PIECES.unpack_from(key):
            at = piece & mask
            if not bits[at >> 3] >> (at & 7) & 1:
                return False
        return True

    @property
    def full(self) -> bool:
        """Say whether more keys were added than it was made for."""
        return self.added > self.capacity
