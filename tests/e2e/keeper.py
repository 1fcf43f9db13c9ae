# SPDX-License-Identifier: Apache-2.0
"""What an init system does for a node, for tests that kill: whoever is dead is started again, each by
itself and at once or a little later. The node was made by ./hongbao up; keeper.sh starts programs
with the launcher's own words."""
import os
import random
import subprocess
import threading
import time

from lib import ROOT, Failure, log

LOOK_S = 0.01
AGAIN_S = 0.2  # who ended while starting waits so long before the next try


class Keeper:
    """A thread that looks after the processes of one node. `hold` names of which dead ones stay
    dead for the moment."""

    def __init__(self, node, delays=(0.0, 0.0, 0.05, 0.3), dice=None, environment=None):
        self.node = node
        self.delays = delays
        self.random = dice or random.Random()
        self.environment = environment or {}  # name -> ["VARIABLE=VALUE"]
        self.starts = {}  # name -> how often it was started
        self.failed_starts = 0  # ended within AGAIN_S
        self.due = {}
        self.begun = {}
        self.held = set()
        self.lock = threading.Lock()
        self.stop = threading.Event()
        self.error = None
        self.starter = subprocess.Popen(
            [os.path.join(ROOT, "tests/e2e/keeper.sh"), node.config], cwd=ROOT, text=True,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        self.said = []
        threading.Thread(target=self.listen, daemon=True).start()
        self.thread = threading.Thread(target=self.run)
        self.thread.start()

    def listen(self):
        for line in self.starter.stderr:
            self.said.append(line.rstrip())

    def run(self):
        try:
            while not self.stop.is_set():
                with self.lock:
                    self.look()
                time.sleep(LOOK_S)
        except (OSError, ValueError, Failure) as error:
            self.error = error
            log("the keeper ended:", error, self.said[-5:])

    def look(self):
        now = time.monotonic()
        for name in self.node.PROCESSES:
            if name in self.held or self.node.pids(name):
                continue
            if name not in self.due:
                early = now - self.begun.get(name, 0.0) < AGAIN_S
                self.failed_starts += early
                self.due[name] = now + (AGAIN_S if early else self.random.choice(self.delays))
            if now >= self.due[name]:
                del self.due[name]
                self.start(name)

    def start(self, name):
        self.begun[name] = time.monotonic()
        self.starts[name] = self.starts.get(name, 0) + 1
        self.starter.stdin.write(" ".join([name] + self.environment.get(name, [])) + "\n")
        self.starter.stdin.flush()
        if self.starter.stdout.readline() != "started\n":
            raise Failure("keeper.sh ended: " + "; ".join(self.said[-5:]))

    def hold(self, *names):
        """These stay dead until `release`; nobody is just being started when this returns."""
        with self.lock:
            self.held.update(names)

    def release(self, *names):
        with self.lock:
            self.held.difference_update(names)

    def end(self):
        self.stop.set()
        self.thread.join()
        self.starter.stdin.close()
        self.starter.wait()
