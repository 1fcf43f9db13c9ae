# SPDX-License-Identifier: Apache-2.0
"""recovery: what a start does with snapshot and journal, each timed apart; in turns with Redis that
loads its append-only file of the same grabs."""
import json
import os
import re
import statistics
import subprocess
import time

from bench_rings import LAG_SECONDS_MAX, Rings, with_node
from generator import program
from lib import NODES, expect, log
from redis_peer import GRAB_LOOP, PREPARE_LOOP, Redis, redis_installed

GRABS = 1000000
GRABS_FULL = 10000000
GRABS_SMOKE = 20000
SHARES = 10
USERS = 1000000
IN_FLIGHT = 500
GOAL_PER_S = 2500000
LOAD_S_MAX = 600
SNAPSHOT_S_MAX = 900
PACKETS_PER_EVAL = 1000
LOADED = re.compile(r"DB loaded from (base|incr) file \S+: ([0-9.]+) seconds")
CAPACITY_FULL = {"capacity__windows": 2097152, "capacity__orders": 1048576}


def take_snapshot(node):
    """Of everything committed so far. A snapshot reaches to the journal's durable hint, which is
    written once a second."""
    wanted = node.persist("status")["committed_seq"]
    end = time.monotonic() + SNAPSHOT_S_MAX
    while recover_once(node)["snapshot_seq"] < wanted:
        expect(time.monotonic() < end, "no snapshot reaches record", wanted)
        time.sleep(1.1)
        expect(node.hbctl("snapshot", seconds=SNAPSHOT_S_MAX)[0] == 0, "hbctl snapshot failed")


def recover_once(node):
    result = subprocess.run([program(), "recovery", "--config", node.path("etc/hongbao.conf")],
                            capture_output=True, text=True)
    expect(result.returncode == 0, result.stderr)
    run = json.loads(result.stdout)
    run["rate_per_s"] = round(run["records"] * 1e3 / max(run["replay_ms"], 0.001), 1)
    return run


class AofRedis(Redis):
    """Redis whose base file has packets and tokens, and whose append-only file has the grabs."""

    def __init__(self, directory, grabs):
        super().__init__("no", directory, "redis.log")
        self.grabs = grabs
        packets = grabs // SHARES
        for first in range(0, packets, PACKETS_PER_EVAL):
            self.cli("EVAL", PREPARE_LOOP, 0, first, SHARES,
                     min(PACKETS_PER_EVAL, packets - first), USERS)
        self.cli("BGREWRITEAOF")
        self.wait_rewritten()
        won = 0
        for first in range(0, packets, PACKETS_PER_EVAL):
            won += int(self.cli("EVAL", GRAB_LOOP, 0, first, SHARES,
                                min(PACKETS_PER_EVAL, packets - first), USERS))
        expect(won == grabs, "redis grabbed", won, "of", grabs)

    def info(self):
        return dict(line.split(":", 1) for line in self.cli("INFO", "persistence").splitlines()
                    if ":" in line)

    def wait_rewritten(self):
        end = time.monotonic() + LOAD_S_MAX
        while True:
            about = self.info()
            if about["aof_rewrite_in_progress"] == "0" and \
                    about["aof_rewrite_scheduled"] == "0":
                expect(about["aof_last_bgrewrite_status"] == "ok", "redis did not rewrite its file")
                return
            expect(time.monotonic() < end, "redis rewrites its file for too long")
            time.sleep(0.1)

    def load_once(self):
        """Start again. @return figures of its own log"""
        self.process.terminate()
        self.process.wait()
        log_file = os.path.join(self.directory, "redis.log")
        before = os.path.getsize(log_file)
        self.start(LOAD_S_MAX)
        expect(int(self.cli("LLEN", "log")) == self.grabs, "redis has not all grabs back")
        with open(log_file) as f:
            f.seek(before)
            found = dict(LOADED.findall(f.read()))
        expect("incr" in found, "redis says nothing of its append-only file")
        seconds = float(found["incr"])
        return {"rate_per_s": round(self.grabs / max(seconds, 1e-3), 1), "aof_s": seconds,
                "base_s": float(found.get("base", 0))}


