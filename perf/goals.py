# SPDX-License-Identifier: Apache-2.0
"""What the benchmarks are to show on two CPUs, as data: a sentence, where a result has the figure,
and the figure wanted. The report says of each whether it was reached; docs/performance.md says what
bounds those that were not."""
import collections

Goal = collections.namedtuple("Goal", "bench text path least most", defaults=(None, None))
# path: keys into the result, joined by "/"; least and most: what the figure may be.

GOALS = (
    Goal("engine-hot", "grabs/s per core, one packet", "metrics/rate_per_s", least=10e6),
    Goal("engine-hot", "times the same inside one Redis EVAL", "ratios/redis-eval", least=20),
    Goal("engine-many", "grabs/s per core, a million packets", "metrics/rate_per_s", least=6e6),
    Goal("engine-many", "bursts of 32 by bursts of 1", "metrics/burst_32_by_1", least=3),
    Goal("engine-reject", "refusals/s per core: sold out",
         "metrics/variants/sold-out/rate_per_s", least=15e6),
    Goal("engine-reject", "the same: asked again", "metrics/variants/already/rate_per_s",
         least=15e6),
    Goal("engine-reject", "the same: used token", "metrics/variants/used/rate_per_s", least=15e6),
    Goal("engine-reject", "the same: expired", "metrics/variants/expired/rate_per_s", least=15e6),
    Goal("rings", "\"already\" per second, one client", "metrics/rate_per_s", least=4e6),
    Goal("rings", "times Redis EVALSHA, 64 in flight", "ratios/redis-evalsha-P64", least=15),
    Goal("rings", "times Redis EVALSHA, 1 in flight", "ratios/redis-evalsha-P1", least=50),
    Goal("rings", "p99 at half load, µs", "metrics/p99_us", most=10),
    Goal("frames", "times a MAC swap on the same device, one frame per datagram",
         "ratios/mac-swap 1", least=0.5),
    Goal("frames", "\"already\" per second, 22 per datagram", "metrics/rate_per_s", least=4e6),
    Goal("durable", "times Redis, appendfsync always, 500 in flight", "ratios/redis-always-500",
         least=8),
    Goal("durable", "the same, 1 in flight", "ratios/redis-always-1", least=0.9),
    Goal("durable", "p50 at half load by T_sync", "metrics/half_load_p50_t_sync", most=2),
    Goal("http", "CPU from nginx to disk by that of nginx `return 200`",
         "ratios/cpu of nginx-return-200", most=2),
    Goal("http", "times nginx + Lua + Redis, at equal CPU", "ratios/nginx-lua-redis-equal-cpu",
         least=3),
    Goal("http-steady", "grabs/s over HTTP", "metrics/rate_per_s", least=11900),
    Goal("http-steady", "p99, µs", "metrics/p99_us", most=10000),
    Goal("http-steady", "journal bytes per grab, packed", "metrics/journal_packed_bytes_per_op",
         most=150),
    Goal("drain", "times a bare client", "ratios/bare-client-1", least=0.9),
    Goal("drain", "grabs/s into MariaDB, all rows", "metrics/rate_per_s", least=20000),
    Goal("recovery", "records/s replayed", "metrics/rate_per_s", least=2.5e6),
    Goal("scale", "cost of a grab, most by fewest packets", "metrics/times_cost_of_smallest",
         most=2),
    Goal("scale", "bytes of a claim", "metrics/bytes_per_claim", most=32),
    Goal("scale", "bytes of an account", "metrics/bytes_per_account", most=128),
    Goal("scale", "bytes of a packet of 10 shares, claims beside", "metrics/bytes_per_packet",
         most=192),
    Goal("idle", "CPU of a node at rest, % of a core", "metrics/idle_percent", most=3),
)


def figure(result, path):
    """@return what a result has there, or None"""
    for key in path.split("/"):
        if not isinstance(result, dict) or key not in result:
            return None
        result = result[key]
    return result


def reached(goal, value):
    return (goal.least is None or value >= goal.least) and \
        (goal.most is None or value <= goal.most)


def short(value):
    """1234567 as 1.23 M, small figures with two places."""
    for factor, unit in ((1e6, " M"), (1e3, " k")):
        if abs(value) >= 10 * 1e3 and abs(value) >= factor:
            return "%.2f%s" % (value / factor, unit)
    return "%g" % round(value, 2)


def table(results):
    """Markdown: each goal of the benchmarks that ran, with what was measured."""
    by_name = {result["bench"]: result for result in results}
    lines = ["| benchmark | goal | wanted | measured | |", "|---|---|---|---|---|"]
    for goal in GOALS:
        if goal.bench not in by_name:
            continue
        value = figure(by_name[goal.bench], goal.path)
        wanted = "≥ " + short(goal.least) if goal.most is None else "≤ " + short(goal.most)
        if value is None:
            told, verdict = "not measured", ""
        else:
            told, verdict = short(value), "reached" if reached(goal, value) else "**not reached**"
        lines.append("| %s | %s | %s | %s | %s |" % (goal.bench, goal.text, wanted, told, verdict))
    return lines
