# SPDX-License-Identifier: Apache-2.0
"""engine-hot, engine-many, engine-reject: the engine in one thread, in turns with Redis that does
the same inside one EVAL."""
import json
import os
import statistics
import subprocess
import tempfile

from generator import Commanded, program
from lib import expect, log
from redis_peer import GRAB_LOOP, PREPARE_LOOP, REJECT_LOOP, Redis, redis_installed

USERS = 1000000
HOT_SHARES = 100000
MANY_SHARES = 10
WINDOWS_DEFAULT = 524288  # capacity.windows: refused tokens use none
PIECES = 10  # of what one pair measures, in turns: the machine changes within a second
CLAIM_TABLES = ("engine", "rte_hash", "lfht")


class Engine(Commanded):
    """hongbao-bench engine, prepared and waiting for commands; a context manager."""

    def __init__(self, options, **arguments):
        words = ["engine", "--seed", options.seed]
        for name, value in arguments.items():
            words += ["--" + name, value]
        super().__init__(*words)


def summary(rates):
    return {"median": round(statistics.median(rates)), "min": round(min(rates)),
            "max": round(max(rates))}


def rate_of(run):
    """Operations per second of the driving thread's CPU time: what one core does."""
    return run["count"] * 1e9 / run["cpu_ns"]


def wall_rate_of(run):
    return run["count"] * 1e9 / run["wall_ns"]


def metrics_of(runs):
    rates = summary([rate_of(run) for run in runs])
    return {"rate_per_s": rates["median"], "rate_min_per_s": rates["min"],
            "rate_max_per_s": rates["max"], "ns_per_op": round(1e9 / rates["median"], 1),
            "wall_rate_per_s": summary([wall_rate_of(run) for run in runs])["median"],
            "runs": len(runs)}


def outcome_of(runs, name):
    return sum(run["outcomes"].get(name, 0) for run in runs)


class Eval:
    """The peer redis-eval: the same grabs looped inside one EVAL, fresh packets each time."""

    def __init__(self, redis, shares, packets):
        self.redis, self.shares, self.packets = redis, shares, packets
        self.first = 0
        self.rates = []

    def turn(self):
        arguments = (self.first, self.shares, self.packets, USERS)
        self.redis.cli("EVAL", PREPARE_LOOP, 0, *arguments)
        answer, _, cpu = self.redis.timed(GRAB_LOOP, *arguments)
        expect(int(answer) == self.shares * self.packets, "redis-eval grabbed", answer)
        self.rates.append(int(answer) / max(cpu, 1e-9))
        self.first += self.packets
        self.redis.cli("DEL", "log")

    def metrics(self):
        rates = summary(self.rates)
        return {"rate_per_s": rates["median"], "rate_min_per_s": rates["min"],
                "rate_max_per_s": rates["max"], "ns_per_op": round(1e9 / rates["median"], 1),
                "version": self.redis.version()}


class RejectEval(Eval):
    """Refusals of a packet that is sold out."""

    def turn(self):
        count = self.shares * self.packets
        answer, _, cpu = self.redis.timed(REJECT_LOOP, count, USERS)
        expect(int(answer) == count, "redis-eval refused", answer)
        self.rates.append(count / max(cpu, 1e-9))


def with_peer(options, make):
    """Call make(redis or None) with a private Redis, unless it is not wanted."""
    if options.no_peer or not redis_installed():
        return make(None)
    with Redis() as redis:
        return make(redis)


def result_of(name, metrics, peers, check, engine, wrong):
    for sentence in wrong:
        print("WRONG:", sentence)
    ratios = {peer: round(metrics["rate_per_s"] / max(value["rate_per_s"], 1), 1)
              for peer, value in peers.items()}
    metrics["huge_pages"] = engine.about["huge_bytes"] > 0
    metrics["state_mib"] = engine.about["state_bytes"] >> 20
    metrics["replay_records_per_s"] = round(
        check["replayed_records"] * 1e9 / max(check["replay_ns"], 1))
    return {"bench": name, "ok": not wrong, "metrics": metrics, "peers": peers, "ratios": ratios,
            "check": check}


def judged(check, *conditions):
    wrong = [sentence for true, sentence in conditions if not true]
    if not check["ok"]:
        wrong.append("books: " + check["wrong"])
    return wrong


def line(title, metrics):
    print("%-28s %6.2f M/s per core (%.2f..%.2f), %6.1f ns, wall %.2f M/s" % (
        title, metrics["rate_per_s"] / 1e6, metrics["rate_min_per_s"] / 1e6,
        metrics["rate_max_per_s"] / 1e6, metrics["ns_per_op"],
        metrics.get("wall_rate_per_s", 0) / 1e6))


def peer_lines(result):
    for name, metrics in result["peers"].items():
        line(name, metrics)
        print("%s: %.1f times" % (name, result["ratios"][name]))
    print("huge pages: %s; replay %.2f M records/s; check: %s" % (
        "yes" if result["metrics"]["huge_pages"] else "no",
        result["metrics"]["replay_records_per_s"] / 1e6, json.dumps(result["check"])))


def engine_hot(options):
    """grabs of one packet after another, 100,000 shares each, in one thread without disk"""
    count = 2000000 if options.full else 1000000

    def measure(redis):
        with Engine(options, accounts=USERS, frames=count, runs=options.pairs + 1) as engine:
            peer = Eval(redis, HOT_SHARES, 1) if redis else None
            engine.command("run", "hot", 32, count)
            runs = []
            for _ in range(options.pairs):
                runs.append(engine.command("run", "hot", 32, count))
                if peer:
                    peer.turn()
            check = engine.command("check")
        metrics = metrics_of(runs)
        metrics["rate_goal_per_s"] = 10000000
        wrong = judged(check, (outcome_of(runs, "ok") == count * len(runs),
                               "not every grab got a share"))
        return result_of("engine-hot", metrics, {"redis-eval": peer.metrics()} if peer else {},
                         check, engine, wrong)

    result = with_peer(options, measure)
    line("engine-hot, bursts of 32", result["metrics"])
    peer_lines(result)
    return result


