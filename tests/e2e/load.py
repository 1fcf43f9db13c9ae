# SPDX-License-Identifier: Apache-2.0
"""A load of grabs for tests that hurt the node meanwhile. Every answer that a client got is
written to a history and synced before the next request, so that afterwards nothing that was
acknowledged can be missing unnoticed."""
import json
import os
import random
import threading
import time

from lib import HttpError, Numbers, expect, in_threads, log, wait_for

GROUP = 9
UNKNOWN_CODES = (202, 502, 503, 504)


class Load:
    """Threads that grab. Users and packets are made ahead; a pair is asked once, and again with
    the same sequence until its outcome is known."""

    def __init__(self, node, threads=8, packets=20, users=400, shares=300, pause_s=0.004):
        self.node = node
        self.thread_count = threads
        self.pause_s = pause_s
        self.shares = shares
        self.total_fen = shares * 100
        self.users = Numbers.take(users)
        self.packets = []
        self.pairs = []
        self.next = 0
        self.lock = threading.Lock()
        self.stop = threading.Event()
        self.abandoned = threading.Event()  # nobody will answer any more
        self.won = {}	   # (user, packet) -> amount
        self.seq = {}	   # the same -> journal sequence that the answer rests on
        self.sold_out = set()  # packets that somebody was told are sold out
        self.unknown = 0   # answers without an outcome, asked again
        self.wrong = []	   # answers that must not be
        self.latest = time.monotonic()
        self.longest_gap_s = 0.0
        self.history_path = node.config + ".history"
        self.more(packets)

    def more(self, packets):
        """Send further packets, with a money token for every user."""
        business = self.node.business()
        senders = Numbers.take(packets)
        business.open_accounts(senders)
        business.credit([(sender, self.total_fen) for sender in senders])
        made = business.packets([{"sender": sender, "kind": "lucky", "group": GROUP,
                                  "total_fen": self.total_fen, "count": self.shares}
                                 for sender in senders])
        pairs = [(user, packet) for user in self.users for packet in made]
        tokens = business.grab_tokens(pairs)
        fresh = [(user, packet, token, sequence)
                 for (user, packet), (token, sequence) in zip(pairs, tokens)]
        random.shuffle(fresh)
        with self.lock:
            self.packets += made
            self.pairs += fresh

    def take(self):
        with self.lock:
            if self.next == len(self.pairs):
                return None
            self.next += 1
            return self.pairs[self.next - 1]

    def left(self):
        return len(self.pairs) - self.next

    def start(self):
        self.threads = [threading.Thread(target=self.client, args=(i,))
                        for i in range(self.thread_count)]
        for thread in self.threads:
            thread.start()
        return self

    def client(self, index):
        history = os.open("%s.%d" % (self.history_path, index),
                          os.O_CREAT | os.O_WRONLY | os.O_APPEND | os.O_DSYNC, 0o600)
        clients = {}
        while not self.stop.is_set():
            pair = self.take()
            if pair is None:
                time.sleep(0.05)
                continue
            user = pair[0]
            if user not in clients:
                clients[user] = self.node.user(user, [GROUP])
            self.ask(clients[user], pair, history)
            clients[user].connection.close()
            time.sleep(self.pause_s)
        os.close(history)

    def ask(self, client, pair, history):
        user, packet, token, sequence = pair
        while True:
            try:
                code, value = client.grab(packet, token, sequence, GROUP)
            except (OSError, HttpError):
                code, value = 0, None
            if code != 0 and code not in UNKNOWN_CODES:
                break
            self.unknown += 1
            if self.abandoned.is_set():
                return
            time.sleep(0.05)
        if code == 200:
            os.write(history, json.dumps([user, packet, value["amount_fen"]]).encode() + b"\n")
        now = time.monotonic()
        with self.lock:
            self.longest_gap_s = max(self.longest_gap_s, now - self.latest)
            self.latest = now
            if code == 200:
                self.seq[(user, packet)] = value["as_of_seq"]
                self.won[(user, packet)] = value["amount_fen"]
            elif code == 410:
                self.sold_out.add(packet)
            else:
                self.wrong.append((pair, code, value))

    def wait_answers(self, count, seconds=60):
        """Wait until `count` more grabs have been answered."""
        start = self.next
        wait_for("%d more answers under load" % count, seconds,
                 lambda: self.next - start > count + self.thread_count or self.left() == 0)

    def wait_acknowledged(self, count, seconds=60):
        """Wait until `count` more shares have been acknowledged."""
        start = len(self.won)
        wait_for("%d more acknowledged grabs" % count, seconds,
                 lambda: len(self.won) - start >= count, 0.01)

    def finish(self):
        """Stop asking; every pair that was begun gets its outcome first."""
        self.stop.set()
        for thread in self.threads:
            thread.join(90)
            expect(not thread.is_alive(), "a client got no outcome within 90 s")

    def abandon(self):
        """Stop asking, although some have no outcome: of a node that does not come back."""
        self.abandoned.set()
        self.finish()

    def history(self):
        """What the synced history says: list of (user, packet, amount)."""
        found = []
        for index in range(self.thread_count):
            path = "%s.%d" % (self.history_path, index)
            with open(path) as f:
                found += [tuple(json.loads(line)) for line in f]
            os.unlink(path)
        return found

    def compare(self):
        """Compare the history with the node. @return acked, lost, doubled and the like"""
        history = self.history()
        expect(len(history) == len(self.won), "the history lost lines: the test is wrong")
        claims = {}
        doubled = unsound = 0
        reader = self.node.user(self.users[0], [GROUP])
        for packet in self.packets:
            detail = reader.detail(packet, GROUP)
            taken = detail["claims"]
            fen = sum(claim["amount_fen"] for claim in taken) + detail["left_fen"]
            unsound += fen != self.total_fen
            unsound += packet in self.sold_out and len(taken) != self.shares
            for claim in taken:
                key = (claim["user"], packet)
                doubled += key in claims
                claims[key] = claim["amount_fen"]
        lost = [row for row in history if claims.get((row[0], row[1])) != row[2]]
        result = {"acked": len(history), "unknown": self.unknown, "lost": len(lost),
                  "doubled": doubled, "unsound_packets": unsound,
                  "untold": sum(key not in self.won for key in claims),
                  "wrong_answers": len(self.wrong), "longest_gap_s": round(self.longest_gap_s, 2)}
        log(json.dumps(result))
        if lost or self.wrong:
            log("such as", lost[:3], self.wrong[:3])
        self.told = history
        return result

    @staticmethod
    def judge(result):
        for key in ("lost", "doubled", "unsound_packets", "untold", "wrong_answers"):
            expect(result[key] == 0, key, "is not 0:", result)

    def verify(self):
        self.judge(self.compare())
        self.verify_balances()

    def verify_balances(self):
        """Every user has exactly what he was told."""
        wanted = dict.fromkeys(self.users, 0)
        for user, _, amount in self.told:
            wanted[user] += amount

        def verify(users):
            for user in users:
                client = self.node.user(user)
                if wanted[user]:
                    wait_for("the balance of %d to be the %d fen it was told" % (
                        user, wanted[user]), 5, lambda: client.balance() == (wanted[user], 0))
                client.connection.close()

        in_threads(verify, [self.users[i::4] for i in range(4)])
