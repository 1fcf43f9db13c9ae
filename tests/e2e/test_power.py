# SPDX-License-Identifier: Apache-2.0
"""Power is lost under load: what the journal's directory had not synced is lost, torn or kept.
Nothing acknowledged may be missing; and a persist whose syncs do nothing must be found out."""
import contextlib
import json
import random
import time

from lib import Node, expect, log, test
from load import Load
from power import Power

LOSSES = 4
WITHOUT_SYNC_LOSSES = 4


@contextlib.contextmanager
def node_with_power(name, synced=True):
    node = Node("e2e-" + name, dataplane__lcores=2, snapshot__interval_s=5, journal__segment_mib=1)
    power = Power(node)
    try:
        node.up()
        power.begin(synced)
        yield node, power
    except BaseException:
        node.launcher("down", "--config", node.config)
        log("the node of the failed test stays in", node.directory)
        raise
    finally:
        power.close()
    node.launcher("down", "--config", node.config)
    node.remove()


def lose_power(node, load, power):
    load.wait_answers(50)
    time.sleep(random.uniform(0.0, 0.4))
    power.lose()
    return node.try_up()


@test
def a_loss_of_power_loses_and_doubles_nothing_that_was_acknowledged():
    with node_with_power("power") as (node, power):
        load = Load(node).start()
        try:
            for _ in range(LOSSES):
                if load.left() < 2000:
                    load.more(10)
                code, text = lose_power(node, load, power)
                expect(code == 0, "./hongbao up after a loss of power ended with", code, "\n" + text)
        finally:
            load.finish()
        log(json.dumps(power.counts))
        load.verify()
        node.expect_sound()


@test
def a_persist_whose_syncs_were_taken_out_is_found_by_a_loss_of_power():
    with node_with_power("power-mutant", synced=False) as (node, power):
        load = Load(node).start()
        found = None
        try:
            for _ in range(WITHOUT_SYNC_LOSSES):
                code, text = lose_power(node, load, power)
                if code != 0:
                    found = "the node refused to start"
                    break
        finally:
            load.stop.set()
            load.abandon()
        if found is None:
            result = load.compare()
            expect(result["lost"] > 0, "four losses of power without syncs lost nothing:", result)
            found = "%d acknowledged grabs are gone" % result["lost"]
        log("without syncs", found)
