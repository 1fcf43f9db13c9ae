# SPDX-License-Identifier: Apache-2.0
"""Commands of operators by hbctl on a whole node: what is frozen, held, adjusted, by whom, and what
is left of it in the books and in the trail."""
import json
import os
import time

from lib import Numbers, OwnNode, expect, lucky_packet, test, wait_for

GROUP = 44
OK, WRONG, USAGE, UNREACHABLE = 0, 1, 2, 3
LI, ZHAO = "daemon", "bin"  # Unix users that every machine has


def ask(node, *arguments, code=OK, status=None):
    """One verb with --json. @return its object"""
    got, out, err = node.hbctl(*arguments, "--json")
    expect(got == code, "hbctl", *arguments, "ended with", got, "not", code, "\n" + out + err)
    value = json.loads(out.splitlines()[-1])
    expect(status is None or value.get("status") == status, arguments, "said", value)
    expect(code == OK or value["error"], arguments, "failed without a reason", value)
    return value


def operator(node, *arguments, who=LI, **more):
    return ask(node, *arguments, "--reason", "ticket 4711", "--operator", who, **more)


def rich(node, amount_fen=100000):
    account, = Numbers.take(1)
    business = node.business()
    business.open_accounts([account])
    business.credit([(account, amount_fen)])
    return account


def trail(node, subject):
    """@return the lines of hbctl trace, and what it says at the end"""
    code, out, err = node.hbctl("trace", str(subject), "--json")
    expect(code == OK, "trace", subject, "ended with", code, out + err)
    lines = [json.loads(line) for line in out.splitlines()]
    return lines[:-1], lines[-1]


def freezes(node):
    sender = rich(node)
    winner, = Numbers.take(1)
    business = node.business()
    business.open_accounts([winner])
    packet = lucky_packet(business, sender, 100, 1, GROUP)
    case = operator(node, "account", "freeze", str(sender))["case"]
    expect(case["state"] == "done" and case["asker"]["name"] == LI, case)
    expect(ask(node, "account", str(sender))["barred"] == 1)
    expect("barred" in node.hbctl("account", str(sender))[1])
    code, answer = business.call("POST", "/business/v1/packets", {
        "sender": sender, "kind": "lucky", "group": GROUP, "count": 1, "total_fen": 100}, "frozen")
    expect(code == 403 and answer["status"] == "account_frozen", code, answer)
    business.credit([(sender, 5)])  # what others pay still comes in
    token = ask(node, "token", "money", str(winner), "grab", packet)
    code, grab = node.user(winner, [GROUP]).grab(packet, token["token"], token["sequence"] + 1,
                                                 GROUP)
    expect(code == 200, "a packet sent before the freeze can be grabbed", code, grab)
    operator(node, "hold", "make", str(sender), "1", code=WRONG, status="account_frozen")
    expect(operator(node, "account", "freeze", str(sender))["already"] is True)
    operator(node, "account", "unfreeze", str(sender), who=ZHAO)
    expect(ask(node, "account", str(sender))["barred"] == 0)
    lucky_packet(business, sender, 100, 1, GROUP)
    records, end = trail(node, sender)
    kinds = [r.get("type") or r.get("step") for r in records]
    expect(kinds.index("ACCOUNT_FREEZE") < kinds.index("ACCOUNT_UNFREEZE"), kinds)
    frozen = [r for r in records if r.get("type") == "ACCOUNT_FREEZE"]
    expect(frozen[0]["case_id"] == case["number"] and frozen[0]["operator_id"] == 1, frozen)
    asked = [r for r in records if r.get("step") == "asked" and r["number"] == case["number"]]
    expect(asked[0]["reason"] == "ticket 4711" and end["steps"] >= 8, asked, end)


def holds(node):
    account = rich(node)
    made = operator(node, "hold", "make", str(account), "250.00", "--lifetime", "2d")
    hold = made["hold"]["hold"]
    expect(made["hold"]["day_count"] == 1 and made["hold"]["day_fen"] == 25000, made)
    second = operator(node, "hold", "make", str(account), "0.01", "--kind", "channel-refund")
    expect(second["hold"]["day_count"] == 1, "refunds are counted apart", second)
    balance = ask(node, "account", str(account))
    expect(balance["frozen_fen"] == 25001 and balance["available_fen"] == 74999, balance)
    posted = operator(node, "hold", "post", hold, "--reference", "bank-7", "--fee", "1.5")
    expect(posted["hold"]["state"] == "posted" and posted["hold"]["order_state"] == "done", posted)
    operator(node, "hold", "void", hold, code=WRONG, status="hold_state")
    expect(operator(node, "hold", "post", hold)["already"] is True, "posted twice")
    operator(node, "hold", "void", second["hold"]["hold"])
    operator(node, "hold", "post", second["hold"]["hold"], code=WRONG, status="hold_state")
    expect(ask(node, "hold", "show", hold)["hold"]["day_fen"] == 25000)
    node.wait_applied()
    items = ask(node, "hold", "list", str(account))["items"]
    expect([i["state"] for i in items] == ["invalid", "done"] and
           items[1]["hold"]["hold"] == hold, items)
    short = operator(node, "hold", "make", str(account), "3", "--lifetime", "1s")["hold"]["hold"]
    wait_for("the deadline to void the hold", 10,
             lambda: ask(node, "hold", "show", short)["hold"]["state"] == "voided")
    operator(node, "hold", "post", short, code=WRONG, status="hold_state")
    again = operator(node, "hold", "make", str(account), "2", "--key", "once")
    same = operator(node, "hold", "make", str(account), "2", "--key", "once")
    expect(same["already"] is True and same["case"] == again["case"], "twice with one key", same)
    operator(node, "hold", "make", str(account), "3", "--key", "once", code=WRONG,
             status="idempotency_conflict")
    records, _ = trail(node, hold)
    kinds = [r["type"] for r in records if r["source"] == "journal"]
    expect(kinds == ["HOLD", "POST"], kinds)
    order = made["case"]["order_no"]
    kinds = [r["type"] for r in trail(node, order)[0] if r["source"] == "journal"]
    expect(kinds == ["HOLD", "ORDER_UPDATE", "ORDER_UPDATE", "POST"], kinds)


