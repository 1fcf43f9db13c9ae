# SPDX-License-Identifier: Apache-2.0
"""Levels of degradation: what is off is refused clearly, and grabs go on."""
import os
import signal
import time

from lib import Numbers, OwnNode, expect, log, lucky_packet, test, wait_for

GROUP = 71


def level(node):
    code, value = node.control("GET", "/degrade")
    expect(code == 200, "GET /degrade answered", code, value)
    return value["level"], value["by"]


def lists(user):
    """@return (HTTP code, status, Retry-After) of a list"""
    code, headers, body = user.connection.request("GET", "/v1/orders", user.headers)
    return code, b'"degraded"' in body, headers.get("retry-after")


class Grabber:
    """One packet of many shares; each grab is of another user."""

    def __init__(self, node, business, sender):
        self.node = node
        self.users = Numbers.take(40)
        business.open_accounts(self.users)
        self.packet = lucky_packet(business, sender, 10000, 40, GROUP)
        self.tokens = business.grab_tokens([(user, self.packet) for user in self.users])

    def grab(self):
        user, (token, sequence) = self.users.pop(), self.tokens.pop()
        code, value = self.node.user(user, [GROUP]).grab_until_told(
            self.packet, token, sequence, GROUP)
        expect(code == 200, "a grab was answered", code, value)


@test
def a_degraded_node_refuses_lists_and_sends_clearly_and_grabs_go_on():
    with OwnNode("degrade", dataplane__lcores=2, alarm__interval_ms=200, degrade__lag_ms=5000,
                 degrade__step_s=0, degrade__calm_s=1) as node:
        business = node.business()
        sender, = Numbers.take(1)
        grabber = Grabber(node, business, sender)
        business.credit([(sender, 1000)])
        user = node.user(sender)
        packet = {"sender": sender, "kind": "lucky", "group": GROUP, "total_fen": 100, "count": 2}

        def send(key):
            code, value = business.call("POST", "/business/v1/packets", packet,
                                        idempotency_key=key)
            return code, value["status"]

        by_operator(node, user, grabber, send)
        by_measure(node, user, business, sender, grabber)
        node.expect_sound()


def by_operator(node, user, grabber, send):
    node.wait_applied()
    expect(level(node) == ("normal", "measure") and lists(user)[0] == 200, "not normal:",
           level(node), lists(user))
    expect(send("degrade-1") == (201, "ok"), "a normal send:", send("degrade-1"))
    code, out, err = node.hbctl("degrade", "no-lists", "--for", "3s")
    expect(code == 0 and "no-lists, by operator until" in out, "degrade:", code, out, err)
    expect(lists(user) == (503, True, "10"), "a list at no-lists:", lists(user))
    grabber.grab()
    expect(send("degrade-2")[0] == 201, "a send at no-lists is refused")
    wait_for("the level to end", 6, lambda: lists(user)[0] == 200)
    expect(level(node) == ("normal", "measure"), "after its time:", level(node))

    code, out, err = node.hbctl("degrade", "no-new-packets")
    expect(code == 0, "degrade:", out, err)
    expect(send("degrade-3") == (503, "degraded"), "a send at no-new-packets:", send("degrade-3"))
    expect(send("degrade-1")[0] in (200, 201), "a send done before is not told its outcome")
    expect(lists(user)[0] == 503, "a list at no-new-packets")
    grabber.grab()

    # A control that starts anew takes the level over, a dataplane that does is told.
    for process in ("control", "dataplane"):
        node.kill(process)
        code, text = node.try_up()
        expect(code == 0, "up ended with", code, text)
        wait_for("the operator's level after a restart of " + process, 20,
                 lambda: level(node) == ("no-new-packets", "operator") and
                 node.metrics()["hongbao_degrade_level"] == 3)
        expect(send("degrade-4") == (503, "degraded"), "a send after a restart of", process)
        grabber.grab()
    expect(node.metrics()["hongbao_degrade_level"] == 3, "the metric says otherwise")
    code, _, _ = node.hbctl("degrade", "auto")
    expect(code == 0 and level(node)[1] == "measure", "degrade auto:", code, level(node))
    wait_for("normal", 30, lambda: level(node)[0] == "normal")
    expect(send("degrade-4") == (201, "ok"), "a send after all:", send("degrade-4"))
    for words in (["no-grabs"], ["no-lists", "--for", "2d"], ["auto", "--for", "1m"]):
        code, out, err = node.hbctl("degrade", *words)
        expect(code == 2 and err, words, "ended with", code, out, err)


def by_measure(node, user, business, sender, grabber):
    """MySQL is away: lists go off by themselves, and on again when it has caught up."""
    os.kill(node.pid("mysql"), signal.SIGTERM)
    wait_for("MariaDB to end", 60, lambda: not node.pids("mysql"))
    business.credit([(sender, 100)])
    start = time.monotonic()
    wait_for("no-lists", 30, lambda: level(node) == ("no-lists", "measure"))
    log("lists were off %.1f s after MySQL" % (time.monotonic() - start))
    expect(lists(user)[1], "a list without MySQL:", lists(user))
    grabber.grab()
    code, text = node.try_up()
    expect(code == 0, "up ended with", code, text)
    wait_for("normal", 60, lambda: level(node) == ("normal", "measure"))
    expect(lists(user)[0] == 200, "a list when all is well:", lists(user))
