# SPDX-License-Identifier: Apache-2.0
"""Clients of a node that is being tortured: over HTTP, frames over TCP and frames over UDP, a process
for each way. A client asks with the same bytes until it knows the outcome, writes the outcome to its
own history, syncs it, and only then counts it and goes on.

A line of a history is a JSON list: ["g", user, packet, status, amount] or
["t", user, to, status, amount]. Status ok counts as an acknowledgement; sold_out is an outcome too;
everything else is an answer that must not be. The histories are all that the proof believes
(torture_history.py).
"""
import collections
import ctypes
import errno
import json
import multiprocessing
import os
import selectors
import signal
import socket
import struct
import sys
import time

from lib import ROOT, HttpError

sys.path.insert(0, os.path.join(ROOT, "tests", "dataplane"))
import tcp_client  # noqa: E402
import udp_client  # noqa: E402

GROUP = 9
FINE = ("ok", "sold_out")
# Answers that leave the outcome open, or say that there was none: ask again.
AGAIN_HTTP = (202, 429, 500, 502, 503, 504)
AGAIN_STATUS = {30: "busy", 32: "clock_stopped", 33: "storage_low", 38: "unknown_outcome",
                50: "degraded"}
NAMES = {0: "ok", 13: "sold_out"}
ANSWER_S_MAX = 2.0  # without an answer for so long: another connection, the same request
BACK_OFF_S = 0.02
GRAB, TRANSFER = 1, 6

# What a client tells while it runs, in shared memory.
ACKED, ANSWERED, UNKNOWN, BACKLOG, BUSY, LATEST_BEGUN, REFUSED_STORAGE, REFUSED_CLOCK = range(8)
FIELDS = 8


class Job:
    """One thing to do; `begun` is when it was asked for the first time, `asked` the last time."""

    __slots__ = ("kind", "user", "what", "amount", "token", "fields", "sequence", "begun", "asked",
                 "due")

    def __init__(self, values):
        (self.kind, self.user, self.what, self.amount, self.token, self.fields,
         self.sequence) = values
        self.begun = self.asked = self.due = 0.0

    def line(self, status, amount):
        return [self.kind, self.user, self.what, status, amount]


class Way:
    """What all ways share: jobs that come, wait, are asked, answered and written down."""

    tells_begin = True  # an answer belongs to the latest time its request was sent

    def __init__(self, spec, told, pipe):
        self.spec = spec
        self.told = told  # a piece of shared memory, FIELDS numbers
        self.pipe = pipe
        self.fresh = collections.deque()
        self.again = collections.deque()
        self.finishing = False
        self.history = os.open(spec["history"], os.O_CREAT | os.O_WRONLY | os.O_APPEND |
                               os.O_DSYNC, 0o600)
        self.allowance = 0.0
        self.latest = time.monotonic()

    def room(self):
        raise NotImplementedError

    def ask(self, job):
        """Send; @return False when it cannot be sent now."""
        raise NotImplementedError

    def poll(self, seconds):
        """@return list of (job, status name or None: ask again, amount)"""
        raise NotImplementedError

    def hear(self):
        while self.pipe.poll():
            word = self.pipe.recv()
            if word is None:
                self.finishing = True
                self.fresh.clear()
            else:
                self.fresh.extend(Job(values) for values in word)

    def begin(self):
        now = time.monotonic()
        rate = self.spec["rate"]
        self.allowance = min(self.allowance + (now - self.latest) * rate, rate * 0.1 + 1)
        self.latest = now
        while self.again and self.again[0].due <= now and self.room() > 0:
            job = self.again.popleft()
            if not self.ask(job):
                self.later(job)
                break
            job.asked = now
        while self.fresh and self.allowance >= 1 and self.room() > 0:
            job = self.fresh.popleft()
            job.begun = job.asked = now
            self.allowance -= 1
            if not self.ask(job):
                self.later(job)
                break

    def later(self, job):
        job.due = time.monotonic() + BACK_OFF_S
        self.again.append(job)

    def refused(self, status):
        """An answer that asks for another try."""
        self.told[UNKNOWN] += 1
        if status == "storage_low":
            self.told[REFUSED_STORAGE] += 1
        elif status == "clock_stopped":
            self.told[REFUSED_CLOCK] += 1

    def write_down(self, outcomes):
        """The history is on disk before anybody counts on it."""
        text = "".join(json.dumps(job.line(status, amount), separators=(",", ":")) + "\n"
                       for job, status, amount in outcomes)
        if not text:
            return
        data = text.encode()
        if os.write(self.history, data) != len(data):
            raise OSError(errno.EIO, "the history was cut short")
        acked = [job.asked for job, status, _ in outcomes if status == "ok"]
        if acked and self.tells_begin:
            self.told[LATEST_BEGUN] = max(self.told[LATEST_BEGUN], max(acked))
        self.told[ACKED] += len(acked)
        self.told[ANSWERED] += len(outcomes)

    def under_way(self):
        raise NotImplementedError

    def run(self):
        while True:
            self.hear()
            self.begin()
            outcomes = []
            for job, status, amount in self.poll(0.005):
                if status is None:
                    self.later(job)
                else:
                    outcomes.append((job, status, amount))
            self.write_down(outcomes)
            self.told[BACKLOG] = len(self.fresh)
            self.told[BUSY] = self.under_way() + len(self.again)
            if self.finishing and self.told[BUSY] == 0:
                return
            if os.getppid() != self.spec["parent"]:
                return


