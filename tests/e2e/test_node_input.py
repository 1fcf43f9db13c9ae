# SPDX-License-Identifier: Apache-2.0
"""What a node finds on its disk and its sockets: it starts only on what is whole and its own, and
says what is wrong by name."""
import array
import os
import pwd
import grp
import socket
import struct
import subprocess

from journal_files import BLOCK, flip, frames, raw_segments, used_segment
from lib import (Numbers, OwnNode, Fixture, expect, log, lucky_packet, test, wait_for)

GROUP = 21


def small_business(node, count=3):
    """Some packets and grabs. @return function that proves they are still there"""
    business = node.business()
    sender, *users = Numbers.take(1 + count)
    packet = lucky_packet(business, sender, 1000, count, GROUP)
    tokens = business.grab_tokens([(user, packet) for user in users])
    amounts = {}
    for user, (token, sequence) in zip(users, tokens):
        code, value = node.user(user, [GROUP]).grab_until_told(packet, token, sequence, GROUP)
        expect(code == 200, "a grab was answered", code, value)
        amounts[user] = value["amount_fen"]

    def proof():
        claims = node.user(users[0], [GROUP]).detail(packet, GROUP)["claims"]
        expect({c["user"]: c["amount_fen"] for c in claims} == amounts, "grabs were lost")

    proof()
    return proof


def run_program(node, name, *arguments, seconds=20):
    """Run a program of the node as its user. @return (exit code, output); None when it stays"""
    user = pwd.getpwnam("hongbao-" + name)
    group = grp.getgrnam("hongbao").gr_gid
    command = ["setpriv", "--reuid=%d" % user.pw_uid, "--regid=%d" % user.pw_gid,
               "--groups=%d" % group, "--inh-caps=-all", "--bounding-set=-all", "--no-new-privs",
               node.path("bin/hongbao-" + name), "-c", node.path("etc/hongbao.conf"), *arguments]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                               cwd=node.directory)
    try:
        output, _ = process.communicate(timeout=seconds)
        return process.returncode, output.decode(errors="replace")
    except subprocess.TimeoutExpired:
        process.kill()
        output, _ = process.communicate()
        return None, output.decode(errors="replace")


def expect_refused(node, words, what):
    """./hongbao up of a node that is down must fail, and an error must say one of the words."""
    for name in os.listdir(node.path("log")):
        os.truncate(node.path("log/" + name), 0)
    code, text = node.try_up()
    expect(code not in (0, -1), "up with", what, "ended with", code, "\n" + text)
    said = [line for line in text.splitlines()
            if any(mark in line for mark in ("level=error", "level=fatal", "[emerg]"))]
    expect(any(word in line for line in said for word in words), "up with", what,
           "does not say any of", words, "\n" + text)
    log(what, "->", said[0][said[0].find("error"):][:230])
    node.down()


@test
def a_second_persist_or_dataplane_on_the_same_directory_is_refused():
    node = Fixture.shared()
    proof = small_business(node)
    before = node.processes()
    code, text = run_program(node, "persist")
    expect(code not in (None, 0), "a second persist ended with", code, text)
    expect("lock" in text or "another" in text or "already" in text, "it does not say why:", text)
    code, text = run_program(node, "dataplane")
    expect(code != 0, "a second dataplane ended with", code, text)
    expect(node.processes() == before, "the node changed from", before, "to", node.processes())
    proof()
    small_business(node)
    node.expect_sound()


