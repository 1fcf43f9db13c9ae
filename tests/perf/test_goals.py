#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The table of goals: what was measured is judged by its own bound, what was not is not judged."""
import os
import sys
import unittest

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(os.path.realpath(__file__)), "..", "..", "perf"))
import goals  # noqa: E402


def rows(*results):
    """{(benchmark, goal): (measured, verdict)} of the table."""
    cells = [[cell.strip() for cell in line.split("|")[1:-1]] for line in goals.table(results)[2:]]
    return {(row[0], row[1]): (row[3], row[4]) for row in cells}


class Goals(unittest.TestCase):
    def test_a_figure_at_its_bound_is_reached_and_one_below_is_not(self):
        at = {"bench": "engine-hot", "metrics": {"rate_per_s": 10000000},
              "ratios": {"redis-eval": 19.9}}
        found = rows(at)
        self.assertEqual(found["engine-hot", "grabs/s per core, one packet"],
                         ("10.00 M", "reached"))
        self.assertEqual(found["engine-hot", "times the same inside one Redis EVAL"],
                         ("19.9", "**not reached**"))

    def test_a_most_is_judged_the_other_way_round(self):
        for percent, verdict in ((2.9, "reached"), (3.1, "**not reached**")):
            found = rows({"bench": "idle", "metrics": {"idle_percent": percent}, "ratios": {}})
            self.assertEqual(found["idle", "CPU of a node at rest, % of a core"][1], verdict)

    def test_what_a_result_does_not_have_is_not_judged(self):
        found = rows({"bench": "durable", "metrics": {}, "ratios": {}})
        self.assertTrue(found)
        for measured, verdict in found.values():
            self.assertEqual((measured, verdict), ("not measured", ""))

    def test_a_benchmark_that_did_not_run_has_no_row(self):
        self.assertEqual({bench for bench, _ in rows({"bench": "scale"})}, {"scale"})

    def test_what_bounds_a_goal_is_told_with_figures_when_it_was_missed(self):
        machine = {"bench": "machine", "metrics": {"lost_percent": 0.87}}
        for p99, told in ((61, True), (9, False)):
            lines = goals.table([machine, {"bench": "rings", "metrics": {"p99_us": p99}}])
            line = next(line for line in lines if "p99 at half load" in line)
            self.assertEqual("loses 0.87 % of its time" in line, told, line)
        lines = goals.table([{"bench": "rings", "metrics": {"p99_us": 61}}])
        self.assertTrue(any("**not reached** |  | CPUs that" in line for line in lines), lines)

    def test_every_goal_has_one_figure_and_what_bounds_it_says_what_is_needed(self):
        for goal in goals.GOALS:
            self.assertEqual((goal.least is None) + (goal.most is None), 1, goal)
            self.assertEqual(goal.bound is None, goal.needed is None, goal)


unittest.main()
