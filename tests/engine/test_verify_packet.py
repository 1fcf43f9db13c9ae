#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""tools/verify-packet over the vectors that the engine's own test compares: every packet matches,
sold out or expired, and whatever is altered is found."""
import json
import os
import re
import subprocess
import sys

import split_vectors

HERE = os.path.dirname(os.path.abspath(__file__))
TOOL = os.path.join(HERE, "..", "..", "tools", "verify-packet")
SEED = bytes(range(32)).hex()
sys.dont_write_bytecode = True
TOOL_MODULE = split_vectors.verifier()


def vectors():
    with open(os.path.join(HERE, "split_vectors.inc"), encoding="utf-8") as file:
        text = file.read()
    for found in re.finditer(r'\{(\d+), (\d+), (\d+), (\d+), (\d+), \{([\d, ]+)\},\s+"(\w+)"', text):
        algorithm, count, total, low, high = (int(found[i]) for i in range(1, 6))
        shares = [int(share) for share in found[6].split(",")]
        assert len(shares) == count and sum(shares) == total
        yield algorithm, count, total, low, high, shares, found[7]


def detail(vector, taken, **changed):
    algorithm, count, total, low, high, shares, commitment = vector
    claims = [{"user": 1000 + i, "amount_fen": share, "time_ms": i}
              for i, share in enumerate(shares[:taken])]
    luckiest = shares.index(max(shares[:taken])) if taken and count > 1 else None
    value = {"status": "ok", "packet": "0110000000000001", "algorithm": ("", "double-mean", "seed")[algorithm],
             "state": "sold_out" if taken == count else "refunded", "total_fen": total, "count": count,
             "share_min_fen": low, "share_max_fen": high, "taken": taken, "luckiest": luckiest,
             "refunded_fen": total - sum(shares[:taken]), "seed": SEED, "commitment": commitment,
             "claims": claims, "more": False}
    value.update(changed)
    return value


def run(*pages, raw=None):
    """The tool as a process. @return exit code, verdict or None, what was said"""
    text = raw if raw is not None else "\n".join(json.dumps(page) for page in pages)
    done = subprocess.run([sys.executable, TOOL, "--json"], input=text, capture_output=True,
                          text=True, check=False)
    return done.returncode, json.loads(done.stdout) if done.stdout else None, done.stderr


def verify(page):
    return TOOL_MODULE.check(TOOL_MODULE.whole_detail(json.dumps(page)))


def differs(page, what):
    verdict = verify(page)
    assert verdict["verdict"] == "differs" and verdict["what"] == what, (page, verdict)
    return verdict


def main():
    listed = list(vectors())
    assert {vector[0] for vector in listed} == {1, 2} and len(listed) == 12
    made = subprocess.run([sys.executable, os.path.join(HERE, "split_vectors.py")],
                          capture_output=True, check=True).stdout
    with open(os.path.join(HERE, "split_vectors.inc"), "rb") as file:
        assert made == file.read(), "split_vectors.inc is not what split_vectors.py prints"
    for vector in listed:
        for taken in {0, vector[1] // 2, vector[1]}:
            verdict = verify(detail(vector, taken))
            assert verdict["verdict"] == "match", (vector, taken, verdict)
        altered = detail(vector, vector[1])
        last = vector[1] - 1
        altered["claims"][last]["amount_fen"] -= 1
        verdict = differs(altered, "share")
        assert verdict["position"] == last and verdict["computed"] == vector[5][last]
    first = listed[0]
    differs(detail(first, 10, share_max_fen=999), "commitment")
    differs(detail(first, 10, algorithm="seed"), "commitment")
    differs(detail(first, 10, share_min_fen=101), "terms")
    differs(detail(first, 4, refunded_fen=5), "refunded_fen")
    differs(detail(first, 10, luckiest=None), "luckiest")
    code, verdict, _ = run(detail(first, 3, seed=None, state="open"))
    assert code == 1 and verdict["verdict"] == "not_revealed"
    code, verdict, _ = run(detail(first, 4, refunded_fen=5))
    assert code == 1 and verdict["what"] == "refunded_fen"
    whole = detail(first, 10)
    page_1, page_2 = dict(whole, claims=whole["claims"][:6]), dict(whole, claims=whole["claims"][6:])
    assert run(page_1, page_2)[0] == 0
    for wrong, words in (({"raw": json.dumps(page_1)}, "?after=6"), ({"raw": ""}, "no packet"),
                         ({"raw": "{"}, "not JSON"), ({"raw": "[]"}, "no packet"),
                         ({"raw": json.dumps({"status": "not_member"})}, "no claims"),
                         ({"raw": json.dumps(dict(whole, total_fen="1000"))}, "total_fen"),
                         ({"raw": json.dumps(dict(whole, seed="zz"))}, "seed"),
                         ({"raw": json.dumps(dict(whole, algorithm="x"))}, "algorithm")):
        code, verdict, said = run(**wrong)
        assert code == 2 and verdict is None and words in said, (wrong, code, said)
    print("12 vectors verified, sold out and expired; every alteration was found")


if __name__ == "__main__":
    main()
