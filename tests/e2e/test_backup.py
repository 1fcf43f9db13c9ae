# SPDX-License-Identifier: Apache-2.0
"""Backup under load, restore elsewhere, and everything that must be refused."""
import json
import os
import shutil
import struct
import subprocess
import time

from journal_files import packed_segments
from lib import ROOT, Node, OwnNode, expect, log, test, wait_for
from load import GROUP, Load

READER = os.path.join(ROOT, "tests/persist/journal_reader.py")


def crc32c(data):
    table = []
    for n in range(256):
        for _ in range(8):
            n = n >> 1 ^ (0x82F63B78 if n & 1 else 0)
        table.append(n)
    crc = 0xFFFFFFFF
    for byte in data:
        crc = crc >> 8 ^ table[(crc ^ byte) & 0xFF]
    return crc ^ 0xFFFFFFFF


def backup(node, directory, *options):
    """hbctl backup. @return its JSON object"""
    begun = time.monotonic()
    code, out, err = node.hbctl("backup", directory, "--json", *options)
    expect(code == 0, "hbctl backup ended with", code, out, err)
    value = json.loads(out)
    log("backup of %d bytes at %d in %.2f s" % (value["bytes"], value["cut_seq"],
                                               time.monotonic() - begun))
    return value


def elsewhere(name, node, **options):
    """A node with another directory and port and the programs of `node`; not started."""
    other = Node("e2e-" + name, **options)
    other.write_config()
    other.source = node
    return other


def restore(node, other, directory, *options):
    """hbctl restore by the programs of `node`. @return (exit code, JSON object)"""
    result = subprocess.run(
        [node.path("bin/hbctl"), "-c", other.config, "restore", directory, "--json", *options],
        capture_output=True, text=True, timeout=120)
    return result.returncode, json.loads(result.stdout or "{}")


def expect_refused(answer, *words):
    code, value = answer
    expect(code == 1 and value.get("ok") is False, "it was not refused:", value)
    for word in words:
        expect(word in value["error"], "the reason does not say", word, ":", value["error"])
    log("refused:", value["error"])


def foreign_journal(path, backup_path):
    """A journal directory of another stream: the backup's superblock with another id."""
    os.makedirs(path)
    with open(os.path.join(backup_path, "journal/superblock"), "rb") as f:
        data = bytearray(f.read())
    for at in (0, 4096):
        data[at + 24:at + 40] = os.urandom(16)
        data[at + 4092:at + 4096] = struct.pack("<I", crc32c(data[at:at + 4092]))
    with open(os.path.join(path, "superblock"), "wb") as f:
        f.write(data)


def product_end(node):
    """Where the journal of a stopped node ends."""
    return json.loads(node.hbctl("journal", "verify", "--json")[1])["last_seq"]


def readers_agree(node, journal):
    """The product's reader and the one that was written from the documentation alone."""
    result = subprocess.run([READER, journal, "--json"], capture_output=True, text=True,
                            timeout=120)
    expect(result.returncode == 0, "the independent reader says", result.stderr)
    own = json.loads(result.stdout)
    code, out, err = node.hbctl("journal", "verify", journal, "--json")
    expect(code == 0, "journal verify ended with", code, err)
    product = json.loads(out)
    for name in ("stream", "node", "first_seq", "last_seq", "records", "epochs", "epoch", "chain"):
        expect(own[name] == product[name], name, "of the two readers differ:", own, product)
    code, out, err = node.hbctl("journal", "dump", journal, "--json")
    records = [json.loads(line) for line in out.splitlines()]
    names = {}
    for record in records:
        names[record["type"]] = names.get(record["type"], 0) + 1
    expect(sorted(names.values()) == sorted(own["types"].values()),
           "types of the two readers differ:", own["types"], names)
    fen = sum(r["amount_fen"] for r in records if r["type"] == "GRAB")
    expect(fen == own["grabbed_fen"] and own["packed"] > 0, fen, own)
    log("both readers: %d records, %d packed segments" % (own["records"], own["packed"]))


def claims_of(node, packets, users):
    """(user, packet) -> amount, as the node says."""
    reader = node.user(users[0], [GROUP])
    return {(claim["user"], packet): claim["amount_fen"]
            for packet in packets for claim in reader.detail(packet, GROUP)["claims"]}


def expect_restored(node, load, cut_seq, before):
    claims = claims_of(node, load.packets, load.users)
    wanted = dict(before)
    wanted.update({key: amount for key, amount in load.won.items()
                   if load.seq[key] <= cut_seq})
    lost = [key for key, amount in wanted.items() if claims.get(key) != amount]
    changed = [key for key, amount in claims.items() if load.won.get(key, amount) != amount]
    log("%d grabs acknowledged before the cut, %d in the restored node, %d in all" % (
        len(wanted), len(claims), len(load.won)))
    expect(not lost, "grabs acknowledged before the cut are missing:", lost[:5])
    expect(not changed, "grabs have another amount than was told:", changed[:5])
    expect(len(wanted) > 0, "nothing was grabbed before the cut: the test is wrong")


