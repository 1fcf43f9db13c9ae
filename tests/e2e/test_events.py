# SPDX-License-Identifier: Apache-2.0
"""Event streams: who is told what, once, over reloads and restarts, and what is refused."""
import os
import random
import signal
import time

from lib import Business, Connection, OwnNode, User, expect, test, wait_for
from streams import Stream, Streams

GROUP = 4242
SENDER = 100001
RECIPIENT = 100002
STRANGER = 100003
MEMBERS = range(200001, 200006)


def opened(node, streams, account, groups=(), **more):
    return streams.add(Stream(account, node.keys.jwt(account, groups), **more))


def send(business, sender, count, group=None, recipient=None, amount=1000, **more):
    item = {"sender": sender, "total_fen": amount, **more}
    if group is not None:
        item.update(kind="lucky", group=group, count=count)
    else:
        item.update(kind="normal", recipient=recipient)
    return business.packets([item])[0]


def grab(node, business, user, packet, group=None):
    token, sequence = business.grab_tokens([(user, packet)])[0]
    code, value = User(node, user, (group,) if group else ()).grab(packet, token, sequence, group)
    expect(code == 200, "grab answered", code, value)
    return value


@test
def members_sender_and_recipient_hear_what_concerns_them_and_nobody_else_does():
    with OwnNode("events", front__workers=2) as node, Streams(node) as streams:
        business = Business(node)
        business.open_accounts([SENDER, RECIPIENT, STRANGER, *MEMBERS])
        sender = opened(node, streams, SENDER)
        recipient = opened(node, streams, RECIPIENT)
        stranger = opened(node, streams, STRANGER, (GROUP + 1,))
        members = [opened(node, streams, m, (1, GROUP)) for m in MEMBERS]
        wait_for("streams", 10, lambda: streams.open_count() == len(streams.streams))
        business.credit([(SENDER, 100000)])
        packet = send(business, SENDER, 2, group=GROUP)
        first = grab(node, business, MEMBERS[0], packet, GROUP)
        second = grab(node, business, MEMBERS[1], packet, GROUP)
        alone = send(business, SENDER, 1, recipient=RECIPIENT, amount=77)
        taken = grab(node, business, RECIPIENT, alone)
        expired = send(business, SENDER, 5, group=GROUP, lifetime_s=1)
        wait_for("the last event", 10, lambda: all(
            any(value["packet"] == expired for value in s.named("over"))
            for s in [sender, *members]))
        time.sleep(0.1)
        expect(not stranger.events, "a stranger heard", stranger.events)
        for member in members:
            expect([v["packet"] for v in member.named("packet")] == [packet, expired],
                   "a member heard of", member.named("packet"))
            expect([(v["user"], v["amount_fen"]) for v in member.named("grab")] ==
                   [(MEMBERS[0], first["amount_fen"]), (MEMBERS[1], second["amount_fen"])],
                   "a member heard", member.named("grab"))
            overs = member.named("over")
            expect([v["reason"] for v in overs] == ["sold_out", "expired"], overs)
            expect(overs[1]["refunded_fen"] == 1000, overs[1])
            for value in member.named("packet") + overs:
                expect("order_no" not in value, "a member got the sender's order", value)
            for value in member.named("grab"):
                expect(("order_no" in value) == (value["user"] == member.account), value)
            expect("seed" not in str(member.events), "a seed was told")
        expect(members[0].named("grab")[0]["order_no"] == first["order_no"], "order number")
        expect([v["packet"] for v in sender.named("packet")] == [packet, alone, expired],
               sender.events)
        expect(all("order_no" in v for v in sender.named("packet")), sender.events)
        expect(sender.named("credit")[0]["amount_fen"] == 100000, sender.events)
        expect([v["reason"] for v in sender.named("over")] ==
               ["sold_out", "sold_out", "expired"], sender.named("over"))
        expect([e for e, _, _, _ in recipient.events] == ["packet", "grab", "over"],
               recipient.events)
        expect(recipient.named("grab")[0]["order_no"] == taken["order_no"], recipient.events)
        expect(not any(s.resyncs for s in streams.streams), "there was a resync")
        node.expect_sound()
