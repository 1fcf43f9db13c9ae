# SPDX-License-Identifier: Apache-2.0
"""http: grabs over HTTP, each durable before it is answered, on 1 to 4096 keep-alive connections;
reads of a packet's detail; user tokens the front has seen and has not; grabs by frames over TCP. In
turns with an nginx that does nothing, and with nginx, Lua and Redis that do the same."""
import os
import random
import signal
import statistics
import tempfile

from bench_rings import LAG_SECONDS_MAX, Rings, with_node
from generator import (cpu_of_server, cpu_per_op, pin, public_key, run_generator, user_tokens)
from http_peers import LuaRedis, lua_installed, nginx_200
from lib import children, expect, log, wait_for, write_plan
from node_facts import applier_us, grab_orders, journal_numbers

GROUP = 7
SHARES = 10
FEN_PER_SHARE = 100
FIRST_GRABBER = 3000000000000  # as perf/rings_bench.c numbers them
USERS = 10000  # the front's cache has room for 32,768 tokens
CONNECTIONS = (1, 16, 256, 4096)
MAIN = 256
FRAMED = ((256, 1), (16, 16), (256, 16))  # users with a connection each, frames under way on each
FRAMED_GRABS = 60000  # of one load
FRAMED_SENDERS, SENDERS = 2100000000000, 256  # new accounts, of one preparation
LOAD_SHARE = 0.85  # of the most, in the open loop
GOAL_TIMES_NGINX = 2.0
COLD_MS_MAX = 60000
EDDSA_KID = "bench-eddsa"
GRABS_PER_S_MAX = 60000  # for how many the preparation provides
GRABS_MAX = 1500000  # of all loads; where that is less, a load ends earlier
PEER_GRABS_PER_S_MAX = 60000


