# SPDX-License-Identifier: Apache-2.0
"""burst: as many grabs as go for ten seconds at the most, then MySQL catches up. How fast it was,
how deep and how old the backlog became, how fast it went, and how long a grab took meanwhile."""
import threading
import time

from bench_rings import LAG_SECONDS_MAX, Rings, line, with_node
from lib import expect, log

USERS = 1000000
SECONDS_MAX = 10
GRABS = 2000000  # what is left of the ten seconds when these are used up is not waited for
GRABS_FULL = 12000000
GRABS_SMOKE = 30000
STEP = 100000  # grabs between two looks at the clock
IN_FLIGHT = 500
SAMPLE_S = 0.5
PROBE_PER_S = 1000
PROBE_S = 10
CAPACITY_FULL = {"capacity__windows": 2097152, "capacity__orders": 1048576}


class Watch(threading.Thread):
    """Samples of committed and applied records, and the age of the oldest that is not applied."""

    def __init__(self, node):
        super().__init__(daemon=True)
        self.node = node
        self.begin = time.monotonic()
        self.samples = []  # (seconds, committed, applied, lag in ms)
        self.ended = threading.Event()
        self.take()

    def take(self):
        status = self.node.persist("status")
        self.samples.append((round(time.monotonic() - self.begin, 2), status["committed_seq"],
                             min(a["seq"] for a in status["appliers"]),
                             max(a["lag_ms"] for a in status["appliers"])))
        return self.samples[-1]

    def run(self):
        while not self.ended.wait(SAMPLE_S):
            self.take()

    def end(self):
        self.ended.set()
        self.join()


def grab_for(rings, seconds, count):
    """Closed loop until the time or the grabs are over. @return (grabs, seconds, runs)"""
    begin = time.monotonic()
    done, runs = 0, []
    while done < count and time.monotonic() - begin < seconds:
        step = min(STEP, count - done)
        runs.append(rings.run("closed", "durable", IN_FLIGHT, step))
        done += step
    return done, time.monotonic() - begin, runs


def catch_up(node, rings, watch, probe_grabs):
    """A steady thousand grabs a second go on while MySQL catches up. @return latency of these"""
    wanted = node.persist("status")["committed_seq"]
    probe = rings.run("open", "durable", PROBE_PER_S, probe_grabs)
    end = time.monotonic() + LAG_SECONDS_MAX * 8
    while watch.samples[-1][2] < wanted:
        expect(time.monotonic() < end, "MySQL does not catch up")
        time.sleep(SAMPLE_S)
    return probe


def burst(options):
    """ten seconds at the most, then drain: burst, sustained, depth and age of the backlog"""
    count = GRABS_SMOKE if options.smoke else GRABS_FULL if options.full else GRABS
    probe_grabs = PROBE_PER_S * (1 if options.smoke else PROBE_S)
    result = {"bench": "burst", "metrics": {}, "peers": {}, "ratios": {}, "wrong": []}

    def work(node):
        with Rings(node, options, count + probe_grabs, USERS) as rings:
            node.wait_applied(LAG_SECONDS_MAX)
            watch = Watch(node)
            watch.start()
            done, seconds, runs = grab_for(rings, SECONDS_MAX, count)
            at = watch.take()
            log("%d grabs in %.1f s; backlog %d" % (done, seconds, at[1] - at[2]))
            probe = catch_up(node, rings, watch, probe_grabs)
            watch.end()
        level = next(s for s in watch.samples if s[0] > at[0] and s[2] >= at[1])
        if rings.failed:
            result["wrong"].append("%d grabs were not answered as they should be" % rings.failed)
        result["metrics"].update({
            "rate_per_s": round(done / seconds), "burst_seconds": round(seconds, 2),
            "grabs": done, "burst_p50_us": max(r["p50_us"] for r in runs),
            "burst_p99_us": max(r["p99_us"] for r in runs),
            "burst_max_us": max(r["max_us"] for r in runs),
            "sustained_per_s": round((level[2] - at[2]) / max(level[0] - at[0], 0.01)),
            "backlog_records_max": max(s[1] - s[2] for s in watch.samples),
            "backlog_age_ms_max": max(s[3] for s in watch.samples),
            "level_after_s": round(level[0] - at[0], 1),
            "meanwhile_per_s": PROBE_PER_S, "meanwhile_p50_us": probe["p50_us"],
            "meanwhile_p99_us": probe["p99_us"], "meanwhile_max_us": probe["max_us"]})
        result["series"] = {"columns": ["s", "committed", "applied", "lag_ms"],
                            "rows": [list(s) for s in watch.samples]}
        line("at the most, %d in flight" % IN_FLIGHT, runs[len(runs) // 2])
        line("open loop while MySQL catches up", probe)
        return result

    with_node(options, work, **(CAPACITY_FULL if options.full else {}))
    m = result["metrics"]
    print("burst %d grabs/s for %.1f s; sustained into MySQL %d/s; backlog up to %d records and %.1f "
          "s old, level after %.1f s" % (m["rate_per_s"], m["burst_seconds"], m["sustained_per_s"],
                                         m["backlog_records_max"], m["backlog_age_ms_max"] / 1e3,
                                         m["level_after_s"]))
    return result
