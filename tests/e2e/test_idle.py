# SPDX-License-Identifier: Apache-2.0
"""A node without work costs next to nothing."""
import time

from lib import OwnNode, cpu_us, expect, log, test

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
