# SPDX-License-Identifier: Apache-2.0
"""Clients who mean harm: slow ones, idle ones by the thousand, too large things, replays, requests that
can be read in two ways. They are cut off or refused by the documented status, nothing of theirs takes
effect twice or for somebody else, and others are served meanwhile."""
import json
import os
import re
import resource
import socket
import struct
import sys
import threading
import time

from lib import (ROOT, Connection, Failure, Fixture, HttpError, Numbers, cpu_us, expect, log,
                 lucky_packet, test, wait_for)

sys.path.insert(0, os.path.join(ROOT, "tests", "dataplane"))
from tcp_client import (BALANCE, DETAIL, FRAME, GRAB, REPLY_HEAD, TRANSFER, Closed, Wire,  # noqa: E402
                        make_frame, make_hello)

GROUP = 41
OTHER_GROUP = 42
SLOW_SECONDS = 10  # docs/operations.md: what a head, a body, a hello or half a frame may take
GRACE_SECONDS = 8  # of a machine with other work
IDLE_HTTP, IDLE_FRAMES = 3000, 7000
FRAME_INVALID, NOT_ALLOWED, TOKEN_INVALID, FRAME_STALE, UNAUTHORIZED = 35, 34, 14, 37, 44


def token_fields(text):
    from test_frames import token_fields as fields
    return fields(text)


class Scene:
    """Alice has sent a packet and may see it, Bob may grab it, Mallory belongs to another group."""

    def __init__(self):
        self.node = Fixture.shared()
        self.business = self.node.business()
        self.alice, self.bob, self.mallory = Numbers.take(3)
        people = [self.alice, self.bob, self.mallory]
        self.business.open_accounts(people)
        self.business.credit([(account, 50000) for account in people])
        self.packet = lucky_packet(self.business, self.alice, 1000, 5, GROUP)
        self.token, self.sequence = self.business.grab_tokens([(self.bob, self.packet)])[0]
        self.user = self.node.user(self.bob, [GROUP])
        self.stranger = self.node.user(self.mallory, [OTHER_GROUP])

    def money_token(self, user, operation):
        code, value = self.business.retried("POST", "/business/v1/tokens",
                                            {"user": user, "operation": operation})
        expect(code in (200, 201), "token answered", code, value)
        return value["token"], value["sequence"] + 1

    def jwt(self, account, groups=(GROUP,)):
        return self.node.keys.jwt(account, groups)

    def taken(self):
        return self.node.user(self.alice, [GROUP]).detail(self.packet, GROUP)["taken"]


# ---- slow clients ----

class Meanwhile(threading.Thread):
    """Somebody who asks properly all the while."""

    def __init__(self, node, user):
        super().__init__()
        self.user = node.user(user, [GROUP])
        self.stop = threading.Event()
        self.answers, self.worst_s, self.wrong = 0, 0.0, []

    def run(self):
        while not self.stop.is_set():
            begun = time.monotonic()
            try:
                code, value = self.user.call("GET", "/v1/balance")
            except (OSError, HttpError) as error:
                code, value = 0, error
            if code != 200:
                self.wrong.append((code, value))
            self.answers += 1
            self.worst_s = max(self.worst_s, time.monotonic() - begun)
            time.sleep(0.05)

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, *_):
        self.stop.set()
        self.join()


def plain(address, receive_bytes=0):
    connection = socket.socket()
    if receive_bytes:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_bytes)
    connection.settimeout(5)
    connection.connect(address)
    return connection


def is_over(connection):
    """Has the other side hung up? What is still to be read does not matter."""
    connection.settimeout(0.2)
    try:
        for _ in range(10000):
            if not connection.recv(65536):
                return True
    except (TimeoutError, BlockingIOError):
        return False
    except OSError:
        return True
    return False


