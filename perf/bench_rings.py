# SPDX-License-Identifier: Apache-2.0
"""rings and durable: one client process at the rings of a whole node, in turns with peers that have as
many requests under way. Client and lcore have a CPU each; so have a peer's two sides where the
kernel puts them. Told are medians."""
import contextlib
import json
import os
import statistics
import subprocess
import time

from generator import Commanded, cpu_of_generator, cpu_of_server, go_first, program
from lib import ROOT, Node, expect, log
from node_facts import journal_numbers
from mariadb_peer import MariaDB, mariadb_installed
from redis_peer import Redis, grab_script, redis_installed

DATAPLANE_SOCKET = "socket/dataplane/attach.sock"
FEN_PER_SHARE = 100
IN_FLIGHT_RINGS = (1, 16, 64, 256)
IN_FLIGHT_DURABLE = (1, 50, 500)
LOADS = (25, 50, 80)
# Requests of one run, by how many are under way.
ALREADY = {1: 150000, 16: 400000, 64: 1500000, 256: 1500000}
ALREADY_HALF_SECONDS = 0.3
# Lcore and client keep both CPUs of a small machine to themselves; the kernel gives what waits
# meanwhile 50 ms of each second. A pause before an open loop lets it have its turn there.
REST_S = 1
FIRST_DURABLE = {1: 500, 16: 5000, 64: 10000, 256: 15000}  # the second column of rings
REDIS_MEMORY = {1: 20000, 16: 100000, 64: 200000}
IPC = {1: 100000, 16: 500000, 64: 2000000, 256: 2000000}
DURABLE = {1: 2000, 50: 30000, 500: 150000}
REDIS_ALWAYS = {1: 3000, 50: 30000, 500: 40000}
MARIADB = {1: 500, 50: 10000, 500: 15000}
OPEN_SECONDS = 0.25
OPEN_RATE_MAX = 1600000
SMALL = 50  # --smoke: so many times fewer
LAG_SECONDS_MAX = 240


def frames_program():
    path = os.path.join(os.environ.get("HONGBAO_BUILD") or os.path.join(ROOT, "build"), "perf",
                        "hongbao-frames-bench")
    expect(os.access(path, os.X_OK), "there is no", path, "; run ./hongbao build")
    return path


class Rings(Commanded):
    """hongbao-bench rings at a node, prepared; a context manager."""

    def __init__(self, node, options, grabs, users=0, prepare=None, first_sender=None):
        words = ["rings", "--socket", node.path(DATAPLANE_SOCKET), "--grabs", grabs,
                 "--seed", options.seed]
        words += ["--users", users] if users else []
        words += ["--first-sender", first_sender] if first_sender else []
        super().__init__(*words, prepare=prepare)
        self.won = self.told_fen = self.failed = 0

    def run(self, mode, kind, load, count):
        run = self.command(mode, kind, load, count)
        self.failed += run["failed"]
        if kind == "durable":
            self.won += run["count"]
            self.told_fen += run["amount_fen"]
        return run


def line(title, run):
    print("%-34s %9.0f/s (%s)  p50 %8.2f  p99 %8.2f  max %8.1f µs" % (
        title, run["rate_per_s"], run.get("rate_range", "one run"), run["p50_us"],
        run["p99_us"], run["max_us"]))


def beside_the_lcore():
    """The client has the last CPU to itself, as the lcore has the first: it is real-time too. Of
    what persist does, the writer alone goes before it."""
    go_first()
    os.sched_setaffinity(0, {cpu_of_generator()})
    os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1))


def lcore_place(options):
    """One lcore has the first CPU to itself and the client; more float."""
    return {"dataplane__cpus": str(cpu_of_server())} if options.lcores == 1 else {}


def middle(runs):
    """The median of each figure, and the range of the rate."""
    rates = [run["rate_per_s"] for run in runs]
    row = {key: statistics.median(run[key] for run in runs) for key in (
        "rate_per_s", "p50_us", "p99_us", "max_us")}
    row["rate_range"] = "%.0f..%.0f" % (min(rates), max(rates))
    row["runs"] = len(runs)
    return row


def turns_of(options):
    """@return (how many turns, by what requests are divided)"""
    return options.pairs, SMALL if options.smoke else 1


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


def ipc(kind, flight, count):
    """rte_ring or a pipe between two processes that decide nothing."""
    result = subprocess.run([frames_program(), kind, str(flight), str(count),
                             str(cpu_of_server()), str(cpu_of_generator())],
                            capture_output=True, text=True, preexec_fn=go_first)
    expect(result.returncode == 0, kind, result.stderr)
    return json.loads(result.stdout)


