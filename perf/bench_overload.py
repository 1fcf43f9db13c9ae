# SPDX-License-Identifier: Apache-2.0
"""overload: more grabs than the node can do are offered at its rings, twice, five and ten times. How many
are done meanwhile, and how soon the others hear that there is no room."""
from bench_rings import Rings, with_node
from lib import log

GRABS = 2000000
GRABS_SMOKE = 40000
IN_FLIGHT = 500
FACTORS = (2, 5, 10)
GOODPUT_MIN = 0.9  # of the peak
REFUSAL_P99_US_MAX = 1000


def overload(options):
    """2, 5 and 10 times the peak offered at the rings: goodput, and how soon a refusal comes"""
    grabs = GRABS_SMOKE if options.smoke else GRABS
    result = {"bench": "overload", "metrics": {}, "peers": {}, "ratios": {}, "wrong": []}

    def work(node):
        with Rings(node, options, grabs) as rings:
            peak_count = grabs // 10
            peaks = [rings.run("closed", "durable", IN_FLIGHT, peak_count // 2) for _ in range(2)]
            peak = max(run["rate_per_s"] for run in peaks)
            log("peak %.0f grabs/s with %d in flight" % (peak, IN_FLIGHT))
            result["metrics"]["peak_per_s"] = round(peak)
            seconds = 0.95 * (grabs - peak_count) / (sum(FACTORS) * peak)
            for factor in FACTORS:
                run = rings.command("flood", "durable", "%.1f" % (factor * peak),
                                    int(factor * peak * seconds))
                rings.told_fen += run["amount_fen"]
                judge(result, run, factor, peak, options.smoke)
        return result

    with_node(options, work)
    return result


def judge(result, run, factor, peak, smoke):
    share = run["rate_per_s"] / peak
    result["metrics"]["x%d" % factor] = dict(run, goodput=round(share, 3))
    print("%2d times: %.0f/s done, %.0f %% of the peak, p99 %.0f us; %d refused, p50 %.1f p99 %.1f us; "
          "%d found the ring full" % (factor, run["rate_per_s"], 100 * share, run["p99_us"],
                                      run["refused"], run["refusal_p50_us"], run["refusal_p99_us"],
                                      run["dropped"]))
    if run["failed"]:
        result["wrong"].append("%d answers were neither a share nor busy" % run["failed"])
    if smoke:
        return
    if share < GOODPUT_MIN:
        result["wrong"].append("at %d times the peak only %.0f %% of it was done" % (
            factor, 100 * share))
    if run["refusal_p99_us"] > REFUSAL_P99_US_MAX:
        result["wrong"].append("at %d times the peak refusals took %.0f us (p99)" % (
            factor, run["refusal_p99_us"]))
