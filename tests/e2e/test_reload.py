# SPDX-License-Identifier: Apache-2.0
"""nginx reloads its configuration under load without an error and without leaking a ring."""
import os
import signal
import time

from lib import OwnNode, expect, test, wait_for
from load import Load

RELOADS = 20
WORKERS = 4


def live_rings(node):
    values = node.metrics()

    def value(key):
        for name in ("hongbao_%s_total" % key, "hongbao_" + key):
            if name in values:
                return values[name]
        raise KeyError(key)

    return value("clients_attached") - value("clients_detached")


@test
def twenty_reloads_under_load_cause_no_error_leak_no_ring_and_log_no_alert():
    with OwnNode("reload", front__workers=WORKERS, dataplane__lcores=1) as node:
        master = node.pids("nginx")[0]
        rings = live_rings(node)
        load = Load(node, packets=20).start()
        try:
            for _ in range(RELOADS):
                old = set(node.pids("nginx")[1:])
                os.kill(master, signal.SIGHUP)
                load.wait_answers(20)
                wait_for("new workers", 20, lambda: len(set(node.pids("nginx")[1:]) - old) >=
                         WORKERS)
                time.sleep(0.1)
        finally:
            load.stop.set()
            load.finish()
        wait_for("old workers to end", 60, lambda: len(node.pids("nginx")) == 1 + WORKERS)
        expect(not load.wrong, "wrong answers:", load.wrong[:3])
        expect(load.unknown == 0, load.unknown, "requests got no outcome at first")
        wait_for("rings of ended workers to be freed", 10, lambda: live_rings(node) == rings)
        text = node.log_text("nginx")
        for word in ("[alert]", "[emerg]", "[crit]"):
            lines = [line for line in text.splitlines() if word in line]
            expect(not lines, "nginx logged:", lines[:3])
        load.verify()
        node.expect_sound()
