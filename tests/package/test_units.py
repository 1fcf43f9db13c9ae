#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The systemd units: each is started as it says (user, capabilities, directories, system calls),
and together they are a node that serves. Usage:
test_units.py BUILD_DIR NGINX_MODULE

Needs root and the packages of tools/packages.txt. The staged package lies over this machine in a
mount namespace of the test's own, see installed.py.
"""
import os
import shutil
import signal
import subprocess
import sys
import time

sys.dont_write_bytecode = True
HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [HERE, os.path.join(os.path.dirname(HERE), "e2e")]
import installed  # noqa: E402
import lib  # noqa: E402
import unit  # noqa: E402
from lib import expect  # noqa: E402

EXPOSURE_MAX = 2.0
WRITABLE = {"mysql": "mysql", "persist": "journal", "dataplane": "socket/dataplane",
            "control": "socket/control", "front": "nginx"}


def unit_files():
    return [os.path.join(installed.UNITS, "hongbao-%s.service" % name) for name in unit.ORDER]


def every_unit_is_exposed_at_most_two_of_ten(_):
    for path in unit_files():
        result = subprocess.run(
            ["systemd-analyze", "security", "--offline=true", "--no-pager",
             "--threshold=%d" % (EXPOSURE_MAX * 10), path], capture_output=True, text=True,
            check=False)
        expect(result.returncode == 0, path, result.stdout[-200:], result.stderr)
        print("     ", result.stdout.strip().splitlines()[-1].encode("ascii", "ignore").decode())


def systemd_finds_nothing_to_complain_about(_):
    result = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", "--recursive-errors=no", *unit_files(),
         os.path.join(installed.UNITS, "hongbao.target")],
        capture_output=True, text=True, check=False)
    complaints = [line for line in result.stderr.splitlines() if "hongbao" in line]
    expect(result.returncode == 0 and not complaints, result.stderr)


def each_example_gives_its_capabilities_and_no_others(units):
    folder = "/usr/share/doc/hongbao/examples/"
    for name, example, bits in (("dataplane", "dataplane-ports.conf", 0x3000),
                                ("front", "front-low-port.conf", 0x400)):
        changed = unit.Unit(os.path.join(installed.UNITS, "hongbao-%s.service" % name),
                            [folder + example])
        expect(changed.words("CapabilityBoundingSet") == changed.words("AmbientCapabilities"),
               example)
        changed.values["Type"] = "exec"  # a short command has nothing to tell
        with open(os.path.join(units.log_directory, example), "ab") as changed.log:
            for key in ("CapEff", "CapBnd"):
                code = changed.run("/usr/bin/grep -q %s:.%016x /proc/self/status" % (key, bits), 10)
                expect(code == 0, example, "gives other capabilities in", key)


def the_units_together_are_a_node_that_serves_a_grab(units):
    took = units.start()
    print("     ", "  ".join("%s %.2f s" % item for item in took.items()))
    node = lib.Node("units", directory=installed.NODE)
    lib.wait_for("health", 30, lambda: subprocess.run(
        ["curl", "-fsS", "-m", "2", "-o", "/dev/null",
         "http://%s:%d/health" % node.address], capture_output=True, check=False).returncode == 0)
    business = lib.Business(node)
    business.open_accounts((1001, 1002))
    business.credit([(1001, 10000)])
    packet, = business.packets([{"sender": 1001, "kind": "lucky", "group": 7,
                                 "total_fen": 1000, "count": 1}])
    (token, sequence), = business.grab_tokens([(1002, packet)])
    code, answer = lib.User(node, 1002, [7]).grab_until_told(packet, token, sequence, 7)
    expect(code == 200 and answer["amount_fen"] == 1000, "grab answered", code, answer)
    result = subprocess.run(["/usr/sbin/hbctl", "check", "--json"], capture_output=True, text=True,
                            cwd="/", check=False)
    expect(result.returncode == 0, result.stdout, result.stderr)


def status_of(pid):
    with open("/proc/%d/status" % pid, encoding="ascii") as file:
        return dict(line.rstrip("\n").split(":\t", 1) for line in file if ":\t" in line)


def each_process_has_its_user_and_no_privilege(units):
    for name, one in units.unit.items():
        status = status_of(one.pid)
        uid = unit.pwd.getpwnam("hongbao-" + name).pw_uid
        expect(status["Uid"].split() == [str(uid)] * 4, name, "runs as", status["Uid"])
        for key in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"):
            expect(int(status[key], 16) == 0, name, "has", key, status[key])
        expect(status["NoNewPrivs"] == "1" and status["Seccomp"] == "2", name, status)


def each_process_writes_its_own_folders_and_no_others(units):
    for name, one in units.unit.items():
        for place in ("/usr", "/etc", "/var/lib/hongbao", installed.NODE, installed.NODE + "/key",
                      "/run"):
            code = one.run("/usr/bin/touch %s/intruder" % place, 10)
            expect(code != 0, name, "may write to", place)
        for other, folder in WRITABLE.items():
            path = "%s/%s/own-or-not" % (installed.NODE, folder)
            code = one.run("/usr/bin/touch " + path, 10)
            expect((code == 0) == (other == name), name, "touches", path, "with", code)
        os.unlink("%s/%s/own-or-not" % (installed.NODE, WRITABLE[name]))
        expect(one.run("/usr/bin/cat %s/key/business.keys" % installed.NODE, 10) ==
               (0 if name == "control" else 1), name, "and business.keys")
        expect(one.run("/usr/bin/unshare -U /usr/bin/true", 10) != 0, name, "makes namespaces")
        expect(one.run("/usr/bin/test -e /proc/1", 10) != 0, name, "sees foreign processes")


def the_watched_processes_show_progress(units):
    for name in ("persist", "dataplane"):
        lib.wait_for(name + " tells of its progress", 5,
                     lambda name=name: "WATCHDOG=1" in units.unit[name].hear())


def a_killed_persist_comes_back_by_its_unit_and_money_goes_on(units):
    one = units.unit["persist"]
    os.kill(one.pid, signal.SIGKILL)
    lib.wait_for("persist is gone", 5, lambda: not one.alive())
    one.messages = []
    one.start(units.log_directory)
    node = lib.Node("units", directory=installed.NODE)
    business = lib.Business(node)
    code, answer = business.retried("POST", "/business/v1/credits", {
        "account": 1002, "amount_fen": 1, "channel": "manual"})
    expect(code in (200, 201), code, answer)


def a_front_that_reloads_keeps_serving(units):
    units.unit["front"].reload()
    time.sleep(0.3)
    node = lib.Node("units", directory=installed.NODE)
    expect(lib.Business(node).account(1002)["available_fen"] == 1001, "balance")


def each_unit_stops_in_order_and_in_time(units):
    for name, code in units.stop().items():
        expect(code == 0, name, "ended with", code, units.unit[name].tail())


TESTS = (every_unit_is_exposed_at_most_two_of_ten, systemd_finds_nothing_to_complain_about,
         each_example_gives_its_capabilities_and_no_others,
         the_units_together_are_a_node_that_serves_a_grab,
         each_process_has_its_user_and_no_privilege,
         each_process_writes_its_own_folders_and_no_others, the_watched_processes_show_progress,
         a_killed_persist_comes_back_by_its_unit_and_money_goes_on,
         a_front_that_reloads_keeps_serving, each_unit_stops_in_order_and_in_time)


def main():
    if os.geteuid() != 0:
        print("needs root", file=sys.stderr)
        return 1
    place = installed.enter(*map(os.path.abspath, sys.argv[1:3]), lib.free_port())
    if not unit.MAY_RAISE_LIMITS:
        print("note  no CAP_SYS_RESOURCE here: LimitNOFILE and OOMScoreAdjust stay as they are")
    units = None
    failed = False
    try:
        installed.prepare_node()
        units = unit.Units(installed.UNITS, "/run/test")
        for test in TESTS:
            begin = time.monotonic()
            test(units)
            print("ok    %s (%.1f s)" % (test.__name__.replace("_", " "),
                                         time.monotonic() - begin), flush=True)
    except (lib.Failure, unit.UnitError, subprocess.CalledProcessError) as error:
        print("FAIL  %s\n%s" % (test.__name__ if units else "preparation", error))
        failed = True
    finally:
        if units:
            units.kill()
        if failed and os.path.isdir("/run/test"):
            shutil.copytree("/run/test", "/tmp/hongbao-units-failed", dirs_exist_ok=True,
                            ignore=lambda folder, names: [n for n in names if "notify" in n])
        installed.remove(place)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
