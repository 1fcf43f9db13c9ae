# SPDX-License-Identifier: Apache-2.0
"""drain: a backlog of grabs goes into MariaDB, one server and two; in turns with a bare client that
writes the same rows with the same statements and durability."""
import json
import os
import statistics
import subprocess
import tempfile
import time

from bench_rings import LAG_SECONDS_MAX, Rings, with_node
from generator import program
from lib import cpu_us, expect, log
from node_facts import TABLES, applier_us, grab_orders

USERS = 100000
BACKLOG = 200000
BACKLOG_FULL = 1000000
BACKLOG_SMOKE = 5000
IN_FLIGHT = 500
RECORDS_PER_COMMIT = 16384  # the applier's, when it is far behind
GOAL_PER_S = 20000
GOAL_BARE = 0.9
POLL_S = 0.02
BARE = "hb_bare"
LOADED = "hb_load_data"
SUMS = {"order": "COUNT(*), COALESCE(SUM(amount_fen), 0), COALESCE(SUM(jseq), 0)",
        "claim": "COUNT(*), COALESCE(SUM(amount_fen), 0), COALESCE(SUM(share), 0)",
        "flow": "COUNT(*), COALESCE(SUM(available_after), 0), COALESCE(SUM(frozen_after), 0)",
        "account": "COUNT(*), COALESCE(SUM(available_fen), 0), COALESCE(SUM(version), 0)"}


def sockets(node, servers):
    return [node.path("socket/mysql/mysql.sock"),
            node.path("socket/mysql/mysql2.sock")][:servers]


def query(socket, text, *words):
    result = subprocess.run(["mariadb", "--no-defaults", "-N", "-B", "-S", socket, "-u", "root",
                             *words, "-e", text], capture_output=True, text=True)
    expect(result.returncode == 0, "SQL failed:", result.stderr)
    return result.stdout


def positions(node):
    return [applier["seq"] for applier in node.persist("status")["appliers"]]


def mysql_us(node):
    return sum(cpu_us(pid) for name in ("mysql", "mysql2") for pid in node.pids(name))


def drain_once(node, rings, count):
    """Grab as fast as it goes, then watch MySQL catch up. @return figures"""
    node.wait_applied(LAG_SECONDS_MAX)
    after = node.persist("status")["committed_seq"]
    grabbed = rings.run("closed", "durable", IN_FLIGHT, count)
    begin = time.monotonic()
    at = positions(node)
    wanted = node.persist("status")["committed_seq"]
    cpu, applier = mysql_us(node), applier_us(node)
    backlog = sum(wanted - seq for seq in at) / len(at)
    while min(positions(node)) < wanted:
        expect(time.monotonic() - begin < LAG_SECONDS_MAX * 4, "MySQL does not catch up")
        time.sleep(POLL_S)
    seconds = time.monotonic() - begin
    return {"after": after, "burst_per_s": grabbed["rate_per_s"], "backlog": round(backlog),
            "seconds": round(seconds, 3), "rate_per_s": round(backlog / seconds, 1),
            "mysql_us": round((mysql_us(node) - cpu) / backlog, 2),
            "applier_us": round((applier_us(node) - applier) / backlog, 2)}


def bare_once(node, servers, after, count):
    """The same rows once more, a client for each server at the same time. @return figures"""
    words = [program(), "bare-client", "--from", "hb_ledger", "--into", BARE, "--after",
             str(after), "--records-per-commit", str(RECORDS_PER_COMMIT)]
    clients = [subprocess.Popen(words + ["--socket", socket], stdout=subprocess.PIPE,
                                stderr=subprocess.PIPE, text=True)
               for socket in sockets(node, servers)]
    runs = []
    for client in clients:
        out, err = client.communicate()
        expect(client.returncode == 0, err)
        runs.append(json.loads(out))
    grabs = sum(run["grabs"] for run in runs)
    expect(grabs == count, "the bare client found", grabs, "grabs, not", count)
    seconds = max(run["seconds"] for run in runs)
    return {"seconds": seconds, "rate_per_s": round(grabs / max(seconds, 1e-9), 1),
            "rows": sum(run["rows"] for run in runs), "commits": sum(r["commits"] for r in runs)}


def drop_bare(node, servers):
    for socket in sockets(node, servers):
        query(socket, "DROP DATABASE IF EXISTS %s" % BARE)


def sums(socket, database, after):
    """What must be equal in the ledger and in the bare client's tables."""
    found = []
    for i in range(TABLES):
        for table, columns in SUMS.items():
            where = "WHERE %s > %d" % ("opened_jseq" if table == "account" else "jseq", after)
            found.append(query(socket, "SELECT %s FROM %s_%02d %s" % (columns, table, i, where),
                               database))
    return found


