#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Prints the vectors of split_vectors.inc with the formulas of tools/verify-packet, which are
written from docs/fairness.md alone and share no code with the engine."""
import importlib.machinery
import importlib.util
import os
import sys


def verifier():
    """tools/verify-packet as a module."""
    root = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
    loader = importlib.machinery.SourceFileLoader(
        "verify_packet", os.path.join(root, "tools", "verify-packet"))
    module = importlib.util.module_from_spec(
        importlib.util.spec_from_loader(loader.name, loader))
    loader.exec_module(module)
    return module


if __name__ == "__main__":
    sys.dont_write_bytecode = True
    verify = verifier()
    seed = bytes(range(32))
    print("/* SPDX-License-Identifier: Apache-2.0 */")
    print("/* Made by split_vectors.py; seed = 00 01 … 1f, packet = 0110000000000001. */")
    print("static const struct {\n\tuint8_t algorithm;\n\tuint32_t count;\n\tint64_t total_fen;\n\tint64_t min_fen;\n"
          "\tint64_t max_fen;\n\tuint32_t shares[16];\n\tconst char *commitment;\n} vectors[] = {")
    for algorithm in (1, 2):
        for total, count, low, high in ((1000, 10, 1, 1000), (500, 5, 50, 200), (16, 16, 1, 16), (17, 10, 1, 17),
                                        (2000000000, 3, 1, 2000000000), (88, 1, 1, 88)):
            drawn = verify.shares(seed, total, count, low, high, algorithm)
            print("\t{%d, %d, %d, %d, %d, {%s},\n\t\t\"%s\"}," % (
                algorithm, count, total, low, high, ", ".join(map(str, drawn)),
                verify.commitment(0x0110000000000001, seed, total, count, low, high, algorithm)))
    print("};")
