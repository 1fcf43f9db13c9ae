# SPDX-License-Identifier: Apache-2.0
"""Frames over UDP for end-to-end tests: a veth pair whose one end is the node's DPDK port and
whose other end lies in a network namespace of its own, with the clients."""
import contextlib
import ctypes
import os
import random
import subprocess
import sys

import lib

sys.path.insert(0, os.path.join(lib.ROOT, "tests", "dataplane"))
import udp_client  # noqa: E402

CLONE_NEWNET = 0x40000000
NODE_ADDRESS, CLIENT_ADDRESS = "10.77.0.1", "10.77.0.2"
LIBC = ctypes.CDLL(None, use_errno=True)


def ip(*words):
    subprocess.run(("ip",) + words, check=True, stdout=subprocess.DEVNULL)


class Wire:
    """`with Wire() as wire`: interface wire.port for dataplane.ports, and wire.front()."""

    def __init__(self):
        self.namespace = "hb-test-%d" % os.getpid()
        self.port = "hbp%d" % os.getpid()
        self.end = "hbc%d" % os.getpid()

    def __enter__(self):
        ip("netns", "add", self.namespace)
        try:
            ip("link", "add", self.port, "type", "veth", "peer", "name", self.end,
               "netns", self.namespace)
            ip("link", "set", self.port, "up")
            for words in (("addr", "add", CLIENT_ADDRESS + "/24", "dev", self.end),
                          ("link", "set", self.end, "up"), ("link", "set", "lo", "up")):
                ip("-n", self.namespace, *words)
        except BaseException:
            self.remove()
            raise
        return self

    def __exit__(self, *_):
        self.remove()

    def remove(self):
        subprocess.run(("ip", "netns", "del", self.namespace), check=False,
                       stderr=subprocess.DEVNULL)

    def options(self, **more):
        """For OwnNode."""
        return dict(dataplane__ports="--vdev=net_af_packet0,iface=" + self.port,
                    port__address=NODE_ADDRESS, **more)

    @contextlib.contextmanager
    def inside(self):
        """This thread is in the namespace; sockets made meanwhile stay there."""
        here = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
        there = os.open("/run/netns/" + self.namespace, os.O_RDONLY)
        try:
            if LIBC.setns(there, CLONE_NEWNET) != 0:
                raise OSError(ctypes.get_errno(), "setns")
            yield
        finally:
            LIBC.setns(here, CLONE_NEWNET)
            os.close(here)
            os.close(there)

    def front(self, node, key=None, lcores=1, spoil=None):
        key_id, secret, _ = key or front_key(node)
        with self.inside():
            return udp_client.Front(NODE_ADDRESS, int(key_id), bytes.fromhex(secret),
                                    lcores=lcores, spoil=spoil)


def front_key(node):
    """The first key of the node: (id, hex, operations)."""
    with open(node.path("key/frame.keys"), encoding="ascii") as file:
        return file.readline().split()


def bad_network(seed):
    """A spoil function: of each 20 datagrams, at random, one is lost, one doubled, and one changes
    places with the next. Exactly one, so that a short test has lost some whatever its seed."""
    dice = random.Random(seed)
    fates, held = [], []

    def spoil(data):
        if not fates:
            fates.extend(["lose", "double", "swap"] + [""] * 17)
            dice.shuffle(fates)
        fate = fates.pop()
        if fate == "swap" and not held:
            held.append(data)
            return []
        sent = {"lose": [], "double": [data, data]}.get(fate, [data]) + held
        held.clear()
        return sent

    return spoil
