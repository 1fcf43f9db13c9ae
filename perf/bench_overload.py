# SPDX-License-Identifier: Apache-2.0
"""overload and overload-http: more grabs than the node can do are offered at its rings, and over HTTP,
twice, five and ten times. How many are done meanwhile, and how soon the others hear that there is
no room."""
import statistics

from bench_http import warm_up, with_bench
from bench_rings import LAG_SECONDS_MAX, Rings, with_node
from lib import expect, log

GRABS = 2000000
GRABS_SMOKE = 40000
IN_FLIGHT = (500, 2000, 6000)  # where the peak is looked for
FACTORS = (2, 5, 10)
GOODPUT_MIN = 0.9  # of the peak
REFUSAL_P99_US_MAX = 1000
FLOOD_FIGURES = ("offered", "done", "refused", "dropped", "rate_per_s", "p99_us", "refusal_p50_us",
                 "refusal_p99_us")

HTTP_CONNECTIONS = (64, 256, 1024, 4096)  # where the peak is looked for; the last are offered more
HTTP_RUN_MS = 1200
HTTP_GRABS_PER_S_MAX = 80000
PATIENCE_MS = 250  # of a user whose request finds no connection
ANSWER_MS_MAX = 1000  # of a user whose request was sent


def find_peak(rings, grabs):
    """@return how many in flight give the most, of some; each twice, `grabs` in all"""
    peaks = {}
    for in_flight in 2 * IN_FLIGHT:
        run = rings.run("closed", "durable", in_flight, grabs // (2 * len(IN_FLIGHT)))
        peaks[in_flight] = max(peaks.get(in_flight, 0), run["rate_per_s"])
    log("closed loops:", ", ".join("%.0f/s with %d in flight" % (rate, n)
                                   for n, rate in peaks.items()))
    return max(peaks, key=peaks.get)


def overload(options):
    """2, 5 and 10 times the peak offered at the rings: goodput, and how soon a refusal comes"""
    grabs = GRABS_SMOKE if options.smoke else GRABS
    turns = 1 if options.smoke else options.pairs
    result = {"bench": "overload", "metrics": {}, "peers": {}, "ratios": {}, "wrong": []}

    def work(node):
        per_run = grabs * 9 // 10 // (turns * (1 + len(FACTORS)))
        peaks, floods = [], {factor: [] for factor in FACTORS}
        with Rings(node, options, grabs) as rings:
            best = find_peak(rings, grabs // 10)
            for _ in range(turns):
                peaks.append(rings.run("closed", "durable", best, per_run)["rate_per_s"])
                for factor in FACTORS:
                    floods[factor].append(rings.command(
                        "flood", "durable", "%.1f" % (factor * peaks[-1]), per_run))
                    rings.told_fen += floods[factor][-1]["amount_fen"]
        peak = statistics.median(peaks)
        result["metrics"].update({"peak_per_s": round(peak), "peak_in_flight": best,
                                  "peak_runs_per_s": peaks})
        print("peak %.0f/s (%.0f..%.0f) with %d in flight" % (peak, min(peaks), max(peaks), best))
        for factor, runs in floods.items():
            judge(result, runs, factor, peaks, options.smoke)
        return result

    with_node(options, work)
    return result


def medians(runs, figures, shares):
    """@param shares of the peak, of each run"""
    row = {key: round(statistics.median(run[key] for run in runs), 1) for key in figures}
    row["goodput"] = round(statistics.median(shares), 3)
    row["goodput_range"] = "%.2f..%.2f" % (min(shares), max(shares))
    return row


def judge_goodput(wrong, row, factor):
    if row["goodput"] < GOODPUT_MIN:
        wrong.append("at %d times the peak only %.0f %% of it was done" % (
            factor, 100 * row["goodput"]))


def judge(result, runs, factor, peaks, smoke):
    """Each run by the peak of its turn, as the machine changes within a second."""
    row = medians(runs, FLOOD_FIGURES, [run["rate_per_s"] / peak for run, peak in zip(runs, peaks)])
    result["metrics"]["x%d" % factor] = row
    print("%2d times: %.0f/s done, %.0f %% of the peak (%s), p99 %.0f us; %.0f refused, p50 %.1f p99 "
          "%.1f us; %.0f found the ring full" % (
              factor, row["rate_per_s"], 100 * row["goodput"], row["goodput_range"], row["p99_us"],
              row["refused"], row["refusal_p50_us"], row["refusal_p99_us"], row["dropped"]))
    failed = sum(run["failed"] for run in runs)
    if failed:
        result["wrong"].append("%d answers were neither a share nor busy" % failed)
    if smoke:
        return
    judge_goodput(result["wrong"], row, factor)
    if row["refusal_p99_us"] > REFUSAL_P99_US_MAX:
        result["wrong"].append("at %d times the peak refusals took %.0f us (p99)" % (
            factor, row["refusal_p99_us"]))


class HttpSizes:
    """As perf/bench_http.py wants them."""

    def __init__(self, options):
        self.smoke = options.smoke
        self.turns = 1 if options.smoke else options.pairs
        self.connections = (8, 32) if options.smoke else HTTP_CONNECTIONS
        self.main = self.connections[0]
        self.run_ms = 300 if options.smoke else HTTP_RUN_MS
        self.users = 1000 if options.smoke else 10000
        self.run_grabs = self.run_ms * HTTP_GRABS_PER_S_MAX // 1000
        runs = len(self.connections) + 2 + self.turns * (1 + len(FACTORS))
        self.grabs = -(-runs * self.run_grabs // self.users) * self.users


def offer(bench, factor, peak):
    """factor times the peak, whatever comes back. @return what became of it"""
    rate, sizes = factor * peak, bench.sizes
    bench.node.wait_applied(LAG_SECONDS_MAX)
    load = bench.load(bench.node, bench.plan, sizes.connections[-1], bench.grabs.next,
                      int(rate * sizes.run_ms / 1000), "--rate", rate, "--patience-ms", PATIENCE_MS,
                      "--timeout-ms", ANSWER_MS_MAX)
    bench.grabs.next += load["sent"]
    bench.won += load["accepted"]
    bench.told_fen += load["amount_fen_sum"]
    expect(bench.grabs.left() > 0, "more grabs are needed than prepared")
    busy = sum(o["count"] for o in load["outcomes"] if o["status"] == "busy")
    if load["accepted"] + busy != load["sent"]:
        bench.wrong.append("at %d times the peak answers were neither a share nor busy: %s %s" % (
            factor, load["outcomes"], load["errors"]))
    return {"offered": load["requests"], "offered_per_s": load["offered_per_s"],
            "done": load["accepted"], "rate_per_s": load["accepted_per_s"], "refused": busy,
            "refusal_p99_us": load["refusal"]["p99_us"], "given_up": load["given_up"],
            "p50_us": load["latency"]["p50_us"], "p99_us": load["latency"]["p99_us"],
            "max_us": load["latency"]["max_us"]}


def turns_of_overload(bench):
    """In turns the peak and more.
    @return (closed loops by connections, connections of the peak, its rates, the loads by factor)"""
    peaks = {connections: bench.closed(bench.plan, connections)["rate_per_s"]
             for connections in bench.sizes.connections}
    best = max(peaks, key=peaks.get)
    log("closed loops:", ", ".join("%.0f/s on %d" % (rate, n) for n, rate in peaks.items()))
    rates, loads = [peaks[best]], {factor: [] for factor in FACTORS}
    for _ in range(bench.sizes.turns):
        rates.append(bench.closed(bench.plan, best)["rate_per_s"])
        for factor in FACTORS:
            loads[factor].append(offer(bench, factor, statistics.median(rates)))
    return peaks, best, rates, loads


def judge_http(bench, result, factor, peak, loads):
    row = medians(loads, loads[0], [load["rate_per_s"] / peak for load in loads])
    result["metrics"]["x%d" % factor] = row
    print("%2d times: %.0f/s offered, %.0f/s done, %.0f %% of the peak (%s), %.0f refused, %.0f gave up "
          "unsent; p50 %.0f p99 %.0f ms with the wait for a connection" % (
              factor, row["offered_per_s"], row["rate_per_s"], 100 * row["goodput"],
              row["goodput_range"], row["refused"], row["given_up"], row["p50_us"] / 1e3,
              row["p99_us"] / 1e3))
    if not bench.sizes.smoke:
        judge_goodput(bench.wrong, row, factor)


def overload_http(options):
    """2, 5 and 10 times the peak offered over HTTP on 4,096 connections: goodput, and who waits"""
    result = {"bench": "overload-http", "metrics": {}, "peers": {}, "ratios": {}}

    def measure(bench):
        warm_up(bench)
        peaks, best, rates, loads = turns_of_overload(bench)
        peak = statistics.median(rates)
        most = max(peaks)
        print("peak %.0f/s (%.0f..%.0f) on %d connections; %.0f/s on the %d of the loads" % (
            peak, min(rates), max(rates), best, peaks[most], most))
        result["metrics"].update({"peak_per_s": round(peak), "peak_connections": best,
                                  "peak_runs_per_s": rates,
                                  "closed_per_s": {str(n): round(rate) for n, rate in peaks.items()}})
        for factor in FACTORS:
            judge_http(bench, result, factor, peak, loads[factor])

    def work(node):
        bench = with_bench(node, options, HttpSizes(options), measure)
        result["wrong"] = bench.wrong
        return result

    return with_node(options, work, front__workers=1)
