# SPDX-License-Identifier: Apache-2.0
"""machine: what the machine gives to anybody. The report says with it what bounds a goal that was
not reached."""
import json
import statistics
import subprocess

from generator import program
from lib import NODES, expect

RUNS = 3


def machine_once(directory):
    result = subprocess.run([program(), "machine", directory], capture_output=True, text=True)
    expect(result.returncode == 0, result.stderr)
    run = json.loads(result.stdout)
    run["lost_percent"] = min(cpu["lost_percent"] for cpu in run["cpus"])
    run["gaps_per_s"] = min(cpu["gaps_per_s"] for cpu in run["cpus"])
    run["gap_max_us"] = max(cpu["gap_max_us"] for cpu in run["cpus"])
    return run


def measure_machine(options):
    """random lines of memory, CPUs left alone, durable writes alone and beside threads that poll"""
    runs = [machine_once(NODES) for _ in range(1 if options.smoke else RUNS)]
    metrics = {key: round(statistics.median(run[key] for run in runs), 2)
               for key, value in runs[0].items() if key not in ("cpus", "realtime")}
    metrics["realtime"] = all(run["realtime"] for run in runs)
    print("memory: a random line %.0f ns, one of eight at a time %.0f ns; the first access to a page "
          "%.1f µs" % (metrics["line_ns"], metrics["line_of_8_ns"], metrics["first_access_us"]))
    print("CPUs: a %s thread that only looks at the clock loses %.2f %% of its time in gaps above 10 "
          "µs, %.0f a second, the longest %.0f µs" % (
              "real-time" if metrics["realtime"] else "common", metrics["lost_percent"],
              metrics["gaps_per_s"], metrics["gap_max_us"]))
    print("disk: a durable 4 KiB write takes %.0f µs (p99 %.0f), beside threads that poll as lcore and "
          "client do %.0f µs (p99 %.0f)" % (
              metrics["sync_us_p50"], metrics["sync_us_p99"], metrics["sync_beside_us_p50"],
              metrics["sync_beside_us_p99"]))
    return {"bench": "machine", "ok": True, "metrics": metrics, "peers": {}, "ratios": {},
            "check": {"ok": True}}