def claim_tables(options, packets):
    """Entering claims and asking for them, in the engine's table and in two for any key, in turns.
    @return medians of ns by table and burst"""
    path = os.path.join(os.path.dirname(program()), "hongbao-claims-bench")
    found = {(table, burst): [] for table in CLAIM_TABLES for burst in (1, 32)}
    with tempfile.TemporaryDirectory(prefix="hongbao-bench-") as scratch:
        environment = dict(os.environ, RUNTIME_DIRECTORY=scratch)  # what EAL writes
        for turn in range(options.pairs):
            log("claim tables, turn %d of %d" % (turn + 1, options.pairs))
            for (table, burst), runs in found.items():
                result = subprocess.run(
                    [path, table, "--packets", str(packets), "--burst", str(burst), "--seed",
                     str(options.seed + turn)], capture_output=True, text=True, env=environment)
                expect(result.returncode == 0, table, result.stderr)
                runs.append(json.loads(result.stdout))
    return {"%s-%d" % key: {name: round(statistics.median(run[name] for run in runs), 1)
                            for name in ("enter_ns", "ask_ns")} for key, runs in found.items()}


def engine_many(options):
    """grabs over a million packets of 10 shares, uniform and Zipf, in bursts of 1, 8 and 32"""
    packets = 1000000
    turns = PIECES * options.pairs
    count = min(60000, packets * MANY_SHARES // (3 * (turns + 1)))

    def measure(redis):
        with Engine(options, accounts=USERS, packets=packets, frames=count,
                    runs=5 * turns) as engine:
            peer = Eval(redis, MANY_SHARES, 20000) if redis else None
            uniform = {1: [], 8: [], 32: []}
            zipf = {1: [], 32: []}
            for turn in range(turns):
                for burst, runs in uniform.items():
                    runs.append(engine.command("run", "many", burst, count))
                if peer and turn % PIECES == 0:
                    peer.turn()
            for _ in range(turns):
                for burst, runs in zipf.items():
                    runs.append(engine.command("run", "zipf", burst, count))
            check = engine.command("check")
        metrics = metrics_of(uniform[32])
        variants = {"uniform-%d" % burst: metrics_of(runs) for burst, runs in uniform.items()}
        variants.update({"zipf-%d" % burst: metrics_of(runs) for burst, runs in zipf.items()})
        metrics["variants"] = variants
        metrics["burst_32_by_1"] = round(
            variants["uniform-32"]["rate_per_s"] / variants["uniform-1"]["rate_per_s"], 2)
        metrics["zipf_won_share"] = round(
            sum(outcome_of(runs, "ok") for runs in zipf.values()) /
            (count * sum(map(len, zipf.values()))), 3)
        metrics["rate_goal_per_s"] = 6000000
        done = sum(outcome_of(runs, "ok") for runs in uniform.values())
        wrong = judged(check, (done == count * sum(map(len, uniform.values())),
                               "not every grab of the uniform load got a share"))
        return result_of("engine-many", metrics, {"redis-eval": peer.metrics()} if peer else {},
                         check, engine, wrong)

    result = with_peer(options, measure)
    if not options.no_peer:
        tables = claim_tables(options, packets)
        result["metrics"]["claim_tables"] = tables
        for name, row in tables.items():
            print("claims alone, %-12s enter %6.1f ns, ask %6.1f ns" % (
                name, row["enter_ns"], row["ask_ns"]))
        for table in CLAIM_TABLES[1:]:
            result["ratios"]["claims " + table] = round(
                sum(tables[table + "-32"].values()) / sum(tables["engine-32"].values()), 2)
    for name, metrics in result["metrics"]["variants"].items():
        line("engine-many, " + name, metrics)
    print("bursts of 32: %.2f times bursts of 1; with Zipf %.1f %% of the requests won" % (
        result["metrics"]["burst_32_by_1"], result["metrics"]["zipf_won_share"] * 100))
    peer_lines(result)
    return result


def engine_reject(options):
    """refusals: sold out (99.9 %), asked again, used sequence, expired"""
    count = 1000000
    kinds = {"sold-out": "sold_out", "already": "ok", "used": "sequence_used",
             "expired": "expired"}

    def measure(redis):
        with Engine(options, accounts=USERS, frames=count, windows=WINDOWS_DEFAULT,
                    runs=len(kinds) * options.pairs + 1) as engine:
            peer = RejectEval(redis, HOT_SHARES, 5) if redis else None
            runs = {kind: [] for kind in kinds}
            for _ in range(options.pairs):
                for kind in kinds:
                    runs[kind].append(engine.command("run", kind, 32, count))
                if peer:
                    peer.turn()
            check = engine.command("check")
        variants = {kind: metrics_of(of) for kind, of in runs.items()}
        metrics = dict(variants["sold-out"])
        metrics["variants"] = variants
        metrics["rate_goal_per_s"] = 15000000
        wrong = judged(check, *((outcome_of(runs[kind], status) >= count * options.pairs * 0.999,
                                 "%s: not refused as %s" % (kind, status))
                                for kind, status in kinds.items()))
        return result_of("engine-reject", metrics, {"redis-eval": peer.metrics()} if peer else {},
                         check, engine, wrong)

    result = with_peer(options, measure)
    for name, metrics in result["metrics"]["variants"].items():
        line("engine-reject, " + name, metrics)
    peer_lines(result)
    return result