def adjustments(node):
    account = rich(node)
    number = operator(node, "adjust", "ask", "suspense", str(account), "12.50")["case"]["number"]
    approve = ("approve", str(number), "--operator")
    ask(node, *approve, LI, code=WRONG, status="same_person")
    ask(node, "approve", str(number), code=WRONG, status="operator_unnamed")
    expect(ask(node, "account", str(account))["available_fen"] == 100000, "done too early")
    expect([c["number"] for c in ask(node, "cases", "--state", "asked")["items"]] == [number])
    node.kill("control")  # the ask persists
    node.up()
    done = ask(node, *approve, ZHAO)["case"]
    expect(done["state"] == "done" and done["checker"]["name"] == ZHAO, done)
    ask(node, *approve, ZHAO)
    expect(ask(node, "account", str(account))["available_fen"] == 101250, "not once")
    late = operator(node, "adjust", "ask", str(account), "fees", "1", "--within", "1s")["case"]
    time.sleep(1.2)
    ask(node, "approve", str(late["number"]), "--operator", ZHAO, code=WRONG,
        status="case_expired")
    gone = operator(node, "adjust", "ask", str(account), "fees", "1")["case"]["number"]
    ask(node, "withdraw", str(gone), "--operator", ZHAO)
    ask(node, "approve", str(gone), "--operator", ZHAO, code=WRONG, status="case_state")
    poor = operator(node, "adjust", "ask", str(account), "fees", "99999")["case"]["number"]
    ask(node, "approve", str(poor), "--operator", ZHAO, code=WRONG, status="insufficient")
    expect(ask(node, "case", str(poor))["case"]["state"] == "refused")
    records, _ = trail(node, account)
    adjusted = [r for r in records if r.get("type") == "ADJUST"]
    expect(len(adjusted) == 1 and adjusted[0]["case_id"] == number and
           adjusted[0]["maker_id"] == 1 and adjusted[0]["checker_id"] == 2, adjusted)
    steps = [r["step"] for r in records if r["source"] == "control" and r["number"] == number]
    expect(steps == ["asked", "approved", "done"], steps)
    ask(node, "order", done["order_no"]), node.wait_applied()


def bad_input(node):
    account = rich(node)
    for arguments, code, status in (
            (("account", "freeze", "777777777"), WRONG, "account_unknown"),
            (("account", "freeze", "x"), USAGE, None),
            (("account", "melt", str(account)), USAGE, None),
            (("hold", "make", str(account), "0"), USAGE, None),
            (("hold", "make", "--", str(account), "-5"), USAGE, None),
            (("hold", "make", str(account), "1.234"), USAGE, None),
            (("hold", "make", str(account), "99999999999999999999"), USAGE, None),
            (("hold", "make", str(account), "1000000001"), USAGE, None),
            (("hold", "make", str(account), "1000000.01"), WRONG, "insufficient"),
            (("hold", "make", str(account), "1", "--kind", "gift"), WRONG, "bad_request"),
            (("hold", "make", str(account), "1", "--lifetime", "91d"), WRONG, "bad_request"),
            (("hold", "post", "0110000000000001"), USAGE, None),
            (("hold", "post", "0210000000000fff"), WRONG, None),
            (("adjust", "ask", str(account), str(account + 1), "1"), WRONG, "bad_request"),
            (("adjust", "ask", "pocket", str(account), "1"), USAGE, None),
            (("adjust", "ask", "suspense/16", str(account), "1"), USAGE, None)):
        if arguments[1:3] == ("make", "--"):
            arguments = ("hold", "make", "--reason", "r", "--operator", LI, "--json", "--",
                         str(account), "-5")
            expect(node.hbctl(*arguments)[0] == USAGE, "a negative amount")
            continue
        operator(node, *arguments, code=code, status=status)
    ask(node, "account", "freeze", str(account), "--operator", LI, code=USAGE)  # no reason
    ask(node, "account", "freeze", str(account), "--reason", "r", "--operator", "nobody-at-all",
        code=USAGE)
    ask(node, "case", "0", code=USAGE)
    ask(node, "case", "999999", code=WRONG, status="case_unknown")
    expect(ask(node, "account", str(account))["frozen_fen"] == 0)


@test
def operators_freeze_hold_and_adjust_and_every_step_is_in_the_trail():
    with OwnNode("operators", dataplane__lcores=2) as node:
        freezes(node)
        holds(node)
        adjustments(node)
        bad_input(node)
        node.kill("dataplane")
        ask(node, "account", "freeze", "100001", "--reason", "r", code=WRONG, status="unavailable")
        node.kill("control")
        value = ask(node, "account", "freeze", "100001", "--reason", "r", code=UNREACHABLE)
        expect("--key" in value["error"], value)
        node.up()
        expect(oct(os.stat(node.path("cases")).st_mode & 0o777) == "0o700")
        node.expect_sound()
