# SPDX-License-Identifier: Apache-2.0
"""What a running node has given up: every thread of every process of ours, after load.

That a call which is in no list ends its process is seen by tests/base/test_sandbox.c, with the
same filters.
"""
import os

from lib import Numbers, OwnNode, expect, log, lucky_packet, test

GROUP = 74
OURS = ("persist", "dataplane", "control")


def threads(pid):
    """Name and status of each thread."""
    for thread in os.listdir("/proc/%d/task" % pid):
        with open("/proc/%d/task/%s/status" % (pid, thread)) as file:
            yield dict(line.rstrip("\n").split(":\t", 1) for line in file if ":\t" in line)


@test
def no_thread_of_a_running_node_has_a_capability_or_is_without_a_filter():
    with OwnNode("hardening", dataplane__lcores=2, snapshot__interval_s=5) as node:
        business = node.business()
        users = Numbers.take(10)
        business.open_accounts(users)
        packet = lucky_packet(business, users[0], 1000, 10, GROUP)
        for user, (token, sequence) in zip(users, business.grab_tokens(
                [(user, packet) for user in users])):
            node.user(user, [GROUP]).grab_until_told(packet, token, sequence, GROUP)
        node.kill("dataplane")  # what comes back is as what was there
        node.try_up()
        count = 0
        for name in OURS:
            for pid in node.pids(name):
                for status in threads(pid):
                    count += 1
                    for key in ("CapEff", "CapPrm", "CapInh", "CapAmb"):
                        expect(int(status[key], 16) == 0, name, status["Name"], key, status[key])
                    expect(status["NoNewPrivs"] == "1", name, status["Name"], "new privileges")
                    expect(status["Seccomp"] == "2", name, status["Name"], "has no filter")
                # not dumpable: its files of /proc are root's
                expect(os.stat("/proc/%d/environ" % pid).st_uid == 0, name, "can be dumped")
        log("%d threads" % count)
        expect(count >= 10, "only", count, "threads")
        said = node.hbctl("doctor", "--json")[1]
        expect('"seccomp"' in said and "no more" in said, said)


@test
def a_node_of_logged_calls_says_so():
    with OwnNode("hardening-log", dataplane__lcores=1, security__seccomp="log") as node:
        said = node.hbctl("doctor")[1]
        expect("security.seccomp is" in said, said)
        node.hbctl("snapshot")
