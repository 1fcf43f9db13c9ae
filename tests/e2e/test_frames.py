# SPDX-License-Identifier: Apache-2.0
"""Frames over UDP, through a DPDK port on a veth pair."""
import json
import os
import random
import socket
import struct
import subprocess
import time

import udp_way
from lib import Numbers, Options, OwnNode, expect, lucky_packet, test, wait_for
from udp_client import BALANCE, GRAB, make_datagram, make_frame

GROUP = 7
SHARES, CLIENTS, TOTAL_FEN = 50, 100, 5000
OK, SOLD_OUT, TOKEN_INVALID, NOT_ALLOWED, STALE = 0, 13, 14, 34, 37
ALREADY = 1


def token_fields(text):
    """id, MAC and expiry of a money token's text, as docs/frames.md says."""
    import calendar
    _, _, _, when, digits, mac = text.split("-")
    seconds = calendar.timegm(time.strptime(when[:14], "%Y%m%d%H%M%S")) - 8 * 3600
    ms = seconds * 1000 + int(when[14:])
    return ms << 14 | int(digits), int(mac, 16), seconds + 3600


def counters(node):
    values = json.loads(node.hbctl("--json", "counters")[1])["dataplane"]
    return {key: value for key, value in values.items() if key.startswith("port_")}


def ping(wire):
    """One echo request over a raw socket of the namespace. @return whether it came back"""
    with wire.inside():
        raw = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP)
    raw.settimeout(2)
    body = struct.pack(">BBHHH", 8, 0, 0, 0x1234, 1) + b"hongbao!"
    total = sum(struct.unpack(">8H", body))
    total = (total & 0xFFFF) + (total >> 16)
    raw.sendto(body[:2] + struct.pack(">H", ~total & 0xFFFF) + body[4:],
               (udp_way.NODE_ADDRESS, 0))
    answer = raw.recv(256)[20:]
    raw.close()
    return answer[0] == 0 and answer[4:] == body[4:]


def race(node, wire, seed):
    """More clients than shares over a network that loses, doubles and reorders datagrams."""
    business = node.business()
    sender = Numbers.take(1)[0]
    users = Numbers.take(CLIENTS)
    packet = lucky_packet(business, sender, TOTAL_FEN, SHARES, GROUP)
    tokens = dict(zip(users, business.grab_tokens([(user, packet) for user in users])))
    front = wire.front(node, lcores=2, spoil=udp_way.bad_network(seed))
    front.frames_max = 2
    told = {}
    for later in (0, 1):
        frames = [make_frame(GRAB, int(packet, 16), user, GROUP, token_fields(tokens[user][0]),
                             tokens[user][1] + later) for user in users]
        answers = front.ask(frames, seconds=30, again=0.1)
        expect(len(answers) == CLIENTS, len(answers), "answers of", CLIENTS)
        for index, (fields, _) in answers.items():
            _, _, _, status, flags, _, amount, _, _, _, share, _, _ = fields
            user = users[index]
            if user in told or later == 0 and status == OK:
                expect(status == OK, "winner", user, "hears status", status)
                expect(told.setdefault(user, (amount, share)) == (amount, share),
                       "winner", user, "hears another share")
                expect(later == 0 or flags & ALREADY, "winner", user, "won twice")
            else:
                expect(status == SOLD_OUT, "loser", user, "hears status", status)
    expect(len(told) == SHARES, len(told), "winners of", SHARES)
    expect(sum(amount for amount, _ in told.values()) == TOTAL_FEN, "the shares do not add up")
    expect(front.resent > 0, "no datagram was lost: the test shows nothing")


def storm(node, wire, seed):
    """Garbage of every kind, while somebody else is served."""
    dice = random.Random(seed)
    front = wire.front(node, lcores=2)
    user = Numbers.take(1)[0]
    good = make_datagram(front.key_id, front.key, [make_frame(BALANCE, user, user)])
    for count in range(20000):
        data = bytearray(good)
        kind = dice.randrange(5)
        if kind == 0:
            data[dice.randrange(len(data))] ^= 1 << dice.randrange(8)
        elif kind == 1:
            data = data[:dice.randrange(len(data))]
        elif kind == 2:
            data = os.urandom(dice.randrange(1, 1472))
        elif kind == 3:
            data[8:12] = struct.pack("<I", 77)
        else:
            data += os.urandom(8)
        try:
            front.socket.sendto(bytes(data), (udp_way.NODE_ADDRESS, 7400 + count % 3))
        except BlockingIOError:
            pass
        if count % 5000 == 0:
            expect(node.user(user).call("GET", "/v1/balance")[0] in (200, 404),
                   "HTTP stood still in the storm")
    now = counters(node)
    for reason in ("port_forged", "port_broken", "port_key_unknown", "port_other"):
        expect(now[reason] > 0, "nothing was counted as", reason)
    answers = wire.front(node, lcores=2).ask([make_frame(BALANCE, user, user)])
    expect(len(answers) == 1, "after the storm nobody answers")