@test
def who_sends_or_reads_slowly_is_cut_in_time_and_nobody_waits_for_him():
    scene = Scene()
    node = scene.node
    body = b"POST /v1/packets/%s/grab HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer %s\r\n" \
        b"Content-Length: 100\r\n\r\n{" % (scene.packet.encode(), scene.jwt(scene.bob).encode())
    hello = make_hello(scene.jwt(scene.bob))
    frame = make_frame(DETAIL, int(scene.packet, 16), GROUP, body=bytes(64))
    dripping, kinds = [], {}
    with Meanwhile(node, scene.bob) as other:
        for _ in range(60):
            connection = plain(node.address)
            connection.sendall(b"GET /v1/balance HTTP/1.1\r\nX-Slow: ")
            dripping.append(connection)
        kinds["a head that drips"] = dripping
        for kind, address, first in (
                ("a body that stops", node.address, body),
                ("half a hello", node.frames_address, hello[:70]),
                ("no hello", node.frames_address, b""),
                ("half a frame", node.frames_address, hello + frame[:40])):
            kinds[kind] = [plain(address) for _ in range(30)]
            for connection in kinds[kind]:
                connection.sendall(first)
        kinds["frames whose replies are not read"] = deaf = [
            plain(node.frames_address, receive_bytes=4096) for _ in range(4)]
        for connection in deaf:
            connection.sendall(hello)
            connection.setblocking(False)
        end = time.monotonic() + SLOW_SECONDS + GRACE_SECONDS
        while time.monotonic() < end:
            for connection in dripping:
                try:
                    connection.send(b"x")
                except OSError:
                    pass
            for connection in deaf:
                try:
                    for _ in range(20):
                        connection.send(frame * 64)
                except OSError:
                    pass
            time.sleep(0.5)
        for kind, connections in kinds.items():
            left = sum(not is_over(connection) for connection in connections)
            expect(left == 0, left, "of", len(connections), "connections with", kind,
                   "are still there after", SLOW_SECONDS + GRACE_SECONDS, "s")
            for connection in connections:
                connection.close()
    log("meanwhile", other.answers, "answers, the slowest after %.3f s" % other.worst_s)
    expect(not other.wrong, "others were refused:", other.wrong[:3])
    expect(other.answers > 50 and other.worst_s < 5.0, "others had to wait:", other.answers,
           "answers, the slowest after", other.worst_s, "s")


# ---- idle clients ----

def workers_kib(node):
    total = 0
    for pid in node.pids("nginx")[1:]:
        with open("/proc/%d/status" % pid) as f:
            total += int(re.search(r"VmRSS:\s+(\d+)", f.read()).group(1))
    return total


@test
def ten_thousand_idle_connections_cost_little_and_grabs_go_on():
    scene = Scene()
    node = scene.node
    wanted = IDLE_HTTP + IDLE_FRAMES + 1000
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, wanted), max(hard, wanted)))
    idle = []
    try:
        before = workers_kib(node)
        request = b"GET /v1/balance HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer %s\r\n\r\n" % \
            scene.jwt(scene.bob).encode()
        hello = make_hello(scene.jwt(scene.bob))
        for count, address, first in ((IDLE_FRAMES, node.frames_address, hello),
                                      (IDLE_HTTP, node.address, request)):
            for _ in range(count):
                connection = plain(address)
                connection.sendall(first)
                idle.append(connection)
        answered = sum(bool(connection.recv(4096)) for connection in idle)
        expect(answered == len(idle), "only", answered, "of", len(idle), "were answered")
        each = (workers_kib(node) - before) / len(idle)
        pids = [pid for _, pid in node.processes()]
        cpu, begun = sum(cpu_us(pid) for pid in pids), time.monotonic()
        time.sleep(3)
        share = (sum(cpu_us(pid) for pid in pids) - cpu) / 1e4 / (time.monotonic() - begun)
        log("%d idle connections: %.1f KiB of nginx each, all processes %.1f %% of a CPU" % (
            len(idle), each, share))
        expect(each < 20, each, "KiB per idle connection")
        code, value = scene.user.grab_until_told(scene.packet, scene.token, scene.sequence, GROUP)
        expect(code == 200, "a grab beside them was answered", code, value)
        expect(not any(is_gone(connection) for connection in idle[:IDLE_FRAMES:500]),
               "idle framed connections were closed")
    finally:
        for connection in idle:
            connection.close()
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    wait_for("the node to serve after them", 10,
             lambda: scene.user.call("GET", "/v1/balance")[0] == 200)


def is_gone(connection):
    connection.setblocking(False)
    try:
        return connection.recv(1, socket.MSG_PEEK) == b""
    except BlockingIOError:
        return False
    except OSError:
        return True


# ---- large things ----

