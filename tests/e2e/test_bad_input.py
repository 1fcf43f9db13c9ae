# SPDX-License-Identifier: Apache-2.0
"""What comes over HTTP and is wrong is refused with the right code, changes nothing and hurts
nothing."""
import json
import time

from lib import Connection, Fixture, Numbers, base64url, expect, lucky_packet, test

GROUP = 11
OTHER_GROUP = 12
CREDIT_FEN = 100000
HUGE = 2 ** 64


class Scene:
    """Accounts with money, packets, tokens: everything a request could do harm with."""

    def __init__(self):
        self.node = Fixture.shared()
        self.business = self.node.business()
        self.alice, self.bob, self.carol = Numbers.take(3)
        self.accounts = [self.alice, self.bob, self.carol]
        self.business.open_accounts(self.accounts)
        self.business.credit([(account, CREDIT_FEN) for account in self.accounts])
        self.packet = lucky_packet(self.business, self.alice, 1000, 5, GROUP)
        self.other_packet = lucky_packet(self.business, self.alice, 1000, 5, GROUP)
        self.normal = self.business.packets([
            {"sender": self.alice, "kind": "normal", "recipient": self.bob, "total_fen": 500}])[0]
        (self.token, self.sequence), (self.other_token, _), (self.carol_token, _) = \
            self.business.grab_tokens([(self.bob, self.packet), (self.bob, self.other_packet),
                                       (self.carol, self.packet)])
        self.transfer_token, self.transfer_sequence = self.money_token(self.bob, "transfer")
        self.send_token, self.send_sequence = self.money_token(self.bob, "send")
        self.user = self.node.user(self.bob, [GROUP])
        self.pids = self.node.processes()
        self.before = self.picture()

    def money_token(self, user, operation):
        code, value = self.business.retried("POST", "/business/v1/tokens",
                                            {"user": user, "operation": operation})
        expect(code in (200, 201), "token answered", code, value)
        return value["token"], value["sequence"] + 1

    def picture(self):
        """Everything that must not change."""
        balances = [self.node.user(account).balance() for account in self.accounts]
        details = [self.node.user(self.bob, [GROUP]).detail(packet, GROUP)
                   for packet in (self.packet, self.other_packet)]
        return balances, [(d["left_fen"], d["taken"], d["state"]) for d in details]

    def expect_unchanged(self):
        after = self.picture()
        expect(after == self.before, "refused requests changed", self.before, "to", after)
        self.expect_alive()

    def expect_alive(self):
        expect(self.node.processes() == self.pids, "processes changed from", self.pids, "to",
               self.node.processes())


def expect_answer(what, answer, codes, status=None):
    code, value = answer
    expect(code in codes, what, "was answered", code, value, "instead of", codes)
    expect(isinstance(value, dict) and "status" in value, what, "was answered without a status:",
           value)
    if status is not None:
        expect(value["status"] in status, what, "was answered", value, "instead of", status)
    expect(value.get("message"), what, "was refused without a message:", value)


def named_in(answer, field):
    expect(field in answer[1].get("message", ""), "the message does not name", field, ":", answer)


