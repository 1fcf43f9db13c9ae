# SPDX-License-Identifier: Apache-2.0
"""Order numbers of version 2 go the whole way: answers, lists, rows, hbctl, trace, and back from
MySQL; and they are still good when the node writes version 1 again."""
import json

from lib import Numbers, OwnNode, expect, lucky_packet, test, wait_for
from test_old import dumped, trace

GROUP = 37


def ask(node, *arguments):
    code, out, err = node.hbctl(*arguments, "--json")
    expect(code == 0, "hbctl", *arguments, "ended with", code, out, err)
    return json.loads(out)


def money_of_all_kinds(node, sender, winner):
    """@return numbers of a recharge, a sent packet, a grab, a transfer; and the recharge's words"""
    business = node.business()
    packet = lucky_packet(business, sender, 900, 3, GROUP)
    business.open_accounts([winner])
    recharge = {"account": sender, "amount_fen": 700, "channel": "manual"}
    code, told = business.call("POST", "/business/v1/credits", recharge, idempotency_key="k-%d" % sender)
    expect(code == 201, "credit answered", code, told)
    [(token, sequence)] = business.grab_tokens([(winner, packet)])
    code, grabbed = node.user(winner, [GROUP]).grab(packet, token, sequence, GROUP)
    expect(code == 200, "grab answered", code, grabbed)
    [issued] = business.items("/business/v1/tokens", [
        {"user": sender, "operation": "transfer", "target": sender}])
    code, moved = node.user(sender).call("POST", "/v1/transfers", {
        "to": winner, "amount_fen": 10, "token": issued["token"],
        "sequence": issued["sequence"] + 1})
    expect(code in (200, 201), "transfer answered", code, moved)
    node.wait_applied()
    code, sent = node.user(sender).call("GET", "/v1/packets/sent")
    [sent] = [item["order_no"] for item in sent["items"] if item["packet"] == packet]
    return [told["order_no"], sent, grabbed["order_no"], moved["order_no"]], recharge


def expect_found(node, numbers, sender, winner, version):
    """Every way to look an order up knows each of them."""
    owners = (sender, sender, winner, sender)
    for number, owner in zip(numbers, owners):
        expect(number[2] == version, number, "is not of version", version)
        code, value = node.user(owner).call("GET", "/v1/orders/" + number)
        expect(code == 200 and value["order_no"] == number, "the order", number, code, value)
        code, value = node.business().call("GET", "/business/v1/orders/" + number)
        expect(code == 200 and value["account"] == owner, "the order", number, code, value)
        value = ask(node, "order", number)
        expect(value["account"] == owner and str(value["version"]) == version and
               value["source"] == "mysql", value)
        records, rows, _ = trace(node, number)
        expect(any(record.get("order_no") == number for record in records), records)
        expect("order" in [row["table"][:-3] for row in rows], rows)
    for owner in (sender, winner):
        code, listed = node.user(owner).call("GET", "/v1/orders")
        listed = [item["order_no"] for item in listed["items"]]
        for number in (n for n, of in zip(numbers, owners) if of == owner):
            expect(number in listed, number, "is not in the list", listed)
        code, flows = node.user(owner).call("GET", "/v1/statement")
        expect(code == 200 and flows["items"], "statement", code, flows)


def expect_comes_back(node, number, recharge, sender):
    """The recharge's order was forgotten, and a repeated credit brings it back."""
    code, again = node.business().call("POST", "/business/v1/credits", recharge,
                                       idempotency_key="k-%d" % sender)
    expect(code == 201 and again["already"] and again["order_no"] == number, code, again)
    wait_for("the ORDER_LOAD", 10, lambda: any(
        record["order_no"] == number for record in dumped(node, "ORDER_LOAD")))


@test
def orders_of_version_2_are_found_by_their_number_and_outlive_the_option():
    with OwnNode("version-2", order__version=2, capacity__retention_s=1,
                 capacity__orders=1024) as node:
        senders, winners = Numbers.take(2), Numbers.take(2)
        second, recharge = money_of_all_kinds(node, senders[0], winners[0])
        expect_found(node, second, senders[0], winners[0], "2")
        wait_for("the recharge's order to be forgotten", 30, lambda: any(
            record["order_no"] == second[0] for record in dumped(node, "ORDER_OPEN"))
            and len([r for r in dumped(node, "EVICT") if r["object_kind"] == 3]) >= 2)
        expect_comes_back(node, second[0], recharge, senders[0])
        node.expect_sound()
        node.down()
        node.set(order__version=1)
        node.up()
        first, _ = money_of_all_kinds(node, senders[1], winners[1])
        expect_found(node, first, senders[1], winners[1], "1")
        expect_found(node, second, senders[0], winners[0], "2")
        expect(len(set(first + second)) == 8, "a number came twice:", first, second)
        node.expect_sound()
