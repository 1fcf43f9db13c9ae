# SPDX-License-Identifier: Apache-2.0
"""What the end-to-end tests and perf/bench share: a node in a directory of its own, started and
stopped through ./hongbao, HTTP connections, user tokens, and the signed business API.

Standard library only. Everything here runs as root on the machine of the node. A Node owns its
directory: it is removed when a test has passed and kept when it has failed.
"""
import base64
import hashlib
import hmac
import json
import os
import random
import re
import shutil
import signal
import socket
import struct
import subprocess
import sys
import threading
import time

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
LAUNCHER = os.path.join(ROOT, "hongbao")
NODES = os.environ.get("HB_TEST_DIRECTORY", "/var/lib/hongbao")
UP_SECONDS_MAX = 180
STALE_SECONDS_MAX = 30


class Failure(Exception):
    """A sentence about what should have been and was not."""


def expect(condition, *words):
    if not condition:
        raise Failure(" ".join(str(word) for word in words))


def log(*words):
    print(time.strftime("%H:%M:%S"), *words, file=sys.stderr, flush=True)


def wait_for(what, seconds, condition, interval=0.05):
    """Poll until condition() is true; its last value is returned."""
    end = time.monotonic() + seconds
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > end:
            raise Failure("waited %s s in vain for: %s" % (seconds, what))
        time.sleep(interval)


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def base64url(data):
    return base64.urlsafe_b64encode(data).rstrip(b"=")


class HttpError(Exception):
    """No whole answer: the outcome of the request is not known."""


class Connection:
    """One keep-alive HTTP/1.1 connection, TCP or Unix; for one thread."""

    def __init__(self, address, timeout=10.0):
        self.address = address
        self.timeout = timeout
        self.socket = None
        self.rest = b""

    def close(self):
        if self.socket is not None:
            self.socket.close()
        self.socket = None
        self.rest = b""

    def connect(self):
        self.close()
        family = socket.AF_UNIX if isinstance(self.address, str) else socket.AF_INET
        self.socket = socket.socket(family, socket.SOCK_STREAM)
        self.socket.settimeout(self.timeout)
        self.socket.connect(self.address)
        if family == socket.AF_INET:
            self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def send(self, data):
        """Send; a keep-alive connection that the server has closed meanwhile is made anew."""
        if self.socket is not None:
            self.socket.setblocking(False)
            try:
                if self.socket.recv(1, socket.MSG_PEEK) == b"":
                    self.close()
            except BlockingIOError:
                pass
            except OSError:
                self.close()
            if self.socket is not None:
                self.socket.settimeout(self.timeout)
        if self.socket is None:
            self.connect()
        self.socket.sendall(data)

    def more(self):
        data = self.socket.recv(262144)
        if not data:
            raise HttpError("connection closed before the answer was whole")
        self.rest += data

    def take(self, count):
        while len(self.rest) < count:
            self.more()
        data, self.rest = self.rest[:count], self.rest[count:]
        return data

    def take_line(self):
        while b"\r\n" not in self.rest:
            self.more()
        line, self.rest = self.rest.split(b"\r\n", 1)
        return line

    def answer(self):
        while b"\r\n\r\n" not in self.rest:
            self.more()
        head, self.rest = self.rest.split(b"\r\n\r\n", 1)
        lines = head.decode("latin-1").split("\r\n")
        code = int(lines[0].split(" ")[1])
        headers = {}
        for line in lines[1:]:
            name, _, value = line.partition(":")
            headers[name.strip().lower()] = value.strip()
        if "content-length" in headers:
            body = self.take(int(headers["content-length"]))
        elif headers.get("transfer-encoding") == "chunked":
            body = b""
            while True:
                size = int(self.take_line(), 16)
                body += self.take(size)
                self.take(2)
                if size == 0:
                    break
        else:
            body = b""
        if headers.get("connection", "").lower() == "close":
            self.close()
        return code, headers, body

    def request(self, method, path, headers=(), body=None):
        """@return (code, headers, body bytes); HttpError or OSError when no whole answer came"""
        text = "%s %s HTTP/1.1\r\nHost: hongbao\r\n" % (method, path)
        for name, value in headers:
            text += "%s: %s\r\n" % (name, value)
        if body is not None:
            text += "Content-Length: %d\r\n" % len(body)
        data = text.encode("latin-1") + b"\r\n" + (body or b"")
        try:
            self.send(data)
            return self.answer()
        except (OSError, HttpError):
            self.close()
            raise

    def json(self, method, path, headers=(), value=None):
        """Send a JSON value (or bytes as they are), decode a JSON answer. @return (code, value)"""
        headers = list(headers)
        body = None
        if value is not None:
            body = value if isinstance(value, bytes) else json.dumps(value).encode()
            headers.append(("Content-Type", "application/json"))
        code, _, answer = self.request(method, path, headers, body)
        try:
            return code, json.loads(answer) if answer else None
        except ValueError:
            return code, answer.decode("latin-1")