@test
def a_user_token_that_is_not_exactly_right_is_unauthorized():
    scene = Scene()
    keys = scene.node.keys
    now = int(time.time())
    good = keys.jwt(scene.bob, [GROUP])
    head, claims, mac = good.split(".")

    def swapped(new_head, signature=mac):
        return ".".join((base64url(json.dumps(new_head).encode()).decode(), claims, signature))

    tokens = {
        "garbage": "abc",
        "two parts": head + "." + claims,
        "four parts": good + ".x",
        "no signature": head + "." + claims + ".",
        "cut signature": good[:-1],
        "longer signature": good + "A",
        "alg none": swapped({"alg": "none", "kid": keys.jwt_id}, ""),
        "alg None with signature": swapped({"alg": "None", "kid": keys.jwt_id}),
        "another alg": keys.jwt(scene.bob, head={"alg": "HS512", "kid": keys.jwt_id}),
        "EdDSA with an HS256 key": keys.jwt(scene.bob, head={"alg": "EdDSA", "kid": keys.jwt_id}),
        "unknown kid": keys.jwt(scene.bob, head={"alg": "HS256", "kid": "nobody"}),
        "no kid": keys.jwt(scene.bob, head={"alg": "HS256"}),
        "crit": keys.jwt(scene.bob, head={"alg": "HS256", "kid": keys.jwt_id, "crit": ["x"]}),
        "wrong secret": keys.jwt(scene.bob, secret=b"x" * 32),
        "empty secret": keys.jwt(scene.bob, secret=b""),
        "expired": keys.jwt(scene.bob, lifetime_s=-1),
        "no exp": keys.jwt(scene.bob, exp=None),
        "exp as text": keys.jwt(scene.bob, exp=str(now + 100)),
        "negative exp": keys.jwt(scene.bob, exp=-5),
        "not yet": keys.jwt(scene.bob, nbf=now + 1000),
        "no sub": keys.jwt(scene.bob, sub=None),
        "sub as number": keys.jwt(scene.bob, sub=scene.bob),
        "sub 0": keys.jwt(0),
        "negative sub": keys.jwt(-1),
        "sub above 2^52": keys.jwt(2 ** 52),
        "sub with a blank": keys.jwt(scene.bob, sub=" %d" % scene.bob),
        "sub of words": keys.jwt(scene.bob, sub="bob"),
        "groups of text": keys.jwt(scene.bob, groups=["7"]),
        "claims of another user": head + "." + keys.jwt(scene.alice).split(".")[1] + "." + mac,
        "8000 bytes": keys.jwt(scene.bob, padding="x" * 6000),
    }
    connection = Connection(scene.node.address)
    for what, token in tokens.items():
        answer = connection.json("GET", "/v1/balance", [("Authorization", "Bearer " + token)])
        expect_answer("a user token with " + what, answer, (401,), ("unauthorized",))
    for what, value in {"nothing": None, "Basic": "Basic " + good, "only Bearer": "Bearer",
                        "two": "Bearer %s %s" % (good, good)}.items():
        headers = [] if value is None else [("Authorization", value)]
        answer = connection.json("GET", "/v1/balance", headers)
        expect_answer("a request authorized by " + what, answer, (401,), ("unauthorized",))
    scene.expect_unchanged()


@test
def a_malformed_body_is_a_bad_request_that_names_the_field():
    scene = Scene()
    path = "/v1/packets/%s/grab" % scene.packet
    right = {"group": GROUP, "token": scene.token, "sequence": scene.sequence}
    token = json.dumps(scene.token)

    def but(**changes):
        value = dict(right, **changes)
        return json.dumps({k: v for k, v in value.items() if v is not None}).encode()

    bodies = {
        "empty": b"", "no JSON": b"grab it", "cut": but()[:-1], "behind it": but() + b"x",
        "two values": but() + but(), "an array": b"[" + but() + b"]", "a text": b'"x"',
        "null": b"null", "a number": b"7", "empty object": b"{}",
        "deep": b"[" * 2000, "deep in a field": b'{"token":' + b"[" * 2000,
        "not UTF-8": b'{"token":"\xff\xfe","sequence":1}',
        "a NUL": b'{"token":"\x00","sequence":1}', "escaped NUL": b'{"to\\u0000ken":1}',
        "a control character": b'{"token":"\x01"}',
        "half a surrogate": b'{"token":"\\ud800","sequence":1}',
        "a comment": b"/* */" + but(), "single quotes": but().replace(b'"', b"'"),
        "hexadecimal": b'{"token":%s,"sequence":0x10}' % token.encode(),
        "NaN": b'{"token":%s,"sequence":NaN}' % token.encode(),
        "leading zero": b'{"token":%s,"sequence":012}' % token.encode(),
    }
    for what, body in bodies.items():
        answer = scene.user.call("POST", path, body)
        expect_answer("a body: " + what, answer, (400,), ("bad_request",))
    fields = {
        "unknown": (but(hurry=1), "hurry"),
        "duplicate": (but()[:-1] + b',"sequence":1}', "sequence"),
        "no token": (but(token=None), "token"), "no sequence": (but(sequence=None), "sequence"),
        "sequence as text": (but(sequence="5"), "sequence"),
        "sequence with a fraction": (but(sequence=1.5), "sequence"),
        "sequence 1.0": (but(sequence=1.0), "sequence"),
        "negative sequence": (but(sequence=-1), "sequence"),
        "sequence 0": (but(sequence=0), "sequence"),
        "sequence 2^32": (but(sequence=2 ** 32), "sequence"),
        "sequence true": (but(sequence=True), "sequence"),
        "token as number": (but(token=5), "token"), "empty token": (but(token=""), "token"),
        "token of words": (but(token="GR-give-me-money"), "token"),
        "long token": (but(token="G" * 1000), "token"),
        "group as text": (but(group="7"), "group"), "negative group": (but(group=-7), "group"),
        "group with a fraction": (but(group=7.5), "group"),
    }
    for what, (body, field) in fields.items():
        answer = scene.user.call("POST", path, body)
        expect_answer("a field: " + what, answer, (400,), ("bad_request",))
        named_in(answer, field)
    for what, number in {"2^64": HUGE, "10^40": 10 ** 40}.items():
        answer = scene.user.call("POST", path, but(sequence=number))
        expect_answer("sequence " + what, answer, (400,), ("bad_request",))
    scene.expect_unchanged()


