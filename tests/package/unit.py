# SPDX-License-Identifier: Apache-2.0
"""Starts what a systemd unit says, the way systemd would, on a machine where systemd is not pid 1.

A unit file (with drop-ins) is read, not repeated: user, groups, capabilities, directories,
namespaces, system-call filter, limits and environment all come from it. A directive that is neither
imitated here nor listed in NOT_IMITATED is an error, so nothing of a unit is skipped in silence.

Standard library only; root; Linux on x86-64. What a Unit starts is a session of its own; stop()
ends it as the unit says, and the caller must call it.
"""
import ctypes
import errno
import os
import pwd
import grp
import re
import resource
import shlex
import signal
import socket
import stat
import struct
import subprocess
import time

# Directives without effect in a test of minutes: what happens later (Restart), what only systemd
# has (cgroups, journal, kernel keyring), or what an empty capability set or the system-call filter
# refuses already (ProtectClock, ProtectKernelLogs, ProtectKernelModules).
NOT_IMITATED = {
    "Description", "Documentation", "PartOf", "After", "Wants", "WantedBy", "StartLimitIntervalSec",
    "Restart", "RestartSec", "RestartPreventExitStatus", "NotifyAccess", "IPAddressDeny",
    "KeyringMode", "RemoveIPC", "RestrictRealtime", "ProtectClock", "ProtectKernelLogs",
    "ProtectKernelModules", "ProtectControlGroups", "SystemCallArchitectures",
}
MULTIPLE = {"ExecCondition", "ExecStartPre", "ExecStart", "ExecReload", "ReadWritePaths",
            "InaccessiblePaths", "SystemCallFilter", "RestrictAddressFamilies", "After", "Wants",
            "CapabilityBoundingSet", "AmbientCapabilities", "DeviceAllow"}
HANDLED = MULTIPLE | {
    "Type", "WatchdogSec", "RuntimeDirectory", "RuntimeDirectoryMode", "User", "Group",
    "SupplementaryGroups", "LimitNOFILE", "LimitCORE", "Nice", "OOMScoreAdjust", "UMask",
    "CPUSchedulingPolicy", "CPUSchedulingPriority",
    "ProtectSystem", "ProtectHome", "PrivateTmp", "PrivateDevices", "ProtectProc", "ProcSubset",
    "NoNewPrivileges", "PrivateNetwork", "PrivateIPC", "ProtectHostname", "ProtectKernelTunables",
    "RestrictNamespaces", "RestrictSUIDSGID", "LockPersonality", "MemoryDenyWriteExecute",
    "SystemCallErrorNumber", "KillSignal", "KillMode", "TimeoutStartSec", "TimeoutStopSec",
}

CLONE_NEWNS, CLONE_NEWUTS, CLONE_NEWIPC, CLONE_NEWNET = 0x20000, 0x4000000, 0x8000000, 0x40000000
MS_NOSUID, MS_NODEV, MS_NOEXEC, MS_BIND, MS_REC, MS_PRIVATE = 2, 4, 8, 4096, 16384, 1 << 18
MOUNT_ATTR_RDONLY, AT_RECURSIVE, SYS_MOUNT_SETATTR, SYS_CAPSET = 1, 0x8000, 442, 126
PR_CAPBSET_DROP, PR_SET_KEEPCAPS, PR_SET_NO_NEW_PRIVS, PR_SET_SECCOMP = 24, 8, 38, 22
PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, PR_SET_MDWE, PR_MDWE_REFUSE_EXEC_GAIN = 47, 2, 65, 1
SECCOMP_ALLOW, SECCOMP_ERRNO, AUDIT_ARCH_X86_64 = 0x7fff0000, 0x50000, 0xc000003e
BPF_LOAD, BPF_EQUAL, BPF_SET, BPF_RETURN = 0x20, 0x15, 0x45, 0x06
CAPABILITIES = {"CAP_CHOWN": 0, "CAP_NET_BIND_SERVICE": 10, "CAP_NET_ADMIN": 12, "CAP_NET_RAW": 13}
CAPABILITY_LAST = 40
DEVICES = ("null", "zero", "full", "random", "urandom", "tty")
POLL_S = 0.02

