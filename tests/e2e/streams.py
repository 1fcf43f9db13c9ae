# SPDX-License-Identifier: Apache-2.0
"""Clients of event streams: any number of them in one thread, each behaving like a browser's
EventSource: it keeps the last id, waits as long as it was told, and comes back.
"""
import json
import random
import selectors
import socket
import threading
import time

from lib import Failure

RECEIVE_BYTES = 65536


class Stream:
    """One user's stream. Read its fields after Streams.stop, or for a look."""

    def __init__(self, account, token, last_id=None, receive_buffer=None):
        self.account = account
        self.token = token
        self.last_id = last_id
        self.receive_buffer = receive_buffer
        self.events = []    # (event, id, value, monotonic seconds), after de-duplication by id
        self.seen = set()
        self.repeated = 0
        self.resyncs = []   # reasons
        self.ends = []      # reasons
        self.beats = 0
        self.connects = 0
        self.code = None    # of the last answer
        self.refusal = None
        self.retry_s = 1.0
        self.again = None   # when to connect
        self.socket = None
        self.bytes = 0

    def named(self, event):
        return [value for name, _, value, _ in self.events if name == event]


class Streams:
    """A thread that reads all streams. `reconnect` false: each connects once."""

    def __init__(self, node, reconnect=True):
        self.node = node
        self.reconnect = reconnect
        self.streams = []
        self.selector = selectors.DefaultSelector()
        self.commands = []
        self.lock = threading.Lock()
        self.stopping = threading.Event()
        self.failure = None
        self.thread = threading.Thread(target=self.run, daemon=True)
        self.thread.start()

    def add(self, stream, spread_s=0.0):
        stream.again = time.monotonic() + random.random() * spread_s
        with self.lock:
            self.streams.append(stream)
            self.commands.append(stream)
        return stream

    def stop(self):
        self.stopping.set()
        self.thread.join()
        for stream in self.streams:
            if stream.socket is not None:
                stream.socket.close()
                stream.socket = None
        if self.failure is not None:
            raise self.failure

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stop()

    def open_count(self):
        return sum(1 for s in self.streams if s.socket is not None and s.code == 200)

    # ---- the thread ----

    def run(self):
        waiting = []
        try:
            while not self.stopping.is_set():
                with self.lock:
                    waiting.extend(self.commands)
                    self.commands = []
                now = time.monotonic()
                due = [s for s in waiting if s.again <= now]
                if due:
                    waiting = [s for s in waiting if s.again > now]
                    for stream in due:
                        if not self.connect(stream):
                            waiting.append(stream)
                for key, _ in self.selector.select(0.02):
                    if self.receive(key.data):
                        waiting.append(key.data)
        except BaseException as error:  # shown by stop
            self.failure = error

    def connect(self, stream):
        text = ("GET /v1/events HTTP/1.1\r\nHost: hongbao\r\nAccept: text/event-stream\r\n"
                "Authorization: Bearer %s\r\n" % stream.token)
        if stream.last_id is not None:
            text += "Last-Event-ID: %s\r\n" % stream.last_id
        s = socket.socket()
        if stream.receive_buffer is not None:
            s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, stream.receive_buffer)
        s.settimeout(5)
        try:
            s.connect(self.node.address)
            s.sendall(text.encode() + b"\r\n")
        except OSError:
            s.close()
            stream.again = time.monotonic() + 0.3
            return False
        s.setblocking(False)
        stream.socket = s
        stream.connects += 1
        stream.code = None
        stream.raw = b""     # not parsed: head, or chunks
        stream.text = b""    # of the body
        stream.fields = {}
        stream.chunked = False
        stream.left = None   # of a body with a length
        self.selector.register(s, selectors.EVENT_READ, stream)
        return True

    def close(self, stream):
        self.selector.unregister(stream.socket)
        stream.socket.close()
        stream.socket = None
        if not self.reconnect:
            return False
        stream.again = time.monotonic() + stream.retry_s
        return True

    def receive(self, stream):
        """@return True when it is to be connected again"""
        try:
            data = stream.socket.recv(RECEIVE_BYTES)
        except BlockingIOError:
            return False
        except OSError:
            data = b""
        if not data:
            return self.close(stream)
        stream.bytes += len(data)
        stream.raw += data
        if stream.code is None and not self.head(stream):
            return False
        if stream.code != 200:
            stream.refusal = stream.raw
            if len(stream.raw) < stream.left:
                return False
            return self.close(stream)
        if not self.body(stream):
            return self.close(stream)
        return False

    def head(self, stream):
        if b"\r\n\r\n" not in stream.raw:
            return False
        head, stream.raw = stream.raw.split(b"\r\n\r\n", 1)
        lines = head.decode("latin-1").lower().split("\r\n")
        stream.code = int(lines[0].split(" ")[1])
        stream.chunked = "transfer-encoding: chunked" in lines
        stream.left = 0
        for line in lines:
            if line.startswith("content-length:"):
                stream.left = int(line.split(":")[1])
        if stream.code == 200 and "content-type: text/event-stream" not in lines:
            raise Failure("an event stream has the head %r" % head)
        return True

    def body(self, stream):
        """@return False when the body has ended"""
        while True:
            line, separator, rest = stream.raw.partition(b"\r\n")
            if not separator:
                return True
            size = int(line, 16)
            if len(rest) < size + 2:
                return True
            stream.text += rest[:size]
            stream.raw = rest[size + 2:]
            self.lines(stream)
            if size == 0:
                return False

    def lines(self, stream):
        *lines, stream.text = stream.text.split(b"\n")
        for line in lines:
            if line == b"":
                self.dispatch(stream)
            elif line.startswith(b":"):
                stream.beats += 1
            else:
                name, _, value = line.decode().partition(": ")
                stream.fields[name] = value

    def dispatch(self, stream):
        fields, stream.fields = stream.fields, {}
        if "retry" in fields:
            stream.retry_s = int(fields["retry"]) / 1000
        if "id" in fields:
            stream.last_id = fields["id"]
        if "data" not in fields:
            return
        value = json.loads(fields["data"])
        event = fields["event"]
        if event == "resync":
            stream.resyncs.append(value["reason"])
        elif event == "end":
            stream.ends.append(value["reason"])
        elif "id" in fields and fields["id"] in stream.seen:
            stream.repeated += 1
        else:
            stream.seen.add(fields.get("id"))
            stream.events.append((event, fields.get("id"), value, time.monotonic()))
