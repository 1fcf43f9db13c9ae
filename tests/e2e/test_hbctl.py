# SPDX-License-Identifier: Apache-2.0
"""hbctl against a living node, and with parts of it dead: answers, exit codes, fall-backs."""
import json
import os
import signal
import subprocess
import time

from lib import Numbers, OwnNode, expect, lucky_packet, test, wait_for

GROUP = 43
OK, WRONG, USAGE, UNREACHABLE = 0, 1, 2, 3


def ask(node, *arguments, code=OK):
    """One verb with --json. @return its object"""
    got, out, err = node.hbctl(*arguments, "--json")
    expect(got == code, "hbctl", *arguments, "ended with", got, "not", code, "\n" + out + err)
    lines = out.splitlines()
    expect(len(lines) == 1, "hbctl", *arguments, "printed", len(lines), "lines")
    value = json.loads(lines[0])
    expect(value["ok"] is (code == OK), "ok does not follow the exit code of", *arguments, value)
    return value


def fill(node):
    """@return sender, two winners, their packet, the last grab's answer"""
    business = node.business()
    sender, *users = Numbers.take(41)
    business.open_accounts([sender] + users)
    packet = lucky_packet(business, sender, 4000, 41, GROUP)
    value = None
    for user in users:
        issued = ask(node, "token", "money", str(user), "grab", packet)
        code, value = node.user(user, [GROUP]).grab(
            packet, issued["token"], issued["sequence"] + 1, GROUP)
        expect(code == 200, "a token of hbctl is good for a grab", code, value)
    return sender, users, packet, value


def same(left, right, what):
    for key in ("source", "as_of_seq"):
        left.pop(key), right.pop(key)
    expect(left == right, what, "differs:", left, right)


@test
def hbctl_shows_the_same_from_the_engine_and_from_mysql():
    with OwnNode("hbctl", dataplane__lcores=2) as node:
        sender, users, packet, grab = fill(node)
        engine = ask(node, "packet", packet)
        expect(engine["source"] == "engine" and len(engine["claims"]) == 40, engine)
        account = ask(node, "account", str(users[0]))
        expect(account["available_fen"] == engine["claims"][0]["amount_fen"], account)
        node.wait_applied()
        order = ask(node, "order", grab["order_no"])
        expect(order["amount_fen"] == grab["amount_fen"] and order["account"] == users[-1] and
               order["packet"] == packet and order["business_name"] == "packet_grab", order)
        records = node.hbctl("journal", "dump", "--packet", packet, "--json")[1].splitlines()
        expect(len(records) == 41, len(records), "records name the packet")
        expect(json.loads(records[-1])["order_no"] == grab["order_no"], records[-1])
        node.kill("dataplane")
        ledger = ask(node, "packet", packet)
        expect(ledger["source"] == "mysql", ledger)
        same(engine, ledger, "the packet")
        same(account, ask(node, "account", str(users[0])), "the account")
        node.up()


@test
def hbctl_says_what_is_down_and_offers_what_is_left():
    with OwnNode("hbctl-down", dataplane__lcores=2) as node:
        fill(node)
        value = ask(node, "status")
        expect(all(p["state"] == "up" for p in value["processes"]), value)
        expect(len(value["processes"]) == 5 and value["mysql_lag"] >= 0, value)
        for arguments in (("mark",), ("counters",), ("jobs",), ("clock", "status"),
                          ("clock", "confirm"), ("snapshot",), ("snapshot", "list"),
                          ("job", "run", "mark"), ("config",), ("journal", "verify"),
                          ("top", "--count", "1"), ("applier", "resume")):
            ask(node, *arguments)
        ask(node, "job", "run", "no-such-job", code=WRONG)
        ask(node, "account", "777777777", code=WRONG)
        ask(node, "account", "x", code=USAGE)
        ask(node, "stauts", code=USAGE)
        node.kill("dataplane")
        value = ask(node, "status", code=WRONG)
        expect([p["name"] for p in value["processes"] if p["state"] == "down"] == ["dataplane"],
               value)
        ask(node, "mark", code=UNREACHABLE)
        value = ask(node, "check", code=UNREACHABLE)
        expect(value["violations"], "a check without engine looks fine:", value)
        expect(ask(node, "check", "--offline")["mysql_lag"] == 0)
        node.kill("persist")
        expect(ask(node, "check", "--offline")["grabs"] == 40)
        ask(node, "check", "--offline", "--journal-only")
        ask(node, "journal", "verify")
        node.up()
        node.expect_sound()


def applier_states(node):
    return [a["state"] for a in node.persist("status")["appliers"]]


@test
def a_check_that_is_interrupted_lets_the_appliers_go_on():
    with OwnNode("hbctl-check", dataplane__lcores=2) as node:
        fill(node)
        os.kill(node.pid("mysql"), signal.SIGSTOP)  # so that the check must wait for the applier
        try:
            ask(node, "mark")
            check = subprocess.Popen([node.path("bin/hbctl"), "-c", node.path("etc/hongbao.conf"),
                                      "check", "--json"], stdout=subprocess.PIPE,
                                     stderr=subprocess.DEVNULL, text=True)
            time.sleep(1)
            check.send_signal(signal.SIGINT)
            time.sleep(0.5)
        finally:
            os.kill(node.pid("mysql"), signal.SIGCONT)
        out, _ = check.communicate(timeout=90)
        expect(check.returncode == WRONG, "the interrupted check ended with", check.returncode)
        expect(json.loads(out)["violations"][0]["kind"] == "unproved", out)
        wait_for("the appliers to go on", 30, lambda: applier_states(node) == ["running"])
        node.wait_applied()
        node.expect_sound()
