# SPDX-License-Identifier: Apache-2.0
"""A node without work costs next to nothing."""
import os
import subprocess
import time

from lib import OwnNode, cpu_us, expect, log, test, wait_for

SECONDS = 15
SHARE_MAX = 0.03


@test
def an_idle_node_uses_less_than_3_percent_of_one_core():
    with OwnNode("idle", dataplane__lcores=2) as node:
        time.sleep(5)
        processes = node.processes()
        before = {pid: cpu_us(pid) for _, pid in processes}
        time.sleep(SECONDS)
        used = [(name, (cpu_us(pid) - before[pid]) / (SECONDS * 1e6)) for name, pid in processes]
        total = sum(share for _, share in used)
        log("idle: %.2f %%:" % (100 * total),
            ", ".join("%s %.2f" % (name, 100 * share) for name, share in used))
        expect(total < SHARE_MAX, "idle node uses %.1f %% of a core:" % (100 * total), used)


def realtime_threads(pid):
    """Priorities of the threads that go before ordinary ones."""
    priorities = []
    for thread in map(int, os.listdir("/proc/%d/task" % pid)):
        if os.sched_getscheduler(thread) & ~os.SCHED_RESET_ON_FORK == os.SCHED_FIFO:
            priorities.append(os.sched_getparam(thread).sched_priority)
    return sorted(priorities)


@test
def lcores_and_the_writer_of_the_journal_are_realtime_and_nobody_else():
    may = subprocess.run(["chrt", "-f", "1", "true"], stderr=subprocess.DEVNULL).returncode == 0
    if not may:
        log("this host allows no real-time threads: nobody is expected to be one")
    # EAL's thread for interrupts, which sleeps, keeps what the dataplane was started with
    for wanted, lcores in ((int(may), 2), (0, 1)):
        with OwnNode("realtime", node__realtime=wanted, dataplane__lcores=lcores) as node:
            for name, pid in node.processes():
                found = realtime_threads(pid)
                if name == "dataplane" and may:
                    expect(found in ([1] * lcores * wanted, [1] * (lcores * wanted + 1)), found)
                else:
                    expect(found == ([2] if name == "persist" and wanted else []), name,
                           "has real-time threads", found)


def state_kib(pid):
    """@return (size of the state's mapping, what of it is in memory)"""
    values, inside = {}, False
    with open("/proc/%d/smaps" % pid) as f:
        for line in f:
            words = line.split()
            if "-" in words[0]:
                inside = "/memfd:hongbao-state" in line
            elif inside and words[0] in ("Size:", "Rss:"):
                values[words[0]] = int(words[1])
    return values["Size:"], values["Rss:"]


@test
def with_prefault_all_memory_of_the_state_is_there_after_a_start():
    small = {"capacity__accounts": 4096, "capacity__packets": 4096, "capacity__windows": 4096,
             "capacity__arena_mib": 4}
    for wanted in (1, 0):
        with OwnNode("prefault", node__prefault=wanted, **small) as node:
            if wanted:
                wait_for("the state to be touched", 30,
                         lambda: "memory_touched" in node.log_text("dataplane"))
            size, there = state_kib(node.pid("dataplane"))
            log("prefault %d: %d of %d KiB" % (wanted, there, size))
            expect((there == size) == bool(wanted), "prefault", wanted, ":", there, "of", size)