def compare(result, found, mine_of):
    """Medians of all; what each peer's rate makes of ours with as many under way.
    @param mine_of name of our figure for a peer with so many under way"""
    rows = {key: middle(runs) for key, runs in found.items()}
    for (name, flight), row in rows.items():
        line("%s, %s" % (name, flight), row)
        if name in ("already", "durable", "open"):
            continue
        peer = "%s%s%s" % (name, "" if name.endswith("P") else "-", flight)
        result["peers"][peer] = row
        result["ratios"][peer] = round(
            rows[mine_of, flight]["rate_per_s"] / row["rate_per_s"], 2)
    print("times the peers, as many in flight: %s" % "  ".join(
        "%s %.2f" % item for item in result["ratios"].items()))
    return rows


def rings_turn(client, options, redis, sha, less, found):
    def keep(name, flight, run):
        found.setdefault((name, flight), []).append(run)

    for flight in IN_FLIGHT_RINGS:
        keep("already", flight, client.run("closed", "already", flight,
                                           ALREADY[flight] // less))
    half = max(found["already", flight][-1]["rate_per_s"] for flight in IN_FLIGHT_RINGS) / 2
    time.sleep(REST_S)
    keep("already", "half", client.run("open", "already", "%.0f" % half,
                                       int(half * ALREADY_HALF_SECONDS) // less))
    if options.no_peer:
        return
    for kind in ("ring", "pipe"):
        for flight in IN_FLIGHT_RINGS:
            keep("rte_ring" if kind == "ring" else kind, flight,
                 ipc(kind, flight, IPC[flight] // less))
    if redis:
        for pipeline, requests in REDIS_MEMORY.items():
            keep("redis-evalsha-P", pipeline,
                 peer_grabs(redis, sha, 1, pipeline, requests // less, 4242))


def rings(options):
    """a client process at one dataplane lcore: grabs that are answered "already", and durable ones"""
    pairs, less = turns_of(options)
    found = {}
    result = {"bench": "rings", "peers": {}, "ratios": {}}

    def work(node):
        redis = Redis(ahead=True) if redis_installed() and not options.no_peer else None
        try:
            sha = prepare_peer(redis, 1000) if redis else None
            if redis:
                peer_grabs(redis, sha, 1, 1, 1, 4242)
            with Rings(node, options, 2 * sum(FIRST_DURABLE.values()),
                       prepare=beside_the_lcore) as client:
                node.wait_applied(LAG_SECONDS_MAX)
                for flight in IN_FLIGHT_RINGS:
                    found["durable", flight] = [client.run(
                        "closed", "durable", flight, FIRST_DURABLE[flight] // less)]
                node.wait_applied(LAG_SECONDS_MAX)
                client.run("closed", "already", 16, ALREADY[16] // less)  # touches its pages
                for _ in range(pairs):
                    rings_turn(client, options, redis, sha, less, found)
                result["wrong"] = judge(client)
        finally:
            if redis:
                redis.close()
        rows = compare(result, found, "already")
        best = max((rows["already", flight] for flight in IN_FLIGHT_RINGS),
                   key=lambda row: row["rate_per_s"])
        result["metrics"] = {
            "rate_per_s": round(best["rate_per_s"]), "rate_goal_per_s": 4000000,
            "half_load": rows["already", "half"], "p50_us": rows["already", "half"]["p50_us"],
            "p99_us": rows["already", "half"]["p99_us"], "p99_goal_us": 10,
            "already": {str(f): rows["already", f] for f in IN_FLIGHT_RINGS},
            "durable": {str(f): rows["durable", f] for f in IN_FLIGHT_RINGS}}
        return result

    return with_node(options, work, **lcore_place(options))


def with_commits(node, run):
    """@return a run, with how often the node committed meanwhile: it writes one frame after another
    as long as there are grabs"""
    before = journal_numbers(node)["frames"]
    row = run()
    frames = journal_numbers(node)["frames"] - before
    return {**row, "commit_us": 1e6 * row["count"] / row["rate_per_s"] / max(frames, 1)}


def durable_turn(client, node, options, less, found):
    def keep(name, flight, run):
        found.setdefault((name, flight), []).append(run)

    for flight in IN_FLIGHT_DURABLE:
        keep("durable", flight, client.run("closed", "durable", flight, DURABLE[flight] // less))
    best = min(found["durable", IN_FLIGHT_DURABLE[-1]][-1]["rate_per_s"], OPEN_RATE_MAX)
    for load in LOADS:
        rate = best * load / 100
        time.sleep(REST_S)
        keep("open", load, with_commits(node, lambda: client.run(
            "open", "durable", "%.0f" % rate, int(rate * OPEN_SECONDS / less) + 1)))
    node.wait_applied(LAG_SECONDS_MAX)  # a peer is not to pay for what we left to MySQL


def sync_of(directory):
    return json.loads(subprocess.run([program(), "sync", directory, "1000"], capture_output=True,
                                     text=True, check=True).stdout)["sync"]


def durable(options):
    """grabs answered after the disk has them: 1, 50 and 500 in flight, and open loop"""
    pairs, less = turns_of(options)
    found, probes = {}, []
    result = {"bench": "durable", "peers": {}, "ratios": {}}
    with_redis = redis_installed() and not options.no_peer
    with_mariadb = mariadb_installed() and not options.no_peer
    peers = contextlib.ExitStack()

    def redis_turn(directory):
        # its file is on the same file system as the journal
        with Redis("always", directory, ahead=True) as redis:
            sha = prepare_peer(redis, sum(REDIS_ALWAYS.values()))
            for flight, requests in REDIS_ALWAYS.items():
                found.setdefault(("redis-always", flight), []).append(peer_grabs(
                    redis, sha, flight, 1, max(requests // less, flight), "__rand_int__"))
            expect(int(redis.cli("LLEN", "log")) > 0, "Redis logged nothing")

    def mariadb_turn(mariadb):
        for flight, grabs in MARIADB.items():
            found.setdefault(("mariadb", flight), []).append(
                mariadb.grab(flight, max(grabs // less, flight)))

    def work(node):
        directory = os.path.dirname(node.directory)
        grabs = int((sum(DURABLE.values()) + OPEN_SECONDS * OPEN_RATE_MAX * sum(LOADS) / 100 +
                     len(LOADS)) * pairs / less)
        with peers, Rings(node, options, grabs, prepare=beside_the_lcore) as client:
            mariadb = peers.enter_context(MariaDB(
                directory, pairs * sum(MARIADB.values()))) if with_mariadb else None
            node.wait_applied(LAG_SECONDS_MAX)
            for number in range(pairs):
                log("turn %d of %d" % (number + 1, pairs))
                probes.append(sync_of(node.directory))
                durable_turn(client, node, options, less, found)
                if with_redis:
                    redis_turn(directory)
                if mariadb:
                    mariadb_turn(mariadb)
            if mariadb:
                mariadb.check()
            result["wrong"] = judge(client)
            node_sync = journal_numbers(node)
        rows = compare(result, found, "durable")
        t_sync = {key: statistics.median(probe[key] for probe in probes)
                  for key in ("p50_us", "p99_us")}
        result["metrics"] = {
            "rate_per_s": round(rows["durable", IN_FLIGHT_DURABLE[-1]]["rate_per_s"]),
            "p50_us": rows["open", 50]["p50_us"], "p99_us": rows["open", 50]["p99_us"],
            "closed": {str(f): rows["durable", f] for f in IN_FLIGHT_DURABLE},
            "open": {str(load): rows["open", load] for load in LOADS},
            "node_sync_us_p50": node_sync["sync_us_p50"],
            "node_sync_us_p99": node_sync["sync_us_p99"],
            "t_sync_p50_us": t_sync["p50_us"], "t_sync_p99_us": t_sync["p99_us"],
            "half_load_p50_t_sync": round(rows["open", 50]["p50_us"] / t_sync["p50_us"], 2),
            "half_load_commit_us": round(statistics.median(
                run["commit_us"] for run in found["open", 50]), 1)}
        print("T_sync of the disk (4 KiB, O_DIRECT|O_DSYNC), medians of %d probes: p50 %.0f p99 "
              "%.0f µs; half load p50 is %.2f T_sync, with a commit every %.0f µs. The node's own "
              "writes: p50 %d p99 %d µs" % (
                  len(probes), t_sync["p50_us"], t_sync["p99_us"],
                  result["metrics"]["half_load_p50_t_sync"],
                  result["metrics"]["half_load_commit_us"], node_sync["sync_us_p50"],
                  node_sync["sync_us_p99"]))
        return result

    return with_node(options, work, **lcore_place(options))