@test
def amounts_that_are_negative_zero_fractional_or_huge_are_refused():
    scene = Scene()
    amounts = [0, -1, -10 ** 18, 1.5, 1.0, 1e3, 0.1, "100", None, True, [1], {"fen": 1},
               2 ** 53 + 1, 2 ** 62, 2 ** 63 - 1, 2 ** 63, HUGE, 10 ** 30]
    for amount in amounts:
        answer = scene.user.call("POST", "/v1/transfers", {
            "to": scene.carol, "amount_fen": amount, "token": scene.transfer_token,
            "sequence": scene.transfer_sequence})
        expect_answer("a transfer of %r" % (amount,), answer, (400, 422))
        for field in ("total_fen", "count", "share_min_fen", "share_max_fen", "lifetime_s"):
            if amount == 1.5 and field == "count":
                continue
            value = {"kind": "lucky", "group": GROUP, "total_fen": 1000, "count": 10,
                     "token": scene.send_token, "sequence": scene.send_sequence, field: amount}
            answer = scene.user.call("POST", "/v1/packets", value)
            expect_answer("a packet with %s %r" % (field, amount), answer, (400, 422))
    for to in (0, -5, scene.bob, 2 ** 52, 2 ** 63, "7", 1.5, None):
        answer = scene.user.call("POST", "/v1/transfers", {
            "to": to, "amount_fen": 1, "token": scene.transfer_token,
            "sequence": scene.transfer_sequence})
        expect_answer("a transfer to %r" % (to,), answer, (400, 422))
    packets = {
        "unknown kind": {"kind": "huge"}, "no kind": {"kind": None},
        "more shares than fen": {"total_fen": 9}, "recipient of lucky": {"recipient": 5},
        "smallest above largest": {"share_min_fen": 60, "share_max_fen": 50},
        "smallest too large": {"share_min_fen": 101}, "largest too small": {"share_max_fen": 99},
        "long greeting": {"greeting": "x" * 129}, "unknown algorithm": {"algorithm": "fair"},
        "count above the limit": {"count": 100001, "total_fen": 200000},
        "total above the limit": {"total_fen": 2000000001},
        "lifetime above the limit": {"lifetime_s": 2592001},
    }
    for what, change in packets.items():
        value = {"kind": "lucky", "group": GROUP, "total_fen": 1000, "count": 10,
                 "token": scene.send_token, "sequence": scene.send_sequence}
        value.update(change)
        value = {k: v for k, v in value.items() if v is not None}
        answer = scene.user.call("POST", "/v1/packets", value)
        expect_answer("a packet with " + what, answer, (400, 422))
    answer = scene.user.call("POST", "/v1/packets", {
        "kind": "lucky", "group": GROUP, "total_fen": CREDIT_FEN + 1, "count": 10,
        "token": scene.send_token, "sequence": scene.send_sequence})
    expect_answer("a packet of more than the balance", answer, (409,), ("insufficient",))
    answer = scene.user.call("POST", "/v1/transfers", {
        "to": scene.carol, "amount_fen": CREDIT_FEN + 1, "token": scene.transfer_token,
        "sequence": scene.transfer_sequence})
    expect_answer("a transfer of more than the balance", answer, (409,), ("insufficient",))
    scene.expect_unchanged()


