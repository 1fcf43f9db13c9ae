#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Frames over UDP, written from docs/frames.md alone (standard library only).

A Front sends frames in datagrams and asks again until each has its answer. Its `spoil` is a
function that gets every datagram to be sent and returns those that are: for tests of lost, doubled
and reordered ones.
"""
import select
import socket
import struct
import time

MASK = 2**64 - 1
MAGIC, VERSION, REPLY = 0x67646268, 1, 1
HEAD = struct.Struct("<IBBBBIIQQ16s")
FRAME = struct.Struct("<BBHIQQQQQQII")
REPLY_HEAD = struct.Struct("<BBHHHQqqQQIIQ")
GRAB, CREATE, DETAIL, BALANCE, ASK, TRANSFER = 1, 2, 3, 4, 5, 6
FRAMES_MAX, DATAGRAM_MAX = 22, 1472
BUSY = 30


def mix64(x):
    x ^= x >> 33
    x = x * 0xFF51AFD7ED558CCD & MASK
    x ^= x >> 33
    x = x * 0xC4CEB9FE1A85EC53 & MASK
    return x ^ x >> 33


def partition_of(target):
    if target >> 56 == 0:
        return mix64(target) % 10000 % 16
    return target >> 52 & 15


def siphash128(key, data):
    """SipHash-2-4 with 128 bits of output."""
    k0, k1 = struct.unpack("<QQ", key)
    v0, v1 = k0 ^ 0x736F6D6570736575, k1 ^ 0x646F72616E646F6D ^ 0xEE
    v2, v3 = k0 ^ 0x6C7967656E657261, k1 ^ 0x7465646279746573

    def rounds(n):
        nonlocal v0, v1, v2, v3
        for _ in range(n):
            v0 = v0 + v1 & MASK
            v1 = (v1 << 13 | v1 >> 51) & MASK ^ v0
            v0 = (v0 << 32 | v0 >> 32) & MASK
            v2 = v2 + v3 & MASK
            v3 = (v3 << 16 | v3 >> 48) & MASK ^ v2
            v0 = v0 + v3 & MASK
            v3 = (v3 << 21 | v3 >> 43) & MASK ^ v0
            v2 = v2 + v1 & MASK
            v1 = (v1 << 17 | v1 >> 47) & MASK ^ v2
            v2 = (v2 << 32 | v2 >> 32) & MASK

    whole = len(data) // 8 * 8
    last = int.from_bytes(data[whole:], "little") | (len(data) & 255) << 56
    for word in list(struct.unpack("<%dQ" % (whole // 8), data[:whole])) + [last]:
        v3 ^= word
        rounds(2)
        v0 ^= word
    v2 ^= 0xEE
    rounds(4)
    first = v0 ^ v1 ^ v2 ^ v3
    v1 ^= 0xDD
    rounds(4)
    return struct.pack("<QQ", first, v0 ^ v1 ^ v2 ^ v3)


def make_frame(operation, target, user, group=0, token=None, sequence=0, correlation=0, body=b"",
               issued=None):
    """`token`: (id, mac, expiry in seconds) or None."""
    token_id, token_mac, expiry = token or (0, 0, 0)
    return FRAME.pack(1, operation, 64 + len(body), int(time.time()) if issued is None else issued,
                      correlation, target, user, group, token_id, token_mac, expiry,
                      sequence) + body


def make_datagram(key_id, key, frames, number=0, flags=0):
    body = b"".join(frames)
    head = HEAD.pack(MAGIC, VERSION, flags, len(frames), 0, key_id, len(body), number, 0, bytes(16))
    return head[:32] + siphash128(key, head + body) + body


def split_datagram(key, data):
    """The replies of a datagram as (fields, bytes); None when it is not the node's."""
    if len(data) < HEAD.size:
        return None
    magic, version, flags, count, _, _, length, _, _, mac = HEAD.unpack_from(data)
    if (magic, version, flags, length) != (MAGIC, VERSION, REPLY, len(data) - HEAD.size):
        return None
    if siphash128(key, data[:32] + bytes(16) + data[HEAD.size:]) != mac:
        return None
    replies, at = [], HEAD.size
    for _ in range(count):
        fields = REPLY_HEAD.unpack_from(data, at)
        replies.append((fields, data[at:at + fields[2]]))
        at += fields[2]
    return replies


class Front:
    def __init__(self, address, key_id, key, base=7400, lcores=1, bind=None, spoil=None):
        self.address, self.key_id, self.key = address, key_id, key
        self.base, self.lcores, self.spoil = base, lcores, spoil or (lambda data: [data])
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 22)
        if bind:
            self.socket.bind((bind, 0))
        self.frames_max = FRAMES_MAX
        self.number = self.correlation = 0
        self.sent = self.resent = 0

    def port_of(self, frame):
        return self.base + partition_of(struct.unpack_from("<Q", frame, 16)[0]) % self.lcores

    def send(self, frames):
        """Send frames, those of one owner together."""
        owners = {}
        for frame in frames:
            owners.setdefault(self.port_of(frame), []).append(frame)
        for port, mine in owners.items():
            while mine:
                some, size = [], HEAD.size
                while mine and len(some) < self.frames_max and size + len(mine[0]) <= DATAGRAM_MAX:
                    size += len(mine[0])
                    some.append(mine.pop(0))
                self.number += 1
                self.sent += 1
                data = make_datagram(self.key_id, self.key, some, self.number)
                for spoiled in self.spoil(data):
                    self.socket.sendto(spoiled, (self.address, port))

    def take(self, seconds):
        """Replies that come within a time, at least one if there is any."""
        replies = []
        while select.select([self.socket], [], [], 0 if replies else seconds)[0]:
            replies += split_datagram(self.key, self.socket.recv(2048)) or []
        return replies

    def ask(self, frames, seconds=10.0, again=0.2):
        """Send frames and ask again, each with the same bytes but for the issue time, until all are
        answered. Returns {index: (fields, bytes)}; what is missing was not answered in time."""
        waiting, answers = {}, {}
        for index, frame in enumerate(frames):
            self.correlation += 1
            waiting[self.correlation] = index
        correlation_of = {index: c for c, index in waiting.items()}
        end = time.monotonic() + seconds
        first = True
        while waiting and time.monotonic() < end:
            self.resent += 0 if first else len(waiting)
            first = False
            self.send([frame[:4] + struct.pack("<IQ", int(time.time()), correlation_of[index])
                       + frame[16:] for index, frame in enumerate(frames)
                       if correlation_of[index] in waiting])
            until = time.monotonic() + again
            while waiting and time.monotonic() < until:
                for fields, data in self.take(max(0.0, until - time.monotonic())):
                    index = waiting.get(fields[5])
                    if index is None or fields[3] == BUSY:
                        continue
                    del waiting[fields[5]]
                    answers[index] = (fields, data)
        return answers
