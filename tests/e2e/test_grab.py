# SPDX-License-Identifier: Apache-2.0
"""One share per user, whatever the concurrency, the retries and the number of lcores."""
import threading

from lib import Connection, Numbers, OwnNode, expect, in_threads, lucky_packet, test, wait_for

CLIENTS = 200
SHARES = 100
TOTAL_FEN = 50000
COPIES = 3
GROUP = 7


class Race:
    """200 clients after one packet of 100 shares, and what each was told."""

    def __init__(self, node):
        self.node = node
        self.users = Numbers.take(CLIENTS)
        self.sender = Numbers.take(1)[0]
        business = node.business()
        self.packet = lucky_packet(business, self.sender, TOTAL_FEN, SHARES, GROUP)
        self.tokens = dict(zip(self.users, business.grab_tokens(
            [(user, self.packet) for user in self.users])))
        self.barrier = threading.Barrier(CLIENTS)
        self.told = {}

    def client(self, user):
        """Every request three times at once on three connections: first one sequence, then the
        next. @return the answers"""
        token, sequence = self.tokens[user]
        owner = self.node.user(user, [GROUP])
        connections = [Connection(self.node.address) for _ in range(COPIES)]
        for connection in connections:
            connection.connect()
        self.barrier.wait(60)
        answers = []
        for number in (sequence, sequence + 1):
            body = b'{"group":%d,"token":"%s","sequence":%d}' % (GROUP, token.encode(), number)
            head = "POST /v1/packets/%s/grab HTTP/1.1\r\nHost: x\r\n%s: %s\r\nContent-Type: " \
                "application/json\r\nContent-Length: %d\r\n\r\n" % (
                    (self.packet,) + owner.headers[0] + (len(body),))
            for connection in connections:
                connection.send(head.encode() + body)
            answers += [connection.answer() for connection in connections]
        for connection in connections:
            connection.close()
        return answers

    def run(self):
        import json
        for user, answers in zip(self.users, in_threads(self.client, self.users)):
            values = [(code, json.loads(body)) for code, _, body in answers]
            kinds = {(code, value["status"]) for code, value in values}
            expect(len(kinds) == 1, "user", user, "heard different things:", values)
            if kinds == {(200, "ok")}:
                shares = {(value["amount_fen"], value["share"]) for _, value in values}
                expect(len(shares) == 1, "winner", user, "heard several shares:", values)
                fresh = sum(1 for _, value in values if not value["already"])
                expect(fresh == 1, "winner", user, "won", fresh, "times:", values)
                self.told[user] = shares.pop()
            else:
                expect(kinds == {(410, "sold_out")}, "loser", user, "heard", values)
        return self

    def expect_exact(self):
        expect(len(self.told) == SHARES, len(self.told), "winners instead of", SHARES)
        expect(sorted(share for _, share in self.told.values()) == list(range(SHARES)),
               "a share was told twice or never")
        total = sum(amount for amount, _ in self.told.values())
        expect(total == TOTAL_FEN, "the winners were told", total, "fen of", TOTAL_FEN)
        expect(min(amount for amount, _ in self.told.values()) >= 1, "a share is below 1 fen")
        self.expect_kept()

    def expect_kept(self):
        """Winners, amounts and balances are what was told, also after restarts."""
        detail = self.node.user(self.users[0], [GROUP]).detail(self.packet, GROUP)
        claims = {claim["user"]: claim["amount_fen"] for claim in detail["claims"]}
        expect(len(detail["claims"]) == SHARES and len(claims) == SHARES,
               "the detail names", len(detail["claims"]), "claims of", len(claims), "users")
        expect(claims == {user: amount for user, (amount, _) in self.told.items()},
               "the detail differs from what the winners were told")
        expect(detail["left_fen"] == 0, "left after the last share:", detail["left_fen"])
        for user in self.users:
            wanted = (self.told.get(user, (0, 0))[0], 0)
            client = self.node.user(user)
            if user in self.told:
                wait_for("the balance of winner %d to be %s" % (user, wanted), 5,
                         lambda: client.balance() == wanted)
            client.connection.close()

    def expect_told_again(self):
        """A winner who asks again with a later sequence hears the same share."""
        for user, (amount, share) in self.told.items():
            token, sequence = self.tokens[user]
            client = self.node.user(user, [GROUP])
            code, value = client.grab_until_told(self.packet, token, sequence + 2, GROUP)
            client.connection.close()
            expect(code == 200 and value["already"] is True and
                   (value["amount_fen"], value["share"]) == (amount, share),
                   "winner", user, "of", amount, "hears later:", code, value)


@test
def of_200_clients_after_100_shares_exactly_100_win_and_hear_one_amount_with_1_4_and_2_lcores():
    with OwnNode("race", dataplane__lcores=1, front__workers=2) as node:
        races = []
        for lcores in (1, 4, 2):
            if races:
                node.down()
                node.set(dataplane__lcores=lcores)
                node.up()
            for race in races:
                race.expect_kept()
                race.expect_told_again()
            race = Race(node).run()
            race.expect_exact()
            races.append(race)
        node.expect_sound()