@test
def what_is_too_large_is_refused_by_its_own_status():
    scene = Scene()
    node = scene.node
    bearer = [("Authorization", "Bearer " + scene.jwt(scene.bob))]
    grab = "/v1/packets/%s/grab" % scene.packet
    small = {"group": GROUP, "token": scene.token, "sequence": scene.sequence}
    for what, method, path, headers, body, codes, status in (
            ("a URL of 20 KiB", "GET", "/v1/balance?x=" + "y" * 20000, bearer, None, (400,),
             "bad_request"),
            ("a header of 20 KiB", "GET", "/v1/balance", bearer + [("X-Large", "z" * 20000)], None,
             (400,), "bad_request"),
            ("headers of 80 KiB", "GET", "/v1/balance",
             bearer + [("X-%d" % i, "z" * 8000) for i in range(10)], None, (400,), "bad_request"),
            ("a body of 4097 bytes", "POST", grab, bearer,
             json.dumps(small).encode().ljust(4097), (413,), "too_large"),
            ("a body of 64 KiB", "POST", grab, bearer, b" " * 65536, (413,), "too_large"),
            ("a business body of 1 MiB and a byte", "POST", "/business/v1/accounts", [],
             b" " * ((1 << 20) + 1), (413,), "too_large"),
            ("arrays 4000 deep", "POST", grab, bearer, b"[" * 4000, (400,), "bad_request"),
            ("objects 500 deep", "POST", grab, bearer, b'{"a":' * 500, (400,), "bad_request"),
            ("a packet id of 4 KiB", "POST", "/v1/packets/%s/grab" % ("0" * 4096), bearer,
             json.dumps(small).encode(), (400, 404), None),
            ("a cursor of 4 KiB", "GET", "/v1/orders?cursor=" + "1" * 4096, bearer, None, (400,),
             "bad_request")):
        connection = Connection(node.address)
        try:
            code, _, text = connection.request(method, path, headers, body)
        except (OSError, HttpError) as error:
            raise Failure("%s was not answered: %s" % (what, error))
        finally:
            connection.close()
        value = json.loads(text)
        expect(code in codes and value.get("message"), what, "was answered", code, value)
        expect(status is None or value["status"] == status, what, "was answered", value)
    for what, data, status in (
            ("a frame of 65,472 bytes", struct.pack("<BBH", 1, GRAB, 65472) + bytes(60),
             FRAME_INVALID),
            ("a frame of an odd length", struct.pack("<BBH", 1, GRAB, 65) + bytes(60),
             FRAME_INVALID),
            ("a frame of no length", struct.pack("<BBH", 1, GRAB, 0) + bytes(60), FRAME_INVALID)):
        wire = Wire(node.frames_address, scene.jwt(scene.bob))
        wire.send(data)
        expect(wire.receive()[0][3] == status, what, "was answered otherwise")
        expect(is_over(wire.socket), "the connection goes on behind", what)
        wire.close()
    wire = Wire(node.frames_address)
    wire.send(FRAME.pack(1, 0, 64 + 4160, 0, 1, 0, 0, 0, 0, 0, 0, 0) + b"x" * 4160)
    expect(wire.receive()[0][3] in (FRAME_INVALID, UNAUTHORIZED), "a hello of 4 KiB and more")
    expect(is_over(wire.socket), "the connection goes on behind a large hello")
    expect(scene.taken() == 0, "something of it took effect")


# ---- replays ----

@test
def what_was_captured_and_is_sent_again_moves_nothing():
    scene = Scene()
    node = scene.node
    body = json.dumps({"group": GROUP, "token": scene.token, "sequence": scene.sequence})
    captured = ("POST /v1/packets/%s/grab HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer %s\r\n"
                "Content-Length: %d\r\n\r\n%s" % (scene.packet, scene.jwt(scene.bob), len(body),
                                                   body)).encode()
    connection = plain(node.address)
    amounts = set()

    def again(count):
        nonlocal connection
        for _ in range(count):
            connection.sendall(captured)
            text = b""
            while b"\r\n\r\n" not in text or not text.rstrip().endswith(b"}"):
                piece = connection.recv(65536)
                expect(piece, "the connection ended")
                text += piece
            value = json.loads(text[text.index(b"\r\n\r\n"):])
            expect(value["status"] == "ok", "the winner hears", value)
            amounts.add(value["amount_fen"])

    again(100)
    balance = scene.user.balance()
    node.kill("dataplane")
    code, text = node.try_up()
    expect(code == 0, "up ended with", code, text)
    wait_for("the node", 20, lambda: scene.user.call("GET", "/v1/balance")[0] == 200)
    connection.close()
    connection = plain(node.address)
    again(100)
    connection.close()
    expect(len(amounts) == 1 and scene.taken() == 1 and scene.user.balance() == balance,
           "a replayed grab:", amounts, scene.taken(), scene.user.balance())
    replayed_frames(scene)
    replayed_signatures(scene)


