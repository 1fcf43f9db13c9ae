#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""An independent reader of a journal directory, written from docs/journal-format.md alone.

    journal_reader.py DIR           walk everything, print one line of totals
    journal_reader.py DIR --expect N --grabs M
                                    exit 1 unless it ends at sequence N with M GRAB records
    journal_reader.py DIR --json    the totals as one JSON object

Slow and simple on purpose. Reads only; nothing is left behind if it dies.
"""
import argparse
import ctypes
import hashlib
import json
import pathlib
import struct
import sys

BLOCK = 4096
FRAME_HEADER = 192
LENGTHS = {1: 80, 2: 560, 10: 72, 11: 80, 12: 80, 20: 96, 21: 144, 22: 88, 30: 96, 40: 232, 41: 96,
           42: 64, 50: 120, 51: 104, 52: 104, 60: 104, 70: 112, 71: 112, 72: 112, 80: 120, 90: 48}

# Where a type names order stamps; an EVICT may name one. Bit 62 of any makes the record version 2.
STAMPS = {20: [32], 21: [32], 22: [32], 30: [32], 40: [96], 41: [72], 42: [48], 50: [64], 51: [64],
          52: [64], 60: [56], 70: [32, 64], 71: [32, 64], 72: [32, 64], 80: [56], 90: [32]}


def crc_table():
    table = []
    for byte in range(256):
        crc = byte
        for _ in range(8):
            crc = crc >> 1 ^ (0x82F63B78 if crc & 1 else 0)
        table.append(crc)
    return table


TABLE = crc_table()


def crc32c(data):
    crc = 0xFFFFFFFF
    for byte in data:
        crc = TABLE[(crc ^ byte) & 0xFF] ^ crc >> 8
    return crc ^ 0xFFFFFFFF


class Damaged(Exception):
    pass


def need(condition, what):
    if not condition:
        raise Damaged(what)


def unpack_zstd(data, length):
    zstd = ctypes.CDLL("libzstd.so.1")
    zstd.ZSTD_decompress.restype = ctypes.c_size_t
    zstd.ZSTD_decompress.argtypes = [ctypes.c_char_p, ctypes.c_size_t, ctypes.c_char_p,
                                     ctypes.c_size_t]
    out = ctypes.create_string_buffer(length)
    need(zstd.ZSTD_decompress(out, length, data, len(data)) == length, "zstd")
    return out.raw


class Superblock:
    def __init__(self, directory):
        data = (directory / "superblock").read_bytes()
        best = None
        for place in range(2):
            copy = data[place * 4096:(place + 1) * 4096]
            magic, version, size, node, generation = struct.unpack_from("<QHHIQ", copy)
            if magic != 0x72657075736A6268 or version != 1 or size != 4096:
                continue
            if struct.unpack_from("<I", copy, 4092)[0] != crc32c(copy[:4092]):
                continue
            if generation % 2 == place and (best is None or generation > best[0]):
                best = (generation, copy, node)
        need(best is not None, "both superblock copies")
        self.node = best[2]
        self.stream_id = best[1][24:40]
        (self.epoch, self.state_epoch, self.first_segment, self.active_segment, self.durable_seq,
         self.durable_frame) = struct.unpack_from("<6Q", best[1], 40)


class Frame:
    def __init__(self, data, offset, superblock, segment):
        self.header = data[offset:offset + FRAME_HEADER]
        need(len(self.header) == FRAME_HEADER, "the segment ends")
        (magic, version, header_length, self.length, self.payload_length) = struct.unpack_from(
            "<IHHII", self.header)
        (self.epoch, segment_number, self.number, self.first_seq, self.count, flags,
         self.committed_seq, self.wall_ns) = struct.unpack_from("<QQQQIIQQ", self.header, 32)
        self.previous_chain = self.header[88:120]
        self.chain = self.header[120:152]
        self.payload_crc, header_crc = struct.unpack_from("<II", self.header, 152)
        need(magic == 0x6D726668 and version == 1 and header_length == FRAME_HEADER, "magic")
        need(crc32c(self.header[:156] + bytes(4) + self.header[160:]) == header_crc, "header CRC")
        need(self.header[16:32] == superblock.stream_id, "stream")
        need(segment_number == segment and flags == 0, "segment number")
        need(0 <= self.length - FRAME_HEADER - self.payload_length < BLOCK and
             self.length % BLOCK == 0, "lengths")
        self.payload = data[offset + FRAME_HEADER:offset + FRAME_HEADER + self.payload_length]
        need(crc32c(self.payload) == self.payload_crc, "payload CRC")
        blank = self.header[:120] + bytes(40) + self.header[160:]
        need(hashlib.sha256(blank + self.payload).digest() == self.chain, "chain")

    def records(self):
        at = 0
        for _ in range(self.count):
            crc, length, kind, version, ring, flags = struct.unpack_from(
                "<IHBBHH", self.payload, at)
            record = self.payload[at:at + length]
            greeting = 0
            if kind == 40:
                greeting = (record[127] + 7) & ~7
            need(kind in LENGTHS and length == LENGTHS[kind] + greeting,
                 f"record type {kind} of length {length}")
            marked = any(record[at + 7] & 0x40 for at in STAMPS.get(kind, []))
            need(version == (2 if marked else 1), f"record version {version}")
            need(crc32c(record[4:]) == crc, "record CRC")
            yield kind, ring, struct.unpack_from("<Q", record, 16)[0], record
            at += length
        need(at == len(self.payload), "bytes behind the last record")


class Journal:
    def __init__(self, directory):
        self.directory = directory
        self.superblock = Superblock(directory)
        self.next_frame, self.next_seq, self.chain, self.epoch = 1, 1, bytes(32), 0
        self.first_segment = min((int(path.name[8:24], 16)
                                  for path in directory.glob("segment-*")
                                  if path.suffix in (".raw", ".packed")), default=1)
        self.rings = {}
        self.types = {}
        self.packed = 0
        self.first_seq = 0
        self.epochs = 0
        self.grabbed_fen = 0

    def begin_at(self, frame):
        """The oldest segments are gone: numbers, chain and rings begin where they begin."""
        self.next_frame, self.next_seq, self.chain = (
            frame.number, frame.first_seq, frame.previous_chain)
        for _, ring, core_sequence, _ in frame.records():
            self.rings.setdefault(ring, core_sequence - 1)

    def take(self, frame):
        if self.first_seq == 0:
            if self.first_segment != 1:
                self.begin_at(frame)
            self.first_seq = self.next_seq
        need(frame.number == self.next_frame, "frame number")
        need(frame.first_seq == self.next_seq, "first sequence")
        need(frame.previous_chain == self.chain, "previous chain")
        need(frame.epoch >= self.epoch, "epoch")
        for kind, ring, core_sequence, record in frame.records():
            if self.first_segment == 1 or ring in self.rings:
                need(core_sequence == self.rings.get(ring, 0) + 1, "core sequence")
            self.rings[ring] = core_sequence
            self.types[kind] = self.types.get(kind, 0) + 1
            if kind == 41:
                self.grabbed_fen += struct.unpack_from("<q", record, 48)[0]
        self.epochs += frame.epoch != self.epoch
        self.next_frame += 1
        self.next_seq += frame.count
        self.chain = frame.chain
        self.epoch = frame.epoch

    def read_raw(self, path, segment):
        data = path.read_bytes()
        offset = 0
        while offset < len(data):
            try:
                frame = Frame(data, offset, self.superblock, segment)
                padding = data[offset + FRAME_HEADER + frame.payload_length:offset + frame.length]
                need(not any(padding), "padding")
                self.take(frame)
            except Damaged as damage:
                return str(damage)
            offset += frame.length
        return "the segment ends"

    def read_packed(self, path, segment):
        data = path.read_bytes()
        need(struct.unpack_from("<Q", data)[0] == 0x64656B6361706268, "packed magic")
        need(struct.unpack_from("<I", data, 252)[0] == crc32c(data[:252]), "packed header CRC")
        blocks = struct.unpack_from("<I", data, 12)[0]
        at = 256
        for _ in range(blocks):
            magic, packed, unpacked, frames, _, _, packed_crc, crc = struct.unpack_from(
                "<IIIIQQII", data, at)
            need(magic == 0x6B6C6268 and crc32c(data[at:at + 36]) == crc, "block header")
            body = data[at + 40:at + 40 + packed]
            need(crc32c(body) == packed_crc, "block CRC")
            content = unpack_zstd(body, unpacked)
            offset = 0
            for _ in range(frames):
                frame = Frame(content, offset, self.superblock, segment)
                self.take(frame)
                offset += FRAME_HEADER + frame.payload_length
            need(offset == unpacked, "block length")
            at += 40 + packed
        need(at == len(data), "bytes behind the last block")
        need(self.chain == data[128:160], "packed chain")
        self.packed += 1
        return "the segment ends"

    def read(self):
        segment, reason = self.first_segment, "nothing"
        while True:
            packed = self.directory / f"segment-{segment:016x}.packed"
            raw = self.directory / f"segment-{segment:016x}.raw"
            before = self.next_frame
            if packed.exists():
                reason = self.read_packed(packed, segment)
            elif raw.exists():
                found = self.read_raw(raw, segment)
                if self.next_frame == before:
                    break
                reason = found
            else:
                break
            segment += 1
        if self.superblock.durable_seq >= self.next_seq:
            raise Damaged(f"sequence {self.next_seq}: {reason}, but "
                          f"{self.superblock.durable_seq} was durable")


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("directory", type=pathlib.Path)
    parser.add_argument("--expect", type=int)
    parser.add_argument("--grabs", type=int)
    parser.add_argument("--packed", type=int)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    journal = Journal(arguments.directory)
    try:
        journal.read()
    except Damaged as damage:
        print(f"damaged: {damage}", file=sys.stderr)
        return 1
    last, grabs = journal.next_seq - 1, journal.types.get(41, 0)
    if arguments.json:
        print(json.dumps({
            "stream": journal.superblock.stream_id.hex(), "node": journal.superblock.node,
            "first_seq": journal.first_seq, "last_seq": last,
            "records": sum(journal.types.values()), "epochs": journal.epochs,
            "epoch": journal.epoch, "last_frame": journal.next_frame - 1,
            "chain": journal.chain.hex(), "packed": journal.packed,
            "grabbed_fen": journal.grabbed_fen, "types": journal.types}))
        return 0
    print(f"sequence {last} frames {journal.next_frame - 1} grabs {grabs} epoch {journal.epoch} "
          f"packed {journal.packed}")
    if arguments.expect not in (None, last) or arguments.grabs not in (None, grabs) or \
            arguments.packed not in (None, journal.packed):
        print("not what was expected", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
