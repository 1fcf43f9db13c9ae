#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Instructions by part: callgrind's file is read as its manual says, and each function has a part."""
import os
import sys
import unittest

sys.dont_write_bytecode = True
for folder in ("perf", os.path.join("tests", "e2e")):
    sys.path.insert(0, os.path.join(os.path.dirname(os.path.realpath(__file__)), "..", "..", folder))
import bench_instructions as bench  # noqa: E402

FILE = """\
version: 1
events: Ir

ob=(1) /usr/bin/program
fl=(1) a.c
fn=(1) hb_apply
10 5
+2 7
fi=(2) b.h
3 100
cob=(2) /lib/libc.so.6
cfi=(3) copy.c
cfn=(2) memmove
calls=4 0
* 40
cfn=(3) hbi_window_use
calls=4 20
+1 900

fl=(2)
fn=(3)
20 60

ob=(2)
fn=(2)
1 40

ob=(1)
fn=(4) hb_draws_blocks
7 1000
"""


class Instructions(unittest.TestCase):
    def counts(self):
        return bench.parse(FILE.splitlines(True), "program")

    def test_a_function_has_its_own_and_what_it_called_in_libraries(self):
        self.assertEqual(self.counts(), {"hb_apply": 5 + 7 + 100 + 40, "hbi_window_use": 60,
                                         "hb_draws_blocks": 1000})

    def test_parts_add_up_without_the_draws(self):
        parts = bench.by_part(self.counts(), 4)
        self.assertEqual(parts["applying"]["instructions"], 38)
        self.assertEqual(parts["window of its sequences"]["instructions"], 15)
        self.assertEqual(sum(part["instructions"] for part in parts.values()), 53)

    def test_a_function_that_nobody_named_is_other(self):
        self.assertEqual(bench.part_of("somebody_elses"), "other")


unittest.main()
