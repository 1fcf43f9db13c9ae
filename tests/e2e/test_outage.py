# SPDX-License-Identifier: Apache-2.0
"""Grabs do not need MySQL: while it is away the journal is the buffer."""
import os
import signal
import time

from lib import Options, OwnNode, expect, log, test, wait_for
from load import Load

GAP_SECONDS_MAX = 2.0


@test
def while_mariadb_is_away_grabs_go_on_the_lag_shows_and_it_catches_up_by_itself():
    seconds = Options.outage_seconds
    with OwnNode("outage", dataplane__lcores=1) as node:
        load = Load(node, packets=max(20, seconds * 2), pause_s=0.01).start()
        try:
            load.wait_answers(100)
            node.wait_applied()
            os.kill(node.pid("mysql"), signal.SIGTERM)
            wait_for("MariaDB to end", 60, lambda: not node.pids("mysql"))
            load.longest_gap_s = 0.0
            answers = load.next
            time.sleep(seconds)
            answered = load.next - answers
            gap = load.longest_gap_s
            status = node.persist("status")
            lag = node.lag()
            log(answered, "answers without MySQL, lag", lag, "longest gap %.3f s" % gap)
            expect(answered >= 20 * seconds, "only", answered, "grabs in", seconds, "s")
            expect(gap < GAP_SECONDS_MAX, "grabs stood still for", gap, "s")
            expect(lag > 0, "no lag is shown:", status)
            expect(all(a["state"] != "running" or a["error"] for a in status["appliers"]),
                   "the applier's state hides the outage:", status)
            code, text = node.try_up()
            expect(code == 0, "up ended with", code, text)
            load.wait_answers(50)
        finally:
            load.stop.set()
            load.finish()
        start = time.monotonic()
        node.wait_applied()
        log("level again after %.1f s" % (time.monotonic() - start))
        load.verify()
        node.expect_sound()
