# SPDX-License-Identifier: Apache-2.0
"""One packet, four ways in at once: HTTP, frames over TCP, frames over UDP, rings. And TLS."""
import os
import pwd
import ssl
import subprocess
import threading

import udp_way
from frame_client import Client as Ring
from lib import Connection, Numbers, Options, OwnNode, expect, in_threads, lucky_packet, test, wait_for
from tcp_client import GRAB, Wire, make_frame
from test_frames import ALREADY, token_fields
from udp_client import make_frame as make_udp_frame

GROUP = 7
CLIENTS, SHARES, TOTAL_FEN = 200, 100, 50000
WAYS = ("http", "tcp", "udp", "rings")
STATUS, FLAGS, AMOUNT, SHARE = 3, 4, 6, 10  # fields of a reply
NAMES = {0: "ok", 13: "sold_out"}


class Race:
    """Everybody asks on two ways: first all at once on his own way, then on the next one."""

    def __init__(self, node, wire):
        self.node = node
        self.users = Numbers.take(CLIENTS)
        self.sender = Numbers.take(1)[0]
        business = node.business()
        self.packet = lucky_packet(business, self.sender, TOTAL_FEN, SHARES, GROUP)
        self.tokens = dict(zip(self.users, business.grab_tokens(
            [(user, self.packet) for user in self.users])))
        self.front = wire.front(node, lcores=2, spoil=udp_way.bad_network(Options.seed))
        self.front.frames_max = 2
        self.front.frames_max = 2
        self.rings = self.attach(node)
        self.heard = {user: [] for user in self.users}
        self.lock = threading.Lock()

    @staticmethod
    def attach(node):
        """Rings with the rights of a front, as an IM program on the node has them."""
        path = node.path("socket/dataplane/attach.sock")
        root, group = os.geteuid(), os.getegid()
        os.setegid(os.stat(path).st_gid)
        os.seteuid(pwd.getpwnam("hongbao-front").pw_uid)
        try:
            return [Ring(path) for _ in range(4)]
        finally:
            os.seteuid(root)
            os.setegid(group)

    def hear(self, user, status, already, amount, share):
        with self.lock:
            self.heard[user].append((status, already, amount, share))

    def ask_http(self, user, later):
        token, sequence = self.tokens[user]
        client = self.node.user(user, [GROUP])
        code, value = client.grab_until_told(self.packet, token, sequence + later, GROUP)
        client.connection.close()
        expect(code in (200, 410), "over HTTP", user, "hears", code, value)
        self.hear(user, value["status"], value.get("already"), value.get("amount_fen"),
                  value.get("share"))

    def hear_fields(self, user, fields):
        status = NAMES.get(fields[STATUS], fields[STATUS])
        told = (fields[AMOUNT], fields[SHARE]) if status == "ok" else (None, None)
        self.hear(user, status, bool(fields[FLAGS] & ALREADY), *told)

    def ask_tcp(self, user, later):
        token, sequence = self.tokens[user]
        wire = Wire(self.node.frames_address, self.node.keys.jwt(user, [GROUP]))
        frame = make_frame(GRAB, int(self.packet, 16), GROUP, token_fields(token),
                           sequence + later)
        for fields, _ in wire.ask([frame, frame]):
            self.hear_fields(user, fields)
        wire.close()

    def ask_udp(self, users, later):
        frames = [make_udp_frame(GRAB, int(self.packet, 16), user, GROUP,
                                 token_fields(self.tokens[user][0]),
                                 self.tokens[user][1] + later) for user in users]
        answers = self.front.ask(frames, seconds=30, again=0.1)
        expect(len(answers) == len(users), len(answers), "answers over UDP of", len(users))
        for index, (fields, _) in answers.items():
            self.hear_fields(users[index], fields)

    def ask_ring(self, ring, users, later):
        for user in users:
            token, sequence = self.tokens[user]
            status, flags, rest, _ = ring.call(GRAB, int(self.packet, 16), user, GROUP,
                                               token=token_fields(token) + (sequence + later,))
            told = (rest[0], rest[4]) if status == 0 else (None, None)
            self.hear(user, NAMES.get(status, status), bool(flags & ALREADY), *told)

    def round(self, later):
        """Every user asks once: user i on way i + later."""
        ways = {way: [user for i, user in enumerate(self.users)
                      if WAYS[(i + later) % len(WAYS)] == way] for way in WAYS}
        tasks = [lambda u=user: self.ask_http(u, later) for user in ways["http"]]
        tasks += [lambda u=user: self.ask_tcp(u, later) for user in ways["tcp"]]
        tasks += [lambda: self.ask_udp(ways["udp"], later)]
        tasks += [lambda i=i, ring=ring: self.ask_ring(ring, ways["rings"][i::4], later)
                  for i, ring in enumerate(self.rings)]
        start = threading.Barrier(len(tasks))

        def begin(task):
            start.wait(60)
            task()

        in_threads(begin, tasks)

    def run(self):
        self.round(0)
        first = {user: len(heard) for user, heard in self.heard.items()}
        self.round(1)
        winners = {}
        won_by = dict.fromkeys(WAYS, 0)
        for i, user in enumerate(self.users):
            heard = self.heard[user]
            expect(len(heard) > first[user] > 0, "user", user, "heard", heard)
            told = {answer[2:] for answer in heard}
            expect(len({answer[0] for answer in heard}) == 1 and len(told) == 1,
                   "user", user, "heard different things:", heard)
            if heard[0][0] == "ok":
                # Over UDP the first answer may have been lost, so nobody wins more than once.
                fresh = sum(1 for answer in heard if not answer[1])
                expect(fresh == 1 or fresh == 0 and WAYS[i % 4] == "udp",
                       "winner", user, "won", fresh, "times:", heard)
                winners[user] = told.pop()
                won_by[WAYS[i % 4]] += 1
            else:
                expect(heard[0][0] == "sold_out", "loser", user, "heard", heard)
        expect(len(winners) == SHARES, len(winners), "winners instead of", SHARES)
        expect(sorted(share for _, share in winners.values()) == list(range(SHARES)),
               "a share was told twice or never")
        expect(sum(amount for amount, _ in winners.values()) == TOTAL_FEN,
               "the shares do not add up")
        claims = self.node.user(self.users[0], [GROUP]).detail(self.packet, GROUP)["claims"]
        expect({claim["user"]: claim["amount_fen"] for claim in claims} ==
               {user: amount for user, (amount, _) in winners.items()},
               "the detail differs from what the winners were told")
        print("      won over " + ", ".join("%s %d" % item for item in won_by.items()), flush=True)
        return won_by


