# SPDX-License-Identifier: Apache-2.0
"""kill -9 of every process at random moments under load: nothing acknowledged is lost, nothing
is doubled, and ./hongbao up brings the node back."""
import os
import random
import signal
import threading
import time

from lib import Options, OwnNode, expect, log, test, wait_for
from load import Load

START_SECONDS_MAX = 60


def kill_and_restart(node, load, process):
    load.wait_answers(20)
    time.sleep(random.uniform(0.0, 0.5))
    pid = node.kill(process)
    time.sleep(random.choice((0.0, 0.0, 0.2, 1.0)))
    if process != "nginx":
        bring_back(node, "kill of %s" % process)
    else:
        wait_for("nginx to replace its worker", 10, lambda: pid not in node.pids("nginx") and
                 len(node.pids("nginx")) >= 2)
    load.wait_answers(20)


def bring_back(node, what):
    code, text = node.try_up()
    expect(code == 0, "./hongbao up after", what, "ended with", code, "\n" + text)


def under_load(name, hurt):
    """A node under load that hurt(node, load) hurts Options.kills times; then the proof."""
    with OwnNode(name, dataplane__lcores=2, snapshot__interval_s=5) as node:
        load = Load(node).start()
        try:
            for number in range(Options.kills):
                if load.left() < 2000:
                    load.more(10)
                hurt(node, load)
                log("blow", number + 1, "of", name, "survived")
        finally:
            load.stop.set()
            load.finish()
        load.verify()
        node.expect_sound()


def killing(process):
    under_load("kill-" + process, lambda node, load: kill_and_restart(node, load, process))


def kill_all(pids):
    for pid in pids:
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            pass


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


@test
def killing_several_processes_together_loses_and_doubles_nothing():
    def hurt(node, load):
        load.wait_answers(20)
        time.sleep(random.uniform(0.0, 0.3))
        names = random.sample(node.PROCESSES, random.randint(2, len(node.PROCESSES)))
        for pid in [node.pids(name)[0] for name in names]:
            kill_all([pid])
            time.sleep(random.choice((0.0, 0.0, 0.1)))
        bring_back(node, "kills of %s" % names)
        load.wait_answers(20)

    under_load("kill-several", hurt)


@test
def what_the_dataplane_could_not_commit_before_it_died_too_was_told_to_nobody():
    def hurt(node, load):
        load.wait_answers(20)
        dataplane = node.pid("dataplane")
        kill_all([node.pid("persist")])
        time.sleep(random.uniform(0.1, 0.5))
        kill_all([dataplane])
        bring_back(node, "kills of persist, then the dataplane")
        load.wait_answers(20)

    under_load("kill-both", hurt)


@test
def killing_processes_while_they_start_loses_and_doubles_nothing():
    def hurt(node, load):
        load.wait_answers(20)
        kill_all([node.pids(name)[0] for name in ("dataplane", "persist")])
        ends = []
        starter = threading.Thread(target=lambda: ends.append(node.try_up(START_SECONDS_MAX)))
        starter.start()
        for _ in range(3):
            time.sleep(random.uniform(0.05, 0.4))
            kill_all(pid for name in random.sample(("dataplane", "persist", "control"), 2)
                     for pid in node.pids(name))
        starter.join()
        code, text = ends[0]
        expect(code != -1, "./hongbao up hangs when what it needs dies:\n" + text)
        bring_back(node, "kills during the start")
        load.wait_answers(20)

    under_load("kill-start", hurt)


@test
def a_killed_dataplane_with_a_memif_port_starts_again():
    own = OwnNode("memif", port__address="10.78.0.1")
    path = own.node.path("socket/dataplane/memif.sock")
    own.node.set(dataplane__ports="--vdev=net_memif0,role=server,socket=%s,socket-abstract=no,"
                 "mac=02:00:00:00:00:01" % path)
    with own as node:
        expect(os.path.exists(path), "the port has no socket at", path)
        node.kill("dataplane")
        wait_for("the dataplane to die", 10, lambda: not node.pids("dataplane"))
        expect(os.path.exists(path), "nothing was left behind: this test shows nothing")
        node.up()
        expect(node.pids("dataplane"), "the dataplane does not start beside the dead one's socket")
