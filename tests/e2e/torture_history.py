# SPDX-License-Identifier: Apache-2.0
"""The proof of a tortured node: the histories that clients synced, and the final state. Nothing else is
believed: no counter of a client, nothing that the node said meanwhile."""
import json

from lib import expect, in_threads, log

GROUP = 9
READERS = 4


class History:
    """What clients were told, from their files."""

    def __init__(self, paths):
        self.grabbed = {}  # (user, packet) -> amount
        self.sold_out = set()  # packets
        self.moved = {}  # user -> fen by transfers
        self.acked = self.answers = 0
        self.wrong = []  # answers that must not be
        self.twice = 0  # one user was told two shares of a packet
        for path in paths:
            with open(path) as f:
                for line in f:
                    self.add(json.loads(line))

    def add(self, row):
        kind, user, what, status, amount = row
        self.answers += 1
        if status == "ok":
            self.acked += 1
        if kind == "g" and status == "ok":
            self.twice += (user, what) in self.grabbed
            self.grabbed[(user, what)] = amount
        elif kind == "g" and status == "sold_out":
            self.sold_out.add(what)
        elif kind == "t" and status == "ok":
            self.moved[user] = self.moved.get(user, 0) - amount
            self.moved[what] = self.moved.get(what, 0) + amount
        else:
            self.wrong.append(row)

    def balances(self, users, opening_fen):
        wanted = {user: opening_fen + self.moved.get(user, 0) for user in users}
        for (user, _), amount in self.grabbed.items():
            wanted[user] += amount
        return wanted


def claims_in_memory(node, user, packets, total_fen):
    """Every packet as the dataplane has it. @return {packet: (claims, unsound)}"""
    found = {}

    def read(part):
        reader = node.user(user, [GROUP])
        for packet in part:
            detail = reader.detail(packet, GROUP)
            claims = [(claim["user"], claim["amount_fen"]) for claim in detail["claims"]]
            fen = sum(amount for _, amount in claims) + detail["left_fen"]
            found[packet] = (claims, fen != total_fen)
        reader.connection.close()

    in_threads(read, [packets[i::READERS] for i in range(READERS)])
    return found


def claims_in_mysql(node):
    rows = node.sql(" UNION ALL ".join(
        "SELECT account, LOWER(LPAD(HEX(packet), 16, '0')), amount_fen FROM claim_%02d" % i
        for i in range(16)))
    return {(int(user), packet): int(amount) for user, packet, amount in rows}


def balances_in_mysql(node):
    rows = node.sql(" UNION ALL ".join(
        "SELECT account, available_fen, frozen_fen FROM account_%02d" % i for i in range(16)))
    return {int(account): (int(available), int(frozen)) for account, available, frozen in rows}


def judge(node, history, packets, shares, total_fen, users, opening_fen):
    """@param packets all that were sent; @param users everybody who may have grabbed or moved money
    @return what differs, by kind; all zero when nothing does"""
    node.wait_applied(300)
    log("MySQL has everything")
    memory = claims_in_memory(node, users[0], packets, total_fen)
    in_memory = {}
    doubled = history.twice
    unsound = 0
    for packet, (claims, wrong_sum) in memory.items():
        unsound += wrong_sum
        unsound += packet in history.sold_out and len(claims) != shares
        for user, amount in claims:
            doubled += (user, packet) in in_memory
            in_memory[(user, packet)] = amount
    in_mysql = claims_in_mysql(node)
    lost = [key for key, amount in history.grabbed.items() if in_memory.get(key) != amount]
    untold = [key for key in in_memory if key not in history.grabbed]
    wanted = history.balances(users, opening_fen)
    kept = balances_in_mysql(node)
    wrong_balances = [user for user, fen in wanted.items() if kept.get(user) != (fen, 0)]
    check = node.check()
    found = {"acked": history.acked, "answers": history.answers, "lost": len(lost),
             "doubled": doubled, "untold": len(untold), "unsound_packets": unsound,
             "wrong_answers": len(history.wrong), "wrong_balances": len(wrong_balances),
             "mysql_differs": len(set(in_memory.items()) ^ set(in_mysql.items())),
             "check_violations": len(check.get("violations", [])) or int(check.get("ok") is not
                                                                         True)}
    log(json.dumps(found))
    for what, examples in (("lost", lost), ("untold", untold), ("wrong", history.wrong),
                           ("balances", [(user, wanted[user], kept.get(user))
                                         for user in wrong_balances])):
        if examples:
            log(what, "such as", examples[:5])
    if found["check_violations"]:
        log("hbctl check:", json.dumps(check)[:3000])
    return found


def violations(found):
    return sum(found[key] for key in found if key not in ("acked", "answers"))


def expect_none(found):
    expect(violations(found) == 0, "the node lost, doubled or invented something:", found)
