# SPDX-License-Identifier: Apache-2.0
"""What changes on a running node: options that are live, and the key of money tokens."""
import json
import os
import re
import signal
import threading
import time

from lib import Numbers, OwnNode, expect, log, lucky_packet, test, wait_for

GROUP = 72
ROTATIONS = 3


def set_option(node, **options):
    """Change the configuration that the processes read."""
    node.set(**options)
    node.write_config()
    with open(node.config) as f:
        text = f.read()
    with open(node.path("etc/hongbao.conf"), "w") as f:
        f.write(text)


def reload(node):
    code, out, err = node.hbctl("config", "reload", "--json")
    expect(code == 0, "config reload ended with", code, out, err)
    return {change["key"]: change for change in json.loads(out)["changes"]}


class Grabs(threading.Thread):
    """Users that ask for tokens, wait, and grab with them, until stopped. Every answer must be a
    share: each token is valid and each packet has one for everybody."""

    def __init__(self, node, sender):
        super().__init__(daemon=True)
        self.node, self.sender = node, sender
        self.stopping = threading.Event()
        self.done = 0
        self.wrong = None

    def round(self, business, count=20):
        users = Numbers.take(count)
        business.open_accounts(users)
        packet = lucky_packet(business, self.sender, 100 * count, count, GROUP)
        tokens = business.grab_tokens([(user, packet) for user in users])
        for user, (token, sequence) in zip(users, tokens):
            code, value = self.node.user(user, [GROUP]).grab_until_told(
                packet, token, sequence, GROUP)
            expect(code == 200, "a valid token was answered", code, value)
            self.done += 1

    def run(self):
        business = self.node.business()
        try:
            while not self.stopping.is_set():
                self.round(business)
        except BaseException as error:
            self.wrong = error


@test
def the_key_of_money_tokens_is_rotated_under_load_and_options_change_without_a_restart():
    with OwnNode("live", dataplane__lcores=2) as node:
        sender, = Numbers.take(1)
        business = node.business()
        pids = [pid for name, pid in node.processes() if name != "nginx"]
        rotate_under_load(node, business, sender)
        options_change(node, business, sender)
        expect(pids == [pid for name, pid in node.processes() if name != "nginx"],
               "a process was started anew")
        # A dataplane that starts knows the keys before, too.
        held = hold_tokens(business, sender)
        node.hbctl("key", "rotate", "token")
        node.kill("dataplane")
        node.try_up()
        use_tokens(node, held)
        node.expect_sound()


def hold_tokens(business, sender, count=5):
    users = Numbers.take(count)
    business.open_accounts(users)
    packet = lucky_packet(business, sender, 100 * count, count, GROUP)
    return packet, list(zip(users, business.grab_tokens([(user, packet) for user in users])))


def use_tokens(node, held):
    packet, tokens = held
    for user, (token, sequence) in tokens:
        code, value = node.user(user, [GROUP]).grab_until_told(packet, token, sequence, GROUP)
        expect(code == 200, "a token of a key before was answered", code, value)


def rotate_under_load(node, business, sender):
    held = [hold_tokens(business, sender)]
    load = Grabs(node, sender)
    load.start()
    path = node.path("key/money-token.key")
    with open(path) as f:
        keys = {f.read().split()[0]}
    owner = os.stat(path)
    for _ in range(ROTATIONS):
        before = load.done
        wait_for("grabs", 30, lambda: load.done > before + 10 or load.wrong)
        code, out, err = node.hbctl("key", "rotate", "token")
        expect(code == 0 and "a new key signs" in out, "key rotate:", code, out, err)
        with open(path) as f:
            lines = f.read().splitlines()
        expect(lines[0] not in keys and keys == {line.split()[0] for line in lines[1:]},
               "the file is not the new key and those before")
        keys.add(lines[0])
        held.append(hold_tokens(business, sender))
    now = os.stat(path)
    expect((now.st_uid, now.st_mode) == (owner.st_uid, owner.st_mode), "other rights:", now)
    load.stopping.set()
    load.join()
    if load.wrong:
        raise load.wrong
    log(load.done, "grabs beside", ROTATIONS, "rotations")
    for tokens in held:
        use_tokens(node, tokens)
    code, _, err = node.hbctl("key", "rotate", "token")
    expect(code == 1 and "still good" in err, "one rotation too many:", code, err)
    code, _, err = node.hbctl("key", "rotate", "jwt")
    expect(code == 2, "an unknown key:", code, err)
    # Those before are at their end: they verify no more, and there is room again.
    now_s = int(time.time())
    with open(path) as f:
        lines = f.read().splitlines()
    with open(path, "w") as f:
        f.write("".join(line + "\n" if " " not in line else "%s %d\n" % (
            line.split()[0], now_s - 1) for line in lines))
    last = hold_tokens(business, sender)
    expect(node.hbctl("config", "reload")[0] == 0, "config reload fails")
    use_tokens(node, last)
    packet, tokens = hold_tokens(business, sender)
    expect(node.hbctl("key", "rotate", "token")[0] == 0, "no room for a key")
    use_tokens(node, (packet, tokens))


def options_change(node, business, sender):
    expect(reload(node) == {}, "options differ though nothing was changed")
    packet = {"sender": sender, "kind": "lucky", "group": GROUP, "total_fen": 100, "count": 8}
    business.credit([(sender, 1000)])
    code, value = business.call("POST", "/business/v1/packets", packet)
    expect(code == 201, "a packet of 8:", code, value)
    set_option(node, packet__count_max=7, alarm__lag_ms=1234, capacity__accounts=600000,
               journal__keep_days=3, log__debug=1)
    changes = reload(node)
    expect({key: (change["before"], change["now"], change["live"])
            for key, change in changes.items()} == {
                "packet.count_max": ("10000", "7", ["dataplane"]),
                "alarm.lag_ms": ("60000", "1234", ["control"]),
                "capacity.accounts": ("524288", "600000", []),
                "journal.keep_days": ("7", "3", ["persist"]),
                "log.debug": ("0", "1", ["dataplane", "persist", "control"])},
           "not the changes:", changes)
    code, value = business.call("POST", "/business/v1/packets", packet)
    expect((code, value["status"]) == (422, "limit"), "a packet of 8 at count_max 7:", code, value)
    for name, key in (("dataplane", "packet.count_max"), ("persist", "journal.keep_days"),
                      ("control", "alarm.lag_ms")):
        expect(re.search(r"event=option_changed key=%s " % re.escape(key), node.log_text(name)),
               name, "does not log", key)
    expect("event=option_needs_restart key=capacity.accounts" in node.log_text("dataplane"),
           "the dataplane does not say what needs a restart")
    expect(set(reload(node)) == {"capacity.accounts"}, "what needs a restart is forgotten")
    code, out, _ = node.hbctl("config", "reload")
    expect("capacity.accounts" in out and "needs a restart" in out, "for people:", out)

    # A file with an error changes nothing, in no process.
    set_option(node, packet__count_max=0)
    code, out, err = node.hbctl("config", "reload")
    expect(code == 2 and "count_max" in err, "a bad file:", code, out, err)
    for name in ("dataplane", "persist", "control"):
        os.kill(node.pid(name), signal.SIGHUP)
        wait_for(name + " to refuse it", 10, lambda: re.search(
            r"event=options_not_read .*count_max", node.log_text(name)))
    code, value = business.call("POST", "/business/v1/packets", dict(packet, count=7))
    expect(code == 201, "a packet of 7 after a bad file:", code, value)
    set_option(node, capacity__accounts=524288, packet__count_max=10000)
    expect(set(reload(node)) == {"packet.count_max"}, "not back to what was")
