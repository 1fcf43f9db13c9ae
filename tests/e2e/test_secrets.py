# SPDX-License-Identifier: Apache-2.0
"""No secret of a node leaves its key file: not by logs, tools, metrics, arguments or environment.

Every key of the node is a known value before it starts. After load, errors of every kind and a
crash, all that the node and its tools say is searched for each of them, as text and as bytes.
"""
import base64
import os
import subprocess

from lib import Connection, Numbers, OwnNode, expect, log, lucky_packet, test, wait_for

GROUP = 73
# Distinct from everything that comes about by chance; hexadecimal, as the files want it.
CANARY = {
    "money-token.key": "ca11ab1e" * 4,
    "frame.keys": "ca22ab1e" * 4,
    "business.keys": "ca33ab1e" * 8,
    "jwt.keys": "ca44ab1e" * 8,
    "alarm.keys": "ca55ab1e" * 8,
}
WEBHOOK_SECRET = "ca66ab1eca66ab1e"  # in the path of alarm.webhook, as some receivers want it
FORMS = {"money-token.key": "%s\n", "frame.keys": "1 %s front\n", "business.keys": "demo %s\n",
         "jwt.keys": "main HS256 %s\n", "alarm.keys": "alarm %s\n"}


def needles(secret):
    """The ways a secret may show: hexadecimal, raw bytes, base64; each by its first 12 bytes, so
    that a part of it counts."""
    raw = bytes.fromhex(secret)[:12]
    return {raw.hex().encode(), raw.hex().upper().encode(), raw,
            base64.b64encode(raw), base64.urlsafe_b64encode(raw)}


def plant(node):
    """Keys in place before the first start: whoever makes keys leaves those that are there."""
    node.write_config()
    os.makedirs(node.path("key"), mode=0o711, exist_ok=True)
    for name, secret in CANARY.items():
        with open(node.path("key/" + name), "w") as f:
            f.write(FORMS[name] % secret)
        os.chmod(node.path("key/" + name), 0o400)
    users = {"money-token.key": "hongbao-dataplane", "frame.keys": "hongbao-dataplane",
             "business.keys": "hongbao-control", "alarm.keys": "hongbao-control"}
    for name, user in users.items():
        subprocess.run(["chown", user, node.path("key/" + name)], check=True)


def errors(node, user, business):
    """Requests that are refused, in as many ways as there are doors."""
    for line in (b"GET /\xff HTTP/1.1\r\n\r\n", b"POST /v1/packets HTTP/1.1\r\nHost: x\r\n\r\n"):
        connection = Connection(node.address, 5)
        try:
            connection.send(line)
            connection.answer()
        except Exception:  # the answer does not matter here
            pass
        connection.close()
    for head in ({"alg": "none"}, {"alg": "HS256", "kid": "other"}):
        node.user(user.account, head=head).call("GET", "/v1/balance")
    bad = node.user(user.account)
    bad.headers = [("Authorization", "Bearer " + node.keys.jwt(user.account)[:-3] + "AAA")]
    bad.call("GET", "/v1/balance")
    user.grab("0110000000000001", "GR-1-1-20260101000000000-0000-0123456789abcdef", 10001)
    business.call("POST", "/business/v1/packets", b"{")
    business.call("GET", "/business/v1/accounts/1", secret=b"x" * 32)
    business.call("GET", "/business/v1/accounts/1", key_id="other")
    for path in ("/nothing", "/jobs/none/run", "/degrade", "/alarms/check"):
        node.control("POST", path, b"not json")
    node.persist("nothing")


def broken_files(node):
    """A key file with a mistake in its middle is refused by name, not by content."""
    for name in CANARY:
        path = node.path("key/" + name)
        with open(path) as f:
            text = f.read()
        with open(path, "w") as f:
            f.write(text + FORMS[name] % ("xy" + CANARY[name]))
        node.hbctl("config", "reload")
        node.hbctl("key", "rotate", "token")
        for process in ("control", "dataplane", "nginx"):
            os.kill(node.pid(process), 1)
        node.launcher("up", "--config", node.config)
        with open(path, "w") as f:
            f.write(text)
    with open(node.path("etc/hongbao.conf"), "a") as f:
        f.write("no.such: { option = 1; };\n")
    node.hbctl("status")
    node.write_config()


def said(node):
    """Everything that can be seen without reading a key file: pairs of where and bytes."""
    for name in os.listdir(node.path("log")):
        with open(node.path("log/" + name), "rb") as f:
            yield "log/" + name, f.read()
    for words in (["journal", "dump"], ["journal", "dump", "--json"], ["status", "--json"],
                  ["counters"], ["alarms", "--json"], ["doctor", "--json"], ["jobs", "--json"],
                  ["config", "reload", "--json"], ["degrade", "--json"], ["mysql", "status"],
                  ["check", "--json"], ["trace", "1"]):
        code, out, err = node.hbctl(*words)
        yield "hbctl " + " ".join(words), (out + err).encode("utf-8", "surrogateescape")
    connection = Connection(node.path("socket/control/admin.sock"), 60)
    for path in ("/metrics", "/status", "/alarms"):
        yield path, connection.request("GET", path)[2]
    connection.close()
    yield "ps", subprocess.run(["ps", "axwwe", "-o", "pid,args"], capture_output=True).stdout
    for name, pid in node.processes():
        for what in ("cmdline", "environ"):
            with open("/proc/%d/%s" % (pid, what), "rb") as f:
                yield "%s of %s" % (what, name), f.read()
    for folder, _, names in os.walk(node.path("journal")):
        for name in names:
            with open(os.path.join(folder, name), "rb") as f:
                yield "journal/" + name, f.read()
    for name in os.listdir(node.path("etc")):
        if name != "hongbao.conf":
            with open(os.path.join(node.path("etc"), name), "rb") as f:
                yield "etc/" + name, f.read()


@test
def no_secret_is_in_logs_dumps_metrics_arguments_or_environments():
    node = OwnNode("secrets", dataplane__lcores=1, log__debug=1,
                   alarm__webhook="http://127.0.0.1:1/%s" % WEBHOOK_SECRET,
                   alarm__interval_ms=200, alarm__raise_after_s=0)
    plant(node.node)
    with node as node:
        expect(node.keys.business_secret.hex() == CANARY["business.keys"], "keys were replaced")
        business = node.business()
        users = Numbers.take(20)
        business.open_accounts(users)
        packet = lucky_packet(business, users[0], 2000, 20, GROUP)
        for user, (token, sequence) in zip(users, business.grab_tokens(
                [(user, packet) for user in users])):
            node.user(user, [GROUP]).grab_until_told(packet, token, sequence, GROUP)
        errors(node, node.user(users[0], [GROUP]), business)
        broken_files(node)
        node.kill("dataplane", 6)  # an abort, as an assertion that fails makes it
        wait_for("the alarm", 20, lambda: node.control("GET", "/alarms")[1]["recent"])
        node.kill("control")
        node.try_up()
        node.hbctl("alarms", "test")
        secrets = {name: needles(secret) for name, secret in CANARY.items()}
        secrets["alarm.webhook"] = {WEBHOOK_SECRET.encode()}
        size = places = 0
        for where, text in said(node):
            places += 1
            size += len(text)
            for name, wanted in secrets.items():
                found = [needle for needle in wanted if needle in text]
                expect(not found, "the secret of", name, "is in", where)
        log("%d places, %.1f MB, hold none of %d secrets" % (places, size / 1e6, len(secrets)))
        for word in ("keys_not_reloaded", "token_keys_not_read"):
            expect(word in node.log_text("control") + node.log_text("dataplane"),
                   "the broken files were not refused with", word)
