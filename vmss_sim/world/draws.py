"""Common random numbers: the same luck for every strategy, in any order, in any engine.

Rules this module decides:

1. *Luck belongs to a place*: a number is a function of (seed, replication, purpose, slot, attempt) and of nothing else.
   Neither the order of reading, nor the number of slots, nor the other purposes, nor PYTHONHASHSEED can move it.
2. *First attempts are blocks.* Philox is a keyed bijection of a 256-bit counter (Salmon et al., "Parallel random
   numbers: as easy as 1, 2, 3", SC 2011). The key comes from `SeedSequence(seed, spawn_key=(replication,))`, the way
   NumPy documents for independent streams; the counter's high words are a hash of the purpose's name and the kind of
   stream, its low words count. So a purpose added to `FIRST` leaves the others as they were, and only what is read is
   drawn.
3. *Later attempts, further slots and rare purposes are hashed*: BLAKE2b of (replication, slot, attempt, purpose) in the
   seed's name. Never `hash()`, which differs from process to process.
4. *Streams* (background failures) are endless, drawn in blocks; every iterator starts from the beginning.
5. Every uniform lies strictly between 0 and 1, so that any inverse CDF is finite.

A surge replacement is the next attempt of the slot it replaces, not a slot of its own.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator
from typing import Final

import numpy as np
from numpy.random import Generator, Philox, SeedSequence
from numpy.typing import NDArray

FIRST: Final = ("operation", "ready", "fails", "fails-at", "bad")
"""The purposes of a slot's first attempt that are drawn as blocks.

operation: how long the operation takes. ready: from its end to a healthy application. fails: whether the operation
fails. fails-at: how far it gets before that. bad: whether this instance cannot live with the new image.
"""

_BLOCK, _STREAM = 0, 1
"""The counter's highest word: which kind of stream."""
_PAIRS = 64
"""Pairs drawn at a time by `exponential_stream`."""
_LOWEST: Final = 2.0**-54
"""What NumPy's exact 0.0 (one draw in 2**53) becomes; half of the smallest other value."""
_PERSON: Final = b"vmss-sim draws"


def _name_word(purpose: str) -> int:
    return int.from_bytes(hashlib.blake2b(purpose.encode(), digest_size=8, person=_PERSON).digest(), "little")


class Draws:
    """All random numbers of one replication.

    seed: the study's seed, 0 or more. replication: its number from 0. slots: how many slots have a first attempt
    (the instances at the start). Two `Draws` of the same seed and replication agree wherever both are defined.
    Raises ValueError for negative numbers: what a user typed is checked before it gets here.
    """

    __slots__ = ("_blocks", "_hash", "_key", "replication", "seed", "slots")

    def __init__(self, seed: int, replication: int, slots: int) -> None:
        for what, value in (("seed", seed), ("replication", replication), ("number of slots", slots)):
            if value < 0:
                raise ValueError(f"the {what} cannot be negative: {value}")
        self.seed, self.replication, self.slots = seed, replication, slots
        self._key = SeedSequence(seed, spawn_key=(replication,)).generate_state(2, np.uint64)
        self._hash = hashlib.blake2b(b"%d/%d/" % (seed, replication), digest_size=8, person=_PERSON)
        self._blocks: dict[str, NDArray[np.float64]] = {}

    def _generator(self, purpose: str, kind: int) -> Generator:
        """Rule 2: the generator at the beginning of one purpose's stream."""
        counter = np.array([0, 0, _name_word(purpose), kind], dtype=np.uint64)
        return Generator(Philox(key=self._key, counter=counter))

    def first(self, purpose: str) -> NDArray[np.float64]:
        """Give the first attempts of all slots: read-only, shape (slots,), in (0, 1). `purpose` is one of `FIRST`."""
        block = self._blocks.get(purpose)
        if block is None:
            if purpose not in FIRST:
                raise ValueError(f"no block of first attempts for {purpose!r}, only for {', '.join(FIRST)}")
            block = self._generator(purpose, _BLOCK).random(self.slots)
            np.maximum(block, _LOWEST, out=block)
            block.flags.writeable = False
            self._blocks[purpose] = block
        return block

    def later(self, purpose: str, slot: int, attempt: int) -> float:
        """Rule 3: one uniform in (0, 1) for any purpose, slot (from 0) and attempt (from 1)."""
        digest = self._hash.copy()
        digest.update(b"%d/%d/%s" % (slot, attempt, purpose.encode()))
        # 52 bits and a half: exact in a double, never 0 and never 1.
        return ((int.from_bytes(digest.digest(), "little") >> 12) + 0.5) * 2.0**-52

    def uniform(self, purpose: str, slot: int, attempt: int) -> float:
        """Give the uniform of a place: the block for a first attempt of a known slot and purpose, else `later`."""
        if attempt == 1 and 0 <= slot < self.slots and purpose in FIRST:
            return float(self.first(purpose)[slot])
        return self.later(purpose, slot, attempt)

    def exponential_stream(self, purpose: str) -> Iterator[tuple[float, float]]:
        """Endless pairs (exponential of mean 1, uniform in (0, 1)) for a Poisson process.

        The first of a pair is the gap to the next event, to be divided by the rate; the second says whom it hits
        (superposition and thinning: one stream of rate n*lambda instead of a timer for every instance).
        """
        generator = self._generator(purpose, _STREAM)
        while True:
            for gap, mark in generator.random((_PAIRS, 2)).tolist():
                # The inverse CDF through libm: the same on every CPU, unlike NumPy's vectorised logarithm.
                yield -math.log1p(-max(gap, _LOWEST)), max(mark, _LOWEST)