class Keys:
    """The node's secrets, read as root."""

    def __init__(self, directory):
        def lines(name):
            with open(os.path.join(directory, "key", name)) as f:
                return [l.split() for l in f if l.strip() and not l.startswith("#")]

        self.jwt_id, _, secret = [l for l in lines("jwt.keys") if l[1] == "HS256"][0]
        self.jwt_secret = bytes.fromhex(secret)
        self.business_id, secret = lines("business.keys")[0]
        self.business_secret = bytes.fromhex(secret)
        self.jwt_head = base64url(json.dumps(
            {"alg": "HS256", "typ": "JWT", "kid": self.jwt_id}, separators=(",", ":")).encode())

    def jwt(self, account, groups=(), lifetime_s=7200, head=None, secret=None, **claims):
        """A user token signed with HS256, as the business system would sign it."""
        value = {"sub": str(account), "exp": int(time.time()) + lifetime_s}
        if groups:
            value["groups"] = list(groups)
        value.update(claims)
        value = {k: v for k, v in value.items() if v is not None}
        first = self.jwt_head if head is None else base64url(json.dumps(head).encode())
        text = first + b"." + base64url(json.dumps(value, separators=(",", ":")).encode())
        mac = hmac.new(self.jwt_secret if secret is None else secret, text, hashlib.sha256)
        return (text + b"." + base64url(mac.digest())).decode()