def middle(runs):
    rates = [run["rate_per_s"] for run in runs]
    row = {key: statistics.median(run[key] for run in runs) for key in runs[0]}
    row["rate_range"] = "%g..%g" % (min(rates), max(rates))
    row["runs"] = len(runs)
    return row


def recovery(options):
    """snapshot load and replay of grabs, timed apart; beside Redis loading its append-only file"""
    pairs = options.pairs
    grabs = GRABS_SMOKE if options.smoke else GRABS_FULL if options.full else GRABS
    result = {"bench": "recovery", "metrics": {}, "peers": {}, "ratios": {}, "wrong": []}

    def work(node):
        with Rings(node, options, grabs, USERS) as rings:
            take_snapshot(node)
            log("grabbing", grabs)
            rings.run("closed", "durable", IN_FLIGHT, grabs)
        expect(node.hbctl("mark")[0] == 0, "hbctl mark failed")
        if rings.failed:
            result["wrong"].append("%d grabs were not answered as they should be" % rings.failed)
        node.wait_applied(LAG_SECONDS_MAX * (8 if options.full else 2))
        peer = None if options.no_peer or not redis_installed() else AofRedis(NODES, grabs)
        fresh, ours, theirs = [], [], []
        try:
            for _ in range(pairs):
                fresh.append(recover_once(node))
                ours.append(recover_once(node))  # at once: in the memory just given back
                if peer:
                    theirs.append(peer.load_once())
        finally:
            if peer:
                peer.close()
        if any(run["records"] < grabs or run["records"] != run["read"] for run in fresh + ours):
            result["wrong"].append("fewer records were replayed than there were grabs")
        if any(run["snapshot_seq"] == 0 for run in ours):
            result["wrong"].append("no snapshot was loaded")
        if any(run["marks"] == 0 for run in ours):
            result["wrong"].append("no mark was compared")
        mine, in_fresh = middle(ours), middle(fresh)
        result["metrics"].update({
            "rate_per_s": mine["rate_per_s"], "rate_goal_per_s": GOAL_PER_S,
            "rate_range": mine["rate_range"],
            "fresh_memory_rate_per_s": in_fresh["rate_per_s"],
            "fresh_memory_rate_range": in_fresh["rate_range"], "grabs": grabs, "packets": grabs // SHARES,
            "records": mine["records"], "state_ms": mine["state_ms"],
            "snapshot_ms": mine["snapshot_ms"], "replay_ms": mine["replay_ms"],
            "read_only_ms": mine["read_ms"], "marks": mine["marks"], "threads": mine["threads"],
            "runs": pairs})
        if theirs:
            result["peers"]["redis-aof"] = middle(theirs)
            result["ratios"]["redis-aof"] = round(
                mine["rate_per_s"] / result["peers"]["redis-aof"]["rate_per_s"], 1)
        return result

    more = CAPACITY_FULL if options.full else {}
    with_node(options, work, snapshot__interval_s=86400, dataplane__mark_interval_s=3600, **more)
    m = result["metrics"]
    print("%d grabs over %d packets: snapshot %.0f ms, replay of %d records %.0f ms = %.2f M "
          "records/s (%s) in one thread that reads and %d that apply, %.2f M (%s) in memory nobody "
          "has used lately; reading and checking alone %.0f ms; %d marks compared" % (
              grabs, m["packets"], m["snapshot_ms"], m["records"], m["replay_ms"],
              m["rate_per_s"] / 1e6, m["rate_range"], m["threads"],
              m["fresh_memory_rate_per_s"] / 1e6, m["fresh_memory_rate_range"], m["read_only_ms"],
              m["marks"]))
    for name, peer in result["peers"].items():
        print("%s: base file %.2f s, append-only file %.2f s = %.2f M grabs/s (%s); replay is %.1f "
              "times that" % (name, peer["base_s"], peer["aof_s"], peer["rate_per_s"] / 1e6,
                              peer["rate_range"], result["ratios"][name]))
    return result