@test
def a_money_token_works_for_its_user_operation_and_target_only():
    scene = Scene()
    grab = scene.user.grab
    invalid = ("token_invalid",)
    expect_answer("a token of another packet", grab(scene.packet, scene.other_token,
                                                    scene.sequence, GROUP), (403,), invalid)
    expect_answer("a token of another user", grab(scene.packet, scene.carol_token, scene.sequence,
                                                  GROUP), (403,), invalid)
    expect_answer("a send token for grabbing",
                  grab(scene.packet, scene.send_token, scene.send_sequence, GROUP),
                  (400, 403), None)
    forged = scene.token[:-1] + ("0" if scene.token[-1] != "0" else "1")
    expect_answer("a forged token", grab(scene.packet, forged, scene.sequence, GROUP), (403,),
                  invalid)
    for what, sequence in {"1": 1, "the initial one": scene.sequence - 1,
                           "far ahead": scene.sequence + 5000, "2^32-1": 2 ** 32 - 1}.items():
        expect_answer("sequence " + what, grab(scene.packet, scene.token, sequence, GROUP),
                      (403,), ("sequence_invalid",))
    expect_answer("a packet of a group that is not mine",
                  scene.node.user(scene.bob, [OTHER_GROUP]).grab(
                      scene.packet, scene.token, scene.sequence, OTHER_GROUP),
                  (403,), ("not_member",))
    expect_answer("a group that my login does not vouch for",
                  scene.node.user(scene.bob, [OTHER_GROUP]).grab(
                      scene.packet, scene.token, scene.sequence, GROUP), (403,), ("not_member",))
    token, sequence = scene.business.grab_tokens([(scene.carol, scene.normal)])[0]
    expect_answer("somebody else's normal packet",
                  scene.node.user(scene.carol, [GROUP]).grab(scene.normal, token, sequence),
                  (403,), ("not_member",))
    unknown = "%016x" % (int(scene.packet, 16) + 999999)
    expect_answer("an unknown packet", grab(unknown, scene.token, scene.sequence, GROUP), (404,),
                  ("packet_unknown",))
    for packet in ("0", "zz", scene.packet.upper() + "0", scene.packet[:-1], "f" * 16, "%00" * 16,
                   "../balance"):
        code, _ = grab(packet, scene.token, scene.sequence, GROUP)
        expect(code in (400, 404, 405), "packet id", packet, "was answered", code)
    scene.expect_unchanged()