LIBC = ctypes.CDLL(None, use_errno=True)


class UnitError(Exception):
    """A unit that cannot be started, or that did not do what it says."""


def check(result, what):
    if result == -1:
        number = ctypes.get_errno()
        raise OSError(number, "%s: %s" % (what, os.strerror(number)))


def mount(source, target, kind=None, flags=0, data=None):
    check(LIBC.mount(source and source.encode(), target.encode(), kind and kind.encode(),
                     ctypes.c_ulong(flags), data and data.encode()),
          "mount %s on %s" % (source, target))


def unshare(flags):
    check(LIBC.unshare(flags), "unshare")


def read_only(path, wanted, recursive=True):
    attributes = struct.pack("QQQQ", MOUNT_ATTR_RDONLY if wanted else 0,
                             0 if wanted else MOUNT_ATTR_RDONLY, 0, 0)
    check(LIBC.syscall(SYS_MOUNT_SETATTR, -100, path.encode(), AT_RECURSIVE if recursive else 0,
                       attributes, len(attributes)), "mount_setattr " + path)


def call_numbers():
    """System calls by name, from the kernel's own header."""
    with open("/usr/include/x86_64-linux-gnu/asm/unistd_64.h", encoding="ascii") as file:
        return {name: int(number) for name, number in
                re.findall(r"#define __NR_(\w+) (\d+)", file.read())}


def call_groups():
    """systemd's groups of system calls, as its own tool prints them."""
    text = subprocess.run(["systemd-analyze", "syscall-filter"], capture_output=True, text=True,
                          check=True).stdout
    groups, name = {}, None
    for line in text.splitlines():
        if line.startswith("@"):
            name = line.strip()
            groups[name] = []
        elif line.startswith("    ") and name and not line.strip().startswith("#"):
            groups[name].append(line.strip())
    return groups


def may_raise_limits():
    """Root of a container often lacks CAP_SYS_RESOURCE: limits stay where they are then."""
    with open("/proc/self/status", encoding="ascii") as file:
        effective = re.search(r"^CapEff:\s*(\w+)", file.read(), re.M).group(1)
    return int(effective, 16) >> 24 & 1 == 1


# Read once and at first: later the root directory may be another.
MAY_RAISE_LIMITS = may_raise_limits()
CALLS = call_numbers()
GROUPS = call_groups()


def expand(word):
    if not word.startswith("@"):
        return {word}
    return set().union(*(expand(member) for member in GROUPS[word]))


def allowed_calls(lines):
    """As systemd reads them: lists are added, those with a tilde are taken away, in order."""
    allowed = expand("@default") | {"execve"}
    for line in lines:
        take_away = line.startswith("~")
        named = set().union(*(expand(word) for word in line.lstrip("~").split()))
        allowed = allowed - named if take_away else allowed | named
    return allowed


