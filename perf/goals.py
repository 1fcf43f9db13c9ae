# SPDX-License-Identifier: Apache-2.0
"""What the benchmarks are to show on two CPUs, as data: a sentence, where a result has the figure,
and the figure wanted. The report says of each whether it was reached, and of one that was not what
was measured beside it that bounds it and what would be needed; docs/performance.md has the whole of
it."""
import collections

Goal = collections.namedtuple("Goal", "bench text path least most bound needed",
                              defaults=(None, None, None, None))
# path: keys into the result, joined by "/"; least and most: what the figure may be; bound: why it is
# no better, with figures of the result (r), of the benchmark machine (m) and of the benchmark
# instructions (i); needed: what would have to be different.

MEMORY = "a random line of memory takes {m[line_ns]:.0f} ns, one of eight at a time {m[line_of_8_ns]:.0f}"

GOALS = (
    Goal("engine-hot", "grabs/s per core, one packet", "metrics/rate_per_s", least=10e6,
         bound="a grab is {i[instructions_per_grab]} instructions and SHA-256 for its share, in "
               "{r[ns_per_op]:.0f} ns, the largest parts {i[parts][applying][instructions]:.0f} to "
               "apply, {i[parts][MAC of the token][instructions]:.0f} for the MAC of the token, "
               "{i[parts][window of its sequences][instructions]:.0f} for its window; " + MEMORY +
               ", and it needs three that nobody has touched",
         needed="half the instructions (MAC, window and checksum together are a third of them), or a "
                "core that executes twice as many a second"),
    Goal("engine-hot", "times the same inside one Redis EVAL", "ratios/redis-eval", least=20),
    Goal("engine-many", "grabs/s per core, a million packets", "metrics/rate_per_s", least=6e6,
         bound=MEMORY + "; a grab reads five, and its instructions are those of engine-hot",
         needed="as for engine-hot, and memory whose lines come side by side in under 10 ns, as on "
                "a machine without a second level of page tables"),
    Goal("engine-many", "bursts of 32 by bursts of 1", "metrics/burst_32_by_1", least=3,
         bound=MEMORY + "; a burst hides lines, not the {i[instructions_per_grab]} instructions",
         needed="fewer instructions, or slower memory: with both as they are, bursts cannot hide "
                "more than the lines take"),
    Goal("engine-reject", "refusals/s per core: sold out",
         "metrics/variants/sold-out/rate_per_s", least=15e6),
    Goal("engine-reject", "the same: asked again", "metrics/variants/already/rate_per_s",
         least=15e6),
    Goal("engine-reject", "the same: used token", "metrics/variants/used/rate_per_s", least=15e6,
         bound=MEMORY + "; a refusal reads the window that was used, and its token's MAC is made",
         needed="a table of windows that is in the cache: capacity.windows of the grabs of an hour"),
    Goal("engine-reject", "the same: expired", "metrics/variants/expired/rate_per_s", least=15e6),
    Goal("rings", "\"already\" per second, one client", "metrics/rate_per_s", least=4e6,
         bound="lines travel between two cores, see rte_ring in the same run",
         needed="two CPUs whose cores share a cache"),
    Goal("rings", "times Redis EVALSHA, 64 in flight", "ratios/redis-evalsha-P64", least=15),
    Goal("rings", "times Redis EVALSHA, 1 in flight", "ratios/redis-evalsha-P1", least=50),
    Goal("rings", "p99 at half load, µs", "metrics/p99_us", most=10,
         bound="a real-time thread that only looks at the clock loses {m[lost_percent]:.2f} % of its "
               "time on each CPU in gaps above 10 µs, and a request meets two",
         needed="CPUs that the kernel and the hypervisor leave alone: isolcpus and nohz_full on the "
                "machine itself"),
    Goal("frames", "times a MAC swap on the same device, one frame per datagram",
         "ratios/mac-swap 1", least=0.5,
         bound="port lcore, owner and client share the CPUs, {r[already][already 1][cpu_us_per_frame]:.2f} µs "
               "a frame; the swap has one CPU for each of its two sides",
         needed="a CPU for each of the three"),
    Goal("frames", "\"already\" per second, 22 per datagram", "metrics/rate_per_s", least=4e6,
         bound="port lcore, owner and client share the CPUs, {r[already][already 22][cpu_us_per_frame]:.2f} "
               "µs a frame",
         needed="a CPU for each of the three"),
    Goal("durable", "times Redis, appendfsync always, 500 in flight", "ratios/redis-always-500",
         least=8),
    Goal("durable", "the same, 1 in flight", "ratios/redis-always-1", least=0.9),
    Goal("durable", "p50 at half load by T_sync", "metrics/half_load_p50_t_sync", most=2,
         bound="at half load a commit takes {r[half_load_commit_us]:.0f} µs, and a grab waits for one "
               "and a half; its write is {r[node_sync_us_p50]:.0f} of them (p50) instead of "
               "{r[t_sync_p50_us]:.0f}, as lcore and client take the CPUs that complete it (beside "
               "threads that only poll it is {m[sync_beside_us_p50]:.0f}); the others take, check and "
               "seal its records and wake who waits",
         needed="a CPU each for lcore, writer, client and the kernel's threads, and a frame taken from "
                "the rings while the one before is written"),
    Goal("http", "CPU from nginx to disk by that of nginx `return 200`",
         "ratios/cpu of nginx-return-200", most=2,
         bound="nginx alone is {r[times_nginx_alone]:.2f} times; the rest is per commit, for "
               "{r[grabs_per_frame]:.0f} grabs",
         needed="more grabs per commit: more load, or a slower disk"),
    Goal("http", "times nginx + Lua + Redis, at equal CPU", "ratios/nginx-lua-redis-equal-cpu",
         least=3),
    Goal("http-steady", "grabs/s over HTTP", "metrics/rate_per_s", least=11900),
    Goal("http-steady", "p99, µs", "metrics/p99_us", most=10000,
         bound="the CPUs were busy for {r[busy_percent]:.0f} % of the time, the generator's own "
               "sends were late by {r[late_p99_us]:.0f} µs (p99)",
         needed="a third CPU, or the generator on another machine"),
    Goal("http-steady", "journal bytes per grab, packed", "metrics/journal_packed_bytes_per_op",
         most=150),
    Goal("drain", "times a bare client", "ratios/bare-client-1", least=0.9,
         bound="one connection thread of mariadbd: {r[drain][1 server][mysql_us]:.1f} µs of CPU a "
               "grab, while which the applier waits, and its own "
               "{r[drain][1 server][applier_us]:.1f}, while which the server waits",
         needed="the next batch made while the server works on this one"),
    Goal("drain", "grabs/s into MariaDB, all rows", "metrics/rate_per_s", least=20000,
         bound="one connection thread of mariadbd: {r[drain][1 server][mysql_us]:.1f} µs of CPU a "
               "grab",
         needed="a second server (mysql.servers)"),
    Goal("recovery", "records/s replayed", "metrics/rate_per_s", least=2.5e6,
         bound="reading and checking alone take {r[read_only_ms]:.0f} of {r[replay_ms]:.0f} ms; the "
               "first access to a page of a new state takes {m[first_access_us]:.1f} µs",
         needed="memory that the host has given already: huge pages kept for the node, or "
                "node.prefault before the replay"),
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


def bound_of(goal, by_name):
    """@return what bounds a goal, "" where nobody has measured it"""
    figures = {letter: by_name.get(name, {}).get("metrics", {})
               for letter, name in (("m", "machine"), ("i", "instructions"), ("r", goal.bench))}
    try:
        return (goal.bound or "").format(**figures)
    except (KeyError, TypeError):
        return ""


def table(results):
    """Markdown: each goal of the benchmarks that ran, with what was measured."""
    by_name = {result["bench"]: result for result in results}
    lines = ["| benchmark | goal | wanted | measured | | what bounds it | what would be needed |",
             "|---|---|---|---|---|---|---|"]
    for goal in GOALS:
        if goal.bench not in by_name:
            continue
        value = figure(by_name[goal.bench], goal.path)
        wanted = "≥ " + short(goal.least) if goal.most is None else "≤ " + short(goal.most)
        told, verdict, bound, needed = "not measured", "", "", ""
        if value is not None and reached(goal, value):
            told, verdict = short(value), "reached"
        elif value is not None:
            told, verdict, bound = short(value), "**not reached**", bound_of(goal, by_name)
            needed = goal.needed or ""
        lines.append("| %s | %s | %s | %s | %s | %s | %s |" % (
            goal.bench, goal.text, wanted, told, verdict, bound, needed))
    return lines