class Business:
    """The business system: signed calls, each with a nonce and an idempotency key."""

    def __init__(self, node, timeout=60.0):
        self.keys = node.keys
        self.connection = Connection(node.address, timeout)
        self.prefix = os.urandom(8).hex()
        self.count = 0

    def headers(self, method, path, body, key_id=None, secret=None, timestamp=None, nonce=None):
        timestamp = str(int(time.time()) if timestamp is None else timestamp)
        nonce = os.urandom(12).hex() if nonce is None else nonce
        text = "\n".join((method, path, timestamp, nonce, hashlib.sha256(body).hexdigest()))
        mac = hmac.new(secret or self.keys.business_secret, text.encode(), hashlib.sha256)
        return [("X-HB-Key", key_id or self.keys.business_id), ("X-HB-Timestamp", timestamp),
                ("X-HB-Nonce", nonce), ("X-HB-Signature", mac.hexdigest())]

    def call(self, method, path, value=None, idempotency_key=None, **signing):
        """@return (code, value)"""
        body = b"" if value is None else value if isinstance(value, bytes) else \
            json.dumps(value, separators=(",", ":")).encode()
        headers = self.headers(method, path, body, **signing)
        if method == "POST":
            self.count += 1
            headers.append(("Idempotency-Key",
                            idempotency_key or "%s-%d" % (self.prefix, self.count)))
        return self.connection.json(method, path, headers, body if value is not None else None)

    def retried(self, method, path, value=None):
        """Call until the answer is neither missing nor 'busy'. Same idempotency key: a repeated
        command takes effect once."""
        self.count += 1
        key = "%s-%d" % (self.prefix, self.count)
        end = time.monotonic() + STALE_SECONDS_MAX
        while True:
            try:
                code, answer = self.call(method, path, value, idempotency_key=key)
                if code not in (502, 503, 504, 202):
                    return code, answer
                what = (code, answer)
            except (OSError, HttpError) as error:
                what = error
            if time.monotonic() > end:
                raise Failure("business API %s %s does not answer: %s" % (method, path, what))
            time.sleep(0.2)

    def items(self, path, items, statuses=("ok",)):
        """Send items in batches of 1000; each must be answered by one of the statuses.
        @return their answers"""
        answers = []
        for first in range(0, len(items), 1000):
            code, value = self.retried("POST", path, {"items": items[first:first + 1000]})
            expect(code in (200, 201, 202), path, "answered", code, value)
            for answer in value["items"]:
                expect(answer.get("status", "ok") in statuses, path, "item answered", answer)
            answers.extend(value["items"])
        return answers

    def open_accounts(self, accounts, kind="user"):
        return self.items("/business/v1/accounts",
                          [{"account": account, "kind": kind} for account in accounts],
                          ("ok", "account_exists"))

    def credit(self, amounts):
        """@param amounts: pairs of account and fen"""
        return self.items("/business/v1/credits",
                          [{"account": account, "amount_fen": fen, "channel": "manual"}
                           for account, fen in amounts])

    def packets(self, items):
        return [answer["packet"] for answer in self.items("/business/v1/packets", items)]

    def grab_tokens(self, pairs):
        """@param pairs: user and packet. @return pairs of token and first sequence"""
        answers = self.items("/business/v1/tokens",
                             [{"user": user, "operation": "grab", "target": packet}
                              for user, packet in pairs])
        return [(answer["token"], answer["sequence"] + 1) for answer in answers]

    def account(self, account):
        code, value = self.retried("GET", "/business/v1/accounts/%d" % account)
        expect(code == 200, "account", account, "answered", code, value)
        return value


class User:
    """One user with a user token and a connection; for one thread."""

    def __init__(self, node, account, groups=(), timeout=10.0, **claims):
        self.node = node
        self.account = account
        self.connection = Connection(node.address, timeout)
        self.headers = [("Authorization",
                         "Bearer " + node.keys.jwt(account, groups, **claims))]

    def call(self, method, path, value=None):
        return self.connection.json(method, path, self.headers, value)

    def grab(self, packet, token, sequence, group=None):
        value = {"token": token, "sequence": sequence}
        if group is not None:
            value["group"] = group
        return self.call("POST", "/v1/packets/%s/grab" % packet, value)

    def grab_until_told(self, packet, token, sequence, group=None, seconds=60):
        """Ask with the same sequence until the outcome is known."""
        end = time.monotonic() + seconds
        while True:
            try:
                code, value = self.grab(packet, token, sequence, group)
                if code not in (202, 502, 503, 504):
                    return code, value
            except (OSError, HttpError) as error:
                code, value = 0, error
            if time.monotonic() > end:
                raise Failure("grab of %s by %d: no outcome: %s %s" % (packet, self.account,
                                                                      code, value))
            time.sleep(0.1)

    def balance(self):
        code, value = self.call("GET", "/v1/balance")
        expect(code == 200, "balance of", self.account, "answered", code, value)
        return value["available_fen"], value["frozen_fen"]

    def detail(self, packet, group=None):
        """The packet with all its claims, read page by page."""
        claims = []
        while True:
            query = "after=%d" % len(claims)
            if group is not None:
                query += "&group=%d" % group
            code, value = self.call("GET", "/v1/packets/%s?%s" % (packet, query))
            expect(code == 200, "detail of", packet, "answered", code, value)
            claims.extend(value["claims"])
            if not value["more"]:
                expect(len(claims) == value["taken"], "packet", packet, "names", len(claims),
                       "claims but counts", value["taken"])
                value["claims"] = claims
                return value


