# SPDX-License-Identifier: Apache-2.0
"""What the dataplane has forgotten is still answered, and comes back when it is needed."""
import json

from lib import Connection, Numbers, OwnNode, expect, in_threads, log, lucky_packet, test, wait_for

GROUP = 31
SHARES = 30  # more than one page of claims


def dumped(node, kind):
    """Records of a type in the journal."""
    code, out, err = node.hbctl("journal", "dump", "--type", kind, "--json")
    expect(code == 0, "journal dump ended with", code, err)
    return [json.loads(line) for line in out.splitlines()]


def grab_all(node, packet, users):
    tokens = node.business().grab_tokens([(user, packet) for user in users])

    def grab(item):
        user, (token, sequence) = item
        code, value = node.user(user, [GROUP]).grab_until_told(packet, token, sequence, GROUP)
        expect(code == 200, "grab answered", code, value)

    for first in range(0, len(users), 8):
        in_threads(grab, list(zip(users, tokens))[first:first + 8])


def without_sequence(value):
    return {key: item for key, item in value.items() if key != "as_of_seq"}


def pages(node, packet, user, **query):
    """The raw pages of a detail."""
    found, after = [], 0
    while True:
        text = "&".join("%s=%s" % item for item in dict(query, after=after).items())
        code, value = user.call("GET", "/v1/packets/%s?%s" % (packet, text))
        expect(code == 200, "detail answered", code, value)
        found.append(without_sequence(value))
        after += len(value["claims"])
        if not value["more"]:
            return found


@test
def an_evicted_packet_and_an_evicted_order_are_answered_as_before():
    with OwnNode("old", capacity__retention_s=1, capacity__orders=1024) as node:
        business = node.business()
        users = Numbers.take(SHARES)
        sender = Numbers.take(1)[0]
        packet = lucky_packet(business, sender, 5000, SHARES, GROUP, greeting="恭喜 \"发财\"")
        grab_all(node, packet, users)
        credit = {"account": sender, "amount_fen": 700, "channel": "manual"}
        code, told = business.call("POST", "/business/v1/credits", credit, idempotency_key="k-1")
        expect(code == 201, "credit answered", code, told)

        member, winner = node.user(sender, [GROUP]), node.user(users[0])
        before = pages(node, packet, member, group=GROUP)
        expect(len(before) == 2, "the detail has", len(before), "pages")
        wait_for("the packet to be evicted", 30, lambda: any(
            r["object"] == packet for r in dumped(node, "EVICT")))
        expect(pages(node, packet, member, group=GROUP) == before,
               "an evicted packet is told differently:", pages(node, packet, member, group=GROUP),
               before)
        expect(pages(node, packet, winner) == before, "a winner is told differently")
        code, value = member.call("GET", "/v1/packets/%s" % packet)
        expect(value["as_of_seq"] > 0, "no as_of_seq:", value)
        stranger = node.user(Numbers.take(1)[0], [GROUP + 1])
        for query in ("", "?group=%d" % GROUP, "?group=%d" % (GROUP + 1)):
            code, value = stranger.call("GET", "/v1/packets/%s%s" % (packet, query))
            expect(code == 403 and value["status"] == "not_member", query, code, value)
        code, value = Connection(node.address).json("GET", "/v1/packets/" + packet,
                                                    [("X-Hongbao-Group", str(GROUP))])
        expect(code == 401, "without a user token", code, value)
        code, value = business.call("GET", "/business/v1/packets/" + packet)
        expect(code == 200 and without_sequence(value) == before[0], "business:", code, value)

        stamp = told["order_no"]
        wait_for("the recharge order to be evicted", 30, lambda: len(
            [r for r in dumped(node, "EVICT") if r["object_kind"] == 3]) >= 2)
        code, again = business.call("POST", "/business/v1/credits", credit, idempotency_key="k-1")
        expect(code == 201 and again["already"] and again["order_no"] == stamp,
               "a credit repeated after its order was evicted:", code, again)
        loads = dumped(node, "ORDER_LOAD")
        expect(len(loads) >= 1 and loads[-1]["account"] == sender and
               loads[-1]["amount_fen"] == 700 and loads[-1]["settled_fen"] == 700, loads)
        expect(business.account(sender)["available_fen"] == 700, "it was credited twice")
        log("evicted:", len(dumped(node, "EVICT")), "loaded:", len(loads))
        node.expect_sound()
        traces_tell_the_whole_story(node, packet, told["order_no"], sender, users)


def trace(node, what, *options):
    """@return (records, rows, the summary), after a look at their order"""
    code, out, err = node.hbctl("trace", str(what), "--json", *options)
    lines = [json.loads(line) for line in out.splitlines()]
    expect(code == 0 and lines[-1]["ok"] and lines[-1]["mysql"] == "ok", code, out, err)
    shown = lines[:-1]
    expect([x["seq"] for x in shown] == sorted(x["seq"] for x in shown), "not in journal order")
    records = [x for x in shown if x["source"] == "journal"]
    rows = [x for x in shown if x["source"] == "mysql"]
    expect((len(records), len(rows)) == (lines[-1]["records"], lines[-1]["rows"]), lines[-1])
    return records, rows, lines[-1]


def traces_tell_the_whole_story(node, packet, order_no, sender, users):
    records, rows, _ = trace(node, packet)
    kinds = [record["type"] for record in records]
    expect(kinds == ["PACKET_CREATE"] + ["GRAB"] * SHARES + ["EVICT"], kinds)
    expect(sorted(row["table"][:-3] for row in rows) == ["claim"] * SHARES + ["packet"], rows)
    expect(sum(row["amount_fen"] for row in rows if "amount_fen" in row) == 5000, rows)
    expect(all("seed" not in row for row in rows), "a trace tells a seed")
    records, rows, _ = trace(node, order_no)
    kinds = [record["type"] for record in records]
    expect(kinds[:4] == ["ORDER_OPEN", "CREDIT", "EVICT", "ORDER_LOAD"], kinds)
    expect(all(r.get("order_no", order_no) == order_no for r in records), records)
    expect([row["table"][:-3] for row in rows] == ["order", "flow"], rows)
    records, rows, _ = trace(node, sender)
    expect([r["type"] for r in records].count("GRAB") == SHARES,
           "the grabs from his packet change the sender's money, but are not shown")
    expect(sum(row.get("available_delta", 0) for row in rows) == 700, rows)
    records, rows, _ = trace(node, users[0], "--since", "1h")
    expect([r["type"] for r in records] == ["GRAB"], records)
    code, out, _ = node.hbctl("trace", order_no)
    expect(code == 0 and "money came in" in out and "mysql order_" in out, out)
    for what, exit_code in (("99", 1), ("0199999999999999", 1), ("x", 2), ("-5", 2)):
        code, out, err = node.hbctl("trace", what)
        expect(code == exit_code and err, "trace", what, "ended with", code, out, err)