class Filter:
    """A seccomp program, built from the top: rules that refuse, then the list of what may be."""

    def __init__(self, number):
        self.refusal = SECCOMP_ERRNO | number
        self.code = []
        self.add(BPF_LOAD, 4)
        self.add(BPF_EQUAL, AUDIT_ARCH_X86_64, 1, 0)
        self.add(BPF_RETURN, self.refusal)
        self.add(BPF_LOAD, 0)

    def add(self, code, value, if_true=0, if_false=0):
        self.code.append(struct.pack("HBBI", code, if_true, if_false, value & 0xffffffff))

    def refuse(self, call):
        self.add(BPF_EQUAL, CALLS[call], 0, 1)
        self.add(BPF_RETURN, self.refusal)

    def refuse_bits(self, call, argument, bits):
        self.add(BPF_EQUAL, CALLS[call], 0, 4)
        self.add(BPF_LOAD, 16 + 8 * argument)
        self.add(BPF_SET, bits, 0, 1)
        self.add(BPF_RETURN, self.refusal)
        self.add(BPF_LOAD, 0)

    def only_values(self, call, argument, values, number):
        self.add(BPF_EQUAL, CALLS[call], 0, 3 + 2 * len(values))
        self.add(BPF_LOAD, 16 + 8 * argument)
        for value in values:
            self.add(BPF_EQUAL, value, 0, 1)
            self.add(BPF_RETURN, SECCOMP_ALLOW)
        self.add(BPF_RETURN, SECCOMP_ERRNO | number)
        self.add(BPF_LOAD, 0)

    def allow(self, calls):
        for call in sorted(calls):
            if call in CALLS:
                self.add(BPF_EQUAL, CALLS[call], 0, 1)
                self.add(BPF_RETURN, SECCOMP_ALLOW)
        self.add(BPF_RETURN, self.refusal)

    def load(self):
        program = ctypes.create_string_buffer(b"".join(self.code))
        header = struct.pack("HxxxxxxQ", len(self.code), ctypes.addressof(program))
        check(LIBC.prctl(PR_SET_SECCOMP, 2, header, 0, 0), "seccomp")