@test
def a_replayed_sequence_moves_money_once():
    scene = Scene()
    value = {"to": scene.carol, "amount_fen": 700, "token": scene.transfer_token,
             "sequence": scene.transfer_sequence}
    code, first = scene.user.call("POST", "/v1/transfers", value)
    expect(code == 200 and first["amount_fen"] == 700, "a transfer was answered", code, first)
    after = scene.picture()
    expect(after[0][1] == (CREDIT_FEN - 700, 0), "the sender has", after[0][1])
    for _ in range(5):
        code, again = scene.user.call("POST", "/v1/transfers", value)
        expect((code == 200 and again["already"] is True and
                again["order_no"] == first["order_no"]) or
               (code == 409 and again["status"] == "sequence_used"),
               "the replay was answered", code, again)
    for change in ({"amount_fen": 701}, {"to": scene.alice}):
        answer = scene.user.call("POST", "/v1/transfers", dict(value, **change))
        expect_answer("a replay with other parameters", answer, (409,),
                      ("sequence_used", "idempotency_conflict"))
    code, again = scene.node.user(scene.carol).call("POST", "/v1/transfers", dict(value, to=scene.alice))
    expect_answer("another user with the used token", (code, again), (403,), ("token_invalid",))
    expect(scene.picture() == after, "replays changed", after, "to", scene.picture())
    code, value = scene.user.call("POST", "/v1/transfers",
                                  dict(value, sequence=scene.transfer_sequence + 1))
    expect(code == 200, "the next sequence was answered", code, value)
    scene.expect_alive()


@test
def broken_http_is_refused_and_hurts_nobody():
    scene = Scene()
    authorization = scene.user.headers
    cases = [
        ("GET", "/v1/nothing", b"", (404,)), ("DELETE", "/v1/balance", b"", (405,)),
        ("POST", "/v1/balance", b"{}", (405,)), ("GET", "/v1/packets", b"", (404, 405)),
        ("GET", "/v1/packets/%s/grab" % scene.packet, b"", (405,)),
        ("GET", "/v1/balance?account=%d" % scene.alice, b"", (400,)),
        ("GET", "/v1/packets/%s?after=-1" % scene.packet, b"", (400,)),
        ("GET", "/v1/packets/%s?after=1&after=2" % scene.packet, b"", (400,)),
        ("POST", "/v1/packets/%s/grab" % scene.packet, b"x" * 5000, (400, 413)),
        ("POST", "/v1/transfers", b"{" + b" " * 3000000 + b"}", (400, 413)),
    ]
    for method, path, body, codes in cases:
        connection = Connection(scene.node.address)
        try:
            code, _, text = connection.request(method, path, authorization, body)
            expect(code in codes, method, path, "was answered", code, text[:200])
        except OSError:
            expect(len(body) > 100000, method, path, "was not answered")
        connection.close()
    raw = [b"\r\n\r\n", b"GET / HTTP/9.9\r\n\r\n", b"\x16\x03\x01\x02\x00\x01\x00",
           b"POST /v1/transfers HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n",
           b"POST /v1/transfers HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n"
           b"Content-Length: 6\r\n\r\n{}{}{}",
           b"GET /v1/balance HTTP/1.1\r\nHost: x\r\nAuthorization: " + b"A" * 100000 + b"\r\n\r\n",
           b"POST /v1/transfers HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n"]
    for data in raw:
        connection = Connection(scene.node.address, timeout=3)
        connection.connect()
        try:
            connection.socket.sendall(data)
            code, _, _ = connection.answer()
            expect(400 <= code < 600, "nonsense was answered", code, data[:60])
        except Exception as error:
            if type(error).__name__ == "Failure":
                raise
        connection.close()
    for _ in range(20):
        connection = Connection(scene.node.address)
        connection.connect()
        connection.socket.sendall(b"POST /v1/transfers HTTP/1.1\r\nHost: x\r\n" +
                                  "{}: {}\r\n".format(*authorization[0]).encode() +
                                  b"Content-Length: 100\r\n\r\n{")
        connection.close()
    scene.expect_unchanged()


@test
def a_user_cannot_read_as_another_by_a_forged_header():
    scene = Scene()
    connection = Connection(scene.node.address)
    forged = scene.user.headers + [("X-Hongbao-User", str(scene.alice))]
    scene.node.wait_applied()
    code, own = connection.json("GET", "/v1/orders?limit=100", scene.user.headers)
    expect(code == 200, "orders were answered", code, own)
    code, value = connection.json("GET", "/v1/orders?limit=100", forged)
    expect(code in (200, 400) and (code == 400 or value["items"] == own["items"]),
           "a forged header was answered", code, value)
    code, value = connection.json("GET", "/v1/orders", [("X-Hongbao-User", str(scene.alice))])
    expect(code == 401, "a forged header without a login was answered", code, value)
    for path in ("/status", "/jobs", "/accounts/%d" % scene.alice, "/mark", "/audit"):
        code, value = connection.json("GET", path, scene.user.headers)
        expect(code in (401, 403, 404, 405), "the admin path", path, "was answered", code, value)
    scene.expect_unchanged()