class Node:
    """A node in its own directory with its own port."""

    PROCESSES = ("mysql", "persist", "dataplane", "control", "nginx")
    made_count = 0

    def __init__(self, name, directory=None, **options):
        """@param options: configuration, dots as two underscores: dataplane__lcores=4"""
        self.name = name
        self.made = directory is None
        if self.made:  # a node that stays because something failed is nobody else's
            Node.made_count += 1
            name += "-%d-%d" % (os.getpid(), Node.made_count)
        self.directory = directory or os.path.join(NODES, name)
        self.options = {"front.listen": "127.0.0.1:%d" % free_port(),
                        "front.listen_frames": "127.0.0.1:%d" % free_port()}
        self.set(**options)
        self.config = os.path.join("/tmp", "hongbao-%s.conf" % name)
        self.keys = None
        if not self.made:
            self.config = os.path.join(self.directory, "etc/hongbao.conf")
            self.read_listen()
            self.keys = Keys(self.directory)

    def read_listen(self):
        with open(self.config) as f:
            found = re.search(r'listen\s*[=:]\s*"([^"]+)"', f.read())
        self.options["front.listen"] = found.group(1) if found else "127.0.0.1:8080"

    def set(self, **options):
        for key, value in options.items():
            self.options[key.replace("__", ".")] = value

    @property
    def address(self):
        host, _, port = self.options["front.listen"].rpartition(":")
        return host, int(port)

    @property
    def frames_address(self):
        host, _, port = self.options["front.listen_frames"].rpartition(":")
        return host, int(port)

    def path(self, relative):
        return os.path.join(self.directory, relative)

    def write_config(self):
        groups = {"node": {"directory": self.directory}}
        for key, value in self.options.items():
            group, _, name = key.partition(".")
            groups.setdefault(group, {})[name] = value
        with open(self.config, "w") as f:
            for group, values in groups.items():
                f.write("%s = {\n" % group)
                for name, value in values.items():
                    f.write("\t%s = %s;\n" % (name, json.dumps(value)))
                f.write("};\n")

    def launcher(self, *arguments, seconds=UP_SECONDS_MAX):
        """Run ./hongbao. @return (exit code, its output). The output goes through a file: daemons
        that inherit it must not keep us waiting."""
        out = self.config + ".out"
        with open(out, "w+") as f:
            process = subprocess.Popen([LAUNCHER, *arguments], stdin=subprocess.DEVNULL, stdout=f,
                                       stderr=subprocess.STDOUT, cwd=ROOT)
            try:
                code = process.wait(timeout=seconds)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
                code = -1
            f.seek(0)
            text = f.read()
        os.unlink(out)
        return code, text

    def try_up(self, seconds=UP_SECONDS_MAX):
        if self.made:
            self.write_config()
        return self.launcher("up", "--config", self.config, seconds=seconds)

    def up(self):
        code, text = self.try_up()
        expect(code == 0, "./hongbao up ended with", code, "\n" + text)
        self.keys = Keys(self.directory)
        return self

    def down(self):
        code, text = self.launcher("down", "--config", self.config)
        expect(code == 0, "./hongbao down ended with", code, "\n" + text)

    def remove(self):
        if not self.made:
            return
        shutil.rmtree(self.directory, ignore_errors=True)
        if os.path.exists(self.config):
            os.unlink(self.config)

    def pids(self, name):
        """Living processes of this node by name; nginx: the master first, then its workers."""
        try:
            with open(self.path("pid/" + name)) as f:
                pid, start = (int(word) for word in f.read().split())
            if started(pid) != start:
                return []
        except (OSError, ValueError):
            return []
        return [pid] + (children(pid) if name == "nginx" else [])

    def pid(self, name):
        found = self.pids(name)
        expect(len(found) >= 1, "no process", name, "of", self.directory)
        return found[0]

    def processes(self):
        """Every process of the node: list of (name, pid)."""
        return [(name, pid) for name in self.PROCESSES for pid in self.pids(name)]

    def kill(self, name, number=signal.SIGKILL):
        """Kill a process; 'nginx' means one worker. @return its pid"""
        pids = self.pids(name)
        if name == "nginx":
            pids = pids[1:]
        expect(len(pids) >= 1, "no process", name, "to kill")
        pid = random.choice(pids)
        os.kill(pid, number)
        return pid

    def business(self):
        return Business(self)

    def user(self, account, groups=(), **more):
        return User(self, account, groups, **more)

    def persist(self, command, **more):
        """One command to persist's admin socket. @return its answer"""
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as s:
            s.settimeout(90)
            s.connect(self.path("socket/persist/admin.sock"))
            s.sendall(json.dumps({"cmd": command, **more}).encode() + b"\n")
            data = b""
            while not data.endswith(b"\n"):
                piece = s.recv(65536)
                expect(piece, "persist hung up instead of answering", command)
                data += piece
        return json.loads(data)

    def control(self, method, path, value=None):
        """The admin API. @return (code, value)"""
        connection = Connection(self.path("socket/control/admin.sock"), 60)
        try:
            return connection.json(method, path, (), value)
        finally:
            connection.close()

    def metrics(self):
        """/metrics as a dictionary from name with labels to number."""
        connection = Connection(self.path("socket/control/admin.sock"), 60)
        _, _, text = connection.request("GET", "/metrics")
        connection.close()
        values = {}
        for line in text.decode().splitlines():
            if line and not line.startswith("#"):
                name, _, value = line.rpartition(" ")
                values[name] = float(value)
        return values

    def hbctl(self, *arguments, seconds=300):
        """@return (exit code, standard output, standard error)"""
        program = self.path("bin/hbctl")
        result = subprocess.run([program, "-c", self.path("etc/hongbao.conf"), *arguments],
                                capture_output=True, text=True, timeout=seconds)
        return result.returncode, result.stdout, result.stderr

    def check(self):
        """hbctl check. @return its JSON object"""
        code, out, err = self.hbctl("check", "--json")
        try:
            return json.loads(out.strip().splitlines()[-1])
        except (ValueError, IndexError):
            raise Failure("hbctl check ended with %d:\n%s%s" % (code, out, err))

    def expect_sound(self):
        self.wait_applied()
        value = self.check()
        expect(value.get("ok") is True and value.get("violations") == [], "hbctl check found",
               json.dumps(value))
        return value

    def lag(self):
        status = self.persist("status")
        committed = status["committed_seq"]
        appliers = status["appliers"]
        return max([a.get("lag", committed - a["seq"]) for a in appliers], default=0)

    def wait_applied(self, seconds=120):
        """Wait until MySQL stands where the journal stood when asked."""
        wanted = self.persist("status")["committed_seq"]
        wait_for("MySQL to reach %d" % wanted, seconds, lambda: all(
            a["seq"] >= wanted for a in self.persist("status")["appliers"]))

    def sql(self, text, database="hb_ledger"):
        """Rows of a query through the private server's socket, as lists of text."""
        result = subprocess.run(
            ["mariadb", "--no-defaults", "-N", "-B", "-S", self.path("socket/mysql/mysql.sock"),
             "-u", "root", database, "-e", text],
            capture_output=True, text=True, errors="replace", timeout=120)
        expect(result.returncode == 0, "SQL failed:", result.stderr)
        return [line.split("\t") for line in result.stdout.splitlines()]

    def log_text(self, name):
        path = self.path("log/%s.log" % name)
        if not os.path.exists(path):
            return ""
        with open(path, errors="replace") as f:
            return f.read()


