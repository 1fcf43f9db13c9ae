# SPDX-License-Identifier: Apache-2.0
"""hongbao-bench as the benchmarks start it, where it and its servers run, and what the CPUs did
meanwhile."""
import json
import os
import platform
import subprocess
import time

from lib import ROOT, Failure, expect

NICE = -15


def program():
    path = os.environ.get("HB_BENCH_PROGRAM") or os.path.join(
        os.environ.get("HONGBAO_BUILD") or os.path.join(ROOT, "build"), "perf", "hongbao-bench")
    expect(os.access(path, os.X_OK), "there is no", path, "; run ./hongbao build")
    return path


def cpu_of_generator():
    return max(os.sched_getaffinity(0))


def cpu_of_server():
    return min(os.sched_getaffinity(0))


def pin(pids, cpu):
    """Every thread of these processes on one CPU: ours and a peer's alike."""
    for pid in pids:
        for thread in os.listdir("/proc/%d/task" % pid):
            os.sched_setaffinity(int(thread), {cpu})


def go_first():
    """The generator shares the CPUs with the node. Let it keep its schedule, so that it measures
    the node and not its own waiting; the CPU time it takes is the node's loss."""
    os.setsid()
    if os.path.exists("/proc/self/autogroup"):
        with open("/proc/self/autogroup", "w") as f:
            f.write(str(NICE))
    os.nice(NICE)


def run_generator(*arguments, pinned=False):
    """@return its JSON object, also when requests failed"""
    cpu = cpu_of_generator()

    def prepare():
        go_first()
        if pinned:
            os.sched_setaffinity(0, {cpu})

    result = subprocess.run([program(), *arguments], capture_output=True, text=True,
                            preexec_fn=prepare)
    expect(result.returncode in (0, 1), "hongbao-bench:", result.stderr)
    return json.loads(result.stdout)


class Commanded:
    """A hongbao-bench that prepares, says so, and then obeys lines; a context manager."""

    def __init__(self, *words, prepare=None):
        self.name = "hongbao-bench " + words[0]
        self.process = subprocess.Popen([program(), *map(str, words)], stdin=subprocess.PIPE,
                                        stdout=subprocess.PIPE, text=True, preexec_fn=prepare)
        self.about = self.answer()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.stdin.close()
        self.process.wait()

    def answer(self):
        line = self.process.stdout.readline()
        if not line:
            raise Failure("%s ended: %s" % (self.name, self.process.wait()))
        return json.loads(line)

    def command(self, *words):
        self.process.stdin.write(" ".join(map(str, words)) + "\n")
        self.process.stdin.flush()
        return self.answer()


def user_tokens(algorithm, secret_hex, kid, first, count, group, lifetime_s=7200):
    """Signed tokens of `count` accounts from `first` on."""
    return subprocess.run(
        [program(), "jwt", "--algorithm", algorithm, "--secret", secret_hex, "--kid", kid,
         "--first", str(first), "--count", str(count), "--group", str(group),
         "--lifetime-s", str(lifetime_s)],
        capture_output=True, text=True, check=True).stdout.split()


def public_key(secret_hex):
    return subprocess.run([program(), "jwt", "--algorithm", "EdDSA", "--secret", secret_hex,
                           "--public"], capture_output=True, text=True, check=True).stdout.strip()


def machine():
    with open("/proc/cpuinfo") as f:
        model = [l.split(":")[1].strip() for l in f if l.startswith("model name")]
    return {"cpus": os.cpu_count(), "cpu": model[0] if model else "", "kernel": platform.release()}


def machine_busy_us():
    """CPU time that all of the machine's CPUs were busy so far, and that the host took away."""
    with open("/proc/stat") as f:
        fields = [int(word) for word in f.readline().split()[1:9]]
    user, nice, system, _, _, irq, softirq, steal = fields
    tick = 1000000 // os.sysconf("SC_CLK_TCK")
    return (user + nice + system + irq + softirq) * tick, steal * tick


def cpu_clock_us(pid):
    """CPU time of a process so far, its ended threads too, by the kernel's clock of the process
    (clock_getcpuclockid), which counts nanoseconds where /proc counts ticks."""
    return time.clock_gettime_ns((~pid << 3) | 2) // 1000


def cpu_per_op(load, operations):
    """µs of CPU per operation for each process name."""
    totals = {}
    for process in load["processes"]:
        totals[process["name"]] = totals.get(process["name"], 0) + max(process["cpu_us"], 0)
    return {name: round(us / max(operations, 1), 2) for name, us in totals.items()}