def replayed_frames(scene):
    """A frame that was seen on another user's connection, and one of long ago."""
    node = scene.node
    fields = token_fields(scene.token)
    frame = make_frame(GRAB, int(scene.packet, 16), GROUP, fields, scene.sequence)
    forged = make_frame(GRAB, int(scene.packet, 16), GROUP, (fields[0], fields[1] ^ 1, fields[2]),
                        scene.sequence)
    as_bob = make_frame(GRAB, int(scene.packet, 16), GROUP, fields, scene.sequence, user=scene.bob)
    old = make_frame(GRAB, int(scene.packet, 16), GROUP, fields, scene.sequence,
                     issued=int(time.time()) - 700)
    pay = make_frame(TRANSFER, scene.bob, 0, fields, scene.sequence,
                     body=bytes(16) + struct.pack("<Qq", scene.mallory, 100) + bytes(32))
    look = make_frame(BALANCE, scene.bob)
    wire = Wire(node.frames_address, scene.jwt(scene.mallory))
    replies = wire.ask([frame, forged, as_bob, old, pay, look])
    statuses = [fields[3] for fields, _ in replies]
    wire.close()
    expect(statuses == [TOKEN_INVALID, TOKEN_INVALID, NOT_ALLOWED, FRAME_STALE, NOT_ALLOWED,
                        NOT_ALLOWED], "another user's frames were answered", statuses)
    expect(all(fields[6] == 0 and fields[7] == 0 for fields, _ in replies),
           "a refusal tells amounts")


def replayed_signatures(scene):
    business = scene.business
    path = "/business/v1/credits"
    body = json.dumps({"account": scene.mallory, "amount_fen": 100,
                       "channel": "manual"}).encode()
    headers = business.headers("POST", path, body) + [("Idempotency-Key", "hostile-%d" %
                                                       scene.mallory)]
    connection = Connection(scene.node.address)
    code, value = connection.json("POST", path, headers, body)
    expect(code in (200, 201) and value["status"] == "ok", "a credit was answered", code, value)
    balance = scene.stranger.balance()
    other_key = headers[:-1] + [("Idempotency-Key", "hostile-%d-b" % scene.mallory)]
    other_body = body.replace(b"100", b"900")
    for what, changed, data in (("replayed", headers, body),
                                ("replayed under another key", other_key, body),
                                ("replayed with another body", headers, other_body)):
        code, value = connection.json("POST", path, changed, data)
        expect(code in (401, 409), "a signed request", what, "was answered", code, value)
    expect(scene.stranger.balance() == balance, "a replayed credit took effect")


# ---- requests that can be read in two ways ----