def stat_fields(pid):
    """Fields of /proc/PID/stat behind the name, from the state on."""
    with open("/proc/%d/stat" % pid) as f:
        return f.read().rpartition(")")[2].split()


def started(pid):
    """Start time of a process in ticks: tells it from a later one with the same pid. None when
    it is dead."""
    try:
        fields = stat_fields(pid)
    except OSError:
        return None
    return None if fields[0] in "ZX" else int(fields[19])


def children(pid):
    """Living processes whose parent is this one, by pid."""
    found = []
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            try:
                fields = stat_fields(int(entry))
            except OSError:
                continue
            if int(fields[1]) == pid and fields[0] not in "ZX":
                found.append(int(entry))
    return sorted(found)


def cpu_us(pid):
    """CPU time of a process so far, microseconds."""
    fields = stat_fields(pid)
    return (int(fields[11]) + int(fields[12])) * 1000000 // os.sysconf("SC_CLK_TCK")


def thread_cpu_us(pid, name):
    """CPU time so far of a process's living threads of this name, microseconds."""
    total = 0
    for thread in os.listdir("/proc/%d/task" % pid):
        try:
            with open("/proc/%d/task/%s/comm" % (pid, thread)) as f:
                if f.read().strip() != name:
                    continue
            with open("/proc/%d/task/%s/schedstat" % (pid, thread)) as f:
                total += int(f.read().split()[0]) // 1000
        except OSError:
            continue  # ended meanwhile
    return total


