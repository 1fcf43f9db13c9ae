#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The programme of proofs: what is done at a commit is not done again, what fell short or broke is
told and fails the whole, and the report names every step. Steps here are a shell's echo."""
import contextlib
import importlib.machinery
import importlib.util
import io
import json
import os
import subprocess
import sys
import tempfile
import unittest

sys.dont_write_bytecode = True
HERE = os.path.dirname(os.path.realpath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))
loader = importlib.machinery.SourceFileLoader("prove", os.path.join(HERE, "run"))
prove = importlib.util.module_from_spec(importlib.util.spec_from_loader("prove", loader))
loader.exec_module(prove)


def step(name, script, short="true"):
    return prove.Step(name, ["build/sh", "-c", script], ["build/sh", "-c", short], "ten",
                      lambda r: r["count"] >= 10, lambda r: "%d seen" % r["count"])


class Programme(unittest.TestCase):
    def setUp(self):
        directory = tempfile.TemporaryDirectory()
        self.addCleanup(directory.cleanup)
        prove.STATE = os.path.join(directory.name, "state")
        prove.commit = lambda: self.commit
        self.commit = "abc"
        os.environ["HONGBAO_BUILD"] = "/bin"

    def run_with(self, steps, *words):
        """@return (exit code, what was printed)"""
        prove.STEPS = steps
        sys.argv = ["prove", *words]
        out = io.StringIO()
        with contextlib.redirect_stdout(out):
            code = prove.main()
        return code, out.getvalue()

    def report(self):
        with open(os.path.join(prove.STATE, "report.md")) as f:
            return f.read()

    def test_what_is_done_is_not_done_again_until_the_commit_changes(self):
        marks = os.path.join(os.path.dirname(prove.STATE), "marks")
        steps = [step("one", "echo x >>%s; echo '{\"count\": 12}'" % marks)]
        for commit, runs in (("abc", 1), ("abc", 1), ("def", 2)):
            self.commit = commit
            self.assertEqual(self.run_with(steps)[0], 0)
            with open(marks) as f:
                self.assertEqual(len(f.readlines()), runs)
        self.assertEqual(self.run_with(steps, "--again")[0], 0)
        with open(marks) as f:
            self.assertEqual(len(f.readlines()), 3)

    def test_a_step_that_fell_short_or_broke_fails_the_whole_and_is_tried_again(self):
        for script, told in (("echo '{\"count\": 9}'", "9 seen"),
                             ("echo '{\"count\": 10}'; exit 3", "exit 3"),
                             ("echo nothing to read", "nothing to read")):
            code, out = self.run_with([step("one", script), step("two", "echo '{\"count\": 10}'")])
            self.assertEqual(code, 1, out)
            self.assertIn("**not ok**", self.report())
            self.assertIn(told, self.report())
            self.assertIn("10 seen | ok", self.report())

    def test_a_short_run_is_called_so_and_does_not_stand_for_the_full_one(self):
        steps = [step("one", "echo '{\"count\": 11}'", "echo '{\"count\": 1}'")]
        self.assertEqual(self.run_with(steps, "--short")[0], 0)
        self.assertIn("short run", self.report())
        code, out = self.run_with(steps, "--json")
        self.assertEqual(code, 0)
        self.assertEqual(json.loads(out.splitlines()[-1])["steps"]["one"]["told"], "11 seen")
        self.assertIn("11 seen | ok", self.report())

    def test_the_report_names_steps_that_were_not_run_and_an_unknown_one_is_refused(self):
        steps = [step("one", "echo '{\"count\": 11}'"), step("two", "true")]
        self.assertEqual(self.run_with(steps, "one")[0], 0)
        self.assertIn("| two | ten | not run |", self.report())
        with self.assertRaisesRegex(SystemExit, "there is no step three"):
            self.run_with(steps, "three")

    def test_every_fuzz_target_is_a_step(self):
        out = subprocess.run([os.path.join(ROOT, "hongbao"), "fuzz", "--list"], capture_output=True,
                             text=True, check=True).stdout.split()
        self.assertEqual(sorted(out), sorted(prove.FUZZ_MOST + prove.FUZZ_OTHERS))


unittest.main()