class Slot:
    """One HTTP connection with at most one request on it."""

    def __init__(self):
        self.socket = None
        self.job = None
        self.rest = b""


class Http(Way):
    def __init__(self, spec, told, pipe):
        super().__init__(spec, told, pipe)
        self.address = tuple(spec["address"])
        self.selector = selectors.DefaultSelector()
        self.free = [Slot() for _ in range(spec["at_once"])]
        self.slots = list(self.free)
        self.failed = []

    def room(self):
        return len(self.free)

    def under_way(self):
        return len(self.slots) - len(self.free) + len(self.failed)

    def request(self, job):
        head = "Authorization: Bearer " + self.spec["jwt"][job.user] + "\r\n"
        value = {"token": job.token, "sequence": job.sequence}
        if job.kind == "g":
            path, value["group"] = "/v1/packets/%s/grab" % job.what, GROUP
        else:
            path = "/v1/transfers"
            value.update(to=job.what, amount_fen=job.amount)
        body = json.dumps(value)
        return ("POST %s HTTP/1.1\r\nHost: hongbao\r\n%sContent-Type: application/json\r\n"
                "Content-Length: %d\r\n\r\n%s" % (path, head, len(body), body)).encode()

    def connect(self, slot):
        slot.socket = socket.create_connection(self.address, timeout=0.5)
        slot.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        slot.socket.settimeout(0.5)
        slot.rest = b""
        self.selector.register(slot.socket, selectors.EVENT_READ, slot)

    def hang_up(self, slot):
        if slot.socket is not None:
            self.selector.unregister(slot.socket)
            slot.socket.close()
            slot.socket = None

    def ask(self, job):
        slot = self.free.pop()
        try:
            if slot.socket is None:
                self.connect(slot)
            slot.socket.sendall(self.request(job))
            slot.job = job
            return True
        except OSError:
            self.hang_up(slot)
            self.free.append(slot)
            self.refused("")
            return False

    def answered(self, slot):
        """@return (code, JSON) when the answer is whole"""
        head, separator, rest = slot.rest.partition(b"\r\n\r\n")
        if not separator:
            return None
        length = 0
        for line in head.lower().split(b"\r\n")[1:]:
            name, _, value = line.partition(b":")
            if name == b"content-length":
                length = int(value)
            elif name == b"transfer-encoding":
                raise HttpError("an answer in pieces")
        if len(rest) < length:
            return None
        slot.rest = b""
        return int(head.split(b" ")[1]), rest[:length], b"connection: close" in head.lower()

    def judge(self, slot, code, body):
        job, slot.job = slot.job, None
        self.free.append(slot)
        value = json.loads(body) if body else {}
        status = value.get("status", "")
        if code in AGAIN_HTTP:
            self.refused(status)
            return job, None, 0
        return job, status, value.get("amount_fen", 0) if code == 200 else 0

    def lost(self, slot):
        job, slot.job = slot.job, None
        self.hang_up(slot)
        if job is None:
            return []
        self.free.append(slot)
        self.refused("")
        return [(job, None, 0)]

    def poll(self, seconds):
        outcomes = []
        for key, _ in self.selector.select(seconds):
            slot = key.data
            try:
                data = slot.socket.recv(65536)
                slot.rest += data
                if not data or slot.job is None:
                    outcomes += self.lost(slot)
                    continue
                answer = self.answered(slot)
            except (OSError, HttpError):
                outcomes += self.lost(slot)
                continue
            if answer is not None:
                outcomes.append(self.judge(slot, answer[0], answer[1]))
                if answer[2]:
                    self.hang_up(slot)
        now = time.monotonic()
        for slot in self.slots:
            if slot.job is not None and now - slot.job.asked > ANSWER_S_MAX:
                outcomes += self.lost(slot)
        return outcomes