def write_plan(path, headers, requests):
    """A plan for hongbao-bench (perf/plan.h).
    @param headers list of bytes: header lines that requests share
    @param requests iterable of (index of header, request line, body)"""
    count = 0
    with open(path, "wb") as f:
        f.write(b"HBPLAN1\n" + struct.pack("<II", len(headers), 0))
        for header in headers:
            f.write(struct.pack("<I", len(header)) + header)
        for header, line, body in requests:
            f.write(struct.pack("<IHH", header, len(line), len(body)) + line + body)
            count += 1
        f.seek(12)
        f.write(struct.pack("<I", count))
    return count


def in_threads(work, items):
    """Run work(item) in one thread per item; the first exception is raised here.
    @return results in the order of items"""
    results = [None] * len(items)
    errors = []

    def body(index):
        try:
            results[index] = work(items[index])
        except BaseException as error:  # carried over to the caller's thread
            errors.append(error)

    threads = [threading.Thread(target=body, args=(i,)) for i in range(len(items))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if errors:
        raise errors[0]
    return results


TESTS = []  # (module, function), in the order of definition


class Options:
    """What the command line of tests/e2e/run sets for all tests."""

    kills = 2
    outage_seconds = 5
    import_rows = 12000
    seed = 0


def test(function):
    """Mark a function as a test; its name is a sentence about behaviour."""
    TESTS.append((function.__module__, function))
    return function


class Fixture:
    """One node that all tests share which leave it as sound as they found it."""

    node = None

    @classmethod
    def shared(cls):
        if cls.node is None:
            cls.node = Node("e2e", dataplane__lcores=2).up()
        return cls.node

    @classmethod
    def drop(cls, keep):
        if cls.node is None:
            return
        cls.node.down()
        if not keep:
            cls.node.remove()
        cls.node = None


class OwnNode:
    """with OwnNode("name", option=value) as node: down at the end, removed when all went well."""

    def __init__(self, name, **options):
        self.node = Node("e2e-" + name, **options)

    def __enter__(self):
        try:
            return self.node.up()
        except BaseException:
            self.node.launcher("down", "--config", self.node.config)
            raise

    def __exit__(self, kind, value, trace):
        code, text = self.node.launcher("down", "--config", self.node.config)
        if kind is None:
            expect(code == 0, "./hongbao down ended with", code, "\n" + text)
            self.node.remove()
        else:
            log("the node of the failed test stays in", self.node.directory)


class Numbers:
    """Account numbers that no other test uses."""

    next = 100001

    @classmethod
    def take(cls, count):
        first = cls.next
        cls.next += count
        return list(range(first, first + count))


def lucky_packet(business, sender, total_fen, count, group, **more):
    """Open and credit the sender if needed, send one lucky packet. @return its id"""
    business.open_accounts([sender])
    business.credit([(sender, total_fen)])
    return business.packets([dict(sender=sender, kind="lucky", group=group, total_fen=total_fen,
                                  count=count, **more)])[0]
