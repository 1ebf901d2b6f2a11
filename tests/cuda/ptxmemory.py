"""Device memory for ptxemu: buffers with gaps between them, and what each thread did to every word of them."""

import numpy as np


class Fault(Exception):
    """What a device would stop for, or worse, not notice."""


class OutOfBounds(Fault):
    pass


class Misaligned(Fault):
    pass


class Race(Fault):
    pass


NOBODY, MANY, PUBLISHED = -1, -2, -3
_BLOCK = -16  # - block: a thread of the block, before its last barrier
_GAP, _WORD = 4096, 4


class Region:
    """Bytes, and for every word of four the last thread that wrote and the threads that read it."""

    def __init__(self, base, data, per_block):
        self.base, self.data = base, data
        words = -(-data.size // _WORD)
        self.writer, self.reader = np.full(words, NOBODY), np.full(words, NOBODY)
        self.per_block = per_block

    def _strangers(self, seen, threads, *allowed):
        block = _BLOCK - threads // self.per_block
        known = (seen == threads) | (seen == block) | np.isin(seen, (NOBODY, *allowed))
        return threads[~known]

    def note(self, kind, offsets, size, threads):
        """Refuse an access that races with an earlier one, and remember it."""
        first, words = offsets // _WORD, max(size // _WORD, 1)
        w, t = (first[:, None] + np.arange(words)).ravel(), np.repeat(threads, words)
        strangers = self._strangers(self.writer[w], t, *((PUBLISHED,) if kind == "ld" else ()))
        if kind == "st" and not strangers.size:
            strangers = self._strangers(self.reader[w], t)
            self.writer[w] = t
            strangers = np.append(strangers, t[self.writer[w] != t])
        if strangers.size:
            raise Race(f"thread {strangers[0]}: {kind} of a word that another thread uses")
        if kind == "ld":
            seen = self.reader[w]
            self.reader[w] = np.where((seen == NOBODY) | (seen == t), t, MANY)
            self.reader[w[self.reader[w] != t]] = MANY

    def forget(self):
        """What one block did before its barrier is ordered before all that it does after it."""
        self.writer[:], self.reader[:] = NOBODY, NOBODY

    def barrier(self, block):
        """The same for memory that other blocks see too: what several threads read stays theirs."""
        for seen in (self.writer, self.reader):
            seen[(seen >= 0) & (seen // self.per_block == block)] = _BLOCK - block

    def publish(self, threads):
        blocks = _BLOCK - np.unique(threads // self.per_block)
        self.writer[np.isin(self.writer, threads) | np.isin(self.writer, blocks)] = PUBLISHED


class Memory:
    """Arrays at device addresses; `base` shifts those that follow, to have any alignment."""

    def __init__(self):
        self.arrays = []
        self._next = 0x7F0000000000

    def map(self, array, misalign=0):
        """Address of the array, whose memory the device shares from now on."""
        assert array.flags.c_contiguous
        address = self._next + misalign
        self.arrays.append((address, array.reshape(-1).view(np.uint8)))
        self._next = (address + array.nbytes + _GAP) & ~255
        return address

    def regions(self, per_block):
        return [Region(base, data, per_block) for base, data in self.arrays]


def access(regions, kind, addresses, size, threads, races):
    """The (region, offsets, mask) that an access touches, all of it checked."""
    if (addresses % size).any():
        raise Misaligned(f"{kind} of {size} bytes at {int(addresses[addresses % size != 0][0]):#x}")
    found, left = [], len(addresses)
    for region in regions:
        inside = (addresses >= region.base) & (addresses + size <= region.base + region.data.size)
        if inside.any():
            left -= int(inside.sum())
            offsets = addresses[inside] - region.base
            if races:
                region.note(kind, offsets, size, threads[inside])
            found.append((region, offsets, inside))
    if left:
        raise OutOfBounds(f"{kind} of {size} bytes outside of every buffer, by {left} threads")
    return found