@test
def a_journal_with_a_flipped_byte_in_the_middle_is_refused_and_never_cut():
    with OwnNode("rot") as node:
        proofs = [small_business(node) for _ in range(4)]
        node.down()
        path, found = used_segment(node)
        expect(len(found) >= 5, "too few frames to damage the middle:", len(found))
        with open(path, "rb") as f:
            whole = f.read()
        middle = found[len(found) // 2]
        for what, offset in {"payload": middle[0] + 192 + middle[2] // 2,
                             "header": middle[0] + 20, "magic": middle[0],
                             "version": middle[0] + 4, "chain": middle[0] + 90,
                             "frame length": middle[0] + 9}.items():
            flip(path, offset)
            expect_refused(node, (os.path.basename(path), "damaged", "frame", "segment"),
                           "a flipped byte in the %s of frame %d of %d" % (
                               what, len(found) // 2, len(found)))
            flip(path, offset)
            with open(path, "rb") as f:
                expect(f.read() == whole, "refusing changed the segment")
        node.up()
        for proof in proofs:
            proof()
        node.expect_sound()


@test
def a_torn_tail_is_cut_and_the_node_starts():
    with OwnNode("torn") as node:
        proofs = [small_business(node)]
        for kind in ("noise", "half a frame", "a header alone"):
            node.down()
            path, found = used_segment(node)
            at, length, _, _ = found[-1]
            with open(path, "r+b") as f:
                f.seek(at)
                last = bytearray(f.read(length))
                # The next frame as it would begin: numbers go on, its payload never came whole.
                number = struct.unpack_from("<Q", last, 48)[0]
                struct.pack_into("<Q", last, 48, number + 1)
                f.seek(at + length)
                f.write({"noise": os.urandom(BLOCK), "half a frame": bytes(last[:2048]),
                         "a header alone": bytes(last[:192])}[kind])
            node.up()
            for proof in proofs:
                proof()
            proofs.append(small_business(node))
            log("started over a tail with", kind)
        node.expect_sound()


@test
def the_last_frame_that_mysql_knows_is_not_taken_for_a_torn_tail():
    with OwnNode("tail-rot") as node:
        proof = small_business(node)
        node.wait_applied()
        node.down()
        path, found = used_segment(node)
        at, _, payload, _ = found[-1]
        flip(path, at + 192 + payload // 2)
        expect_refused(node, ("damaged", "durable"),
                       "a flipped byte in the last durable frame")
        flip(path, at + 192 + payload // 2)
        node.up()
        proof()


@test
def a_lost_segment_is_refused_by_name():
    with OwnNode("lost") as node:
        proof = small_business(node)
        node.down()
        path, _ = used_segment(node)
        os.rename(path, path + ".away")
        expect_refused(node, ("segment",), "a lost segment")
        os.rename(path + ".away", path)
        node.up()
        proof()


@test
def a_key_file_that_is_missing_no_file_or_readable_by_others_is_refused_by_name():
    with OwnNode("keys") as node:
        node.down()
        for key in ("money-token.key", "business.keys", "jwt.keys"):
            path = node.path("key/" + key)
            mode = os.stat(path).st_mode & 0o777
            for wrong in (0o444, 0o440):
                os.chmod(path, wrong)
                expect_refused(node, (key,), "%s of mode %o" % (key, wrong))
                os.chmod(path, mode)
            os.rename(path, path + ".away")
            os.symlink(path + ".away", path)
            expect_refused(node, (key,), key + " as a symbolic link")
            os.unlink(path)
            os.mkdir(path)
            expect_refused(node, (key,), key + " as a directory")
            os.rmdir(path)
            os.rename(path + ".away", path)
        for key, name in (("money-token.key", "dataplane"), ("business.keys", "control")):
            path = node.path("key/" + key)
            os.rename(path, path + ".away")
            code, text = run_program(node, name)
            os.rename(path + ".away", path)
            expect(code == 2 and key in text, name, "without", key, "ended with", code, text)
        node.up()


@test
def the_applier_refuses_a_database_with_wrong_durability_and_grabs_go_on():
    with OwnNode("durability") as node:
        small_business(node)
        node.wait_applied()
        for setting, right, wrong in (("innodb_flush_log_at_trx_commit", "1", "2"),
                                      ("innodb_doublewrite", "1", "0")):
            node.down()
            path = node.path("etc/mysql.cnf")
            with open(path) as f:
                text = f.read()
            expect("%s = %s" % (setting, right) in text, "mysql.cnf does not set", setting)
            with open(path, "w") as f:
                f.write(text.replace("%s = %s" % (setting, right), "%s = %s" % (setting, wrong)))
            node.up()
            before = node.persist("status")["appliers"][0]["seq"]
            proof = small_business(node)
            status = wait_for("the applier to refuse", 20, lambda: [
                a for a in node.persist("status")["appliers"]
                if a["state"] == "waiting" and setting in a["error"]])
            log("refused:", status[0]["error"])
            expect(status[0]["seq"] <= before, "it applied all the same")
            with open(path, "w") as f:
                f.write(text)
            node.down()
            node.up()
            proof()
            node.wait_applied()
        node.expect_sound()


@test
def a_full_journal_volume_sheds_packets_then_grabs_then_all_but_control_and_recovers():
    with SmallVolume("full") as node:
        business = node.business()
        sender, *users = Numbers.take(12)
        packet = lucky_packet(business, sender, 1000, 10, GROUP)
        tokens = dict(zip(users, business.grab_tokens([(user, packet) for user in users])))
        business.credit([(sender, 10000)])

        def send():
            return business.call("POST", "/business/v1/packets", {
                "sender": sender, "kind": "lucky", "group": GROUP, "total_fen": 100, "count": 2})

        def grab(user):
            token, sequence = tokens[user]
            return node.user(user, [GROUP]).grab(packet, token, sequence, GROUP)

        def level(wanted):
            node.fill_to({0: 0.0, 1: 0.75, 2: 0.90, 3: 0.97}[wanted])
            wait_for("storage level %d" % wanted, 20,
                     lambda: node.persist("status")["storage_level"] == wanted)

        def expect_low(what, answer):
            expect(answer[0] == 503 and answer[1]["status"] == "storage_low", what, "answered",
                   answer)

        level(1)
        wait_for("packets to be refused", 5, lambda: send()[0] == 503)
        expect_low("a packet at 75 %", send())
        expect(grab(users[0])[0] == 200, "a grab at 75 % was refused")
        level(2)
        wait_for("grabs to be refused", 5, lambda: grab(users[1])[0] == 503)
        expect_low("a grab at 90 %", grab(users[1]))
        code, value = grab(users[0])
        expect(code == 200 and value["already"], "a winner at 90 % hears", code, value)
        level(3)
        expect_low("a grab at 97 %", grab(users[2]))
        level(0)
        wait_for("grabs to be accepted again", 5, lambda: grab(users[1])[0] == 200)
        # lists, pushes and packets come back one by one, each after degrade.calm_s
        wait_for("packets to be accepted again", 20, lambda: send()[0] in (200, 201))
        node.expect_sound()


class SmallVolume(OwnNode):
    """A node whose journal lies on a small file system of its own."""

    BYTES = 512 << 20

    def __enter__(self):
        directory = self.node.path("journal")
        os.makedirs(directory)
        subprocess.run(["mount", "-t", "tmpfs", "-o", "size=%d,mode=700" % self.BYTES, "none",
                        directory], check=True)
        self.node.set(journal__segment_mib=4, journal__segments_ready=2, degrade__calm_s=1)
        self.node.fill_to = self.fill_to
        return super().__enter__()

    def fill_to(self, share):
        """Let `share` of the volume be used, by a file that is not the journal's."""
        path = self.node.path("journal/filler")
        if os.path.exists(path):
            os.unlink(path)
        if share == 0.0:
            return
        volume = os.statvfs(self.node.path("journal"))
        used = (volume.f_blocks - volume.f_bfree) * volume.f_frsize
        with open(path, "wb") as f:
            os.posix_fallocate(f.fileno(), 0, int(self.BYTES * share) - used)

    def __exit__(self, kind, value, trace):
        try:
            code, text = self.node.launcher("down", "--config", self.node.config)
            expect(kind is not None or code == 0, "down ended with", code, text)
        finally:
            subprocess.run(["umount", "-l", self.node.path("journal")], check=False)
        if kind is None:
            self.node.remove()


@test
def an_attach_with_another_version_or_layout_is_refused_with_both_named():
    node = Fixture.shared()
    hellos = {
        "magic": (0, 1, 0), "version": (0x68626174, 99, 0), "layout": (0x68626174, 1, 12345)}
    for what, (magic, version, layout) in hellos.items():
        with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as s:
            s.settimeout(5)
            s.connect(node.path("socket/dataplane/attach.sock"))
            s.send(struct.pack("<IIQII32s", magic, version, layout, 0, 0, b"test"))
            answer, ancillary, _, _ = s.recvmsg(4096, socket.CMSG_SPACE(64 * 4))
        files = array.array("i")
        for _, _, data in ancillary:
            files.frombytes(data[:len(data) // 4 * 4])
        for fd in files:
            os.close(fd)
        expect(not files, "a hello of another", what, "got descriptors")
        if answer:
            error = struct.unpack_from("<i", answer, 16)[0]
            message = answer[-160:].split(b"\0")[0].decode()
            expect(error != 0 and message, "a hello of another", what, "got", error, message)
            log(what, "->", message)
            if what != "magic":
                expect(str(version) in message or "%x" % layout in message or
                       str(layout) in message, "the message does not name what came:", message)
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as s:
        s.connect(node.path("socket/dataplane/attach.sock"))
        s.send(b"x")
    small_business(node)
