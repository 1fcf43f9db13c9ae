# SPDX-License-Identifier: Apache-2.0
"""What benchmarks ask a node before and after a load."""
import json
import os

from lib import NODES, thread_cpu_us
from generator import run_generator

APPLIER_THREADS = ("hb-applier",)
GRAB_BUSINESS = 21
TABLES = 16


def grab_orders(node):
    """Grab orders over the 16 tables."""
    text = " UNION ALL ".join("SELECT COUNT(*) FROM order_%02d WHERE business=%d"
                              % (i, GRAB_BUSINESS) for i in range(TABLES))
    return sum(int(row[0]) for row in node.sql(text))


def journal_numbers(node):
    status = node.persist("status")
    counters = node.persist("counters")["counters"]
    return {"committed_seq": status["committed_seq"], "frames": counters["journal_frames"],
            "bytes": counters["journal_written_bytes"],
            "sync_us_p50": counters["journal_sync_us_p50"],
            "sync_us_p99": counters["journal_sync_us_p99"]}


def applier_us(node):
    """CPU time so far of the threads of persist that write to MySQL."""
    persist = node.pid("persist")
    return sum(thread_cpu_us(persist, name) for name in APPLIER_THREADS)


def sync_probe(directory=NODES):
    """T_sync of the disk: durable 4 KiB overwrites while nothing else is asked of it."""
    os.makedirs(directory, exist_ok=True)
    return run_generator("sync", directory, "1000")["sync"]


def build_flags():
    """How the programs were compiled."""
    path = os.path.join(os.environ.get("HONGBAO_BUILD", ""), "meson-info/intro-buildoptions.json")
    try:
        with open(path) as f:
            found = {option["name"]: option["value"] for option in json.load(f)}
    except (OSError, ValueError):
        return "unknown"
    return "-O%s%s%s" % (found.get("optimization"), " -g" if found.get("debug") else "",
                         "" if found.get("b_sanitize") in (None, "none") else
                         " sanitize=" + found["b_sanitize"])
