# SPDX-License-Identifier: Apache-2.0
"""Anyone can recompute the shares of a packet that is over: hbctl packet verify on the node, and
tools/verify-packet with nothing but the HTTP API's answer."""
import json
import os
import subprocess
import sys

from lib import ROOT, Numbers, OwnNode, expect, in_threads, lucky_packet, test, wait_for

GROUP = 71
SHARES = 30  # more than one page of claims
MATCH, DIFFERS = 0, 1


def grab(node, packet, users):
    tokens = node.business().grab_tokens([(user, packet) for user in users])

    def one(item):
        user, (token, sequence) = item
        code, value = node.user(user, [GROUP]).grab_until_told(packet, token, sequence, GROUP)
        expect(code == 200, "grab answered", code, value)

    for first in range(0, len(users), 8):
        in_threads(one, list(zip(users, tokens))[first:first + 8])


def pages(node, packet, sender):
    """The answers of the HTTP API, as they came."""
    found, after = [], 0
    while True:
        code, value = node.user(sender, [GROUP]).call(
            "GET", "/v1/packets/%s?group=%d&after=%d" % (packet, GROUP, after))
        expect(code == 200, "detail answered", code, value)
        found.append(value)
        after += len(value["claims"])
        if not value["more"]:
            return found


def by_tool(details):
    """tools/verify-packet on details alone. @return exit code, verdict"""
    done = subprocess.run([sys.executable, os.path.join(ROOT, "tools/verify-packet"), "--json"],
                          input="\n".join(json.dumps(page) for page in details),
                          capture_output=True, text=True, check=False)
    expect(done.returncode in (MATCH, DIFFERS), "verify-packet:", done.stderr)
    return done.returncode, json.loads(done.stdout)


def by_hbctl(node, *arguments):
    code, out, err = node.hbctl("packet", "verify", *arguments, "--json")
    expect(code in (MATCH, DIFFERS), "packet verify ended with", code, out, err)
    return code, json.loads(out)


def by_file(node, details):
    path = node.path("detail.json")
    with open(path, "w", encoding="utf-8") as file:
        for page in details:
            json.dump(page, file)
    return by_hbctl(node, "--detail", path)


def expect_verdict(got, code, verdict, **more):
    expect(got[0] == code and got[1]["verdict"] == verdict, "the verdict is", got)
    for key, value in more.items():
        expect(got[1].get(key) == value, key, "is not", value, "in", got)


def expect_all_match(node, packet, sender):
    """All ways find a match; and none does when one share is altered."""
    details = pages(node, packet, sender)
    expect_verdict(by_tool(details), MATCH, "match")
    expect_verdict(by_hbctl(node, packet), MATCH, "match", packet=packet)
    expect_verdict(by_file(node, details), MATCH, "match")
    position = sum(len(page["claims"]) for page in details) - 1
    details[-1]["claims"][-1]["amount_fen"] += 1
    for got in (by_tool(details), by_file(node, details)):
        expect_verdict(got, DIFFERS, "differs", what="share", position=position)


@test
def anyone_can_recompute_the_shares_of_a_packet_that_is_over():
    with OwnNode("fairness", capacity__retention_s=1, capacity__orders=1024) as node:
        business = node.business()
        users, sender = Numbers.take(SHARES), Numbers.take(1)[0]
        for algorithm in ("double-mean", "seed"):
            terms = {"algorithm": algorithm, "share_min_fen": 3, "share_max_fen": 700}
            sold = lucky_packet(business, sender, 5000, SHARES, GROUP, **terms)
            expired = lucky_packet(business, sender, 2000, SHARES, GROUP, lifetime_s=4, **terms)
            for packet in (sold, expired):
                for got in (by_tool(pages(node, packet, sender)), by_hbctl(node, packet)):
                    expect_verdict(got, DIFFERS, "not_revealed")
            grab(node, expired, users[:7])
            grab(node, sold, users)
            expect_all_match(node, sold, sender)
            wait_for("the packet to be closed", 30,
                     lambda p=expired: pages(node, p, sender)[0]["state"] == "refunded")
            expect_all_match(node, expired, sender)
            node.wait_applied()
            wait_for("the packets to be forgotten", 30, lambda ids=(sold, expired): all(
                by_hbctl(node, packet)[1]["source"] == "mysql" for packet in ids))
            for packet in (sold, expired):
                expect_all_match(node, packet, sender)
            _, listed = node.user(sender).call("GET", "/v1/packets/sent")
            numbers = [item["order_no"] for item in listed["items"] if item["packet"] == sold]
            expect_verdict(by_hbctl(node, numbers[0]), MATCH, "match", packet=sold)
        node.expect_sound()
