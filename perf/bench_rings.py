# SPDX-License-Identifier: Apache-2.0
"""rings and durable: one client process at the rings of a whole node, and Redis asked over its
Unix socket with as many requests under way."""
import json
import subprocess

from generator import Commanded, program
from lib import Node, expect, log
from redis_peer import Redis, grab_script, redis_installed

DATAPLANE_SOCKET = "socket/dataplane/attach.sock"
FEN_PER_SHARE = 100
IN_FLIGHT_RINGS = (1, 16, 64, 256)
IN_FLIGHT_DURABLE = (1, 50, 500)
LOADS = (25, 50, 80)
PEER_SHARES = 500000
LAG_SECONDS_MAX = 240


class Rings(Commanded):
    """hongbao-bench rings at a node, prepared; a context manager."""

    def __init__(self, node, options, grabs, users=0):
        words = ["rings", "--socket", node.path(DATAPLANE_SOCKET), "--grabs", grabs,
                 "--seed", options.seed]
        super().__init__(*words, *(["--users", users] if users else []))
        self.won = self.told_fen = self.failed = 0

    def run(self, mode, kind, load, count):
        run = self.command(mode, kind, load, count)
        self.failed += run["failed"]
        if kind == "durable":
            self.won += run["count"]
            self.told_fen += run["amount_fen"]
        return run


def line(title, run):
    print("%-34s %9.0f/s  p50 %8.1f  p99 %8.1f  max %8.1f µs" % (
        title, run["rate_per_s"], run["p50_us"], run["p99_us"], run["max_us"]))


def short(run):
    return {key: run[key] for key in ("rate_per_s", "p50_us", "p99_us", "max_us")}


def with_node(options, work, before_up=None, **more):
    """Run work(node) on a node of its own, or the one that was named; then prove its books.
    @param before_up called with a node of its own that is not up yet"""
    node = Node("bench", options.node, dataplane__lcores=options.lcores, **more)
    own = options.node is None
    try:
        if own:
            if before_up:
                before_up(node)
            node.up()
        result = work(node)
        log("waiting for MySQL, then proving the invariants")
        node.wait_applied(LAG_SECONDS_MAX)
        check = node.check()
    except BaseException:
        if own:
            log("the node stays in", node.directory)
            node.launcher("down", "--config", node.config)
        raise
    if own:
        node.down()
        node.remove()
    if check.get("ok") is not True:
        result["wrong"].append("hbctl check is not ok")
    for sentence in result["wrong"]:
        print("WRONG:", sentence)
    result["check"] = check
    result["ok"] = not result.pop("wrong")
    return result


def prepare_peer(redis, users):
    """One packet with a share for everybody; every user has the token."""
    redis.cli("EVAL", "for i = 1, tonumber(ARGV[1]) do redis.call('RPUSH', KEYS[1], 100) end "
              "return 'OK'", 1, "shares", users)
    return redis.cli("SCRIPT", "LOAD", grab_script(
        "redis.call('HGET', KEYS[4], 'type') == 'GR'"))


def peer_grabs(redis, sha, clients, pipeline, requests, user):
    redis.cli("HSET", "tokens", "type", "GR")
    return redis.benchmark(clients, pipeline, requests, "EVALSHA", sha, 4, "claims", "shares",
                           "log", "tokens", user)


def judge(rings):
    wrong = []
    if rings.failed:
        wrong.append("%d requests were not answered as they should be" % rings.failed)
    if rings.told_fen <= 0 or rings.won <= 0:
        wrong.append("nobody won anything")
    return wrong


def rings(options):
    """a client process at one dataplane lcore: grabs that are answered "already", and durable ones"""
    count = 1000000 if options.full else 300000
    grabs = 100000

    def work(node):
        with Rings(node, options, grabs) as client:
            durable, already = {}, {}
            for flight in IN_FLIGHT_RINGS:
                durable[flight] = client.run("closed", "durable", flight,
                                             min(20000, 3000 * flight))
            node.wait_applied(LAG_SECONDS_MAX)
            for flight in IN_FLIGHT_RINGS:
                client.run("closed", "already", flight, 20000)
                already[flight] = client.run("closed", "already", flight,
                                             min(count, 30000 * flight))
            best = max(run["rate_per_s"] for run in already.values())
            half = client.run("open", "already", "%.0f" % (best / 2), count)
            wrong = judge(client)
        for flight in IN_FLIGHT_RINGS:
            line("already, %d in flight" % flight, already[flight])
            line("durable, %d in flight" % flight, durable[flight])
        line("already, open loop at half", half)
        metrics = {"rate_per_s": round(best), "rate_goal_per_s": 4000000,
                   "half_load": short(half), "p99_us": half["p99_us"],
                   "already": {str(k): short(v) for k, v in already.items()},
                   "durable": {str(k): short(v) for k, v in durable.items()}}
        return {"bench": "rings", "metrics": metrics, "peers": {}, "ratios": {}, "wrong": wrong}

    result = with_node(options, work)
    if not options.no_peer and redis_installed():
        rings_peer(result)
    return result