def rotation(node, wire):
    """A second key holds beside the first; taken out, the first is refused."""
    user = Numbers.take(1)[0]
    frame = make_frame(BALANCE, user, user)
    path = node.path("key/frame.keys")
    old = wire.front(node)
    with open(path, encoding="ascii") as file:
        first = file.read()
    second = "2 %s balance\n" % os.urandom(16).hex()

    def write(text):
        with open(path + ".new", "w", encoding="ascii") as file:
            file.write(text)
        os.chmod(path + ".new", 0o400)
        os.chown(path + ".new", os.stat(path).st_uid, 0)
        os.rename(path + ".new", path)
        os.kill(node.pid("dataplane"), 1)

    write(first + second)
    new = wire.front(node, key=second.split())
    expect(len(new.ask([frame], seconds=5)) == 1, "the new key is not known")
    expect(len(old.ask([frame], seconds=5)) == 1, "the old key does not hold any more")
    grab = make_frame(GRAB, 1 << 56 | 1, user, GROUP)
    expect(new.ask([grab])[0][0][3] == NOT_ALLOWED, "a key for balances may grab")
    write("3 nonsense front\n")
    wait_for("a complaint about the key file", 5,
             lambda: "front_keys_not_read" in node.log_text("dataplane"))
    expect(len(new.ask([frame], seconds=5)) == 1, "a bad file took the good keys away")
    write(second)
    wait_for("the old key to be unknown", 5, lambda: not old.ask([frame], seconds=0.3))
    write(first)


def tool(node, wire):
    """hongbao-frame in the namespace of the client."""
    business = node.business()
    sender = Numbers.take(1)[0]
    user = Numbers.take(1)[0]
    packet = lucky_packet(business, sender, 100, 2, GROUP)
    token, sequence = business.grab_tokens([(user, packet)])[0]
    base = ["ip", "netns", "exec", wire.namespace, node.path("bin/hongbao-frame"),
            "--node", udp_way.NODE_ADDRESS, "--keys", node.path("key/frame.keys"), "--lcores", "2"]

    def run(*words):
        done = subprocess.run(base + list(words), capture_output=True, text=True, check=False)
        return done.returncode, done.stdout + done.stderr

    code, text = run("grab", packet, str(user), "--group", str(GROUP), "--token", token,
                     "--sequence", str(sequence))
    expect(code == 0 and '"status":"ok"' in text, "hongbao-frame grab says", text)
    code, text = run("balance", str(sender))
    expect(code == 0 and '"frozen_fen"' in text, "hongbao-frame balance says", text)
    code, text = run("grab", packet, str(user))
    expect(code == 2 and "--token" in text, "hongbao-frame without a token says", text)
    code, text = run("--node", "10.77.0.9", "--timeout", "200", "balance", str(user))
    expect(code == 3 and "unknown_outcome" in text, "without an answer hongbao-frame says", text)


@test
def frames_over_udp_win_exactly_once_on_a_network_that_loses_doubles_and_reorders():
    with udp_way.Wire() as wire:
        with OwnNode("udp", **wire.options(dataplane__lcores=2)) as node:
            expect(ping(wire), "no answer to an echo request")
            user = Numbers.take(1)[0]
            front = wire.front(node, lcores=2)
            stale = front.key and make_frame(BALANCE, user, user, issued=int(time.time()) - 700)
            front.number += 1
            front.socket.sendto(make_datagram(front.key_id, front.key, [stale]),
                                (udp_way.NODE_ADDRESS, 7400))
            expect(front.take(5)[0][0][3] == STALE, "an old frame was taken")
            grab = make_frame(GRAB, 1 << 56 | 1, user, GROUP)
            expect(front.ask([grab])[0][0][3] != OK, "a grab without a token won")
            race(node, wire, Options.seed)
            tool(node, wire)
            rotation(node, wire)
            storm(node, wire, Options.seed)
            now = counters(node)
            expect(now["port_arp"] > 0 and now["port_icmp"] > 0, "ARP or ICMP was not counted")
            node.expect_sound()
