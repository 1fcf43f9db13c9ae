# SPDX-License-Identifier: Apache-2.0
"""idle: what a node takes of the CPUs when nobody asks and at a thousand grabs a second, and how
long one request takes that comes after a pause; beside nginx, and nginx with Redis."""
import os
import tempfile
import time

from bench_http import FEN_PER_SHARE, Bench, write_reads
from bench_rings import LAG_SECONDS_MAX, with_node
from generator import cpu_clock_us
from http_peers import LuaRedis, lua_installed, nginx_200
from lib import log

SECONDS = 10
LOW_PER_S = 1000
PAUSE_PER_S = 10  # requests a tenth of a second apart, on the average
PAUSE_REQUESTS = 50
CONNECTIONS = 16
USERS = 10000
GOAL_PERCENT = 3.0
SETTLE_S = 3


class Sizes:
    """What bench_http needs to prepare grabs and tokens for it."""

    def __init__(self, options):
        self.pairs = options.pairs
        self.seconds = 1 if options.smoke else SECONDS
        self.users = 1000 if options.smoke else USERS
        self.requests = LOW_PER_S * self.seconds
        self.pauses = 5 if options.smoke else PAUSE_REQUESTS
        runs = self.pairs * (self.requests + self.pauses) * 2
        self.grabs = (runs // self.users + 2) * self.users
        self.main = CONNECTIONS


def percent(server, seconds):
    """CPU of each process name while nobody asks, per cent of one CPU."""
    before = {pid: (name, cpu_clock_us(pid)) for name, pid in server.processes()}
    begin = time.monotonic()
    time.sleep(seconds)
    wall_us = (time.monotonic() - begin) * 1e6
    return totals((name, cpu_clock_us(pid) - us) for pid, (name, us) in before.items()), wall_us


def totals(used):
    found = {}
    for name, us in used:
        found[name] = found.get(name, 0) + max(us, 0)
    return found


def shares(found, wall_us):
    row = {name: round(us * 100 / wall_us, 2) for name, us in found.items()}
    row["all"] = round(sum(row.values()), 2)
    return row


def loaded(load):
    return shares(totals((p["name"], p["cpu_us"]) for p in load["processes"]),
                  load["seconds"] * 1e6)


def median_row(rows):
    keys = {key for row in rows for key in row}
    return {key: sorted(row.get(key, 0) for row in rows)[len(rows) // 2] for key in sorted(keys)}


class Turns:
    """The same for the node and each peer, in turns."""

    def __init__(self, bench, reads, servers):
        self.bench, self.reads, self.servers = bench, reads, servers
        self.nothing = {name: [] for name in servers}
        self.low = {name: [] for name in servers}
        self.wake = {name: [] for name in servers}
        self.wake_durable = {name: [] for name in servers}

    def ask(self, name, plan, first, count, rate, grabs):
        """One open loop. @return the load"""
        server = self.servers[name]
        if name == "node":
            load, _ = self.bench.ours(plan, CONNECTIONS, first, count, "--rate", rate, grabs=grabs)
        else:
            load = self.bench.load(server, plan, CONNECTIONS, first, count, "--rate", rate)
            if load["failed"]:
                self.bench.wrong.append("%s: %s" % (name, load["outcomes"]))
        return load

    def turn(self, first):
        """@return the first grab that was not used"""
        sizes, plan = self.bench.sizes, self.bench.plan
        for name, server in self.servers.items():
            time.sleep(0.2 if sizes.seconds == 1 else SETTLE_S)
            self.nothing[name].append(shares(*percent(server, sizes.seconds)))
            load = self.ask(name, plan, first, sizes.requests, LOW_PER_S, True)
            self.low[name].append(loaded(load))
            if name != "nginx + lua + redis":  # that one knows grabs only
                load = self.ask(name, self.reads, 0, sizes.pauses, PAUSE_PER_S, False)
                self.wake[name].append(load["latency"])
            load = self.ask(name, plan, first + sizes.requests, sizes.pauses, PAUSE_PER_S, True)
            self.wake_durable[name].append(load["latency"])
        return first + sizes.requests + sizes.pauses


def wake_row(name, latencies):
    rows = [{key: l[key + "_us"] for key in ("p50", "p99", "max")} for l in latencies]
    return {key + "_us": value for key, value in median_row(rows).items()}


def measure(bench, result):
    reads = os.path.join(bench.scratch, "reads")
    write_reads(reads, bench.tokens, bench.grabs)
    servers = {"node": bench.node}
    peers = []
    if not bench.options.no_peer:
        peers.append(nginx_200())
        servers["nginx"] = peers[-1]
        if lua_installed():
            peers.append(LuaRedis(os.path.dirname(bench.node.directory),
                                  bench.node.keys.jwt_secret.hex()))
            servers["nginx + lua + redis"] = peers[-1]
    try:
        for peer in peers:
            peer.pin()
        count = bench.sizes.pairs * (bench.sizes.requests + bench.sizes.pauses)
        if len(peers) == 2:
            peers[1].prepare(bench.grabs.all[:count], FEN_PER_SHARE)
        turns = Turns(bench, reads, servers)
        first = 0
        for _ in range(bench.sizes.pairs):
            first = turns.turn(first)
    finally:
        for peer in peers:
            peer.close()
    m = result["metrics"]
    m["cpu_percent"] = {}
    m["after_a_pause"] = {}
    for name in servers:
        m["cpu_percent"][name + ", 0/s"] = median_row(turns.nothing[name])
        m["cpu_percent"]["%s, %d/s" % (name, LOW_PER_S)] = median_row(turns.low[name])
        if turns.wake[name]:
            m["after_a_pause"][name + ", read"] = wake_row(name, turns.wake[name])
        m["after_a_pause"][name + ", grab"] = wake_row(name, turns.wake_durable[name])
    even_columns(m["cpu_percent"])
    m["idle_percent"] = m["cpu_percent"]["node, 0/s"]["all"]
    m["idle_percent_goal"] = GOAL_PERCENT
    m["low_percent"] = m["cpu_percent"]["node, %d/s" % LOW_PER_S]["all"]
    for name in servers:
        if name != "node":
            result["peers"][name] = {
                "idle_percent": m["cpu_percent"][name + ", 0/s"]["all"],
                "low_percent": m["cpu_percent"]["%s, %d/s" % (name, LOW_PER_S)]["all"]}


def even_columns(rows):
    """Every row has the columns of all, for the table of the report."""
    keys = sorted({key for row in rows.values() for key in row}, key=lambda k: (k == "all", k))
    for name, row in rows.items():
        rows[name] = {key: row.get(key, 0) for key in keys}


def idle(options):
    """CPU at 0 and 1,000 grabs/s over HTTP, latency after a pause; beside nginx and Redis"""
    result = {"bench": "idle", "metrics": {}, "peers": {}, "ratios": {}}

    def work(node):
        node.wait_applied(LAG_SECONDS_MAX)
        with tempfile.TemporaryDirectory(prefix="hongbao-bench-") as scratch:
            bench = Bench(node, options, scratch, Sizes(options))
            log("idle for %d s at a time" % bench.sizes.seconds)
            measure(bench, result)
        result["wrong"] = bench.wrong
        return result

    with_node(options, work, front__workers=1)
    for name, row in result["metrics"]["cpu_percent"].items():
        print("%-28s %s" % (name, "  ".join("%s %.2f %%" % item for item in row.items())))
    for name, row in result["metrics"]["after_a_pause"].items():
        print("%-28s after a pause: p50 %.0f  p99 %.0f  max %.0f µs" % (
            name, row["p50_us"], row["p99_us"], row["max_us"]))
    return result