def frame_body(job):
    if job.kind == "t":
        return bytes(16) + struct.pack("<Qq", job.what, job.amount) + bytes(32)
    return b""


class Line:
    """The TCP connection of one user."""

    def __init__(self, user):
        self.user = user
        self.socket = None
        self.greeted = False
        self.hello_at = 0.0
        self.jobs = {}  # correlation -> job
        self.rest = b""


class Frames:
    """What both ways of frames share: an answer's fields become an outcome."""

    def judge_frame(self, job, fields):
        status, amount = fields[3], fields[6]
        if status in AGAIN_STATUS:
            self.refused(AGAIN_STATUS[status])
            return job, None, 0
        return job, NAMES.get(status, "status %d" % status), amount if status == 0 else 0


class Tcp(Way, Frames):
    def __init__(self, spec, told, pipe):
        super().__init__(spec, told, pipe)
        self.address = tuple(spec["address"])
        self.selector = selectors.DefaultSelector()
        self.lines = {}
        self.correlation = 0
        self.jobs_count = 0

    def room(self):
        return self.spec["at_once"] - self.jobs_count

    def under_way(self):
        return self.jobs_count

    def connect(self, line):
        line.socket = socket.create_connection(self.address, timeout=0.5)
        line.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        line.socket.settimeout(0.5)
        line.rest = b""
        line.socket.sendall(tcp_client.make_hello(self.spec["jwt"][line.user], 0))
        line.hello_at = time.monotonic()
        self.selector.register(line.socket, selectors.EVENT_READ, line)

    def ask(self, job):
        line = self.lines.setdefault(job.user, Line(job.user))
        self.correlation += 1
        target = int(job.what, 16) if job.kind == "g" else job.user
        frame = tcp_client.make_frame(GRAB if job.kind == "g" else TRANSFER, target, GROUP,
                                      job.fields, job.sequence, self.correlation, frame_body(job))
        try:
            if line.socket is None:
                self.connect(line)
            line.socket.sendall(frame)
        except OSError:
            self.again.extend(job for job, _, _ in self.lost(line))
            self.refused("")
            return False
        line.jobs[self.correlation] = job
        self.jobs_count += 1
        return True

    def lost(self, line):
        if line.socket is not None:
            try:
                self.selector.unregister(line.socket)
            except KeyError:
                pass
            line.socket.close()
            line.socket = None
        jobs, line.jobs = list(line.jobs.values()), {}
        self.jobs_count -= len(jobs)
        for _ in jobs:
            self.refused("")
        return [(job, None, 0) for job in jobs]

    def take(self, line):
        outcomes = []
        while len(line.rest) >= 64:
            fields = tcp_client.REPLY_HEAD.unpack_from(line.rest)
            if len(line.rest) < fields[2]:
                break
            line.rest = line.rest[fields[2]:]
            if fields[1] == tcp_client.HELLO:
                if fields[3] != 0:
                    raise HttpError("the hello was refused with %d" % fields[3])
                continue
            job = line.jobs.pop(fields[5], None)
            if job is None:
                continue
            self.jobs_count -= 1
            outcomes.append(self.judge_frame(job, fields))
        return outcomes

    def poll(self, seconds):
        outcomes = []
        for key, _ in self.selector.select(seconds):
            line = key.data
            try:
                data = line.socket.recv(65536)
                if not data:
                    raise HttpError("hung up")
                line.rest += data
                outcomes += self.take(line)
            except (OSError, HttpError):
                outcomes += self.lost(line)
        now = time.monotonic()
        for line in self.lines.values():
            if line.jobs and now - min(job.asked for job in line.jobs.values()) > ANSWER_S_MAX:
                outcomes += self.lost(line)
        return outcomes


