# SPDX-License-Identifier: Apache-2.0
"""kill -9 of every process at random moments under load: nothing acknowledged is lost, nothing
is doubled, and ./hongbao up brings the node back."""
import random
import time

from lib import Options, OwnNode, expect, log, test, wait_for
from load import Load


def kill_and_restart(node, load, process):
    load.wait_answers(20)
    time.sleep(random.uniform(0.0, 0.5))
    pid = node.kill(process)
    time.sleep(random.choice((0.0, 0.0, 0.2, 1.0)))
    if process != "nginx":
        code, text = node.try_up()
        expect(code == 0, "./hongbao up after kill of", process, pid, "ended with", code,
               "\n" + text)
    else:
        wait_for("nginx to replace its worker", 10, lambda: pid not in node.pids("nginx") and
                 len(node.pids("nginx")) >= 2)
    load.wait_answers(20)


def killing(process):
    with OwnNode("kill-" + process, dataplane__lcores=2, snapshot__interval_s=5) as node:
        load = Load(node).start()
        try:
            for number in range(Options.kills):
                if load.left() < 2000:
                    load.more(10)
                kill_and_restart(node, load, process)
                log("kill", number + 1, "of", process, "survived")
        finally:
            load.stop.set()
            load.finish()
        load.verify()
        node.expect_sound()


@test
def killing_the_dataplane_loses_and_doubles_nothing():
    killing("dataplane")


@test
def killing_persist_loses_and_doubles_nothing():
    killing("persist")


@test
def killing_control_loses_and_doubles_nothing():
    killing("control")


@test
def killing_an_nginx_worker_loses_and_doubles_nothing():
    killing("nginx")


@test
def killing_mariadb_loses_and_doubles_nothing():
    killing("mysql")