def load_data(node, after):
    """For orientation: the rows of order, claim and flow by LOAD DATA, a table after the other, in
    one transaction. @return figures"""
    socket = sockets(node, 1)[0]
    count = 0
    with tempfile.TemporaryDirectory(prefix="hongbao-bench-") as scratch:
        statements = ["SET autocommit = 0"]
        query(socket, "DROP DATABASE IF EXISTS %s; CREATE DATABASE %s; SET GLOBAL local_infile = 1"
              % (LOADED, LOADED))
        for i in range(TABLES):
            for table in ("order", "claim", "flow"):
                name = "%s_%02d" % (table, i)
                query(socket, "CREATE TABLE %s LIKE hb_ledger.%s" % (name, name), LOADED)
                path = os.path.join(scratch, name)
                with open(path, "w") as f:
                    f.write(query(socket, "SELECT * FROM %s WHERE jseq > %d" % (name, after),
                                  "hb_ledger"))
                statements.append("LOAD DATA LOCAL INFILE '%s' INTO TABLE %s" % (path, name))
        begin = time.monotonic()
        query(socket, "; ".join(statements + ["COMMIT"]), LOADED, "--local-infile=1")
        seconds = time.monotonic() - begin
        count = sum(int(query(socket, "SELECT COUNT(*) FROM order_%02d" % i, LOADED))
                    for i in range(TABLES))
        query(socket, "DROP DATABASE %s" % LOADED)
    return {"rate_per_s": round(count / seconds, 1), "seconds": round(seconds, 3), "grabs": count}


def middle(runs):
    rates = sorted(run["rate_per_s"] for run in runs)
    return dict(runs[-1], rate_per_s=rates[len(rates) // 2],
                rate_range="%g..%g" % (rates[0], rates[-1]), runs=len(runs))


def ratio_of(drains, bares):
    """Of each turn, as rows cost more the more there are; the median"""
    ratios = [drain["rate_per_s"] / bare["rate_per_s"] for drain, bare in zip(drains, bares)]
    return round(statistics.median(ratios), 2) if ratios else None


def drain_with(options, servers, result):
    pairs = options.pairs
    count = BACKLOG_SMOKE if options.smoke else BACKLOG_FULL if options.full else BACKLOG
    more = {"mysql__servers": "main=private b=private2",
            "mysql__shards": "main:0-7 b:8-15"} if servers == 2 else {}

    def work(node):
        wrong, drains, bares = [], [], []
        drop_bare(node, servers)  # of a run that was broken off
        with Rings(node, options, count * pairs, USERS) as rings:
            for turn in range(pairs):
                drains.append(drain_once(node, rings, count))
                if options.no_peer:
                    continue
                after = drains[-1]["after"]
                bares.append(bare_once(node, servers, after, count))
                log("turn %d of %d: %.0f grabs/s, bare client %.0f" % (
                    turn + 1, pairs, drains[-1]["rate_per_s"], bares[-1]["rate_per_s"]))
                for socket in sockets(node, servers):
                    if sums(socket, "hb_ledger", after) != sums(socket, BARE, after):
                        wrong.append("the bare client wrote other rows than the applier")
            drop_bare(node, servers)
            if servers == 1 and not options.no_peer:
                result["peers"]["load-data"] = load_data(node, drains[-1]["after"])
        if rings.failed:
            wrong.append("%d grabs were not answered as they should be" % rings.failed)
        if servers == 1 and grab_orders(node) != count * pairs:
            wrong.append("%d grab orders in MySQL, not %d" % (grab_orders(node), count * pairs))
        return {"wrong": wrong, "drain": middle(drains), "bare": middle(bares) if bares else None,
                "ratio": ratio_of(drains, bares)}

    log("drain into %d server(s), %d times %d grabs" % (servers, pairs, count))
    found = with_node(options, work, **more)
    name = "%d server%s" % (servers, "" if servers == 1 else "s")
    result["metrics"]["drain"][name] = found["drain"]
    print("%s: backlog %d, %.0f grabs/s (%s) with all rows; CPU µs per grab: mysql %.1f, applier "
          "%.1f" % (name, found["drain"]["backlog"], found["drain"]["rate_per_s"],
                    found["drain"]["rate_range"], found["drain"]["mysql_us"],
                    found["drain"]["applier_us"]))
    if found["bare"]:
        peer = "bare-client-%d" % servers
        result["peers"][peer] = found["bare"]
        result["ratios"][peer] = found["ratio"]
        print("%s, bare client: %.0f grabs/s (%s); drain is %.2f times that" % (
            name, found["bare"]["rate_per_s"], found["bare"]["rate_range"],
            result["ratios"][peer]))
    result["ok"] = result["ok"] and found["ok"]
    result["check"] = {"ok": result["check"]["ok"] and found["check"].get("ok") is True}


def drain(options):
    """a backlog of grabs goes into one MariaDB and into two; beside a bare client's same rows"""
    result = {"bench": "drain", "ok": True, "metrics": {"drain": {}}, "peers": {}, "ratios": {},
              "check": {"ok": True}}
    for servers in (1, 2):
        drain_with(options, servers, result)
    if "load-data" in result["peers"]:
        print("LOAD DATA of orders, claims and flows, for orientation: %.0f grabs/s" %
              result["peers"]["load-data"]["rate_per_s"])
    one = result["metrics"]["drain"]["1 server"]
    result["metrics"].update({"rate_per_s": one["rate_per_s"], "rate_goal_per_s": GOAL_PER_S,
                              "bare_client_goal": GOAL_BARE})
    return result