class Unit:
    def __init__(self, path, drop_ins=()):
        self.name = os.path.basename(path)
        self.values = {}
        for file in (path, *drop_ins):
            self.read(file)
        self.pid = None
        self.notify = None
        self.messages = []
        self.log = None

    def read(self, path):
        with open(path, encoding="utf-8") as file:
            lines = file.read().replace("\\\n", " ").splitlines()
        for line in lines:
            line = line.strip()
            if not line or line[0] in "#;[":
                continue
            key, separator, value = (part.strip() for part in line.partition("="))
            if not separator or key not in HANDLED | NOT_IMITATED:
                raise UnitError("%s: this test does not know '%s'" % (path, line))
            if key in MULTIPLE and value:
                self.values.setdefault(key, []).append(value)
            elif key in MULTIPLE:
                self.values[key] = []
            else:
                self.values[key] = value

    def get(self, key, default=None):
        return self.values.get(key, default)

    def words(self, key):
        return " ".join(self.values.get(key, [])).split()

    def yes(self, key):
        return self.values.get(key) in ("yes", "true", "1", "on")

    def seconds(self, key, default):
        return int(self.values.get(key, default))

    # What runs as root, in the child, before the program.

    def enter_namespaces(self):
        flags = CLONE_NEWNS
        flags |= CLONE_NEWNET if self.yes("PrivateNetwork") else 0
        flags |= CLONE_NEWIPC if self.yes("PrivateIPC") else 0
        flags |= CLONE_NEWUTS if self.yes("ProtectHostname") else 0
        unshare(flags)
        mount("none", "/", None, MS_REC | MS_PRIVATE)

    def private_devices(self):
        mount("tmpfs", "/tmp", "tmpfs", MS_NOSUID, "mode=0755")
        for name in DEVICES:
            with open("/tmp/" + name, "wb"):
                pass
            mount("/dev/" + name, "/tmp/" + name, None, MS_BIND)
        os.mkdir("/tmp/shm", 0o1777)
        mount("tmpfs", "/tmp/shm", "tmpfs", MS_NOSUID | MS_NODEV)
        os.symlink("/proc/self/fd", "/tmp/fd")
        mount("/tmp", "/dev", None, MS_BIND | MS_REC)

    def make_runtime_directory(self):
        name = self.get("RuntimeDirectory")
        if not name:
            return []
        path = "/run/" + name
        os.makedirs(path, exist_ok=True)
        os.chmod(path, int(self.get("RuntimeDirectoryMode", "0755"), 8))
        user = pwd.getpwnam(self.get("User"))
        os.chown(path, user.pw_uid, grp.getgrnam(self.get("Group")).gr_gid)
        os.environ["RUNTIME_DIRECTORY"] = path
        return [path]

    def make_file_system(self):
        writable = self.words("ReadWritePaths") + self.make_runtime_directory()
        for path in writable:
            mount(path, path, None, MS_BIND | MS_REC)
        if self.yes("PrivateDevices"):
            self.private_devices()
        if self.get("ProtectProc") or self.get("ProcSubset"):
            options = ["hidepid=" + self.get("ProtectProc", "default").replace("default", "off")]
            if self.get("ProcSubset") == "pid":
                options.append("subset=pid")
            mount("proc", "/proc", "proc", MS_NOSUID | MS_NODEV | MS_NOEXEC, ",".join(options))
        if self.get("ProtectSystem") == "strict":
            read_only("/", True)
        for path in writable + (["/dev"] if self.yes("PrivateDevices") else []):
            read_only(path, False)
        read_only("/proc", False)
        if self.yes("ProtectKernelTunables"):
            if os.path.isdir("/proc/sys"):
                mount("/proc/sys", "/proc/sys", None, MS_BIND | MS_REC)
                read_only("/proc/sys", True)
        if self.yes("PrivateTmp"):
            for path in ("/tmp", "/var/tmp"):
                mount("tmpfs", path, "tmpfs", MS_NOSUID | MS_NODEV, "mode=1777")
        for path in self.words("InaccessiblePaths") + (
                ["/home", "/root"] if self.yes("ProtectHome") else []):
            mount("tmpfs", path, "tmpfs", MS_NOSUID | MS_NODEV | MS_NOEXEC, "mode=000")
            read_only(path, True)

    def set_limits(self):
        for key, what in (("LimitNOFILE", resource.RLIMIT_NOFILE),
                          ("LimitCORE", resource.RLIMIT_CORE)):
            if self.get(key):
                value = int(self.get(key))
                if not MAY_RAISE_LIMITS:
                    value = min(value, resource.getrlimit(what)[1])
                resource.setrlimit(what, (value, value))
        os.setpriority(os.PRIO_PROCESS, 0, int(self.get("Nice", "0")))
        if self.get("CPUSchedulingPolicy") == "fifo":
            os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(
                int(self.get("CPUSchedulingPriority"))))
        score = int(self.get("OOMScoreAdjust", "0"))
        if MAY_RAISE_LIMITS or score >= 0:
            with open("/proc/self/oom_score_adj", "w", encoding="ascii") as file:
                file.write(str(score))
        os.umask(int(self.get("UMask", "0022"), 8))

    def become_user(self):
        ambient = [CAPABILITIES[name] for name in self.words("AmbientCapabilities")]
        bounding = [CAPABILITIES[name] for name in self.words("CapabilityBoundingSet")]
        if "CapabilityBoundingSet" in self.values:
            for number in range(CAPABILITY_LAST + 1):
                if number not in bounding:
                    check(LIBC.prctl(PR_CAPBSET_DROP, number, 0, 0, 0), "bounding set")
        user = pwd.getpwnam(self.get("User"))
        group = grp.getgrnam(self.get("Group")).gr_gid
        groups = {group} | set(os.getgrouplist(user.pw_name, group))
        groups |= {grp.getgrnam(name).gr_gid for name in self.get("SupplementaryGroups", "").split()}
        os.setgroups(sorted(groups))
        os.setresgid(group, group, group)
        check(LIBC.prctl(PR_SET_KEEPCAPS, 1 if ambient else 0, 0, 0, 0), "keepcaps")
        os.setresuid(user.pw_uid, user.pw_uid, user.pw_uid)
        if ambient:
            bits = sum(1 << number for number in ambient)
            header, data = struct.pack("Ii", 0x20080522, 0), struct.pack("6I", bits, bits, bits,
                                                                        0, 0, 0)
            check(LIBC.syscall(SYS_CAPSET, header, data), "capset")
            for number in ambient:
                check(LIBC.prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, number, 0, 0), "ambient")
        os.environ.update(USER=user.pw_name, LOGNAME=user.pw_name, HOME=user.pw_dir)

    def refuse_calls(self):
        if self.yes("NoNewPrivileges"):
            check(LIBC.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), "no new privileges")
        if self.yes("MemoryDenyWriteExecute"):
            check(LIBC.prctl(PR_SET_MDWE, PR_MDWE_REFUSE_EXEC_GAIN, 0, 0, 0), "mdwe")
        number = getattr(errno, self.get("SystemCallErrorNumber", "EPERM"))
        program = Filter(number)
        if self.yes("RestrictNamespaces"):
            program.refuse("unshare")
            program.refuse("setns")
            program.refuse_bits("clone", 0, 0x7e020080 & ~0x80)
        if self.yes("LockPersonality"):
            program.refuse("personality")
        if self.yes("RestrictSUIDSGID"):
            for call, argument in (("chmod", 1), ("fchmod", 1), ("fchmodat", 2), ("mkdir", 1),
                                   ("mkdirat", 2), ("mknod", 1), ("mknodat", 2)):
                program.refuse_bits(call, argument, stat.S_ISUID | stat.S_ISGID)
        if "RestrictAddressFamilies" in self.values:
            families = [getattr(socket, name) for name in self.words("RestrictAddressFamilies")]
            program.only_values("socket", 0, families, errno.EAFNOSUPPORT)
        program.allow(allowed_calls(self.get("SystemCallFilter")))
        program.load()

    # What the test calls.

    def spawn(self, line):
        """Run one command line of the unit in its sandbox. @return its pid"""
        arguments = shlex.split(line)
        if arguments[0][0] != "/":
            raise UnitError("%s: '%s': prefixes and names without a path are not known" % (
                self.name, line))
        begun, tell = os.pipe2(os.O_CLOEXEC)
        pid = os.fork()
        if pid == 0:
            try:
                os.setsid()
                self.become(arguments)
            except BaseException as error:  # told to the parent, which raises it
                os.write(tell, ("%s: %s" % (type(error).__name__, error)).encode())
            os._exit(127)
        os.close(tell)
        with os.fdopen(begun, "rb") as pipe:
            told = pipe.read().decode()
        if told:
            os.waitpid(pid, 0)
            raise UnitError("%s: %s: %s" % (self.name, line, told))
        return pid

    def become(self, arguments):
        environment = {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
                       "LANG": "C.UTF-8"}
        os.environ.clear()
        os.environ.update(environment)
        if self.get("Type") == "notify":
            os.environ["NOTIFY_SOCKET"] = self.notify.getsockname()
        if self.get("WatchdogSec"):
            os.environ["WATCHDOG_USEC"] = str(self.seconds("WatchdogSec", 0) * 1000000)
            os.environ["WATCHDOG_PID"] = str(os.getpid())
        os.dup2(os.open("/dev/null", os.O_RDONLY), 0)
        os.dup2(self.log.fileno(), 1)
        os.dup2(self.log.fileno(), 2)
        os.chdir("/")
        signal.pthread_sigmask(signal.SIG_SETMASK, [])
        self.enter_namespaces()
        self.set_limits()
        self.make_file_system()
        self.become_user()
        self.refuse_calls()
        os.execv(arguments[0], arguments)

    def run(self, line, seconds):
        """Run one of the short commands. @return its exit status"""
        pid = self.spawn(line)
        end = time.monotonic() + seconds
        while True:
            done, status = os.waitpid(pid, os.WNOHANG)
            if done:
                return os.waitstatus_to_exitcode(status)
            if time.monotonic() > end:
                os.kill(pid, signal.SIGKILL)
                os.waitpid(pid, 0)
                raise UnitError("%s: '%s' did not end in %d s" % (self.name, line, seconds))
            time.sleep(POLL_S)

    def tail(self):
        self.log.flush()
        with open(self.log.name, encoding="utf-8", errors="replace") as file:
            return "".join(file.readlines()[-15:])

    def start(self, log_directory):
        """@return False when a condition of the unit says that it is not wanted"""
        self.log = open(os.path.join(log_directory, self.name + ".log"), "ab")
        seconds = self.seconds("TimeoutStartSec", 90)
        if self.get("Type") == "notify":
            self.notify = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
            path = os.path.join(log_directory, self.name + ".notify")
            if os.path.exists(path):
                os.unlink(path)
            self.notify.bind(path)
            os.chmod(path, 0o666)
            self.notify.setblocking(False)
        for line in self.get("ExecCondition", []):
            code = self.run(line, seconds)
            if 1 <= code <= 254:
                return False
            if code != 0:
                raise UnitError("%s: condition failed\n%s" % (self.name, self.tail()))
        for line in self.get("ExecStartPre", []):
            code = self.run(line, seconds)
            if code != 0:
                raise UnitError("%s: '%s' ended with %d\n%s" % (self.name, line, code, self.tail()))
        self.pid = self.spawn(self.get("ExecStart")[0])
        self.wait_ready(seconds)
        return True

    def hear(self):
        """Read what the process told its supervisor. @return all messages so far"""
        while self.notify is not None:
            try:
                self.messages += self.notify.recv(4096).decode().splitlines()
            except BlockingIOError:
                break
        return self.messages

    def wait_ready(self, seconds):
        end = time.monotonic() + seconds
        while self.get("Type") == "notify" and "READY=1" not in self.hear():
            if not self.alive():
                raise UnitError("%s ended while starting\n%s" % (self.name, self.tail()))
            if time.monotonic() > end:
                self.kill_all()
                raise UnitError("%s is not ready after %d s\n%s" % (
                    self.name, seconds, self.tail()))
            time.sleep(POLL_S)

    def alive(self):
        if self.pid is None:
            return False
        done, status = os.waitpid(self.pid, os.WNOHANG)
        if done:
            self.pid, self.status = None, os.waitstatus_to_exitcode(status)
        return not done

    def kill_all(self):
        """What is left of the unit's session; it is our child, so its id is not another's."""
        session = self.pid
        try:
            os.killpg(session, signal.SIGKILL)
        except ProcessLookupError:
            pass
        try:
            os.waitpid(session, 0)
        except ChildProcessError:
            pass
        self.pid = None

    def stop(self):
        """End it as the unit says. @return exit status (negative: signal), None: it did not run"""
        if not self.alive():
            return None
        number = getattr(signal, self.get("KillSignal", "SIGTERM"))
        pid = self.pid
        if self.get("KillMode") == "mixed":
            os.kill(pid, number)
        else:
            os.killpg(pid, number)
        end = time.monotonic() + self.seconds("TimeoutStopSec", 90)
        while self.alive():
            if time.monotonic() > end:
                self.kill_all()
                raise UnitError("%s did not end within TimeoutStopSec" % self.name)
            time.sleep(POLL_S)
        return self.status

    def reload(self):
        for line in self.get("ExecReload", []):
            code = self.run(line.replace("$MAINPID", str(self.pid)), 30)
            if code != 0:
                raise UnitError("%s: '%s' ended with %d\n%s" % (self.name, line, code, self.tail()))


ORDER = ("mysql", "persist", "dataplane", "control", "front")


class Units:
    """The units of a node, started in their order and stopped in the reverse one."""

    def __init__(self, directory, log_directory):
        self.log_directory = log_directory
        self.unit = {name: Unit(os.path.join(directory, "hongbao-%s.service" % name))
                     for name in ORDER}

    def start(self):
        """@return seconds that each took"""
        took = {}
        for name in ORDER:
            begin = time.monotonic()
            self.unit[name].start(self.log_directory)
            took[name] = time.monotonic() - begin
        return took

    def stop(self):
        """@return exit status by name"""
        return {name: self.unit[name].stop() for name in reversed(ORDER)}

    def kill(self):
        for name in reversed(ORDER):
            if self.unit[name].pid is not None:
                self.unit[name].kill_all()
