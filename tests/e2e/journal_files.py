# SPDX-License-Identifier: Apache-2.0
"""Journal files as bytes, for tests that damage them (docs/journal-format.md)."""
import glob
import os
import struct

FRAME_MAGIC = 0x6d726668
BLOCK = 4096
FRAME_HEADER_BYTES = 192


def raw_segments(node):
    return sorted(glob.glob(node.path("journal/segment-*.raw")))


def packed_segments(node):
    return sorted(glob.glob(node.path("journal/segment-*.packed")))


def snapshots(node):
    return sorted(path for path in glob.glob(node.path("journal/snapshot/snapshot-*"))
                  if not path.endswith(".tmp"))


def frames(path):
    """Frames of a raw segment: list of (offset, length, payload length, first sequence). A file
    made ready from a packed segment may still hold that one's frames; they do not count."""
    own_number = int(os.path.basename(path)[len("segment-"):-len(".raw")], 16)
    found = []
    with open(path, "rb") as f:
        data = f.read()
    at = 0
    while at + FRAME_HEADER_BYTES <= len(data):
        magic, _, _, length, payload = struct.unpack_from("<IHHII", data, at)
        number = struct.unpack_from("<Q", data, at + 40)[0]
        if magic != FRAME_MAGIC or length == 0 or number != own_number:
            break
        found.append((at, length, payload, struct.unpack_from("<Q", data, at + 56)[0]))
        at += length
    return found


def used_segment(node):
    """The last raw segment that holds frames, and its frames."""
    for path in reversed(raw_segments(node)):
        found = frames(path)
        if found:
            return path, found
    raise AssertionError("no raw segment with frames")


def packed_bytes_per_record(node, first_seq, last_seq):
    """Over packed segments between two sequences. @return bytes, None when there is none"""
    size = records = 0
    for path in packed_segments(node):
        with open(path, "rb") as f:
            head = f.read(256)
        first, last = struct.unpack_from("<QQ", head, 56)
        if first >= first_seq and last <= last_seq:
            size += os.path.getsize(path)
            records += last - first + 1
    return round(size / records, 1) if records else None


def flip(path, offset, mask=0x01):
    """Change one byte in place; the same call again undoes it."""
    with open(path, "r+b", buffering=0) as f:
        f.seek(offset)
        byte = f.read(1)[0]
        f.seek(offset)
        f.write(bytes([byte ^ mask]))
        os.fsync(f.fileno())