def rings_peer(result):
    with Redis() as redis:
        sha = prepare_peer(redis, 1000)
        peer_grabs(redis, sha, 1, 1, 1, 4242)
        for pipeline in (1, 16, 64):
            run = peer_grabs(redis, sha, 1, pipeline, 20000 if pipeline == 1 else 200000, 4242)
            line("redis EVALSHA, -P %d" % pipeline, run)
            name = "redis-evalsha-P%d" % pipeline
            mine = result["metrics"]["already"][str(pipeline)]["rate_per_s"]
            result["peers"][name] = run
            result["ratios"][name] = round(mine / run["rate_per_s"], 1)
            print("as many in flight: %.1f times" % result["ratios"][name])


def durable_run(client, options, seconds):
    closed, opened = {}, {}
    for flight in IN_FLIGHT_DURABLE:
        closed[flight] = client.run("closed", "durable", flight,
                                    {1: 3000, 50: 50000, 500: 150000}[flight])
        line("closed loop, %d in flight" % flight, closed[flight])
    best = closed[IN_FLIGHT_DURABLE[-1]]["rate_per_s"]
    for load in LOADS:
        rate = best * load / 100
        opened[load] = client.run("open", "durable", "%.0f" % rate, int(rate * seconds) + 1)
        line("open loop, %d %%" % load, opened[load])
    return closed, opened


def durable(options):
    """grabs answered after the disk has them: 1, 50 and 500 in flight, and open loop"""
    seconds = 2 if options.full else 0.5
    probe = {}

    def work(node):
        probe.update(json.loads(subprocess.run(
            [program(), "sync", node.directory, "1000"], capture_output=True, text=True,
            check=True).stdout)["sync"])
        grabs = 203000 + int(1500000 * seconds)
        with Rings(node, options, grabs) as client:
            node.wait_applied(LAG_SECONDS_MAX)
            closed, opened = durable_run(client, options, seconds)
            wrong = judge(client)
        best = closed[IN_FLIGHT_DURABLE[-1]]
        metrics = {"rate_per_s": round(best["rate_per_s"]), "p50_us": opened[50]["p50_us"],
                   "p99_us": opened[50]["p99_us"],
                   "closed": {str(k): short(v) for k, v in closed.items()},
                   "open": {str(k): short(v) for k, v in opened.items()},
                   "t_sync_p50_us": probe["p50_us"], "t_sync_p99_us": probe["p99_us"]}
        print("T_sync of the disk (4 KiB, O_DIRECT|O_DSYNC): p50 %.0f p99 %.0f µs; half load "
              "p50 is %.1f T_sync" % (probe["p50_us"], probe["p99_us"],
                                      metrics["p50_us"] / max(probe["p50_us"], 1)))
        return {"bench": "durable", "metrics": metrics, "peers": {}, "ratios": {},
                "wrong": wrong, "directory": node.directory}

    result = with_node(options, work)
    if not options.no_peer and redis_installed():
        durable_peer(result)
    return result


def durable_peer(result):
    """Redis with appendfsync always, its file on the same file system as the journal."""
    directory = result.pop("directory").rsplit("/", 1)[0]
    with Redis("always", directory) as redis:
        sha = prepare_peer(redis, PEER_SHARES)
        for flight in IN_FLIGHT_DURABLE:
            run = peer_grabs(redis, sha, flight, 1, {1: 3000, 50: 50000, 500: 100000}[flight],
                             "__rand_int__")
            line("redis always, %d in flight" % flight, run)
            name = "redis-always-%d" % flight
            mine = result["metrics"]["closed"][str(flight)]["rate_per_s"]
            result["peers"][name] = run
            result["ratios"][name] = round(mine / run["rate_per_s"], 2)
            print("as many in flight: %.2f times" % result["ratios"][name])
        expect(int(redis.cli("LLEN", "log")) > 0, "Redis logged nothing")
