# SPDX-License-Identifier: Apache-2.0
"""Loss of power for a node's journal. tests/power/power_loss.c, loaded into the real
hongbao-persist, writes down what every write covers and what every sync made durable. Here all
processes that could still write are killed, and some of what no sync had covered is taken back:
sector by sector kept, lost or torn; of changed names a first part is kept."""
import json
import os
import random
import shutil
import signal
import struct
import sys

from lib import NODES, ROOT, children, expect, started, wait_for

LIBRARY = os.path.join(ROOT, "build/tests/power/power_loss.so")
SECTOR = 512
RECORD = struct.Struct("<IIQQQQII")
MAGIC = 0x72777068
WRITE, SYNC, CREATE, RENAME, UNLINK, SYNC_NAMES = 1, 2, 3, 4, 5, 6


class Log:
    """What was pending when the power went."""

    def __init__(self, path):
        self.sectors = {}  # (inode, number) -> bytes before, None for zeros
        self.sizes = {}  # inode -> size before
        self.names = []  # (kind, [names]) not synced, in order
        self.writes = self.syncs = 0
        with open(path, "rb") as f:
            self.read(f)

    def read(self, f):
        while True:
            head = f.read(RECORD.size)
            if len(head) < RECORD.size:
                expect(not head, "the power log ends within a record")
                return
            magic, kind, inode, offset, length, size, data_length, _ = RECORD.unpack(head)
            expect(magic == MAGIC, "the power log is damaged")
            data = f.read(data_length)
            if kind == WRITE:
                self.wrote(inode, offset, length, size, data)
            elif kind == SYNC:
                self.synced(inode, offset, length)
            elif kind == SYNC_NAMES:
                folder = data.split(b"\0")[0]
                self.names = [(k, names) for k, names in self.names
                              if os.path.dirname(names[1] if k == RENAME else names[0]) != folder]
            else:
                self.names.append((kind, data.split(b"\0")))

    def wrote(self, inode, offset, length, size, data):
        self.writes += 1
        self.sizes.setdefault(inode, size)
        for at in range(0, length, SECTOR):
            before = data[at:at + SECTOR] if data else None
            self.sectors.setdefault((inode, (offset + at) // SECTOR), before)

    def synced(self, inode, offset, length):
        self.syncs += 1
        self.sizes.pop(inode, None)
        if length == 0:
            for key in [key for key in self.sectors if key[0] == inode]:
                del self.sectors[key]
            return
        for number in range(offset // SECTOR, (offset + length + SECTOR - 1) // SECTOR):
            self.sectors.pop((inode, number), None)


class Loss:
    """The log of one journal directory, and what is taken back by it."""

    def __init__(self, directory, journal):
        self.directory = directory
        self.journal = journal
        self.counts = dict.fromkeys(
            ("losses", "writes", "syncs", "sectors_pending", "sectors_lost", "sectors_torn",
             "sectors_kept", "names_pending", "names_lost"), 0)

    def files(self):
        """Paths of what there is, by inode."""
        found = {}
        for folder in (self.journal, self.directory):
            for root, _, names in os.walk(folder):
                for name in names:
                    path = os.path.join(root, name)
                    found[os.stat(path).st_ino] = path
        return found

    def decide(self):
        """Everything that could write is dead: keep, lose or tear what was pending."""
        path = os.path.join(self.directory, "log")
        if os.path.exists(path):
            log = Log(path)
            self.counts["writes"] += log.writes
            self.counts["syncs"] += log.syncs
            self.lose_names(log)
            self.lose_contents(log)
            os.unlink(path)
        for name in os.listdir(self.directory):
            if name.startswith("kept-"):
                os.unlink(os.path.join(self.directory, name))
        self.counts["losses"] += 1

    def lose_names(self, log):
        lost = random.randint(0, len(log.names))
        self.counts["names_pending"] += len(log.names)
        self.counts["names_lost"] += lost
        for kind, names in list(reversed(log.names))[:lost]:
            names = [name.decode() for name in names]
            if kind == CREATE:
                if os.path.exists(names[0]):
                    os.unlink(names[0])
                continue
            kept = names[2] if kind == RENAME else names[1]
            # written down and not done: the process died between
            if kind == RENAME and os.path.exists(names[1]) and not os.path.exists(names[0]):
                os.rename(names[1], names[0])
            target = names[1] if kind == RENAME else names[0]
            if kept and os.path.exists(kept) and not os.path.exists(target):
                os.link(kept, target)

    def lose_contents(self, log):
        # all, none, or each by itself: in the long run every mixture
        kept_share = random.choice((0.0, 0.4, 0.4, 0.4, 1.0))
        files = self.files()
        by_file = {}
        for (inode, number), before in log.sectors.items():
            by_file.setdefault(inode, []).append((number, before))
        for inode in set(by_file) | set(log.sizes):
            if inode in files:
                self.lose_file(files[inode], by_file.get(inode, ()), kept_share,
                               log.sizes.get(inode))

    def lose_file(self, path, sectors, kept_share, size):
        with open(path, "r+b", buffering=0) as f:
            end = os.fstat(f.fileno()).st_size
            for number, before in sectors:
                before = before or bytes(SECTOR)
                now = os.pread(f.fileno(), SECTOR, number * SECTOR)
                before = before[:len(now)]
                if now == before:
                    continue
                self.counts["sectors_pending"] += 1
                if random.random() < kept_share:
                    self.counts["sectors_kept"] += 1
                    continue
                cut = 0
                if 0.0 < kept_share and random.random() < 0.3:
                    cut = random.randrange(8, SECTOR, 8)
                self.counts["sectors_torn" if cut else "sectors_lost"] += 1
                os.pwrite(f.fileno(), now[:cut] + before[cut:], number * SECTOR)
            if size is not None and size < end and random.random() >= kept_share:
                os.ftruncate(f.fileno(), size)


class Power:
    """A node whose journal can lose power."""

    def __init__(self, node):
        expect(os.path.exists(LIBRARY), LIBRARY, "is not built: ./hongbao build")
        self.node = node
        self.directory = os.path.join(NODES, "power-%s-%d" % (node.name, os.getpid()))
        self.library = os.path.join(self.directory, "power_loss.so")
        os.makedirs(self.directory, exist_ok=True)
        os.chmod(self.directory, 0o777)
        shutil.copy(LIBRARY, self.library)
        os.chmod(self.library, 0o755)
        self.loss = Loss(self.directory, node.path("journal"))
        self.counts = self.loss.counts

    def variables(self, synced=True):
        return {"LD_PRELOAD": self.library, "HB_POWER_LOG": self.directory,
                "HB_POWER_JOURNAL": self.node.path("journal"),
                "HB_POWER_SYNC": "yes" if synced else "no"}

    def environment(self):
        """For a Keeper."""
        words = ["%s=%s" % pair for pair in self.variables().items()]
        return {"persist": words, "dataplane": words}

    def begin(self, synced=True):
        """From now on: persist and dataplane of the running node start again with the library.
        Not synced: a persist whose syncs were taken out."""
        self.kill()
        os.environ.update(self.variables(synced))
        code, text = self.node.try_up()
        expect(code == 0, "./hongbao up ended with", code, "\n" + text)

    def close(self):
        for name in ("LD_PRELOAD", "HB_POWER_LOG", "HB_POWER_JOURNAL", "HB_POWER_SYNC"):
            os.environ.pop(name, None)
        shutil.rmtree(self.directory, ignore_errors=True)

    def kill(self):
        """Everything that writes the journal, and the memory of what it had told."""
        victims = []
        for name in random.sample(("persist", "dataplane"), 2):
            for pid in self.node.pids(name):
                below = children(pid) if name == "persist" else []
                victims += [(p, started(p)) for p in [pid] + below]
        for pid, _ in victims:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
        wait_for("killed processes to end", 10,
                 lambda: all(start is None or started(pid) != start for pid, start in victims),
                 0.005)

    def lose(self):
        """Kill, then decide; the node can be started again."""
        self.kill()
        self.loss.decide()


def main():
    """power.py LOG-DIRECTORY JOURNAL SEED: decide what is pending, print the counts as JSON."""
    directory, journal, seed = sys.argv[1:]
    random.seed(int(seed))
    power = Loss(directory, journal)
    power.decide()
    print(json.dumps(power.counts))


if __name__ == "__main__":
    main()
