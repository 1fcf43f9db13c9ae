#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""A client written from docs/frames.md alone: attaches, opens accounts, sends a packet, grabs it.

Usage: frame_client.py SOCKET. Prints what it sees; exits 1 when something differs from the page.
"""
import mmap
import os
import select
import socket
import struct
import sys
import time

MASK = 2**64 - 1
FEES = 5
GRAB, CREATE, DETAIL, BALANCE, ASK = 1, 2, 3, 4, 5
ISSUE, TAKE, OPEN, ORDER, CREDIT, QUERY, EXPIRE, MARK = 16, 17, 18, 19, 20, 21, 22, 32
LENGTH = {CREATE: 256, DETAIL: 128, ASK: 128, ISSUE: 128, OPEN: 128, ORDER: 128, CREDIT: 128,
          QUERY: 128}


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


def system_account(which, partition):
    return 0x7F << 56 | partition << 52 | which


class Client:
    def __init__(self, path):
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.socket.connect(path)
        self.socket.send(struct.pack("<IIQII32s", 0x68626174, 1, 0, 0, 4096, b"frame_client.py"))
        welcome, fds, _, _ = socket.recv_fds(self.socket, 224, 32)
        (magic, version, _, error, self.lcores, self.mask, self.generation, self.request_bytes,
         self.reply_bytes, owners, message) = struct.unpack("<IIQiIQQII16s160s", welcome)
        assert magic == 0x68626174 and version == 1
        if error:
            raise SystemExit("refused: " + message.rstrip(b"\0").decode())
        assert len(fds) == 3 + self.lcores
        self.owner = list(owners)
        self.memory = mmap.mmap(fds[0], 0)
        self.words = memoryview(self.memory).cast("Q")
        self.halves = memoryview(self.memory).cast("I")
        self.node = mmap.mmap(fds[2], 0, prot=mmap.PROT_READ)
        self.bell, self.lcore_bell = fds[1], fds[3:]
        assert struct.unpack_from("<QII", self.memory, 0) == (0x6F61626F676E6F68, 3, 3)
        assert struct.unpack_from("<Q", self.memory, 24)[0] == len(self.memory)
        self.correlation = 0

    # A counter is read and written in one piece: struct.pack_into clears its place first, and an
    # owner that looks in that instant finds the ring out of order and cuts its client off.
    def word(self, offset):
        return self.words[offset // 8]

    def store(self, offset, value):
        self.words[offset // 8] = value

    def data(self, lcore):
        return 16384 + lcore * (self.request_bytes + self.reply_bytes)

    def send(self, frame):
        lcore = self.owner[partition_of(struct.unpack_from("<Q", frame, 16)[0])]
        control = 4096 + lcore * 384
        head, tail = self.word(control), self.word(control + 128)
        assert self.request_bytes - (head - tail) >= len(frame)
        for i, byte in enumerate(frame):
            self.memory[self.data(lcore) + (head + i) % self.request_bytes] = byte
        self.store(control, head + len(frame))
        os.eventfd_write(self.lcore_bell[lcore], 1)

    def receive(self):
        for lcore in range(self.lcores):
            control = 4096 + 16 * 384 + lcore * 384
            head, tail = self.word(control), self.word(control + 128)
            if head == tail:
                continue
            base = self.data(lcore) + self.request_bytes
            size = self.reply_bytes
            at = [self.memory[base + (tail + i) % size] for i in range(64)]
            length = at[2] | at[3] << 8
            reply = bytes(self.memory[base + (tail + i) % size] for i in range(length))
            self.store(control + 128, tail + length)
            return reply
        return None

    def sleep(self, value):
        for lcore in range(self.lcores):
            self.halves[(4096 + 16 * 384 + lcore * 384 + 256) // 4] = value

    def call(self, operation, target, user=0, group=0, body=b"", token=(0, 0, 0, 0)):
        self.correlation += 1
        length = LENGTH.get(operation, 64)
        frame = struct.pack("<BBHIQQQQQQII", 1, operation, length, int(time.time()),
                            self.correlation, target, user, group, *token) + body
        self.send(frame.ljust(length, b"\0"))
        until = time.time() + 3
        while time.time() < until:
            self.sleep(1)
            reply = self.receive()
            if reply is None:
                ready, _, _ = select.select([self.bell, self.socket], [], [], 0.05)
                if self.socket in ready:
                    raise SystemExit("the dataplane has cut this client off")
                reply = self.receive()
            self.sleep(0)
            if reply is not None:
                head = struct.unpack_from("<BBHHHQqqQQIIQ", reply)
                assert head[0] == 1 and head[1] == operation and head[2] == len(reply)
                assert head[5] == self.correlation
                return head[3], head[4], head[6:], reply
        raise SystemExit("no reply")


def expect(name, seen, wanted):
    print(name, seen)
    if seen != wanted:
        raise SystemExit(f"{name}: expected {wanted}, saw {seen}")


def main():
    client = Client(sys.argv[1])
    sender, grabber, group = 1001, 2000, 7
    expect("open", client.call(OPEN, sender, body=bytes(16) + b"\1")[0], 0)
    order = struct.pack("<16sQqHHIQ", b"key-of-an-order!", 0, 1000, 10, 4, 0, 0)
    status, _, (amount, _, ident, stamp, _, _, _), _ = client.call(ORDER, sender, body=order)
    expect("order", (status, amount, ident), (0, 1000, sender))
    status, flags, again, _ = client.call(ORDER, sender, body=order)
    expect("order again", (status, flags, again[3]), (0, 1, stamp))
    credit = struct.pack("<16sQq", b"", stamp, 1000)
    expect("credit", client.call(CREDIT, sender, body=credit)[0], 0)
    status, _, head, reply = client.call(QUERY, sender, body=credit)
    expect("query", struct.unpack_from("<QqHB", reply, 64), (sender, 1000, 10, 2))
    create = struct.pack("<16sBBBBIqqqQII128s", b"key-of-a-packet!", 2, 1, 5, 0, 3, 300, 0, 0, 0,
                         3600, 0, "福气".encode()[:5])
    create = create[:-128] + b"hello".ljust(128, b"\0")
    status, _, head, _ = client.call(CREATE, sender, sender, group, create)
    packet = head[2]
    expect("create", (status, head[0], packet >> 56, packet >> 52 & 15),
           (0, 300, 1, partition_of(sender)))
    # a token of the grabber's own, asked for and taken
    expect("ask", client.call(ASK, packet, grabber, body=b"\1")[0], 0)
    take = system_account(FEES, partition_of(packet))
    status, flags, head, reply = client.call(TAKE, take)
    expect("take", (status, flags, head[5]), (0, 0, 1))
    ident, mac, user, target, expiry, sequence, operation = struct.unpack_from(
        "<QQQQIIB", reply, 64)
    expect("token", (user, target, operation, expiry - (ident >> 14) // 1000),
           (grabber, packet, GRAB, 3600))
    token = (ident, mac, expiry, sequence + 1)
    bad = (ident, mac ^ 1, expiry, sequence + 1)
    expect("bad token", client.call(GRAB, packet, grabber, group, token=bad)[0], 14)
    expect("wrong group", client.call(GRAB, packet, grabber, 8, token=token)[0], 11)
    status, flags, head, _ = client.call(GRAB, packet, grabber, group, token=token)
    share = head[0]
    expect("grab", (status, flags, head[1], head[4], head[5]), (0, 0, 300 - share, 0, 2))
    status, flags, head, _ = client.call(GRAB, packet, grabber, group, token=token)
    expect("grab again", (status, flags, head[0]), (0, 1, share))
    expect("balance", client.call(BALANCE, grabber, grabber)[2][0], share)
    expect("frozen", client.call(BALANCE, sender, sender)[2][:2], (700, 300 - share))
    status, _, head, reply = client.call(DETAIL, packet, sender, body=struct.pack("<I", 0))
    expect("detail", struct.unpack_from("<QQQqqq", reply, 64),
           (sender, group, 0, 300, 300 - share, 0))
    expect("bounds", head[:2], (1, 300))
    expect("shares", struct.unpack_from("<IIIBBBB", reply, 128), (3, 1, 2**32 - 1, 1, 2, 1, 5))
    expect("greeting", reply[208:213], b"hello")
    expect("claim", struct.unpack_from("<Qq", reply, 336), (grabber, share))
    expect("not due", client.call(EXPIRE, packet)[0], 29)
    expect("mark", client.call(MARK, system_account(FEES, 3))[0], 0)
    expect("unknown", client.call(GRAB, packet + 1, grabber, group)[0], 10)


if __name__ == "__main__":
    main()
