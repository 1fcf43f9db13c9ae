#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Runs the real nginx with the module, against a dataplane and a control that only echo.

    test_nginx.py MODULE.so FAKE_DATAPLANE [NAME ...]

Needs root (exit 77 = skipped), because nginx's master gives up its rights to workers. All files
are below a temporary directory, ports are free loopback ports. Functions are sentences; NAME
picks some of them.
"""
import base64
import hashlib
import hmac
import http.client
import http.server
import json
import os
import pathlib
import re
import secrets
import shutil
import signal
import socket
import socketserver
import ssl
import struct
import subprocess
import sys
import tempfile
import threading
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests" / "dataplane"))
import tcp_client  # noqa: E402
from tcp_client import BALANCE, GRAB, TRANSFER, Wire, make_frame, make_hello  # noqa: E402

TEMPLATE = ROOT / "front" / "nginx.conf.in"
SECRET = secrets.token_bytes(32)
WORKERS = 2
TIMEOUT_MS = 700
PER_USER, PER_ADDRESS = 20, 6
TOKEN = "GR-0-1001-20260301120000000-0001-0123456789abcdef"
PACKET = "0130200000000009"  # kind packet, partition 3, node 1, counter 9
SILENT = "013020000000dead"
REFUSED = "013020000000beef"
GONE = "013020000000907e"
OK, BUSY, NOT_ALLOWED, FRAME_INVALID, FRAME_VERSION = 0, 30, 34, 35, 36
UNKNOWN_OUTCOME, UNAUTHORIZED = 38, 44
STATUS, CORRELATION, AMOUNT, OTHER, ID, COUNT = 3, 5, 6, 7, 8, 11  # fields of a reply


def base64url(data):
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def jwt(account, groups=(7,), lifetime_s=600, secret=SECRET):
    header = base64url(json.dumps({"alg": "HS256", "kid": "main"}).encode())
    claims = base64url(json.dumps({"sub": str(account), "exp": int(time.time()) + lifetime_s,
                                   "groups": list(groups)}).encode())
    text = f"{header}.{claims}"
    return text + "." + base64url(hmac.new(secret, text.encode(), hashlib.sha256).digest())


def wait_for(what, seconds, condition):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        value = condition()
        if value:
            return value
        time.sleep(0.01)
    raise AssertionError(f"{what}: not within {seconds} s")


def expect(condition, *what):
    if not condition:
        raise AssertionError(" ".join(str(part) for part in what))


class EchoControl(http.server.BaseHTTPRequestHandler):
    """Answers every request with what it saw of it."""
    protocol_version = "HTTP/1.1"

    def answer(self):
        length = int(self.headers.get("Content-Length", 0))
        body = self.rfile.read(length)
        text = json.dumps({"path": self.path, "method": self.command, "bytes": len(body),
                           "headers": {k.lower(): v for k, v in self.headers.items()}}).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    do_GET = do_POST = answer

    def log_message(self, *arguments):
        pass

    def address_string(self):
        return "unix"


class UnixServer(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
    daemon_threads = True


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Node:
    """nginx, a fake dataplane and a fake control in a directory of their own."""

    def __init__(self, module, fake, sections=("frames",)):
        """@param sections: those of the template that are kept: frames, tls, per_user, ..."""
        self.fake, self.dataplane = fake, None
        self.tls = None
        self.directory = pathlib.Path(tempfile.mkdtemp(prefix="front-", dir="/tmp"))
        os.chmod(self.directory, 0o755)
        for name in ("key", "nginx", "etc", "log", "socket/dataplane", "socket/control"):
            (self.directory / name).mkdir(parents=True)
        self.port, self.frames_port = free_port(), free_port()
        key = self.directory / "key" / "jwt.keys"
        key.touch(mode=0o400)
        key.write_text(f"main HS256 {SECRET.hex()}\n")
        self.configuration = self.directory / "etc" / "nginx.conf"
        text = TEMPLATE.read_text()
        for name in ("frames", "tls", "per_user", "per_address", "tokens"):
            if name not in sections:
                text = re.sub(rf" *# \[{name}\n.*?# \]{name}\n", "", text, flags=re.DOTALL)
        if "tls" in sections:
            self.make_certificate()
        for name, value in {"NODE": self.directory, "MODULE": module, "USER": "nobody",
                            "GROUP": "nogroup", "LISTEN": f"127.0.0.1:{self.port}",
                            "LISTEN_FRAMES": f"127.0.0.1:{self.frames_port}",
                            "SSL": " ssl" if self.tls else "",
                            "HTTP2": " http2" if self.tls else "",
                            "CERTIFICATE": self.directory / "key/chain.pem",
                            "KEY": self.directory / "key/chain.key",
                            "PER_USER": PER_USER, "PER_ADDRESS": PER_ADDRESS,
                            "WORKERS": WORKERS, "TIMEOUT_MS": TIMEOUT_MS,
                            "NODE_NUMBER": 42}.items():
            text = text.replace(f"@{name}@", str(value))
        expect(not re.search("@[A-Z_]+@", text), "the template has names the test does not know")
        self.configuration.write_text(text)
        path = str(self.directory / "socket/control/http.sock")
        self.control = UnixServer(path, EchoControl)
        os.chmod(path, 0o666)
        threading.Thread(target=self.control.serve_forever, daemon=True).start()
        self.log_path = self.directory / "log" / "nginx.log"
        self.start_dataplane()
        with open(self.log_path, "wb") as log:
            self.nginx = subprocess.Popen(
                ["nginx", "-p", f"{self.directory}/", "-c", str(self.configuration),
                 "-e", "stderr", "-g", "daemon off;"], stderr=log, stdin=subprocess.DEVNULL)
        wait_for("nginx with a dataplane", 5, self.healthy)

    def start_dataplane(self):
        self.dataplane = subprocess.Popen(
            [self.fake, str(self.directory / "socket/dataplane/attach.sock"), "2"])

    def kill_dataplane(self):
        self.dataplane.kill()
        self.dataplane.wait()

    def make_certificate(self):
        chain, key = self.directory / "key/chain.pem", self.directory / "key/chain.key"
        subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt",
                        "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2", "-subj", "/CN=node",
                        "-addext", "subjectAltName=IP:127.0.0.1", "-keyout", key, "-out", chain],
                       check=True, stderr=subprocess.DEVNULL)
        self.tls = ssl.create_default_context(cafile=chain)

    def connect(self):
        if self.tls:
            return http.client.HTTPSConnection("127.0.0.1", self.port, timeout=10,
                                               context=self.tls)
        return http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)

    def wire(self, token=None, **more):
        """A connection for frames, of account 1001 unless a token says otherwise."""
        return Wire(("127.0.0.1", self.frames_port), jwt(1001) if token is None else token,
                    tls=self.tls, **more)

    def call(self, method, path, body=None, token=None, headers=None, connection=None):
        """@return HTTP status, JSON, headers"""
        headers = dict(headers or {})
        if token is None:
            token = jwt(1001)
        if token:
            headers["Authorization"] = "Bearer " + token
        data = body if body is None or isinstance(body, (bytes, str)) else json.dumps(body)
        own = connection or self.connect()
        own.request(method, path, body=data, headers=headers)
        response = own.getresponse()
        text = response.read()
        if connection is None:
            own.close()
        return response.status, json.loads(text), response.headers

    def grab(self, packet=PACKET, sequence=12345, **more):
        return self.call("POST", f"/v1/packets/{packet}/grab",
                         {"group": 7, "token": TOKEN, "sequence": sequence}, **more)

    def healthy(self):
        try:
            return self.call("GET", "/health", token="")[0] == 200
        except OSError:
            return False

    def workers(self):
        path = pathlib.Path(f"/proc/{self.nginx.pid}/task/{self.nginx.pid}/children")
        return [int(pid) for pid in path.read_text().split()]

    def log(self):
        return self.log_path.read_text(errors="replace")

    def bad_lines(self):
        """Lines nobody wants, but for what the tests do on purpose: kill a worker, end control."""
        return [line for line in self.log().splitlines()
                if re.search(r"\[(alert|emerg|crit)\]", line)
                and not re.search(r"exited on signal 9|connect\(\) to unix:", line)]

    def stop(self):
        self.nginx.send_signal(signal.SIGQUIT)
        try:
            self.nginx.wait(timeout=10)
        finally:
            if self.nginx.poll() is None:
                self.nginx.kill()
            self.kill_dataplane()
            self.control.shutdown()

    def remove(self):
        shutil.rmtree(self.directory)


# What is asked of the dataplane, and how its replies are told.

def a_grab_becomes_a_frame_and_its_reply_json(node):
    http_status, answer, headers = node.grab()
    expect(http_status == 200 and answer["status"] == "ok", answer)
    expect(answer["packet"] == PACKET and answer["amount_fen"] == 12345, answer)
    expect(answer["left_fen"] == 7, "the vouched group travels in the frame:", answer)
    expect(answer["already"] is False and answer["as_of_seq"] == 77, answer)
    expect(answer["order_no"].startswith("2114203"), "business 21 version 1 node 42 allocator 03:",
           answer)
    expect(headers["Content-Type"] == "application/json" and "nginx/" not in headers["Server"],
           headers)


def a_group_the_token_does_not_vouch_for_is_not_passed_on(node):
    expect(node.grab(token=jwt(1001, groups=[8]))[1]["left_fen"] == 0, "group")


def sending_answers_201_with_packet_and_order_number(node):
    body = {"kind": "lucky", "group": 7, "total_fen": 1000, "count": 10, "token": TOKEN,
            "sequence": 5, "greeting": "恭喜发财"}
    http_status, answer, _ = node.call("POST", "/v1/packets", body)
    expect(http_status == 201 and re.fullmatch("[0-9a-f]{16}", answer["packet"]), answer)
    expect(re.fullmatch("20142[0-9]{27}", answer["order_no"]), answer)


def the_detail_of_a_packet_lists_claims(node):
    http_status, answer, _ = node.call("GET", f"/v1/packets/{PACKET}?group=7&after=0")
    expect(http_status == 200 and answer["state"] == "open" and answer["seed"] is None, answer)
    expect([claim["user"] for claim in answer["claims"]] == [2001, 2002], answer)
    expect(answer["greeting"] == 'a"b\né', answer)


def the_detail_of_a_forgotten_packet_comes_from_control(node):
    own = node.connect()
    for query, group in (("?group=7&after=24", "7"), ("?group=8", None), ("", None)):
        http_status, answer, _ = node.call(
            "GET", f"/v1/packets/{GONE}{query}", connection=own,
            headers={"X-Hongbao-User": "9999", "X-Hongbao-Group": "8"})
        expect(http_status == 200 and answer["path"] == f"/v1/packets/{GONE}{query}", answer)
        expect(answer["headers"]["x-hongbao-user"] == "1001", answer)
        expect(answer["headers"].get("x-hongbao-group") == group, answer)
        expect("authorization" not in answer["headers"], answer)
        # the connection serves on, from the dataplane
        expect(node.call("GET", "/v1/balance", connection=own)[0] == 200, "balance after it")
    own.close()
    http_status, answer, _ = node.grab(packet=GONE)
    expect(http_status == 410 and answer["status"] == "packet_gone", answer)


def balance_transfer_and_token_answer_as_documented(node):
    http_status, answer, _ = node.call("GET", "/v1/balance")
    expect(http_status == 200 and answer["account"] == 1001, answer)
    body = {"to": 1002, "amount_fen": 250, "token": TOKEN.replace("GR", "TR"), "sequence": 1}
    http_status, answer, _ = node.call("POST", "/v1/transfers", body)
    expect(http_status == 200 and answer["amount_fen"] == 250, answer)
    http_status, answer, _ = node.call("POST", "/v1/tokens", {"operation": "send"})
    expect(http_status == 202 and answer == {"status": "asked"}, answer)


def a_refusal_carries_its_status_and_advice(node):
    http_status, answer, _ = node.grab(packet=REFUSED)
    expect(http_status == 410 and answer["status"] == "sold_out" and answer["message"], answer)
    expect(answer["as_of_seq"] == 77, answer)


def a_bad_body_is_refused_by_the_name_of_its_field(node):
    http_status, answer, _ = node.call("POST", f"/v1/packets/{PACKET}/grab",
                                       {"token": TOKEN, "sequence": 1.5})
    expect(http_status == 400 and answer["status"] == "bad_request", answer)
    expect("sequence" in answer["message"], answer)


def a_body_in_pieces_is_read_whole(node):
    body = json.dumps({"group": 7, "token": TOKEN, "sequence": 9}).encode()
    with socket.create_connection(("127.0.0.1", node.port), timeout=5) as plain:
        plain.sendall((f"POST /v1/packets/{PACKET}/grab HTTP/1.1\r\nHost: x\r\n"
                       f"Authorization: Bearer {jwt(1001)}\r\nTransfer-Encoding: chunked\r\n"
                       "Connection: close\r\n\r\n").encode())
        for at in range(0, len(body), 20):
            piece = body[at:at + 20]
            plain.sendall(b"%x\r\n%s\r\n" % (len(piece), piece))
            time.sleep(0.005)
        plain.sendall(b"0\r\n\r\n")
        text = b""
        while chunk := plain.recv(4096):
            text += chunk
    expect(b"200 OK" in text and b'"amount_fen":9' in text, text)


def a_body_above_4_kib_is_refused(node):
    http_status, answer, _ = node.call("POST", "/v1/packets", "x" * 5000)
    expect(http_status == 413 and answer["status"] == "too_large", answer)


def unknown_paths_and_methods_are_refused_as_json(node):
    for method, path, status in (("GET", "/v1/nothing", 404), ("GET", "/", 404),
                                 ("PUT", "/v1/balance", 405), ("GET", "/v1/packets", 405),
                                 ("GET", "/v1/packets/xyz", 404)):
        http_status, answer, _ = node.call(method, path)
        expect(http_status == status and answer["message"], method, path, answer)


def broken_requests_are_refused_as_json(node):
    cases = (b"GET /v1/packets/%00%00/grab HTTP/1.1\r\nHost: x\r\n\r\n", b"rubbish\r\n\r\n",
             b"GET / HTTP/1.1\r\nHost: x\r\nX-Long: " + b"a" * 20000 + b"\r\n\r\n",
             b"GET /" + b"a" * 20000 + b" HTTP/1.1\r\nHost: x\r\n\r\n",
             b"POST /v1/tokens HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n")
    for case in cases:
        with socket.create_connection(("127.0.0.1", node.port), timeout=5) as plain:
            plain.sendall(case)
            text = b""
            try:
                while chunk := plain.recv(4096):
                    text += chunk
            except ConnectionResetError:
                pass  # behind the answer, as not everything was read
        expect(b"bad_request" in text, case[:40], text[:300])


def without_a_valid_token_the_answer_is_401(node):
    expired, foreign = jwt(1001, lifetime_s=-1), jwt(1001, secret=b"x" * 32)
    for path in ("/v1/balance", "/v1/orders", "/v1/statement?limit=3", "/v1/packets/sent"):
        for token in ("", "rubbish", expired, foreign):
            http_status, answer, headers = node.call("GET", path, token=token)
            expect(http_status == 401 and answer["status"] == "unauthorized", path, answer)
            expect(headers["WWW-Authenticate"] == "Bearer", headers)
    expect(node.call("POST", "/v1/packets", {"kind": "lucky"}, token="")[0] == 401, "POST")


def proxied_requests_carry_the_verified_user_and_never_the_clients_word(node):
    _, answer, _ = node.call("GET", "/v1/orders?limit=3", headers={"X-Hongbao-User": "9999"})
    expect(answer["headers"]["x-hongbao-user"] == "1001", answer)
    expect(answer["path"] == "/v1/orders?limit=3", answer)
    expect("authorization" not in answer["headers"], answer)
    for path in ("/business/v1/accounts", "/metrics"):
        _, answer, _ = node.call("GET", path, headers={"X-Hongbao-User": "9999",
                                                       "X-HB-Key": "demo"})
        expect("x-hongbao-user" not in answer["headers"], answer)
        expect(answer["headers"]["x-hb-key"] == "demo", answer)


def a_business_batch_of_a_hundred_kib_passes(node):
    http_status, answer, _ = node.call("POST", "/business/v1/credits", "x" * 100000)
    expect(http_status == 200 and answer["bytes"] == 100000, answer)


def an_unanswered_request_gets_unknown_outcome_in_time(node):
    begin = time.monotonic()
    http_status, answer, _ = node.grab(packet=SILENT)
    waited_ms = (time.monotonic() - begin) * 1000
    expect(http_status == 202 and answer["status"] == "unknown_outcome", answer)
    expect(TIMEOUT_MS - 50 < waited_ms < TIMEOUT_MS + 500, "waited", waited_ms)


def clients_that_hang_up_leave_no_slot_behind(node):
    lost = []
    for _ in range(300):
        connection = node.connect()
        connection.request("POST", f"/v1/packets/{SILENT}/grab",
                           body=json.dumps({"token": TOKEN, "sequence": 1}),
                           headers={"Authorization": "Bearer " + jwt(1001)})
        lost.append(connection)
    for connection in lost:
        connection.close()
    expect(node.grab()[0] == 200, "a grab afterwards")


# Life and death.

def when_the_dataplane_dies_waiting_requests_get_unknown_outcome(node):
    results = []
    thread = threading.Thread(target=lambda: results.append(node.grab(packet=SILENT)))
    thread.start()
    time.sleep(0.15)
    begin = time.monotonic()
    node.kill_dataplane()
    thread.join()
    expect(results[0][0] == 202 and results[0][1]["status"] == "unknown_outcome", results)
    expect(time.monotonic() - begin < 0.3, "told at once, not at the time-out")
    http_status, answer, headers = node.grab()
    expect(http_status == 503 and answer["status"] == "unavailable", answer)
    expect(headers["Retry-After"] == "1", headers)
    expect(node.call("GET", "/health", token="")[0] == 503, "health")
    node.start_dataplane()
    for _ in range(20):  # every worker attaches again by itself
        wait_for("the front to attach again", 2, lambda: node.grab()[0] == 200)
    time.sleep(0.2)
    expect(all(node.grab()[0] == 200 for _ in range(20)), "all workers attached")


class Load:
    """Keep-alive clients that grab until told to stop.

    A server may close an idle connection at any time, so a request that meets a close before any
    byte of the answer is sent once more with the same sequence, as a real client does.
    """

    def __init__(self, node, clients):
        self.node, self.stopping, self.errors, self.done = node, False, [], 0
        self.threads = [threading.Thread(target=self.run, args=(i,)) for i in range(clients)]
        for thread in self.threads:
            thread.start()

    def one(self, connection, sequence, token):
        try:
            return self.node.grab(sequence=sequence, token=token, connection=connection)
        except (http.client.RemoteDisconnected, ConnectionResetError, BrokenPipeError):
            connection.close()
            return self.node.grab(sequence=sequence, token=token, connection=connection)

    def run(self, number):
        connection, token, sequence = self.node.connect(), jwt(3000 + number), 0
        while not self.stopping:
            sequence += 1
            try:
                http_status, answer, _ = self.one(connection, sequence, token)
                if http_status != 200 or answer["amount_fen"] != sequence:
                    self.errors.append((http_status, answer))
            except OSError as error:
                self.errors.append(repr(error))
                connection.close()
            self.done += 1

    def stop(self):
        self.stopping = True
        for thread in self.threads:
            thread.join()
        expect(self.done > 100, "too little load:", self.done)
        return self.errors


def twenty_reloads_under_load_cost_no_error(node):
    load = Load(node, 8)
    for _ in range(20):
        old = set(node.workers())
        node.nginx.send_signal(signal.SIGHUP)
        wait_for("new workers", 5, lambda: len(set(node.workers()) - old) >= WORKERS)
        time.sleep(0.05)
    errors = load.stop()
    expect(not errors, len(errors), "errors, such as", errors[:3])
    wait_for("old workers to end", 10, lambda: len(node.workers()) == WORKERS)


def a_reload_lets_waiting_requests_end(node):
    results = []
    threads = [threading.Thread(target=lambda: results.append(node.grab(packet=SILENT)))
               for _ in range(8)]
    for thread in threads:
        thread.start()
    time.sleep(0.2)
    node.nginx.send_signal(signal.SIGHUP)
    for thread in threads:
        thread.join()
    expect([result[0] for result in results] == [202] * 8, results)
    wait_for("old workers to end", 5, lambda: len(node.workers()) == WORKERS)


def a_killed_worker_is_replaced_and_serves(node):
    load = Load(node, 4)
    for _ in range(3):
        time.sleep(0.1)
        victim = node.workers()[0]
        os.kill(victim, signal.SIGKILL)
        wait_for("a new worker", 5, lambda: victim not in node.workers() and
                 len(node.workers()) == WORKERS)
    errors = load.stop()
    expect(len(errors) <= 3 * 4, len(errors), "errors, such as", errors[:3])
    expect(all(node.grab()[0] == 200 for _ in range(20)), "afterwards")
    expect(not node.bad_lines(), node.bad_lines()[:3])


def an_idle_front_does_not_spin(node):
    def ticks():
        return sum(sum(map(int, pathlib.Path(f"/proc/{pid}/stat").read_text()
                           .rsplit(")", 1)[1].split()[11:13])) for pid in node.workers())
    time.sleep(0.2)
    before = ticks()
    time.sleep(1)
    expect(ticks() - before <= 2, "workers used", ticks() - before, "ticks in an idle second")


def a_control_that_is_away_is_told_as_unavailable(node):
    node.control.shutdown()
    node.control.server_close()
    os.unlink(node.directory / "socket/control/http.sock")
    for path in ("/v1/orders", "/business/v1/accounts/1"):
        http_status, answer, headers = node.call("GET", path)
        expect(http_status == 503 and answer["status"] == "unavailable", answer)
        expect(headers["Retry-After"] == "1", headers)


# Frames over TCP.

def frame_of_grab(sequence, packet=PACKET, group=7, **more):
    return make_frame(GRAB, int(packet, 16), group, (1, 2, 3), sequence, **more)


def a_hello_tells_who_one_is_and_frames_are_answered_in_any_number(node):
    wire = node.wire()
    expect(wire.hello[STATUS] == OK and wire.hello[ID] == 1001, wire.hello)
    expect(500 < wire.hello[COUNT] <= 600, "seconds until the token expires:", wire.hello)
    replies = wire.ask([frame_of_grab(i, group=7 + i % 2) for i in range(2000)])
    for i, (fields, _) in enumerate(replies):
        expect((fields[STATUS], fields[AMOUNT]) == (OK, i), i, fields)
        expect(fields[OTHER] == (7 if i % 2 == 0 else 0), "the group his token vouches for", fields)
    detail = wire.ask([make_frame(tcp_client.DETAIL, int(PACKET, 16), 7, body=bytes(64))] * 100)
    expect(all(len(data) == 384 and fields[COUNT] == 2 for fields, data in detail), detail[0])
    expect(wire.ask([make_frame(BALANCE, 1001)])[0][0][ID] == 1001, "his balance")
    wire.close()


def a_frame_in_pieces_and_frames_in_one_piece_are_the_same(node):
    wire = node.wire(token="")
    data = make_hello(jwt(1001)) + b"".join(frame_of_grab(i, correlation=i) for i in range(30))
    for at in range(0, len(data), 7):
        wire.send(data[at:at + 7])
    expect(wire.receive()[0][STATUS] == OK, "hello")
    heard = sorted(wire.receive()[0][CORRELATION] for _ in range(30))
    expect(heard == list(range(30)), heard)
    wire.close()


def what_a_user_may_not_do_is_refused_and_he_is_served_on(node):
    wire = node.wire()
    body = struct.pack("<16sQq32s", bytes(16), 1002, 5, bytes(32))
    cases = [(make_frame(BALANCE, 1002), NOT_ALLOWED), (make_frame(18, 1001, body=bytes(64)),
                                                         NOT_ALLOWED),
             (frame_of_grab(1, user=1002), NOT_ALLOWED),
             (make_frame(TRANSFER, 1002, body=body), NOT_ALLOWED),
             (make_frame(TRANSFER, 1001, body=b"k" + body[1:]), NOT_ALLOWED),
             (make_frame(99, 1001), FRAME_INVALID), (make_frame(GRAB, 0), FRAME_INVALID),
             (make_frame(GRAB, 1, body=bytes(64)), FRAME_INVALID),
             (make_frame(TRANSFER, 1001, body=body), OK)]
    for index, (fields, _) in enumerate(wire.ask([frame for frame, _ in cases])):
        expect(fields[STATUS] == cases[index][1], "case", index, fields)
    wire.close()


def expect_end(wire, status):
    """One reply, then the end."""
    expect(wire.receive()[0][STATUS] == status, "status")
    try:
        wire.receive()
        raise AssertionError("the connection goes on")
    except (tcp_client.Closed, ConnectionResetError):
        wire.close()


def who_does_not_say_who_he_is_is_refused(node):
    for frame, status in ((frame_of_grab(1), UNAUTHORIZED),):
        wire = node.wire(token="")
        wire.send(frame)
        expect(wire.receive()[0][STATUS] == status, "before a hello")
        wire.close()
    for token in ("rubbish", jwt(1001, lifetime_s=-1), jwt(1001, secret=b"x" * 32)):
        wire = Wire(("127.0.0.1", node.frames_port))
        wire.send(make_hello(token) + frame_of_grab(1) * 200)
        expect_end(wire, UNAUTHORIZED)
    wire = node.wire()
    wire.send(make_hello(jwt(1002)))
    expect_end(wire, UNAUTHORIZED)
    wire = node.wire(token=jwt(1001, lifetime_s=1))
    wait_for("the token to expire", 4,
             lambda: wire.ask([frame_of_grab(1)])[0][0][STATUS] == UNAUTHORIZED)
    expect(wire.greet(jwt(1001))[STATUS] == OK, "a renewal")
    expect(wire.ask([frame_of_grab(1)])[0][0][STATUS] == OK, "after the renewal")
    wire.close()


def a_head_that_breaks_the_format_ends_the_connection_with_the_reason(node):
    good = frame_of_grab(1)
    for head, status in ((b"\2" + good[1:], FRAME_VERSION), (b"GET / HTTP/1.1\r\n" * 4,
                                                            FRAME_VERSION),
                         (good[:2] + struct.pack("<H", 65) + good[4:], FRAME_INVALID),
                         (good[:2] + struct.pack("<H", 320) + good[4:], FRAME_INVALID),
                         (good[:2] + bytes(2) + good[4:], FRAME_INVALID)):
        wire = node.wire()
        wire.send(good + head + good * 300)
        expect(wire.receive()[0][STATUS] in (OK, status), "the frame before it")
        wire.close()
        wire = node.wire()
        wire.send(head + good * 300)
        expect_end(wire, status)


def a_client_that_does_not_read_stops_being_served_and_nobody_else_does(node):
    wire = node.wire()
    wire.socket.settimeout(0.5)
    frames = make_frame(tcp_client.DETAIL, int(PACKET, 16), 7, body=bytes(64)) * 1000
    sent = 0
    try:
        while sent < 1 << 27:
            sent += wire.socket.send(frames)
    except TimeoutError:
        pass
    expect(sent < 1 << 27, "the node took", sent, "bytes of a client that does not read")
    other = node.wire()
    expect(all(fields[STATUS] == OK for fields, _ in other.ask(
        [frame_of_grab(i) for i in range(500)])), "another client")
    wire.close()
    other.close()


def unanswered_frames_get_unknown_outcome_and_hang_ups_leave_no_slot_behind(node):
    wire = node.wire()
    begin = time.monotonic()
    replies = wire.ask([frame_of_grab(i, packet=SILENT) for i in range(64)])
    expect(all(fields[STATUS] == UNKNOWN_OUTCOME for fields, _ in replies), replies[0])
    expect(time.monotonic() - begin < TIMEOUT_MS / 1000 + 0.5, "waited too long")
    wire.close()
    lost = [node.wire() for _ in range(50)]
    for wire in lost:
        wire.send(frame_of_grab(1, packet=SILENT) * 64)
    time.sleep(0.1)
    for wire in lost:
        wire.close()
    expect(node.grab()[0] == 200, "a grab over HTTP afterwards")


def a_client_that_sends_no_more_hears_all_it_is_owed(node):
    wire = node.wire()
    wire.send(b"".join(frame_of_grab(i, correlation=i) for i in range(60)))
    wire.socket.shutdown(socket.SHUT_WR)
    expect(sorted(wire.receive()[0][CORRELATION] for _ in range(60)) == list(range(60)), "replies")
    try:
        wire.receive()
        raise AssertionError("the connection goes on")
    except tcp_client.Closed:
        wire.close()


def a_reload_ends_idle_connections_and_owes_nobody(node):
    idle, busy = node.wire(), node.wire()
    busy.send(b"".join(frame_of_grab(i, packet=SILENT, correlation=i) for i in range(8)))
    time.sleep(0.1)
    node.nginx.send_signal(signal.SIGHUP)
    try:
        idle.receive()
        raise AssertionError("an idle connection outlives its worker")
    except tcp_client.Closed:
        idle.close()
    heard = [busy.receive()[0] for _ in range(8)]
    expect(all(fields[STATUS] == UNKNOWN_OUTCOME for fields in heard), heard)
    try:
        busy.receive()
        raise AssertionError("a connection outlives its worker")
    except tcp_client.Closed:
        busy.close()
    wait_for("old workers to end", 5, lambda: len(node.workers()) == WORKERS)


def frames_of_a_dataplane_that_dies_have_an_unknown_outcome(node):
    wire = node.wire()
    wire.send(frame_of_grab(1, packet=SILENT) * 5)
    time.sleep(0.1)
    node.kill_dataplane()
    expect([wire.receive()[0][STATUS] for _ in range(5)] == [UNKNOWN_OUTCOME] * 5, "replies")
    expect(wire.ask([frame_of_grab(1)])[0][0][STATUS] == BUSY, "while it is away")
    node.start_dataplane()
    wait_for("the front to attach again", 3,
             lambda: wire.ask([frame_of_grab(1)])[0][0][STATUS] == OK)
    wire.close()
    wait_for("every worker", 3, lambda: all(node.grab()[0] == 200 for _ in range(20)))


def memory_of_workers_kib(node):
    return sum(int(re.search(r"VmRSS:\s+(\d+)", pathlib.Path(f"/proc/{pid}/status")
                             .read_text()).group(1)) for pid in node.workers())


def a_thousand_idle_connections_cost_little(node):
    node.grab()
    before = memory_of_workers_kib(node)
    wires = [node.wire() for _ in range(1000)]
    each = (memory_of_workers_kib(node) - before) / 1000
    print(f"     {each:.1f} KiB per idle connection")
    expect(each < 16, each, "KiB per idle connection")
    expect(all(wire.ask([frame_of_grab(5)])[0][0][AMOUNT] == 5 for wire in wires[::100]), "served")
    for wire in wires:
        wire.close()


# Two readings of one request: none may pass for two, or be taken for another's.

def smuggled(node, data):
    """@return all that is answered to these bytes until the end, or until nothing more comes"""
    with socket.create_connection(("127.0.0.1", node.port), timeout=1) as plain:
        plain.sendall(data)
        text = b""
        try:
            while chunk := plain.recv(65536):
                text += chunk
        except (ConnectionResetError, TimeoutError):
            pass
        return text


def requests_that_can_be_read_in_two_ways_are_refused(node):
    bearer = "Authorization: Bearer " + jwt(1001)
    inner = f"GET /v1/balance HTTP/1.1\r\nHost: x\r\n{bearer}\r\n\r\n"
    size = len(inner)
    for path in (f"/v1/packets/{PACKET}/grab", "/business/v1/credits", "/v1/orders"):
        for headers in (
                f"Content-Length: {size}\r\nTransfer-Encoding: chunked",
                f"Transfer-Encoding: chunked\r\nContent-Length: {size}",
                f"Content-Length: 0\r\nContent-Length: {size}",
                f"Content-Length: {size}, 0", f"Content-Length: +{size}",
                f"Content-Length: 0x{size:x}", f"Content-Length: -{size}",
                "Transfer-Encoding: chunked, identity", "Transfer-Encoding: gzip, chunked",
                "Transfer-Encoding: xchunked", "Transfer-Encoding: chunked\r\n"
                "Transfer-Encoding: chunked"):
            text = smuggled(node, f"POST {path} HTTP/1.1\r\nHost: x\r\n{bearer}\r\n{headers}"
                                  f"\r\n\r\n0\r\n\r\n{inner}".encode())
            answers = re.findall(rb"HTTP/1.1 (\d+)", text)
            expect(b"available_fen" not in text, path, headers, "let a second request pass:", text)
            expect(len(answers) == 1 and answers[0] in (b"400", b"411", b"501"),
                   path, headers, "answered", answers)


def odd_chunks_and_headers_are_refused_or_harmless(node):
    bearer = "Authorization: Bearer " + jwt(1001)
    body = json.dumps({"group": 7, "token": TOKEN, "sequence": 9})
    start = (f"POST /v1/packets/{PACKET}/grab HTTP/1.1\r\nHost: x\r\n{bearer}\r\n"
             "Connection: close\r\n")
    chunked = start + "Transfer-Encoding: chunked\r\n\r\n"
    for text, codes in (
            (chunked + "ffffffffffffffff\r\n" + body, (b"400", b"413")),
            (chunked + "fffffffffffffffff\r\n" + body, (b"400", b"413")),
            (chunked + f"-{len(body):x}\r\n{body}\r\n0\r\n\r\n", (b"400",)),
            (chunked + f"{len(body):x}\n{body}\n0\n\n", (b"200", b"400")),
            (chunked + f"{len(body):x};a=\"\r\n{body}\r\n0\r\n\r\n", (b"200", b"400")),
            (chunked + f"zz\r\n{body}\r\n0\r\n\r\n", (b"400",)),
            (start + f"Content-Length : {len(body)}\r\n\r\n{body}", (b"400",)),
            (start + f" Content-Length: {len(body)}\r\n\r\n{body}", (b"400",)),
            (start.replace("Host: x", "Host: x\r\nHost: y")
             + f"Content-Length: {len(body)}\r\n\r\n{body}", (b"400",)),
            (start.replace("HTTP/1.1", "HTTP/1.1 HTTP/1.1") + "\r\n", (b"400",)),
            (start.replace("/grab", "/grab\t") + "\r\n", (b"400", b"404")),
            (start + f"X-Hongbao-User: 5\r\nContent-Length: {len(body)}\r\n\r\n{body}",
             (b"200",))):
        seen = re.findall(rb"HTTP/1.1 (\d+)", smuggled(node, text.encode()))
        expect(len(seen) == 1 and seen[0] in codes, text[-120:], "answered", seen)
    # two users on one connection: each request is judged by its own token
    first = f"GET /v1/balance HTTP/1.1\r\nHost: x\r\n{bearer}\r\n\r\n"
    second = "GET /v1/balance HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
    seen = re.findall(rb"HTTP/1.1 (\d+)", smuggled(node, (first + second).encode()))
    expect(seen == [b"200", b"401"], seen)


def no_path_leads_round_the_login(node):
    for path in ("/v1//orders", "/v1/./orders", "/v1/x/../orders", "/v1/%6frders", "//v1/orders",
                 "/v1/orders/../statement", "/V1/orders", "/v1/packets/../orders", "/v1/orders%00",
                 "/v1/orders;x", "/v1/orders#x", "/admin/status", "/business/../v1/orders",
                 "http://x/v1/orders", "/v1/packets/sent/", "/v1/packets/sent%2f.."):
        text = smuggled(node, f"GET {path} HTTP/1.1\r\nHost: x\r\nX-Hongbao-User: 1001\r\n"
                              "Connection: close\r\n\r\n".encode())
        code = re.findall(rb"HTTP/1.1 (\d+)", text)
        expect(len(code) == 1 and code[0] in (b"400", b"401", b"404"), path, "answered", text[:300])


# TLS and limits: nodes of their own.

def over_tls_http_and_frames_are_served_and_plain_clients_are_not(node):
    expect(node.grab()[0] == 200, "a grab over TLS")
    text = subprocess.run(["curl", "-sS", "--http2", "--cacert", node.directory / "key/chain.pem",
                           "-H", "Authorization: Bearer " + jwt(1001), "-w", "%{http_version}",
                           f"https://127.0.0.1:{node.port}/v1/balance"],
                          capture_output=True, text=True, check=False)
    expect('"account":1001' in text.stdout and text.stdout.endswith("2"), text)
    wire = node.wire()
    replies = wire.ask([frame_of_grab(i) for i in range(500)])
    expect([fields[AMOUNT] for fields, _ in replies] == list(range(500)), "frames over TLS")
    wire.close()
    wire = node.wire()
    wire.send(make_hello(jwt(5)) + frame_of_grab(1))
    expect_end(wire, UNAUTHORIZED)
    with socket.create_connection(("127.0.0.1", node.port), timeout=5) as plain:
        plain.sendall(b"GET /v1/balance HTTP/1.1\r\nHost: x\r\n\r\n")
        expect(b"400" in plain.recv(4096), "plain HTTP to the TLS port")
    old = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    old.check_hostname, old.verify_mode = False, ssl.CERT_NONE
    old.minimum_version = old.maximum_version = ssl.TLSVersion.TLSv1_1
    try:
        Wire(("127.0.0.1", node.frames_port), tls=old)
        raise AssertionError("TLS 1.1 is spoken")
    except (ssl.SSLError, ConnectionResetError):
        pass


def a_user_above_his_rate_hears_429_and_nobody_else(node):
    codes = [node.call("GET", "/v1/balance", token=jwt(4001))[0] for _ in range(3 * PER_USER)]
    expect(codes[:PER_USER] == [200] * PER_USER and 429 in codes, codes)
    http_status, answer, headers = node.call("GET", "/v1/orders", token=jwt(4001))
    while http_status != 429:
        http_status, answer, headers = node.call("GET", "/v1/orders", token=jwt(4001))
    expect(answer["status"] == "too_many" and headers["Retry-After"] == "1", answer)
    expect(node.call("GET", "/v1/balance", token=jwt(4002))[0] == 200, "another user")


def an_address_has_so_many_connections(node):
    wires = [node.wire() for _ in range(PER_ADDRESS)]
    try:
        node.wire()
        raise AssertionError("one more connection is served")
    except (tcp_client.Closed, ConnectionResetError):
        pass
    for wire in wires:
        wire.close()

    def served():
        try:
            return node.wire().hello[STATUS] == OK
        except (tcp_client.Closed, ConnectionResetError):
            return False
    wait_for("room again", 3, served)


TESTS = [
    a_grab_becomes_a_frame_and_its_reply_json,
    a_group_the_token_does_not_vouch_for_is_not_passed_on,
    sending_answers_201_with_packet_and_order_number,
    the_detail_of_a_packet_lists_claims,
    balance_transfer_and_token_answer_as_documented,
    a_refusal_carries_its_status_and_advice,
    the_detail_of_a_forgotten_packet_comes_from_control,
    a_bad_body_is_refused_by_the_name_of_its_field,
    a_body_in_pieces_is_read_whole,
    a_body_above_4_kib_is_refused,
    unknown_paths_and_methods_are_refused_as_json,
    broken_requests_are_refused_as_json,
    without_a_valid_token_the_answer_is_401,
    proxied_requests_carry_the_verified_user_and_never_the_clients_word,
    a_business_batch_of_a_hundred_kib_passes,
    an_unanswered_request_gets_unknown_outcome_in_time,
    clients_that_hang_up_leave_no_slot_behind,
    when_the_dataplane_dies_waiting_requests_get_unknown_outcome,
    twenty_reloads_under_load_cost_no_error,
    a_reload_lets_waiting_requests_end,
    an_idle_front_does_not_spin,
    a_killed_worker_is_replaced_and_serves,
    a_hello_tells_who_one_is_and_frames_are_answered_in_any_number,
    a_frame_in_pieces_and_frames_in_one_piece_are_the_same,
    what_a_user_may_not_do_is_refused_and_he_is_served_on,
    who_does_not_say_who_he_is_is_refused,
    a_head_that_breaks_the_format_ends_the_connection_with_the_reason,
    a_client_that_does_not_read_stops_being_served_and_nobody_else_does,
    unanswered_frames_get_unknown_outcome_and_hang_ups_leave_no_slot_behind,
    a_client_that_sends_no_more_hears_all_it_is_owed,
    a_reload_ends_idle_connections_and_owes_nobody,
    frames_of_a_dataplane_that_dies_have_an_unknown_outcome,
    a_thousand_idle_connections_cost_little,
    requests_that_can_be_read_in_two_ways_are_refused,
    odd_chunks_and_headers_are_refused_or_harmless,
    no_path_leads_round_the_login,
    a_control_that_is_away_is_told_as_unavailable,
]


TLS_TESTS = [over_tls_http_and_frames_are_served_and_plain_clients_are_not]
LIMIT_TESTS = [an_address_has_so_many_connections, a_user_above_his_rate_hears_429_and_nobody_else]


def run(module, fake, tests, sections):
    """Tests on one node. @return how many failed"""
    if not tests:
        return 0
    node, failed = Node(os.path.abspath(module), os.path.abspath(fake), sections), 0
    for test in tests:
        begin = time.monotonic()
        try:
            test(node)
            print(f"ok   {time.monotonic() - begin:5.2f} s  {test.__name__}", flush=True)
        except (AssertionError, OSError, ValueError, KeyError, TypeError, struct.error,
                tcp_client.Closed) as error:
            failed += 1
            print(f"FAIL {time.monotonic() - begin:5.2f} s  {test.__name__}: {error!r}", flush=True)
    node.stop()
    if node.bad_lines():
        failed += 1
        print("FAIL nginx logged:", *node.bad_lines()[:5], sep="\n  ")
    if failed:
        print(f"the node's directory is {node.directory}")
    else:
        node.remove()
    return failed


def main():
    if os.geteuid() != 0 or shutil.which("nginx") is None:
        print("SKIP: needs root and nginx")
        return 77
    module, fake, *names = sys.argv[1:]
    failed = 0
    for tests, sections in ((TESTS, ("frames",)), (TLS_TESTS, ("frames", "tls")),
                            (LIMIT_TESTS, ("frames", "per_user", "per_address"))):
        wanted = [test for test in tests if not names or test.__name__ in names]
        failed += run(module, fake, wanted, sections)
    if failed:
        print(f"{failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
