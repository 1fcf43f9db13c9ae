# SPDX-License-Identifier: Apache-2.0
"""Frames over TCP, written from docs/frames.md alone (standard library only).

A Wire is one connection of one user. It may ask on before it is answered; `ask` sends frames and
returns their replies in the order of the frames.
"""
import socket
import struct
import time

FRAME = struct.Struct("<BBHIQQQQQQII")
REPLY_HEAD = struct.Struct("<BBHHHQqqQQIIQ")
HELLO, GRAB, CREATE, DETAIL, BALANCE, ASK, TRANSFER = 0, 1, 2, 3, 4, 5, 6
IN_WORK_MAX = 64


def make_hello(token, correlation=0):
    text = token.encode()
    text += bytes(-len(text) % 64)
    return FRAME.pack(1, HELLO, 64 + len(text), 0, correlation, 0, 0, 0, 0, 0, 0, 0) + text


def make_frame(operation, target, group=0, token=(0, 0, 0), sequence=0, correlation=0, body=b"",
               user=0, issued=None):
    """`token`: id, MAC and expiry in seconds of a money token."""
    return FRAME.pack(1, operation, 64 + len(body), int(time.time()) if issued is None else issued,
                      correlation, target, user, group, token[0], token[1], token[2],
                      sequence) + body


class Closed(Exception):
    """The node ended the connection."""


class Wire:
    def __init__(self, address, token="", timeout=10.0, tls=None):
        self.socket = socket.create_connection(address, timeout=timeout)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if tls is not None:
            self.socket = tls.wrap_socket(self.socket, server_hostname=address[0])
        self.waiting = b""
        self.correlation = 1 << 40
        if token:
            self.hello = self.greet(token)

    def close(self):
        self.socket.close()

    def greet(self, token):
        """Say who one is. @return the fields of the reply"""
        self.send(make_hello(token, 1))
        return self.receive()[0]

    def send(self, data):
        self.socket.sendall(data)

    def more(self):
        data = self.socket.recv(65536)
        if not data:
            raise Closed
        self.waiting += data

    def receive(self):
        """The next reply: (fields, bytes)."""
        while len(self.waiting) < REPLY_HEAD.size:
            self.more()
        fields = REPLY_HEAD.unpack_from(self.waiting)
        while len(self.waiting) < fields[2]:
            self.more()
        data, self.waiting = self.waiting[:fields[2]], self.waiting[fields[2]:]
        return fields, data

    def ask(self, frames):
        """Frames get correlations of their own; never more than the node takes are in work."""
        first = self.correlation
        self.correlation += len(frames)
        replies, sent = {}, 0
        while len(replies) < len(frames):
            some = b""
            while sent < len(frames) and sent - len(replies) < IN_WORK_MAX:
                frame = frames[sent]
                some += frame[:8] + struct.pack("<Q", first + sent) + frame[16:]
                sent += 1
            if some:
                self.send(some)
            fields, data = self.receive()
            index = fields[5] - first
            if index in replies or not 0 <= index < sent:
                raise AssertionError("a reply that nobody waits for: %r" % (fields,))
            replies[index] = fields, data
        return [replies[index] for index in range(len(frames))]
