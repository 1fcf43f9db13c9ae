# SPDX-License-Identifier: Apache-2.0
"""scale: how the cost of a grab grows with the number of packets and of accounts, and what each
takes of the memory. The engine in one thread, as in engine-many."""
import json
import statistics

from bench_engine import Engine, judged, line, metrics_of, outcome_of
from lib import log

SHARES = 10
BURST = 32
FRAMES = 200000  # of one run, when there are so many shares
PACKETS = (1000, 10000, 100000, 1000000)
ACCOUNTS = (10000, 100000, 1000000, 10000000)
FULL_PACKETS = 10000000
FULL_MEMORY_MIB = 20000  # the state and its replica, rings and frames
PACKETS_FIXED = 100000
ACCOUNTS_FIXED = 1000000
SMOKE_PACKETS = (1000, 10000)
SMOKE_ACCOUNTS = (10000, 100000)


def memory_mib():
    with open("/proc/meminfo") as f:
        return {l.split(":")[0]: int(l.split()[1]) for l in f}["MemAvailable"] >> 10


def sizes(options):
    """Pairs of packets and accounts: one grows while the other stands."""
    if options.smoke:
        return ([(p, SMOKE_ACCOUNTS[-1]) for p in SMOKE_PACKETS] +
                [(SMOKE_PACKETS[0], a) for a in SMOKE_ACCOUNTS[:-1]])
    packets = list(PACKETS)
    if options.full and memory_mib() >= FULL_MEMORY_MIB:
        packets.append(FULL_PACKETS)
    elif options.full:
        log("%d packets are left out: less than %d MiB of memory is free" % (
            FULL_PACKETS, FULL_MEMORY_MIB))
    return ([(p, ACCOUNTS_FIXED) for p in packets] +
            [(PACKETS_FIXED, a) for a in ACCOUNTS if a != ACCOUNTS_FIXED])


def measure(options, packets, accounts, pairs):
    """@return (row, sentences about what is wrong, check)"""
    count = min(FRAMES, packets * SHARES // (pairs + 1))
    with Engine(options, accounts=accounts, packets=packets, frames=count,
                runs=pairs + 1) as engine:
        engine.command("run", "many", BURST, count)  # caches and branch predictors
        runs = [engine.command("run", "many", BURST, count) for _ in range(pairs)]
        check = engine.command("check")
    memory = check.pop("memory")
    metrics = metrics_of(runs)
    row = {"packets": packets, "accounts": accounts, "rate_per_s": metrics["rate_per_s"],
           "ns_per_op": metrics["ns_per_op"],
           "ns_range": "%.0f..%.0f" % (1e9 / metrics["rate_max_per_s"],
                                       1e9 / metrics["rate_min_per_s"]),
           "state_mib": engine.about["state_bytes"] >> 20,
           "bytes_per_account": memory["account_bytes"],
           "with_free_slots_account": round(memory["account_room_bytes"] / memory["accounts"]),
           "bytes_per_packet_alone": memory["packet_bytes"],
           "bytes_per_packet": round(memory["packet_bytes"] +
                                     memory["arena_bytes"] / memory["packets"]),
           "with_free_slots_packet": round(
               (memory["packet_room_bytes"] + memory["arena_bytes"]) / memory["packets"]),
           "bytes_per_claim": memory["claim_bytes"], "bytes_per_window": memory["window_bytes"],
           "huge_pages": engine.about["huge_bytes"] > 0}
    done = outcome_of(runs, "ok")
    wrong = judged(check, (done == count * pairs, "%d packets, %d accounts: %d of %d grabs "
                           "were answered ok" % (packets, accounts, done, count * pairs)))
    line("%d packets, %d accounts" % (packets, accounts), metrics)
    return row, wrong, check


def scale(options):
    """cost of a grab and bytes of each object, 10^3 to 10^7 packets, 10^4 to 10^7 accounts"""
    pairs = options.pairs
    rows, wrong, checks = {}, [], []
    for packets, accounts in sizes(options):
        row, bad, check = measure(options, packets, accounts, pairs)
        rows["%.0e packets, %.0e accounts" % (packets, accounts)] = row
        wrong += bad
        checks.append(check)
    for sentence in wrong:
        print("WRONG:", sentence)
    first, last = list(rows.values())[0], max(rows.values(), key=lambda r: r["packets"])
    metrics = {"rate_per_s": last["rate_per_s"], "sizes": rows,
               "times_cost_of_smallest": round(last["ns_per_op"] / first["ns_per_op"], 2),
               "bytes_per_packet_of_10": last["bytes_per_packet"],
               "bytes_per_packet": last["bytes_per_packet_alone"],
               "bytes_per_claim": last["bytes_per_claim"],
               "bytes_per_account": last["bytes_per_account"],
               "bytes_per_window": last["bytes_per_window"],
               "replay_records_per_s": round(statistics.median(
                   c["replayed_records"] * 1e9 / max(c["replay_ns"], 1) for c in checks))}
    print("bytes: account %d, packet of %d shares %d (claims of %d bytes included), window of a "
          "used token %d; from the smallest to the largest the cost of a grab grows %.2f times" % (
              metrics["bytes_per_account"], SHARES, metrics["bytes_per_packet_of_10"],
              metrics["bytes_per_claim"], metrics["bytes_per_window"],
              metrics["times_cost_of_smallest"]))
    print("check: %s" % json.dumps([c["ok"] for c in checks]))
    return {"bench": "scale", "ok": not wrong, "metrics": metrics, "peers": {}, "ratios": {},
            "check": {"ok": all(c["ok"] for c in checks)}}
