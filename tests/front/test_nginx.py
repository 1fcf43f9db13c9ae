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
import subprocess
import sys
import tempfile
import threading
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
TEMPLATE = ROOT / "front" / "nginx.conf.in"
SECRET = secrets.token_bytes(32)
WORKERS = 2
TIMEOUT_MS = 700
TOKEN = "GR-0-1001-20260301120000000-0001-0123456789abcdef"
PACKET = "0130200000000009"  # kind packet, partition 3, node 1, counter 9
SILENT = "013020000000dead"
REFUSED = "013020000000beef"
GONE = "013020000000907e"


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


class Node:
    """nginx, a fake dataplane and a fake control in a directory of their own."""

    def __init__(self, module, fake):
        self.fake, self.dataplane = fake, None
        self.directory = pathlib.Path(tempfile.mkdtemp(prefix="front-", dir="/tmp"))
        os.chmod(self.directory, 0o755)
        for name in ("key", "nginx", "etc", "log", "socket/dataplane", "socket/control"):
            (self.directory / name).mkdir(parents=True)
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        key = self.directory / "key" / "jwt.keys"
        key.touch(mode=0o400)
        key.write_text(f"main HS256 {SECRET.hex()}\n")
        self.configuration = self.directory / "etc" / "nginx.conf"
        text = TEMPLATE.read_text()
        for name, value in {"NODE": self.directory, "MODULE": module, "USER": "nobody",
                            "GROUP": "nogroup", "LISTEN": f"127.0.0.1:{self.port}",
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

    def connect(self):
        return http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)

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
    a_control_that_is_away_is_told_as_unavailable,
]


def main():
    if os.geteuid() != 0 or shutil.which("nginx") is None:
        print("SKIP: needs root and nginx")
        return 77
    module, fake, *names = sys.argv[1:]
    node, failed = Node(os.path.abspath(module), os.path.abspath(fake)), 0
    for test in TESTS:
        if names and test.__name__ not in names:
            continue
        begin = time.monotonic()
        try:
            test(node)
            print(f"ok   {time.monotonic() - begin:5.2f} s  {test.__name__}", flush=True)
        except (AssertionError, OSError, ValueError, KeyError, TypeError) as error:
            failed += 1
            print(f"FAIL {time.monotonic() - begin:5.2f} s  {test.__name__}: {error!r}", flush=True)
    node.stop()
    if node.bad_lines():
        failed += 1
        print("FAIL nginx logged:", *node.bad_lines()[:5], sep="\n  ")
    if failed:
        print(f"{failed} failed; the node's directory is {node.directory}")
        return 1
    node.remove()
    return 0


if __name__ == "__main__":
    sys.exit(main())
