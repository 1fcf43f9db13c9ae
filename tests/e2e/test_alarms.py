# SPDX-License-Identifier: Apache-2.0
"""Alarms leave the node: raised and cleared once each, signed, and kept for a receiver that is away.

The receiver is a small HTTP server of the test. It knows the node's alarm key and checks every
signature as docs/operations.md tells a receiver to.
"""
import hashlib
import hmac
import http.server
import json
import os
import signal
import threading
import time

from lib import Numbers, OwnNode, expect, free_port, log, test, wait_for


class Receiver:
    """Keeps what was posted: (state, rule, subject, id). Can be closed and opened again."""

    def __init__(self):
        self.port = free_port()
        self.key = None
        self.messages = []
        self.wrong = []
        self.server = None
        self.http = 200

    def open(self):
        receiver = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self):
                body = self.rfile.read(int(self.headers["Content-Length"]))
                receiver.take(self.path, self.headers, body)
                self.send_response(receiver.http)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *arguments):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", self.port), Handler)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        return self

    def close(self):
        self.server.shutdown()
        self.server.server_close()

    def take(self, path, headers, body):
        text = "\n".join(("POST", path, headers["X-HB-Timestamp"], headers["X-HB-Nonce"],
                          hashlib.sha256(body).hexdigest()))
        mac = hmac.new(self.key, text.encode(), hashlib.sha256).hexdigest()
        if headers["X-HB-Key"] != "alarm" or not hmac.compare_digest(
                mac, headers["X-HB-Signature"]):
            self.wrong.append(body)
        if self.http == 200:
            self.messages.append(json.loads(body))

    def of(self, rule):
        return [m for m in self.messages if m["rule"] == rule]


def alarm_node(receiver, **more):
    return OwnNode("alarms", dataplane__lcores=1,
                   alarm__webhook="http://127.0.0.1:%d/alarm?team=1" % receiver.port,
                   alarm__interval_ms=200, alarm__raise_after_s=1, alarm__clear_after_s=1, **more)


def read_key(node):
    with open(node.path("key/alarm.keys")) as f:
        return bytes.fromhex(f.read().split()[1])


def check_and_dataplane(node, receiver):
    """What a check finds is an alarm until the next one finds nothing; so is a dataplane that
    is gone."""
    business = node.business()
    accounts = Numbers.take(64)
    business.open_accounts(accounts)
    business.credit([(account, 100) for account in accounts])
    node.expect_sound()
    expect(receiver.of("check_differences") == [], "a sound node:", receiver.messages)
    node.sql("UPDATE hb_ledger.account_00 SET available_fen = available_fen + 1 "
             "ORDER BY account LIMIT 1")
    answer = node.check()
    expect(answer["violations"], "the check missed it")
    wait_for("the alarm of the check", 20, lambda: receiver.of("check_differences"))
    node.sql("UPDATE hb_ledger.account_00 SET available_fen = available_fen - 1 "
             "ORDER BY account LIMIT 1")
    node.expect_sound()
    wait_for("its clear", 20, lambda: len(receiver.of("check_differences")) == 2)

    os.kill(node.pid("dataplane"), signal.SIGKILL)
    wait_for("the alarm of the dataplane", 20, lambda: receiver.of("dataplane_down"))
    code, text = node.try_up()
    expect(code == 0, "up ended with", code, text)
    wait_for("its clear", 20, lambda: [m["state"] for m in receiver.of("dataplane_down")] ==
             ["raised", "cleared"])
    wait_for("the restart", 20, lambda: receiver.of("dataplane_restarted"))


@test
def an_alarm_is_sent_signed_and_once_when_mariadb_ends_and_its_clear_when_it_is_back():
    receiver = Receiver().open()
    with alarm_node(receiver) as node:
        receiver.key = read_key(node)
        code, out, err = node.hbctl("alarms", "test", "--json")
        expect(code == 0 and json.loads(out)["ok"], "alarms test:", code, out, err)
        expect([m["state"] for m in receiver.messages] == ["test"], "not one test:",
               receiver.messages)
        code, out, _ = node.hbctl("alarms")
        expect(code == 0 and "nothing is in alarm" in out, "a sound node is in alarm:", out)

        os.kill(node.pid("mysql"), signal.SIGTERM)
        start = time.monotonic()
        wait_for("the alarm", 60, lambda: receiver.of("mysql_down"))
        log("the alarm came after %.1f s" % (time.monotonic() - start))
        raised = receiver.of("mysql_down")[0]
        expect(raised["state"] == "raised" and raised["subject"] == "main" and
               raised["severity"] == "critical", "not the right alarm:", raised)
        code, out, _ = node.hbctl("alarms", "--json")
        active = json.loads(out)["active"]
        expect(code == 1 and [a["id"] for a in active if a["rule"] == "mysql_down"] ==
               [raised["id"]], "hbctl alarms says otherwise:", out)

        # The receiver is away while MariaDB comes back: the clear waits for it.
        receiver.close()
        code, text = node.try_up()
        expect(code == 0, "up ended with", code, text)
        wait_for("a try that fails", 60, lambda: node.metrics()[
            "hongbao_control_alarms_failed_total"] >= 1)
        receiver.open()
        wait_for("the clear", 60, lambda: len(receiver.of("mysql_down")) == 2)
        cleared = receiver.of("mysql_down")[1]
        expect(cleared["state"] == "cleared" and cleared["id"] == raised["id"],
               "not the clear of that alarm:", cleared)
        time.sleep(2)
        expect(len(receiver.of("mysql_down")) == 2, "sent again:", receiver.of("mysql_down"))
        expect(receiver.wrong == [], "signed wrongly:", receiver.wrong)
        metrics = node.metrics()
        expect(metrics["hongbao_control_alarms_waiting"] == 0 and
               metrics["hongbao_control_alarms_dropped_total"] == 0, "something waits:",
               {k: v for k, v in metrics.items() if "alarm" in k})
        text = node.log_text("control")
        expect("event=alarm state=raised rule=mysql_down" in text and
               "event=alarm state=cleared rule=mysql_down" in text, "the log has no alarms")
        check_and_dataplane(node, receiver)
        expect(receiver.wrong == [], "signed wrongly:", receiver.wrong)
    receiver.close()
