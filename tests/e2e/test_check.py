# SPDX-License-Identifier: Apache-2.0
"""hbctl check finds damage of every kind, and nothing when there is none."""
import os
import signal
import struct

from journal_files import flip, packed_segments, snapshots, used_segment
from lib import Numbers, OwnNode, expect, log, lucky_packet, test, wait_for

GROUP = 31


def fill(node):
    """Accounts, packets in every state, grabs, transfers; several segments and a snapshot.
    @return accounts with money"""
    business = node.business()
    sender, *users = Numbers.take(31)
    business.open_accounts([sender] + users)
    business.credit([(user, 10000) for user in users])
    open_packet = lucky_packet(business, sender, 9000, 40, GROUP)
    full_packet = lucky_packet(business, sender, 9000, 30, GROUP)
    short_packet = lucky_packet(business, sender, 900, 5, GROUP, lifetime_s=1)
    for packet in (open_packet, full_packet):
        for user, (token, sequence) in zip(users, business.grab_tokens(
                [(user, packet) for user in users])):
            code, value = node.user(user, [GROUP]).grab(packet, token, sequence, GROUP)
            expect(code == 200, "a grab was answered", code, value)
    code, value = business.retried("POST", "/business/v1/tokens",
                                   {"user": users[0], "operation": "transfer"})
    code, value = node.user(users[0]).call("POST", "/v1/transfers", {
        "to": users[1], "amount_fen": 77, "token": value["token"],
        "sequence": value["sequence"] + 1})
    expect(code == 200, "a transfer was answered", code, value)
    wait_for("the short packet to expire", 20, lambda: node.user(
        users[0], [GROUP]).detail(short_packet, GROUP)["state"] == "refunded")
    node.control("POST", "/mark")
    node.wait_applied()
    return users


class Tables:
    """Damage in MySQL, taken back by restoring the table from a copy."""

    def __init__(self, node):
        self.node = node
        node.sql("CREATE DATABASE IF NOT EXISTS hb_copy", "mysql")
        for kind in ("order", "claim", "flow", "account", "packet"):
            for number in range(16):
                table = "%s_%02d" % (kind, number)
                node.sql("CREATE TABLE hb_copy.%s AS SELECT * FROM %s" % (table, table))

    def with_rows(self, kind):
        for number in range(16):
            table = "%s_%02d" % (kind, number)
            if int(self.node.sql("SELECT COUNT(*) FROM %s" % table)[0][0]) >= 2:
                return table
        raise AssertionError("no table of %s has rows" % kind)

    def restore(self, table):
        self.node.sql("DELETE FROM %s; INSERT INTO %s SELECT * FROM hb_copy.%s" % (
            table, table, table))


def sql_damages(tables):
    """Pairs of sentence and (table, statement)."""
    order, claim, flow = (tables.with_rows(kind) for kind in ("order", "claim", "flow"))
    account, packet = tables.with_rows("account"), tables.with_rows("packet")
    claim_other = "claim_%02d" % ((int(claim[-2:]) + 1) % 16)
    first = " LIMIT 1"
    return {
        "an order deleted": (order, "DELETE FROM %s%s" % (order, first)),
        "an order's amount changed": (order, "UPDATE %s SET amount_fen=amount_fen+1%s" % (
            order, first)),
        "an order's state changed": (order, "UPDATE %s SET state=state+1%s" % (order, first)),
        "an order's account changed": (order, "UPDATE %s SET account=account+1%s" % (
            order, first)),
        "an order added": (order, "INSERT INTO %s SELECT REVERSE(order_no),account,business,"
                           "state,amount_fen,packet,peer,at_ms,jseq FROM hb_copy.%s%s" % (
                               order, order, first)),
        "a claim deleted": (claim, "DELETE FROM %s%s" % (claim, first)),
        "a claim's amount changed": (claim, "UPDATE %s SET amount_fen=amount_fen+1%s" % (
            claim, first)),
        "two claims' amounts swapped": (claim, "UPDATE %s SET amount_fen=amount_fen+IF(account "
                                        "MOD 2,1,-1) ORDER BY packet,account LIMIT 2" % claim),
        "a claim added": (claim, "INSERT INTO %s SELECT packet,account+7000000,amount_fen,share,"
                          "at_ms,jseq FROM hb_copy.%s%s" % (claim, claim, first)),
        "a claim in another table too": (claim_other, "INSERT INTO %s SELECT * FROM hb_copy.%s%s"
                                         % (claim_other, claim, first)),
        "a flow deleted": (flow, "DELETE FROM %s%s" % (flow, first)),
        "a flow's balance changed": (flow, "UPDATE %s SET available_after=available_after+1%s" % (
            flow, first)),
        "a flow added": (flow, "INSERT INTO %s SELECT account,jseq,leg+9,1,0,available_after,"
                         "frozen_after,order_no,at_ms FROM hb_copy.%s%s" % (flow, flow, first)),
        "a balance raised": (account, "UPDATE %s SET available_fen=available_fen+1%s" % (
            account, first)),
        "money shifted from frozen to available": (
            account, "UPDATE %s SET available_fen=available_fen+5,frozen_fen=frozen_fen-5%s" % (
                account, first)),
        "an account deleted": (account, "DELETE FROM %s%s" % (account, first)),
        "an account barred": (account, "UPDATE %s SET barred=1-barred%s" % (account, first)),
        "what is left of a packet changed": (packet, "UPDATE %s SET left_fen=left_fen+1%s" % (
            packet, first)),
        "a packet deleted": (packet, "DELETE FROM %s%s" % (packet, first)),
        "a packet's seed changed": (packet, "UPDATE %s SET seed=REPEAT('x',32)%s" % (
            packet, first)),
    }