class Udp(Way, Frames):
    """A front: its key vouches for the users. What has no answer is asked again by itself."""

    AGAIN_S = (0.03, 0.06, 0.12, 0.25, 0.5)
    tells_begin = False

    def __init__(self, spec, told, pipe):
        super().__init__(spec, told, pipe)
        libc = ctypes.CDLL(None, use_errno=True)
        there = os.open(spec["namespace"], os.O_RDONLY)
        if libc.setns(there, 0x40000000) != 0:
            raise OSError(ctypes.get_errno(), "setns")
        os.close(there)
        self.front = udp_client.Front(spec["address"], spec["key_id"], bytes.fromhex(spec["key"]),
                                      lcores=spec["lcores"])
        self.jobs = {}  # correlation -> [job, tries, when next]
        self.unsent = []

    def room(self):
        return self.spec["at_once"] - len(self.jobs)

    def under_way(self):
        return len(self.jobs)

    def ask(self, job):
        self.front.correlation += 1
        self.jobs[self.front.correlation] = [job, 0, 0.0]
        return True

    def send_due(self):
        now = time.monotonic()
        frames = []
        for correlation, entry in self.jobs.items():
            job, tries, when = entry
            if when > now:
                continue
            entry[1] = min(tries + 1, len(self.AGAIN_S) - 1)
            entry[2] = now + self.AGAIN_S[min(tries, len(self.AGAIN_S) - 1)]
            job.asked = now
            if tries > 0:
                self.told[UNKNOWN] += 1
            target = int(job.what, 16) if job.kind == "g" else job.user
            frames.append(udp_client.make_frame(
                GRAB if job.kind == "g" else TRANSFER, target, job.user, GROUP, job.fields,
                job.sequence, correlation, frame_body(job)))
        try:
            self.front.send(frames)
        except OSError:
            pass  # nobody is there at the moment

    def poll(self, seconds):
        self.send_due()
        outcomes = []
        try:
            replies = self.front.take(seconds)
        except OSError:
            replies = []
        for fields, _ in replies:
            entry = self.jobs.get(fields[5])
            if entry is None:
                continue
            job, status, amount = self.judge_frame(entry[0], fields)
            if status is not None:
                del self.jobs[fields[5]]
                outcomes.append((job, status, amount))
        return outcomes


WAYS = {"http": Http, "tcp": Tcp, "udp": Udp}


def client_main(way, spec, told, pipe):
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    WAYS[way](spec, told, pipe).run()


class Client:
    """The process of one way, as its parent sees it."""

    def __init__(self, way, spec):
        self.way = way
        self.history = spec["history"]
        self.told = multiprocessing.RawArray("d", FIELDS)
        self.pipe, far = multiprocessing.Pipe()
        self.process = multiprocessing.Process(target=client_main, args=(
            way, dict(spec, parent=os.getpid()), self.told, far), daemon=True)
        self.process.start()
        far.close()

    def alive(self):
        return self.process.is_alive()

    def give(self, jobs):
        self.pipe.send(jobs)

    def finish(self, seconds):
        """Nothing new is begun; what was begun gets its outcome. @return False: not in time"""
        try:
            self.pipe.send(None)
        except OSError:
            return False
        self.process.join(seconds)
        if self.process.is_alive():
            return False
        return self.process.exitcode == 0

    def end(self):
        if self.process.is_alive():
            self.process.kill()
        self.process.join()