@test
def the_business_api_takes_only_fresh_calls_signed_with_a_known_key():
    scene = Scene()
    business = scene.business
    path = "/business/v1/credits"
    value = {"account": scene.bob, "amount_fen": 5, "channel": "manual"}
    now = int(time.time())

    def refused(what, codes=(401,), **signing):
        answer = business.call("POST", path, value, **signing)
        expect_answer("a business call with " + what, answer, codes)

    refused("an unknown key", key_id="nobody")
    refused("a wrong secret", secret=b"x" * 32)
    refused("an old timestamp", timestamp=now - 400)
    refused("a future timestamp", timestamp=now + 400)
    refused("a timestamp of words", timestamp="now", codes=(400, 401))
    refused("a short nonce", nonce="x", codes=(400, 401))
    body = json.dumps(value).encode()
    headers = business.headers("POST", path, body) + [("Idempotency-Key", "scene-1")]
    connection = Connection(scene.node.address)
    answer = connection.json("POST", path, headers, body.replace(b"5", b"6"))
    expect_answer("a changed body", answer, (401,))
    answer = connection.json("POST", path + "?x=1", headers, body)
    expect_answer("a changed query", answer, (401,))
    for index in range(len(headers) - 1):
        answer = connection.json("POST", path, headers[:index] + headers[index + 1:], body)
        expect_answer("a call without " + headers[index][0], answer, (400, 401))
    answer = connection.json("POST", path, business.headers("POST", path, body), body)
    expect_answer("a call without Idempotency-Key", answer, (400,))
    nonce = "nonce-%d-%d" % (scene.bob, now)
    code, _ = business.call("GET", "/business/v1/accounts/%d" % scene.bob, nonce=nonce)
    expect(code == 200, "a fresh nonce was answered", code)
    answer = business.call("GET", "/business/v1/accounts/%d" % scene.bob, nonce=nonce)
    expect_answer("a replayed nonce", answer, (401, 409))
    scene.expect_unchanged()


@test
def a_repeated_business_command_takes_effect_once_and_other_parameters_are_a_conflict():
    scene = Scene()
    value = {"account": scene.bob, "amount_fen": 50, "channel": "manual"}
    key = "repeat-%d" % scene.bob
    answers = [scene.business.call("POST", "/business/v1/credits", value, idempotency_key=key)
               for _ in range(4)]
    expect(all(code in (200, 201) for code, _ in answers), "repeats were answered", answers)
    expect(len({value["order_no"] for _, value in answers}) == 1, "repeats made orders", answers)
    balance = scene.node.user(scene.bob).balance()
    expect(balance == (CREDIT_FEN + 50, 0), "four repeats left", balance)
    answer = scene.business.call("POST", "/business/v1/credits", dict(value, amount_fen=51),
                                 idempotency_key=key)
    expect_answer("the key with another amount", answer, (409,))
    for amount in (0, -1, 1.5, "5", 10 ** 18, HUGE):
        answer = scene.business.call("POST", "/business/v1/credits",
                                     dict(value, amount_fen=amount))
        expect_answer("a credit of %r" % (amount,), answer, (400, 422))
    answer = scene.business.call("POST", "/business/v1/credits", {"items": [value] * 1001})
    expect_answer("1001 items", answer, (400, 413, 422))
    expect(scene.node.user(scene.bob).balance() == balance, "refused credits changed the balance")
    scene.expect_alive()


@test
def after_all_bad_input_the_shared_node_is_sound():
    Fixture.shared().expect_sound()