@test
def no_request_hides_another_one():
    """tests/front/test_nginx.py has more of these against a fake engine; here the hidden request
    would take a share, and the real one must not see it."""
    scene = Scene()
    body = json.dumps({"group": GROUP, "token": scene.token, "sequence": scene.sequence})
    hidden = ("POST /v1/packets/%s/grab HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer %s\r\n"
              "Content-Length: %d\r\n\r\n%s" % (scene.packet, scene.jwt(scene.bob), len(body), body))
    mallory = "Host: x\r\nAuthorization: Bearer " + scene.jwt(scene.mallory, [OTHER_GROUP])
    size, chunk = len(hidden), "%x\r\n%s\r\n0\r\n\r\n" % (len(hidden), hidden)
    start = "POST /v1/packets/%s/grab HTTP/1.1\r\n%s\r\n" % (scene.packet, mallory)
    looks = "GET /v1/balance HTTP/1.1\r\n%s\r\n" % mallory
    corpus = {
        "CL and TE": start + "Content-Length: %d\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n%s"
        % (5 + size, hidden),
        "TE and CL": start + "Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n" + chunk,
        "two CL": start + "Content-Length: %d\r\nContent-Length: 0\r\n\r\n%s" % (size, hidden),
        "CL of two numbers": start + "Content-Length: 0, %d\r\n\r\n%s" % (size, hidden),
        "CL with a blank before the colon": start + "Content-Length : %d\r\n\r\n%s"
        % (size, hidden),
        "CL in a folded line": start + "Content-Length:\r\n %d\r\n\r\n%s" % (size, hidden),
        "a folded line": start + "X-A: b\r\n Content-Length: %d\r\n\r\n%s" % (size, hidden),
        "TE in a folded line": start + "Transfer-Encoding:\r\n chunked\r\n\r\n" + chunk,
        "TE with a tab": start + "Transfer-Encoding:\tchunked\r\nContent-Length: 3\r\n\r\n" + chunk,
        "TE with a control": start + "Transfer-Encoding: \x0bchunked\r\n\r\n" + chunk,
        "TE by another name": start + "Transfer_Encoding: chunked\r\nContent-Length: %d\r\n\r\n%s"
        % (len(chunk), chunk),
        "TE with HTTP/1.0": start.replace("HTTP/1.1", "HTTP/1.0")
        + "Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n" + chunk,
        "chunk extensions": start + "Transfer-Encoding: chunked\r\n\r\n%x;x=%s" % (
            size, "\r\n%s\r\n0\r\n\r\n" % hidden),
        "a chunk size with a sign": start + "Transfer-Encoding: chunked\r\n\r\n+" + chunk,
        "a chunk longer than it says": start + "Transfer-Encoding: chunked\r\n\r\n1\r\n" + hidden,
        "a NUL in a header": start + "X-A: \x00\r\nContent-Length: %d\r\n\r\n%s" % (size, hidden),
        "a bare CR in a header": start + "X-A: b\rContent-Length: 0\r\nContent-Length: %d\r\n\r\n%s"
        % (size, hidden),
        "a body of a GET": looks + "Content-Length: %d\r\n\r\n%s" % (size, hidden),
        "the body of a refused request": start + "Content-Length: %d\r\n\r\n%s" % (size, hidden),
        "absolute form": "POST http://y/v1/packets/%s/grab HTTP/1.1\r\n%s\r\nContent-Length: %d"
        "\r\n\r\n%s" % (scene.packet, mallory, size, hidden),
        "HTTP/0.9": "GET /v1/balance\r\n",
        "a line in front": "\r\n" * 3 + "x" + hidden,
        "another protocol": "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        "an upgrade": looks + "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\n"
        "HTTP2-Settings: AAMAAABkAAQAAP__\r\nContent-Length: %d\r\n\r\n%s" % (size, hidden),
        "a header that names the user": looks + "X-Hongbao-User: %d\r\nX-HB-User: %d\r\n\r\n"
        % (scene.bob, scene.bob),
    }
    for what, text in corpus.items():
        answers = raw(scene.node.address, text.encode("latin-1"))
        codes = re.findall(rb"HTTP/1.\d (\d+)", answers)
        expect(scene.taken() == 0, "a request was hidden by", what, "and took a share:", answers)
        expect(b'"amount_fen":' not in answers, what, "was answered", answers)
        # one request, one answer; a second is a refusal of bytes that begin no request
        expect(len(codes) <= 2 and all(code == b"400" for code in codes[1:]), what, "was answered",
               codes)
        log(what, "->", b" ".join(codes).decode() or "closed")
    # bare line feeds end lines too, and mean the same to everybody behind: one parser
    answers = raw(scene.node.address, (looks.replace("\r\n", "\n") + "\n").encode())
    expect(re.findall(rb"HTTP/1.1 (\d+)", answers) in ([b"200"], [b"400"]), "bare LF:", answers)
    # the same request openly, with Bob's own connection: it would have worked
    answers = raw(scene.node.address, hidden.encode())
    expect(scene.taken() == 1 and b'"status":"ok"' in answers, "the hidden request is none:",
           answers)


def raw(address, data):
    """@return all that is answered to these bytes until the end, or until nothing more comes"""
    text = b""
    with plain(address) as connection:
        connection.settimeout(1.0)
        try:
            connection.sendall(data)
            while piece := connection.recv(65536):
                text += piece
        except OSError:
            pass
    return text


@test
def after_all_hostile_clients_the_shared_node_is_sound():
    Fixture.shared().expect_sound()