@test
def of_200_clients_on_four_ways_at_once_exactly_100_win_and_hear_the_same_on_every_way():
    with udp_way.Wire() as wire:
        with OwnNode("ways", **wire.options(dataplane__lcores=2, front__workers=2)) as node:
            won_by = dict.fromkeys(WAYS, 0)
            resent = 0
            for _ in range(3):
                race = Race(node, wire)
                for way, count in race.run().items():
                    won_by[way] += count
                resent += race.front.resent
            expect(all(count > 0 for count in won_by.values()), "a way won nothing:", won_by)
            expect(resent > 0, "no datagram was lost: the test shows nothing")
            node.expect_sound()


@test
def a_node_with_a_certificate_serves_http_and_frames_over_tls():
    folder = "/tmp/hongbao-tls-%d" % os.getpid()
    os.makedirs(folder, exist_ok=True)
    chain, key = os.path.join(folder, "chain.pem"), os.path.join(folder, "chain.key")
    subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt",
                    "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2", "-subj", "/CN=node",
                    "-addext", "subjectAltName=IP:127.0.0.1", "-keyout", key, "-out", chain],
                   check=True, stderr=subprocess.DEVNULL)
    with OwnNode("tls", front__tls_certificate=chain, front__tls_key=key,
                 front__requests_per_user=5) as node:
        business = node.business()
        business.connection = Connection(node.path("socket/control/http.sock"))
        user = Numbers.take(1)[0]
        business.open_accounts([user])
        business.credit([(user, 77)])
        tls = ssl.create_default_context(cafile=chain)
        wire = Wire(node.frames_address, node.keys.jwt(user), tls=tls)
        wait_for("his money over TLS", 5,
                 lambda: wire.ask([make_frame(4, user)])[0][0][AMOUNT] == 77)
        wire.close()
        address = "https://%s:%d" % node.address
        curl = ["curl", "-sS", "--http2", "--cacert", chain,
                "-H", "Authorization: Bearer " + node.keys.jwt(user), "-w", "%{http_code} "]
        one = ["-o", os.devnull, address + "/v1/balance"]
        codes = subprocess.run(curl + one * 30, capture_output=True, text=True,
                               check=False).stdout.split()
        expect(codes[:5] == ["200"] * 5 and "429" in codes, "30 requests at once:", codes)
        expect("https://" in node.launcher("status", "--config", node.config)[1], "status")
        node.expect_sound()