def expect_found(node, what, words=()):
    value = node.check()
    expect(value.get("ok") is False and value.get("violations"), "check does not see", what, ":",
           value)
    text = str(value["violations"])
    expect(not words or any(word in text for word in words), "check sees", what,
           "but names none of", words, ":", text[:500])
    log("found", what, "->", text[:160])


def expect_ok(node, after):
    value = node.check()
    expect(value.get("ok") is True and value.get("violations") == [], "after", after, "check says",
           value)


@test
def check_finds_every_planted_damage_in_mysql():
    with OwnNode("check", dataplane__lcores=2) as node:
        fill(node)
        expect_ok(node, "nothing")
        tables = Tables(node)
        for what, (table, statement) in sql_damages(tables).items():
            node.sql(statement)
            expect_found(node, what, (table,))
            tables.restore(table)
        expect_ok(node, "every repair")


@test
def a_position_row_that_is_not_the_journals_is_found_and_never_built_upon():
    with OwnNode("position") as node:
        fill(node)
        for what, statement in {"moved back": "UPDATE jpos SET seq=seq-30",
                                "moved ahead": "UPDATE jpos SET seq=seq+1000",
                                "with another chain": "UPDATE jpos SET chain=REPEAT('x',32)",
                                "of another stream": "UPDATE jpos SET stream=REPEAT('x',16)",
                                "deleted": "DELETE FROM jpos"}.items():
            node.sql("DROP TABLE IF EXISTS hb_ledger.jpos_copy; "
                     "CREATE TABLE jpos_copy AS SELECT * FROM jpos")
            os.kill(node.pid("persist"), signal.SIGKILL)
            node.sql(statement)
            code, text = node.try_up()
            if code == 0:
                expect_found(node, "a position " + what)
            else:
                expect("MySQL" in text, "up over a position", what, "does not say why:", text)
                log("a position", what, "-> up is refused")
            for pid in node.pids("persist"):
                os.kill(pid, signal.SIGKILL)
            node.sql("DELETE FROM jpos; INSERT INTO jpos SELECT * FROM jpos_copy")
            node.up()
        node.sql("DROP TABLE jpos_copy")
        expect_ok(node, "every repair")


@test
def check_finds_damage_in_journal_packed_segment_and_snapshot():
    with OwnNode("check-files", dataplane__lcores=2, journal__segment_mib=1,
                 snapshot__interval_s=5) as node:
        wait_for("a packed segment and a snapshot", 90, lambda: fill(node) and
                 packed_segments(node) and snapshots(node))
        expect_ok(node, "nothing")
        path, found = used_segment(node)
        middle = found[len(found) // 2]
        damages = {
            "a flipped byte of a record": (path, middle[0] + 192 + middle[2] // 2),
            "a flipped byte of a chain": (path, middle[0] + 90),
            "a flipped byte of a frame's number": (path, middle[0] + 48),
        }
        packed = packed_segments(node)[0]
        damages["a flipped byte of a packed segment"] = (packed, os.path.getsize(packed) // 2)
        damages["a flipped byte of a packed header"] = (packed, 40)
        for what, (file, offset) in damages.items():
            flip(file, offset)
            expect_found(node, what)
            flip(file, offset)
        expect_ok(node, "every repair")
        snapshot = snapshots(node)[0]
        flip(snapshot, os.path.getsize(snapshot) // 2)
        expect_found(node, "a flipped byte of a snapshot", (os.path.basename(snapshot),))
        flip(snapshot, os.path.getsize(snapshot) // 2)
        expect_ok(node, "the repair of the snapshot")


def state_file(pid):
    """Path of the dataplane's state segment below /proc."""
    for entry in os.listdir("/proc/%d/fd" % pid):
        path = "/proc/%d/fd/%s" % (pid, entry)
        if "state" in os.readlink(path) and "memfd" in os.readlink(path):
            return path
    for line in open("/proc/%d/maps" % pid):
        if "memfd" in line and "state" in line:
            return "/proc/%d/map_files/%s" % (pid, line.split()[0])
    raise AssertionError("no state segment among the descriptors of the dataplane")


def find_account(path, account, available):
    """Offset of an account's entry: id, available, frozen."""
    wanted = struct.pack("<Qqq", account, available, 0)
    with open(path, "rb") as f:
        at = 0
        while True:
            try:
                at = os.lseek(f.fileno(), at, os.SEEK_DATA)
            except OSError:
                raise AssertionError("account %d is not in memory" % account)
            f.seek(at)
            data = f.read(8 << 20)
            found = data.find(wanted)
            if found >= 0:
                return at + found
            at += max(len(data) - len(wanted), 4096)
            at -= at % 8


@test
def a_balance_changed_in_the_dataplanes_memory_is_found():
    with OwnNode("memory", dataplane__lcores=2) as node:
        users = fill(node)
        expect_ok(node, "nothing")
        available, _ = node.user(users[5]).balance()
        path = state_file(node.pid("dataplane"))
        offset = find_account(path, users[5], available)
        with open(path, "r+b", buffering=0) as f:
            f.seek(offset + 8)
            f.write(struct.pack("<q", available + 100))
        expect(node.user(users[5]).balance()[0] == available + 100, "the test hit nothing")
        expect_found(node, "a balance changed in memory", ("memory", "audit", "balance"))
        for pid in node.pids("dataplane"):
            os.kill(pid, signal.SIGKILL)
        node.up()
        expect(node.user(users[5]).balance()[0] == available,
               "memory was believed after a crash")
        expect_ok(node, "a restart")
