# SPDX-License-Identifier: Apache-2.0
"""A machine with systemd as pid 1, made of namespaces over a folder that holds a Debian.

Namespaces of processes, mounts, network (loopback only), IPC, host name and cgroups are its own, so
systemd there runs services, sandboxes and watchdogs as on iron, and nothing of it meets this
machine. Killing its pid 1 ends everything in it; off() removes what is left of its cgroup.

Standard library only; root with CAP_SYS_ADMIN; a mounted cgroup2 file system.
"""
import fcntl
import json
import os
import signal
import socket
import struct
import subprocess
import time

import unit
from lib import Failure, expect, wait_for

CLONE_NEWCGROUP, CLONE_NEWPID = 0x2000000, 0x20000000
SYS_PIVOT_ROOT, MNT_DETACH = 155, 2
SIOCGIFFLAGS, SIOCSIFFLAGS, IFF_UP = 0x8913, 0x8914, 1
NAMESPACES = ("cgroup", "ipc", "uts", "net", "pid", "mnt")
SIGNAL_POWEROFF = signal.SIGRTMIN + 4  # systemd's, like systemctl poweroff
BOOT_SECONDS, OFF_SECONDS = 30, 60


def cgroup2():
    with open("/proc/self/mounts", encoding="utf-8") as file:
        for line in file:
            words = line.split()
            if words[2] == "cgroup2":
                return words[1]
    raise Failure("no cgroup2 file system is mounted here; systemd needs one")


class Machine:
    def __init__(self, root, environment):
        self.root = root
        self.environment = environment
        self.cgroup = os.path.join(cgroup2(), "hongbao-test-%d" % os.getpid())
        self.pid = None

    # What pid 1 does before it becomes systemd.

    def make_file_systems(self):
        unit.unshare(unit.CLONE_NEWNS)
        unit.mount("none", "/", None, unit.MS_REC | unit.MS_PRIVATE)
        unit.mount(self.root, self.root, None, unit.MS_BIND | unit.MS_REC)
        unit.mount("proc", self.root + "/proc", "proc")
        unit.mount("sysfs", self.root + "/sys", "sysfs")
        unit.mount("cgroup2", self.root + "/sys/fs/cgroup", "cgroup2")
        unit.mount("tmpfs", self.root + "/run", "tmpfs", 0, "mode=755")
        unit.mount("tmpfs", self.root + "/tmp", "tmpfs", 0, "mode=1777")

    def change_root(self):
        os.chdir(self.root)
        os.makedirs("old-root", exist_ok=True)
        unit.check(unit.LIBC.syscall(SYS_PIVOT_ROOT, b".", b"old-root"), "pivot_root")
        os.chdir("/")
        unit.check(unit.LIBC.umount2(b"/old-root", MNT_DETACH), "umount")

    def become_systemd(self):
        os.setsid()
        self.make_file_systems()
        self.change_root()
        loopback_up()
        nothing = os.open("/dev/null", os.O_RDWR)
        for number in (0, 1, 2):
            os.dup2(nothing, number)
        os.execve("/lib/systemd/systemd",
                  ["systemd", "--system", "--log-target=journal", "--unit=multi-user.target"],
                  {"container": "other", "PATH": self.environment["PATH"]})

    def boot(self):
        os.makedirs(self.cgroup, exist_ok=True)
        hear, tell = os.pipe()
        helper = os.fork()  # enters the namespaces that a process gives to its children only
        if helper == 0:
            try:
                with open(self.cgroup + "/cgroup.procs", "w", encoding="ascii") as file:
                    file.write(str(os.getpid()))
                unit.unshare(CLONE_NEWPID | CLONE_NEWCGROUP | unit.CLONE_NEWUTS |
                             unit.CLONE_NEWIPC | unit.CLONE_NEWNET)
                first = os.fork()
                if first == 0:
                    self.become_systemd()
                os.write(tell, str(first).encode())
                os.close(tell)  # its end is what the other side waits for
                os.waitpid(first, 0)
            finally:
                os._exit(0)
        os.close(tell)
        with os.fdopen(hear, "rb") as pipe:
            self.pid = int(pipe.read(16) or b"0")
        self.helper = helper
        expect(self.pid > 0, "the machine did not start")
        wait_for("systemd has booted", BOOT_SECONDS, self.booted, 0.2)

    def booted(self):
        expect(self.alive(), "pid 1 of the machine ended")
        result = self.run("systemctl", "is-system-running", code=None)
        return result.split()[-1:] in (["running"], ["degraded"])

    def alive(self):
        done, _ = os.waitpid(self.helper, os.WNOHANG)
        return done == 0

    def run(self, *command, code=0):
        """Run a command in it. @return what it printed"""
        result = subprocess.run(["nsenter", "-t", str(self.pid), "-m", "-p", "-n", "-C", "-i", "-u",
                                 "--", *command], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                stderr=subprocess.STDOUT, text=True, env=self.environment,
                                check=False)
        expect(code is None or result.returncode == code, " ".join(command), "ended with",
               result.returncode, "\n", result.stdout[-3000:])
        return result.stdout

    def call(self, function, *arguments):
        """Call a function in it; what it returns must be JSON. @return that"""
        hear, tell = os.pipe()
        child = os.fork()
        if child == 0:
            try:
                answer = {"ok": self.called(function, arguments)}
            except BaseException as error:
                answer = {"error": "%s: %s" % (type(error).__name__, error)}
            os.write(tell, json.dumps(answer).encode())
            os._exit(0)
        os.close(tell)
        with os.fdopen(hear, "rb") as pipe:
            answer = json.loads(pipe.read() or b'{"error":"the child ended"}')
        os.waitpid(child, 0)
        expect("error" not in answer, function.__name__ + ":", answer.get("error"))
        return answer["ok"]

    def called(self, function, arguments):
        for name in NAMESPACES:
            fd = os.open("/proc/%d/ns/%s" % (self.pid, name), os.O_RDONLY)
            if name != "pid":
                unit.check(unit.LIBC.setns(fd, 0), "setns " + name)
            os.close(fd)
        os.environ.clear()
        os.environ.update(self.environment)
        return function(*arguments)

    def off(self):
        """Shut down in order."""
        if self.pid is None:
            return
        os.kill(self.pid, SIGNAL_POWEROFF)
        end = time.monotonic() + OFF_SECONDS
        while self.alive():
            if time.monotonic() > end:
                self.kill()
                raise Failure("the machine did not shut down within %d s" % OFF_SECONDS)
            time.sleep(0.1)
        self.pid = None
        self.remove_cgroup()

    def kill(self):
        """Pull the plug."""
        if self.pid is None:
            return
        os.kill(self.pid, signal.SIGKILL)
        os.waitpid(self.helper, 0)
        self.pid = None
        self.remove_cgroup()

    def remove_cgroup(self):
        for folder, _, _ in os.walk(self.cgroup, topdown=False):
            for _ in range(50):  # processes that were killed leave a moment later
                try:
                    os.rmdir(folder)
                    break
                except OSError:
                    time.sleep(0.02)


def loopback_up():
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
        request = struct.pack("16sH14x", b"lo", 0)
        flags = struct.unpack("16sH14x", fcntl.ioctl(s, SIOCGIFFLAGS, request))[1]
        fcntl.ioctl(s, SIOCSIFFLAGS, struct.pack("16sH14x", b"lo", flags | IFF_UP))
