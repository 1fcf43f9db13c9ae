#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""hongbao-bench jwt: its tokens are what the front takes (docs of front/jwt.h), by independent
means: HMAC of the standard library, Ed25519 of the program openssl.

usage: test_user_tokens.py HONGBAO_BENCH"""
import base64
import hashlib
import hmac
import json
import os
import subprocess
import sys
import tempfile
import time

PROGRAM = sys.argv[1]
SECRET = "a1" * 32
# SubjectPublicKeyInfo of Ed25519 (RFC 8410) in front of the 32 bytes of the key.
SPKI = bytes.fromhex("302a300506032b6570032100")


def run(*words, code=0):
    result = subprocess.run([PROGRAM, "jwt", *words], capture_output=True, text=True)
    assert result.returncode == code, (words, result.returncode, result.stderr)
    return result.stdout.split()


def decode(text):
    assert "=" not in text
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def check_claims(token, algorithm, account, begin_s):
    head, claims, _ = token.split(".")
    assert json.loads(decode(head)) == {"alg": algorithm, "typ": "JWT", "kid": "k"}, head
    found = json.loads(decode(claims))
    assert found["sub"] == str(account) and found["groups"] == [7], found
    assert int(begin_s) + 60 <= found["exp"] <= time.time() + 60, found


def tokens(algorithm):
    return run("--algorithm", algorithm, "--secret", SECRET, "--kid", "k", "--first", "41",
               "--count", "3", "--group", "7", "--lifetime-s", "60")


def hs256_tokens_carry_the_hmac_of_head_and_claims():
    begin_s = time.time()
    for i, token in enumerate(tokens("HS256")):
        text, _, signature = token.rpartition(".")
        mac = hmac.new(bytes.fromhex(SECRET), text.encode(), hashlib.sha256).digest()
        assert decode(signature) == mac
        check_claims(token, "HS256", 41 + i, begin_s)


def eddsa_tokens_verify_under_the_public_key_that_is_printed():
    key = bytes.fromhex(run("--algorithm", "EdDSA", "--secret", SECRET, "--public")[0])
    with tempfile.TemporaryDirectory() as scratch:
        def file(name, data):
            path = os.path.join(scratch, name)
            with open(path, "wb") as f:
                f.write(data)
            return path

        public = file("key", SPKI + key)
        begin_s = time.time()
        for i, token in enumerate(tokens("EdDSA")):
            text, _, signature = token.rpartition(".")
            words = ["openssl", "pkeyutl", "-verify", "-rawin", "-pubin", "-keyform", "DER",
                     "-inkey", public, "-in", file("text", text.encode()), "-sigfile",
                     file("signature", decode(signature))]
            assert subprocess.run(words, capture_output=True).returncode == 0, token
            file("text", text.encode() + b"x")
            assert subprocess.run(words, capture_output=True).returncode != 0
            check_claims(token, "EdDSA", 41 + i, begin_s)


def a_key_of_the_wrong_length_or_algorithm_is_refused():
    for words in (("--algorithm", "EdDSA", "--secret", "a1" * 31),
                  ("--algorithm", "HS256", "--secret", "a1" * 31),
                  ("--algorithm", "none", "--secret", SECRET),
                  ("--algorithm", "HS256", "--secret", "no hex")):
        run(*words, "--kid", "k", "--first", "1", code=2)


for test in (hs256_tokens_carry_the_hmac_of_head_and_claims,
             eddsa_tokens_verify_under_the_public_key_that_is_printed,
             a_key_of_the_wrong_length_or_algorithm_is_refused):
    test()
    print("ok", test.__name__)