@test
def a_backup_under_load_brings_back_every_grab_acknowledged_before_its_cut():
    directory = "/tmp/hongbao-backup-%d" % os.getpid()
    with OwnNode("backup", dataplane__lcores=2, journal__segment_mib=1) as node:
        load = Load(node, threads=4).start()
        load.wait_answers(500)
        wait_for("a packed segment", 20, lambda: packed_segments(node))
        before = dict(load.won)
        first = backup(node, directory)
        expect(first["first_seq"] == 1 and "ledger_rows" not in first,
               "a complete journal needs no rows of MySQL:", first)
        load.wait_answers(150)
        before = dict(load.won)
        second = backup(node, directory, "--with-ledger")
        expect(second["cut_seq"] > first["cut_seq"], "the second cut is not later")
        expect(second["bytes_linked"] > 0, "packed segments were copied again:", second)
        expect(second["ledger_seq"] == second["cut_seq"] and second["ledger_rows"] > 0,
               "the rows are not those of the cut:", second)
        load.wait_answers(50)
        expect_refused(restore(node, node, directory), "runs", "down")
        node.wait_applied()
        # a node elsewhere, on the MySQL server that follows the living one
        ahead = elsewhere("ahead", node, mysql__socket=node.path("socket/mysql/mysql.sock"))
        expect_refused(restore(node, ahead, directory), "another node lives on")
        ahead.remove()
        load.finish()
        load.verify()
        node.expect_sound()
        code, out, err = node.hbctl("backup", "verify", directory, "--json")
        expect(code == 0 and json.loads(out)["cut_seq"] == second["cut_seq"], out, err)
        status = node.persist("status")
        expect(all(a["state"] == "running" for a in status["appliers"]),
               "an applier stands after a backup:", status)
        node.down()
        readers_agree(node, node.path("journal"))
        readers_agree(node, os.path.join(second["directory"], "journal"))
        expect_refused(restore(node, node, directory), "--force")
        cold = backup(node, directory + "/cold", "--without-keys")
        expect(cold["cut_seq"] == product_end(node) and not cold["keys"] and
               not any(f["path"].startswith("key/") for f in cold["files"]), cold)

        other = elsewhere("restored", node, dataplane__lcores=1, node__number=2)
        expect_refused(restore(node, other, directory), "node.number")
        other.set(node__number=1)
        other.write_config()
        foreign_journal(other.path("journal"), second["directory"])
        expect_refused(restore(node, other, directory, "--force"), "another cluster")
        shutil.rmtree(other.path("journal"))
        damaged_backups_are_refused(node, other, second["directory"])
        # what a restore that died halfway leaves
        os.makedirs(other.path("restore.tmp/journal"), exist_ok=True)
        code, value = restore(node, other, directory)
        expect(code == 0 and value["cut_seq"] == second["cut_seq"], value)
        try:
            other.up()
            expect_restored(other, load, second["cut_seq"], before)
            found = other.expect_sound()
            code, out, _ = other.hbctl("journal", "verify", "--json")
            expect(json.loads(out)["epoch"] > 1700000000, "epochs could repeat:", out)
            log("restored node:", json.dumps(found))
            expect("ledger_imported" in other.log_text("persist"), "the rows were not imported")
            again = Load(other, threads=2, packets=2, users=20).start()
            again.wait_answers(20)
            again.finish()
            again.verify()
            other.expect_sound()
        finally:
            other.launcher("down", "--config", other.config)
        expect_refused(restore(node, other, directory), "--force", "aside")
        code, value = restore(node, other, first["directory"], "--force")
        expect(code == 0 and value["aside"], "a restore with --force:", value)
        expect(os.path.exists(other.path("journal." + value["aside"] + "/superblock")),
               "the journal that was there is gone")
        other.remove()
    shutil.rmtree(directory)


def damaged_backups_are_refused(node, other, path):
    names = sorted(os.listdir(os.path.join(path, "journal")))
    segment = os.path.join(path, "journal", [n for n in names if n.startswith("segment")][0])
    with open(segment, "r+b") as f:
        f.seek(300)
        byte = f.read(1)
        f.seek(300)
        f.write(bytes([byte[0] ^ 1]))
    code, out, _ = node.hbctl("backup", "verify", path, "--json")
    expect(code == 1 and os.path.basename(segment) in json.loads(out)["error"],
           "a damaged file is not named:", out)
    expect_refused(restore(node, other, path), os.path.basename(segment), "SHA-256")
    expect(not os.path.exists(other.path("journal")), "a refused restore left a journal")
    with open(segment, "r+b") as f:
        f.seek(300)
        f.write(byte)
    manifest = os.path.join(path, "manifest.json")
    with open(manifest) as f:
        text = f.read()
    for was, becomes, word in (('"version": 1', '"version": 2', "newer"),
                               ("journal/superblock", "journal/../superblock", "not allowed"),
                               ("{", "[", "manifest")):
        with open(manifest, "w") as f:
            f.write(text.replace(was, becomes, 1))
        expect_refused(restore(node, other, path), word)
    os.unlink(manifest)
    expect_refused(restore(node, other, path), "no whole backup")
    with open(manifest, "w") as f:
        f.write(text)
