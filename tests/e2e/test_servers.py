# SPDX-License-Identifier: Apache-2.0
"""Several MySQL servers: one of them down while the other's shards go on, a shard moved under
load, a server built anew from the journal."""
import json
import os
import signal
import threading
import time

from lib import Node, Options, OwnNode, expect, log, test, wait_for
from load import Load

LAG_SECONDS_MAX = 5.0
SHARD = 3  # moves


def appliers(node):
    """By name: what persist tells of each server."""
    return {a["name"]: a for a in node.persist("status")["appliers"]}


def two_servers(name):
    return OwnNode(name, dataplane__lcores=1, mysql__servers="main=private b=private2",
                   mysql__shards="main:0-7 b:8-15")


def hbctl(node, *arguments):
    code, out, err = node.hbctl(*arguments, "--json")
    expect(code == 0, "hbctl", *arguments, "ended with", code, out, err)
    return json.loads(out.strip().splitlines()[-1])


class LagWatch(threading.Thread):
    """Looks at a server's lag in time until it is told to stop."""

    def __init__(self, node, server):
        super().__init__()
        self.node = node
        self.server = server
        self.end = threading.Event()
        self.worst_ms = 0
        self.looks = 0
        self.states = set()
        self.start()

    def run(self):
        while not self.end.wait(0.1):
            applier = appliers(self.node)[self.server]
            self.worst_ms = max(self.worst_ms, applier["lag_ms"])
            self.states.add(applier["state"])
            self.looks += 1

    def stop(self):
        self.end.set()
        self.join()
        return self.worst_ms / 1000


@test
def while_one_of_two_servers_stands_still_the_other_keeps_up_and_a_shard_moves_under_load():
    seconds = Options.outage_seconds
    with two_servers("servers") as node:
        load = Load(node, packets=max(20, seconds * 2), pause_s=0.01).start()
        try:
            load.wait_answers(100)
            node.wait_applied()
            watch = LagWatch(node, "main")
            pid = node.pid("mysql2")
            os.kill(pid, signal.SIGSTOP)
            try:
                load.longest_gap_s = 0.0
                answers = load.next
                time.sleep(seconds)
                answered = load.next - answers
                gap = load.longest_gap_s
                stopped = appliers(node)["b"]
            finally:
                os.kill(pid, signal.SIGCONT)
            worst = watch.stop()
            log(answered, "answers while b stood still for", seconds, "s; longest gap %.3f s;" % gap,
                "lag of main at most %.2f s (%d looks), of b %.1f s" % (
                    worst, watch.looks, stopped["lag_ms"] / 1000))
            expect(answered >= 20 * seconds, "only", answered, "grabs in", seconds, "s")
            expect(worst < LAG_SECONDS_MAX, "main was", worst, "s behind")
            expect(watch.states == {"running"}, "main was", watch.states)
            expect(stopped["lag_ms"] > 500 * seconds, "b's standstill does not show:", stopped)
            wait_for("b to catch up", 120, lambda: appliers(node)["b"]["lag_ms"] < 1000)

            load.more(10)
            load.wait_answers(100)
            watch = LagWatch(node, "main")
            begin = time.monotonic()
            moved = hbctl(node, "mysql", "move-shard", str(SHARD), "b")
            took = time.monotonic() - begin
            load.wait_answers(100)
            worst = watch.stop()
            log("shard", SHARD, "moved with", moved["rows"], "rows in %.2f s under load;" % took,
                "lag at most %.2f s" % worst)
            expect(worst < LAG_SECONDS_MAX, "main was", worst, "s behind during the move")
            expect(moved["rows"] > 0, "nothing was moved:", moved)
        finally:
            load.stop.set()
            load.finish()
        status = hbctl(node, "mysql", "status")
        expect(status["shards"] == "main:0-2,4-7 b:3,8-15" and status["moved"] is None, status)
        load.verify()
        node.expect_sound()
        # the orders of a user whose shard has moved come from where they are now
        user = next(u for u in load.users
                    if u % 16 == SHARD and any(won[0] == u for won in load.won))
        code, value = node.user(user).call("GET", "/v1/orders?limit=100")
        wins = sum(won[0] == user for won in load.won)
        expect(code == 200 and len(value["items"]) == min(wins, 100), "orders of", user, ":",
               code, value, "wins:", wins)


@test
def mysql_rebuilt_from_the_journal_has_identical_tables():
    with two_servers("rebuild") as node:
        load = Load(node, threads=4, packets=6, pause_s=0).start()
        try:
            load.wait_answers(800)
        finally:
            load.stop.set()
            load.finish()
        node.expect_sound()
        hbctl(node, "mysql", "move-shard", str(SHARD), "b")
        before = hbctl(node, "mysql", "checksum")
        rows = sum(table["rows"] for table in before["tables"].values())
        expect(len(before["tables"]) == 80 and rows > 1000, "checksums:", before)
        for server in ("main", "b"):
            begin = time.monotonic()
            rebuilt = hbctl(node, "mysql", "rebuild", server)
            log("rebuilt", server, "from", rebuilt["rows"], "records in %.1f s" % (
                time.monotonic() - begin))
        after = hbctl(node, "mysql", "checksum")
        expect(before["tables"] == after["tables"], "the tables differ:", [
            (name, table, after["tables"][name]) for name, table in before["tables"].items()
            if table != after["tables"][name]])
        node.expect_sound()
        # what makes no sense is refused with the reason
        for arguments, reason in ((("move-shard", "16", "b"), "SHARD is a number from 0 to 15"),
                                  (("move-shard", "1", "c"), "no server c is defined"),
                                  (("rebuild", "c"), "no server c is defined")):
            code, _, err = node.hbctl("mysql", *arguments)
            expect(code != 0 and reason in err, "hbctl mysql", arguments, code, err)
        load.verify()


@test
def a_shard_map_that_forgets_or_doubles_a_shard_is_refused_with_the_reason():
    for shards, reason in (("main:0-4,6-7 b:8-15", "shard 5 is missing: no server has it"),
                           ("main:0-7 b:7-15", "shard 7 is there twice, at main and at b"),
                           ("main:0-7 c:8-15", "server c is not defined in mysql.servers")):
        node = Node("e2e-badmap", mysql__servers="main=unix:/run/none b=tcp:127.0.0.1:1",
                    mysql__shards=shards)
        code, text = node.try_up()
        node.launcher("down", "--config", node.config)
        expect(code != 0 and reason in text, "up with", shards, "ended with", code, "\n" + text)
        node.remove()
