#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Shares of a packet, written from the formulas in docs/fairness.md alone; prints the vectors of
split_vectors.inc. It shares no code with the engine."""
import hashlib
import struct


class Draws:
    def __init__(self, seed):
        self.seed, self.next = seed, 0

    def take(self):
        block = hashlib.sha256(b"hongbao-draw-v1" + self.seed + struct.pack("<Q", self.next // 4)).digest()
        value = struct.unpack("<4Q", block)[self.next % 4]
        self.next += 1
        return value

    def below(self, n):
        limit = 2**64 - 2**64 % n
        while True:
            draw = self.take()
            if draw < limit:
                return draw % n


def shares(seed, total, count, low_bound, high_bound, algorithm):
    draws, left, out = Draws(seed), total, []
    for n in range(count, 0, -1):
        low = max(low_bound, left - high_bound * (n - 1))
        high = min(high_bound, left - low_bound * (n - 1))
        if n == 1:
            share = left
        elif algorithm == 2:
            share = max(low, min(high, 1 + draws.below(left)))
        else:
            spare = left - n * low_bound
            upper, rest = divmod(2 * spare, n)
            if rest > 0 and draws.below(n) < rest:
                upper += 1
            share = max(low, min(high, low_bound + draws.below(upper + 1)))
        out.append(share)
        left -= share
    assert left == 0
    return out


def commitment(packet, seed, total, count, low, high, algorithm):
    return hashlib.sha256(b"hongbao-packet-v1" + struct.pack("<Q", packet) + seed
                          + struct.pack("<qIqqB", total, count, low, high, algorithm)).hexdigest()


if __name__ == "__main__":
    seed = bytes(range(32))
    print("/* SPDX-License-Identifier: Apache-2.0 */")
    print("/* Made by split_vectors.py; seed = 00 01 … 1f, packet = 0110000000000001. */")
    print("static const struct {\n\tuint8_t algorithm;\n\tuint32_t count;\n\tint64_t total_fen;\n\tint64_t min_fen;\n"
          "\tint64_t max_fen;\n\tuint32_t shares[16];\n\tconst char *commitment;\n} vectors[] = {")
    for algorithm in (1, 2):
        for total, count, low, high in ((1000, 10, 1, 1000), (500, 5, 50, 200), (16, 16, 1, 16), (17, 10, 1, 17),
                                        (2000000000, 3, 1, 2000000000), (88, 1, 1, 88)):
            drawn = shares(seed, total, count, low, high, algorithm)
            print("\t{%d, %d, %d, %d, %d, {%s},\n\t\t\"%s\"}," % (
                algorithm, count, total, low, high, ", ".join(map(str, drawn)),
                commitment(0x0110000000000001, seed, total, count, low, high, algorithm)))
    print("};")
