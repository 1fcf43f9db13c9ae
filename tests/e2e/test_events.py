# SPDX-License-Identifier: Apache-2.0
"""Event streams: who is told what, once, over reloads and restarts, and what is refused."""
import os
import random
import signal
import time

from lib import Business, OwnNode, User, expect, test, wait_for
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


def crowd(count):
    return [300000 + i for i in range(count)]


@test
def over_reloads_and_a_kill_of_persist_every_member_hears_every_grab_once():
    count, reloads = (1000, 20) if os.environ.get("HB_STREAMS") == "long" else (60, 3)
    with OwnNode("events", front__workers=4) as node, Streams(node) as streams:
        business = Business(node)
        users = crowd(40)
        business.open_accounts([SENDER, *users])
        business.credit([(SENDER, 10000000)])
        members = [opened(node, streams, 600000 + i, (GROUP,)) for i in range(count)]
        stranger = opened(node, streams, STRANGER, (GROUP + 1,))
        wait_for("streams", 60, lambda: streams.open_count() == count + 1)
        master = node.pids("nginx")[0]
        grabs, packets = 0, []
        for turn in range(reloads):
            old = set(node.pids("nginx")[1:])
            os.kill(master, signal.SIGHUP)
            packet = send(business, SENDER, 10, group=GROUP)
            packets.append(packet)
            for user in random.sample(users, 10):
                grab(node, business, user, packet, GROUP)
                grabs += 1
            if turn == 1:
                node.kill("persist")
                node.up()
            wait_for("old workers to end", 60, lambda: not old & set(node.pids("nginx")[1:]))
        marker = send(business, SENDER, 1, group=GROUP)
        wait_for("the last event", 60, lambda: all(
            s.events and s.events[-1][2].get("packet") == marker for s in members))
        expected = None
        for s in members:
            heard = [(event, key) for event, key, _, _ in s.events]
            expected = expected or heard
            expect(heard == expected, "members heard different things")
            expect(not s.resyncs, "resync", s.resyncs)
        first = members[0]
        expect([v["packet"] for v in first.named("packet")] == packets + [marker], "packets")
        expect(len(first.named("grab")) == grabs, len(first.named("grab")), "grabs of", grabs)
        expect([v["packet"] for v in first.named("over")] == packets, "ends")
        for packet in packets:
            expect(sum(v["amount_fen"] for v in first.named("grab") if v["packet"] == packet) ==
                   1000, "the shares of", packet)
        expect(not stranger.events, "a stranger heard")
        print("      %d streams, %d reloads, a kill of persist: %d events each, %d connects, "
              "%d repeated by id, 0 resyncs" % (
                  count, reloads, len(first.events), sum(s.connects for s in members),
                  sum(s.repeated for s in members)))
        node.expect_sound()


@test
def a_money_token_reaches_the_streams_of_its_user_alone_and_waits_while_control_is_away():
    with OwnNode("tokens", front__workers=4, notices__tokens=1) as node, Streams(node) as streams:
        business = Business(node)
        business.open_accounts([SENDER, *MEMBERS])
        business.credit([(SENDER, 100000)])
        members = [opened(node, streams, m, (GROUP,)) for m in MEMBERS]
        twice = opened(node, streams, MEMBERS[0], (GROUP,))
        everybody = [*members, twice]
        wait_for("streams", 10, lambda: streams.open_count() == len(everybody))
        packet = send(business, SENDER, len(MEMBERS), group=GROUP)

        def ask(member):
            code, value = User(node, member, (GROUP,)).call(
                "POST", "/v1/tokens", {"operation": "grab", "target": packet})
            expect((code, value) == (202, {"status": "asked"}), "asking answered", code, value)

        for member in MEMBERS:
            ask(member)
        wait_for("a token each", 5, lambda: all(s.named("token") for s in everybody))
        for stream in everybody:
            value, = stream.named("token")
            expect(value["user"] == stream.account and value["target"] == packet, value)
            expect("-%d-" % stream.account in value["token"], value)
        expect(twice.named("token") == members[0].named("token"), "two streams of one user differ")
        for member, stream in zip(MEMBERS, members):
            value, = stream.named("token")
            code, told = User(node, member, (GROUP,)).grab(packet, value["token"],
                                                           value["sequence"] + 1, GROUP)
            expect(code == 200, "a grab with the token of the stream:", code, told)
        code, value = business.call("GET", "/business/v1/tokens/asked")
        expect(code == 200 and value["items"] == [], "the business system got", value)

        node.kill("control")
        ask(MEMBERS[1])
        time.sleep(0.5)
        expect(len(members[1].named("token")) == 1, "a token without control")
        code, text = node.try_up()
        expect(code == 0, "up ended with", code, text)
        wait_for("the token after control is back", 10, lambda: len(members[1].named("token")) == 2)
        expect(all(len(s.named("token")) == 1 for s in everybody if s.account != MEMBERS[1]),
               "somebody else heard it")
        expect(not any(s.resyncs for s in everybody), "there was a resync")
        node.expect_sound()


@test
def tokens_of_others_and_none_open_no_stream_and_tell_nothing():
    with OwnNode("events", front__workers=2) as node, Streams(node, reconnect=False) as streams:
        expired = streams.add(Stream(SENDER, node.keys.jwt(SENDER, lifetime_s=-5)))
        forged = streams.add(Stream(SENDER, node.keys.jwt(SENDER, secret=b"x" * 32)))
        short = streams.add(Stream(SENDER, node.keys.jwt(SENDER, lifetime_s=2)))
        bad = streams.add(Stream(SENDER, node.keys.jwt(SENDER), last_id="0x17"))
        wait_for("answers", 10, lambda: all(s.code is not None for s in streams.streams))
        expect((expired.code, forged.code) == (401, 401), expired.code, forged.code)
        wait_for("the end of a token", 5, lambda: short.ends == ["token_expired"])
        expect(bad.resyncs == ["unknown_id"], bad.resyncs)
        crowded = [streams.add(Stream(STRANGER, node.keys.jwt(STRANGER))) for _ in range(9)]
        wait_for("answers", 10, lambda: all(s.code is not None for s in crowded))
        expect(sorted(s.code for s in crowded) == [200] * 8 + [429], [s.code for s in crowded])