class Sizes:
    def __init__(self, options):
        self.pairs = options.pairs
        self.run_ms = 300 if options.smoke else 3000 if options.full else 1500
        self.connections = (1, 16) if options.smoke else CONNECTIONS
        self.main = 16 if options.smoke else MAIN
        self.users = 1000 if options.smoke else USERS
        self.framed = ((16, 1), (16, 16)) if options.smoke else FRAMED
        self.framed_grabs = 2000 if options.smoke else FRAMED_GRABS
        runs = len(self.connections) * (self.pairs + 2) + self.pairs + 2
        blocks = 4 * self.pairs + 8  # of one grab of each user
        self.run_grabs = min(int(self.run_ms * GRABS_PER_S_MAX / 1000), GRABS_MAX // runs)
        self.grabs = -(-runs * self.run_grabs // self.users) * self.users + blocks * self.users


def told_grabs(node, options, count, users, scratch, first_sender=None):
    """@return lines of prepared grabs; each block of as many as there are users is shuffled"""
    path = os.path.join(scratch, "grabs")
    with Rings(node, options, count, users, first_sender=first_sender) as rings:
        rings.command("tell", "all", path, count)
    with open(path) as f:
        lines = f.readlines()
    os.unlink(path)
    shuffle = random.Random(options.seed).shuffle
    for first in range(0, count, users):
        block = lines[first:first + users]
        shuffle(block)
        lines[first:first + users] = block
    return lines


class Grabs:
    """Grabs of a node, each to be sent once: lines of (user, packet, token, sequence). In every
    block of as many grabs as there are users, each user grabs once."""

    def __init__(self, node, options, sizes, scratch):
        self.sizes = sizes
        self.next = 0
        self.all = [tuple(line.split()) for line in told_grabs(
            node, options, sizes.grabs, sizes.users, scratch)]

    def take_block(self):
        """@return the first of a whole block"""
        first = -(-self.next // self.sizes.users) * self.sizes.users
        expect(first + self.sizes.users <= len(self.all), "more grabs are needed than prepared")
        self.next = first + self.sizes.users
        return first

    def left(self):
        return len(self.all) - self.next

    def write(self, path, tokens, first=0, count=None):
        """The plan of these grabs with user tokens by number of the user."""
        some = self.all[first:] if count is None else self.all[first:first + count]
        write_plan(path, headers(tokens), (
            (int(user) - FIRST_GRABBER, b"POST /v1/packets/%s/grab HTTP/1.1\r\n" % packet.encode(),
             b'{"group":%d,"token":"%s","sequence":%s}' % (
                 GROUP, token.encode(), sequence.encode()))
            for user, packet, token, sequence in some))


def headers(tokens):
    return [("Host: hongbao\r\nAuthorization: Bearer %s\r\nContent-Type: application/json\r\n"
             % token).encode() for token in tokens]


def write_reads(path, tokens, grabs):
    """Every user reads the detail of one packet, users in turn."""
    return write_plan(path, headers(tokens), (
        (i % len(tokens), b"GET /v1/packets/%s?group=%d HTTP/1.1\r\n" % (
            grabs.all[i][1].encode(), GROUP), b"") for i in range(min(100000, len(grabs.all)))))


class FramedGrabs:
    """Grabs to be sent by frames over TCP, each once: files of them and of their users' tokens."""

    def __init__(self, bench, users, count):
        self.users, self.count, self.next = users, count, 0
        self.in_flight = 1
        self.path = os.path.join(bench.scratch, "framed")
        self.tokens = os.path.join(bench.scratch, "framed-tokens")
        with open(self.path, "w") as f:
            f.writelines(told_grabs(bench.node, bench.options, count, users, bench.scratch,
                                    FRAMED_SENDERS + users * SENDERS))
        with open(self.tokens, "w") as f:
            f.writelines(token + "\n" for token in bench.tokens[:users])

    def left(self):
        return self.count - self.next


class Bench:
    """A node, its grabs, and what was measured so far."""

    def __init__(self, node, options, scratch, sizes):
        self.node, self.options, self.scratch, self.sizes = node, options, scratch, sizes
        self.wrong = []
        self.won = self.told_fen = 0
        self.rows = {}
        self.eddsa = self.add_eddsa_key() if options.node is None else None
        self.grabs = Grabs(node, options, self.sizes, scratch)
        log("%d grabs of %d users prepared" % (len(self.grabs.all), self.sizes.users))
        self.plan = os.path.join(scratch, "plan")
        self.tokens = self.sign("HS256", 7200)
        self.grabs.write(self.plan, self.tokens)
        self.pin_front()
        node.wait_applied(LAG_SECONDS_MAX)

    def pin_front(self):
        pin(self.node.pids("nginx"), cpu_of_server())

    def add_eddsa_key(self):
        """A second key of the front, of this benchmark's own. @return its seed"""
        seed = os.urandom(32).hex()
        with open(self.node.path("key/jwt.keys"), "a") as f:
            f.write("%s EdDSA %s\n" % (EDDSA_KID, public_key(seed)))
        master = self.node.pid("nginx")
        before = children(master)
        os.kill(master, signal.SIGHUP)
        wait_for("nginx to have new workers", 10, lambda: children(master) and
                 not set(before) & set(children(master)))
        return seed

    def sign(self, algorithm, lifetime_s):
        secret, kid = (self.node.keys.jwt_secret.hex(), self.node.keys.jwt_id) \
            if algorithm == "HS256" else (self.eddsa, EDDSA_KID)
        return user_tokens(algorithm, secret, kid, FIRST_GRABBER, self.sizes.users, GROUP,
                           lifetime_s)

    def load(self, server, plan, connections, first, count, *how):
        """@param plan path of a plan, or FramedGrabs"""
        if isinstance(plan, FramedGrabs):
            words = ["load", "--framed", plan.path, "--tokens", plan.tokens,
                     "--in-flight", str(plan.in_flight),
                     "--address", "%s:%d" % server.frames_address]
        else:
            words = ["load", "--plan", plan, "--connections", str(connections),
                     "--address", "%s:%d" % server.address]
        words += ["--seed", str(self.options.seed), "--first", str(first), "--requests", str(count),
                  *map(str, how)]
        for name, pid in server.processes():
            words += ["--process", "%s=%d" % (name, pid)]
        return run_generator(*words, pinned=True)

    def ours(self, plan, connections, first, count, *how, grabs=True):
        """One load at the node, when MySQL has all of those before. @return the load and its row"""
        self.node.wait_applied(LAG_SECONDS_MAX)
        applier, frames = applier_us(self.node), journal_numbers(self.node)["frames"]
        load = self.load(self.node, plan, connections, first, count, *how)
        load["applier_us"] = applier_us(self.node) - applier
        load["frames"] = journal_numbers(self.node)["frames"] - frames
        # Frames that find the ring full are refused as busy, as thousands are under way at once.
        busy = sum(outcome["count"] for outcome in load["outcomes"] if outcome["status"] == "busy") \
            if isinstance(plan, FramedGrabs) else 0
        if load["failed"] != busy or load["accepted"] + busy != load["sent"]:
            self.wrong.append("%d of %d requests on %d connections were not answered ok: %s" % (
                load["failed"], load["sent"], connections, load["outcomes"]))
        if grabs:
            self.won += load["accepted"]
            self.told_fen += load["amount_fen_sum"]
        return load, dict(row_of(load), busy=busy)

    def closed(self, plan, connections, ms=None):
        """As many grabs as come back in a closed loop."""
        load, row = self.ours(plan, connections, self.grabs.next,
                              min(self.grabs.left(), self.sizes.run_grabs), "--closed",
                              ms or self.sizes.run_ms)
        self.grabs.next += load["sent"]
        return row

    def turns(self, name, plan, connections, rate_max, peer, grabs=True):
        """Pairs of an open loop at the node and the same bytes at the peer."""
        rate = rate_max * LOAD_SHARE
        count = max(10, min(int(rate * self.sizes.run_ms / 1000), self.sizes.run_grabs))
        rows = []
        for _ in range(self.sizes.pairs):
            first = self.grabs.next if grabs else 0
            count = min(count, self.grabs.left()) if grabs else min(count, 100000)
            expect(count > 0, "more grabs are needed than prepared")
            _, row = self.ours(plan, connections, first, count, "--rate", rate, grabs=grabs)
            if grabs:
                self.grabs.next += count
            if peer:
                self.node.wait_applied(LAG_SECONDS_MAX)
                floor = row_of(self.load(peer, plan, connections, first, count, "--rate", rate))
                row["nginx_200_us"] = floor["nginx_us"]
                row["times_nginx_alone"] = round(
                    row["nginx_us"] / max(floor["nginx_us"], 0.01), 2)
                row["times_nginx_200"] = round(
                    row["front_to_disk_us"] / max(floor["nginx_us"], 0.01), 2)
            rows.append(row)
        self.rows[name] = dict(middle(rows), most_per_s=round(rate_max))
        show(name, self.rows[name])
        return self.rows[name]


def row_of(load):
    """One run in figures; CPU is µs per operation."""
    cpu = cpu_per_op(load, load["accepted"])
    applier = round(load.get("applier_us", 0) / max(load["accepted"], 1), 2)
    row = {"rate_per_s": load["accepted_per_s"], "offered_per_s": load["offered_per_s"]}
    row.update({key + "_us": load["latency"][key + "_us"]
                for key in ("p50", "p99", "p999", "p9999", "max")})
    row.update({name + "_us": us for name, us in cpu.items()})
    row["applier_us"] = applier
    row["grabs_per_frame"] = round(load["accepted"] / max(load.get("frames", 0), 1), 1)
    row["generator_us"] = round(load["generator_cpu_us"] / max(load["accepted"], 1), 2)
    row["front_to_disk_us"] = round(
        sum(cpu.get(name, 0) for name in ("nginx", "dataplane", "persist")) - applier, 2)
    return row


def middle(rows):
    """The median of each figure, and the range of those that are judged."""
    row = {}
    for key in rows[0]:
        values = [r[key] for r in rows if r[key] is not None]
        row[key] = round(statistics.median(values), 2) if values else None
        if key in ("rate_per_s", "times_nginx_200"):
            row[key + "_range"] = "%g..%g" % (min(values), max(values))
    row["runs"] = len(rows)
    return row


def show(name, row):
    print("%-22s %8.0f/s of %s  p50 %.0f  p99 %.0f  p99.9 %.0f  p99.99 %.0f  max %.0f µs" % (
        name, row["rate_per_s"], row.get("most_per_s", "-"), row["p50_us"], row["p99_us"],
        row["p999_us"], row["p9999_us"], row["max_us"]))
    print("%-22s CPU µs: nginx %.1f  dataplane %.1f  persist %.1f of which applier %.1f  "
          "mysql %.1f  generator %.1f" % ("", row.get("nginx_us", 0), row.get("dataplane_us", 0),
                                          row.get("persist_us", 0), row["applier_us"],
                                          row.get("mysql_us", 0), row["generator_us"]))
    if row.get("busy"):
        print("%-22s refused as busy: %g of a load" % ("", row["busy"]))
    if "times_nginx_200" in row:
        print("%-22s nginx + dataplane + persist without applier %.1f, nginx-200 %.1f: "
              "%.2f times (%s)" % ("", row["front_to_disk_us"], row["nginx_200_us"],
                                   row["times_nginx_200"], row["times_nginx_200_range"]))


def warm_up(bench):
    """The front sees every user token once; then nothing of a first request is left."""
    reads = os.path.join(bench.scratch, "warm-up")
    write_reads(reads, bench.tokens, bench.grabs)
    bench.ours(reads, bench.sizes.main, 0, bench.sizes.users, "--closed", COLD_MS_MAX, grabs=False)
    bench.closed(bench.plan, bench.sizes.main, 200)
    return reads


def measure_tokens(bench):
    """Rounds of tokens that the front has not seen, then of the same again, closed loop."""
    kinds = ["HS256"] + (["EdDSA"] if bench.eddsa else [])
    rows = {kind + state: [] for kind in kinds for state in (" cold", " warm")}
    path = os.path.join(bench.scratch, "tokens")
    for turn in range(bench.sizes.pairs):
        for kind in kinds:
            tokens = bench.sign(kind, 7300 + turn)
            for state in (" cold", " warm"):
                first = bench.grabs.take_block()
                bench.grabs.write(path, tokens, first, bench.sizes.users)
                _, row = bench.ours(path, bench.sizes.main, 0, bench.sizes.users, "--closed",
                                    COLD_MS_MAX)
                rows[kind + state].append(row)
    for name, some in rows.items():
        bench.rows["tokens " + name] = middle(some)
        show("tokens " + name, bench.rows["tokens " + name])


def measure_framed(bench):
    """Frames over TCP: closed loops find the most, then open loops at a share of it."""
    for users in sorted({users for users, _ in bench.sizes.framed}):
        depths = [depth for some, depth in bench.sizes.framed if some == users]
        grabs = FramedGrabs(bench, users,
                            (bench.sizes.pairs + 2) * len(depths) * bench.sizes.framed_grabs)
        for grabs.in_flight in depths:
            load, most = bench.ours(grabs, users, grabs.next, bench.sizes.framed_grabs, "--closed",
                                    bench.sizes.run_ms)
            grabs.next += load["lines"]
            rate = most["rate_per_s"] * LOAD_SHARE
            rows = []
            for _ in range(bench.sizes.pairs):
                count = min(int(rate * bench.sizes.run_ms / 1000), bench.sizes.framed_grabs,
                            grabs.left())
                load, row = bench.ours(grabs, users, grabs.next, count, "--rate", rate)
                grabs.next += load["lines"]
                rows.append(row)
            name = "framed %d x %d" % (users, grabs.in_flight)
            bench.rows[name] = dict(middle(rows), most_per_s=round(most["rate_per_s"]))
            show(name, bench.rows[name])


def measure_lua(bench, result):
    """Closed loops at the node and at nginx, Lua and Redis, in turns."""
    sizes = bench.sizes
    first = bench.grabs.next
    count = min(bench.grabs.left(),
                int((sizes.pairs + 1) * sizes.run_ms * PEER_GRABS_PER_S_MAX / 1000))
    directory = os.path.dirname(bench.node.directory)
    ours, theirs = [], []
    with LuaRedis(directory, bench.node.keys.jwt_secret.hex()) as peer:
        peer.prepare(bench.grabs.all[first:first + count], FEN_PER_SHARE)
        peer.pin()
        at, end = first, first + count
        sent = accepted = 0
        for turn in range(sizes.pairs + 1):
            bench.node.wait_applied(LAG_SECONDS_MAX)
            load = bench.load(peer, bench.plan, sizes.main, at, end - at, "--closed", sizes.run_ms)
            at += load["sent"]
            sent, accepted = sent + load["sent"], accepted + load["accepted"]
            if turn > 0:  # the first has its tokens verified
                theirs.append(row_of(load))
                ours.append(bench.closed(bench.plan, sizes.main))
            expect(at < end, "nginx + Lua + Redis grabbed all that was prepared")
        expect(accepted == sent and peer.grabbed() == accepted,
               "nginx + Lua + Redis:", accepted, "accepted of", sent, ",", peer.grabbed(), "logged")
        version = peer.redis.version()
    mine, other = middle(ours), middle(theirs)
    show("closed, node", mine)
    show("closed, lua + redis", other)
    bench.rows["closed %d" % sizes.main] = mine
    other["cpu_us_per_op"] = round(other["nginx_us"] + other["redis_us"], 2)
    other["version"] = version
    result["peers"]["nginx-lua-redis"] = other
    result["ratios"]["nginx-lua-redis"] = round(mine["rate_per_s"] / other["rate_per_s"], 2)
    # As many grabs as each makes of one second of CPU.
    result["ratios"]["nginx-lua-redis-equal-cpu"] = round(
        other["cpu_us_per_op"] / max(mine["front_to_disk_us"], 0.01), 2)
    print("closed loop, %d connections: %.2f times the rate of nginx + Lua + Redis, %.2f times its "
          "grabs per CPU second" % (sizes.main, result["ratios"]["nginx-lua-redis"],
                                    result["ratios"]["nginx-lua-redis-equal-cpu"]))


def measure(bench, result):
    sizes = bench.sizes
    reads = warm_up(bench)
    peer = None if bench.options.no_peer else nginx_200()
    try:
        if peer:
            peer.pin()
        for connections in sizes.connections:
            most = bench.closed(bench.plan, connections)["rate_per_s"]
            bench.turns("grab %d" % connections, bench.plan, connections, most, peer)
        _, most = bench.ours(reads, sizes.main, 0, 100000, "--closed", sizes.run_ms, grabs=False)
        bench.turns("read %d" % sizes.main, reads, sizes.main, most["rate_per_s"], peer,
                    grabs=False)
    finally:
        if peer:
            peer.close()
    if not bench.options.no_peer and lua_installed():
        measure_lua(bench, result)
    elif not bench.options.no_peer:
        log("nginx's Lua module is not installed: that peer is left out. "
            "./hongbao setup --bench installs it")
    measure_tokens(bench)
    measure_framed(bench)


def with_bench(node, options, sizes, work):
    """Run work(bench), then count the grabs that MySQL has. @return the Bench, with what is wrong"""
    node.wait_applied()  # a new node's applier first makes the tables
    orders = grab_orders(node)
    with tempfile.TemporaryDirectory(prefix="hongbao-bench-") as scratch:
        bench = Bench(node, options, scratch, sizes)
        work(bench)
    node.wait_applied(LAG_SECONDS_MAX)
    orders = grab_orders(node) - orders
    if orders != bench.won:
        bench.wrong.append("%d grab orders in MySQL, not %d" % (orders, bench.won))
    if bench.told_fen <= 0:
        bench.wrong.append("nobody won anything")
    return bench


def http(options):
    """durable grabs and reads over HTTP on 1 to 4096 connections; CPU beside nginx `return 200`"""
    result = {"bench": "http", "metrics": {}, "peers": {}, "ratios": {}}

    def work(node):
        bench = with_bench(node, options, Sizes(options), lambda bench: measure(bench, result))
        main = bench.rows["grab %d" % bench.sizes.main]
        result["metrics"].update({
            "rate_per_s": main["most_per_s"], "p50_us": main["p50_us"], "p99_us": main["p99_us"],
            "p999_us": main["p999_us"], "p9999_us": main["p9999_us"], "max_us": main["max_us"],
            "load_share": LOAD_SHARE, "front_to_disk_us": main["front_to_disk_us"],
            "grabs": bench.won, "loads": bench.rows})
        if "times_nginx_200" in main:
            result["metrics"].update({key: main[key] for key in (
                "times_nginx_alone", "grabs_per_frame")})
            result["metrics"]["times_nginx_200_goal"] = GOAL_TIMES_NGINX
            result["peers"]["nginx-return-200"] = {
                "rate_per_s": main["rate_per_s"], "cpu_us_per_op": main["nginx_200_us"]}
            result["ratios"]["cpu of nginx-return-200"] = main["times_nginx_200"]
        result["wrong"] = bench.wrong
        return result

    return with_node(options, work, front__workers=1)
