# SPDX-License-Identifier: Apache-2.0
"""frames: a DPDK client process at a node's net_memif port, one frame and 22 per datagram. Virtual
devices on one machine, no NIC. In turns with a loop that only sends packets back over the same
device, as testpmd's macswap does, and with recvmmsg and sendmmsg on a kernel socket."""
import json
import os
import signal
import statistics
import subprocess
import tempfile

from bench_rings import LAG_SECONDS_MAX, Rings, frames_program, with_node
from generator import cpu_clock_us, cpu_of_generator, cpu_of_server, go_first, pin
from lib import expect, free_port, log

ADDRESS, UDP_BASE = "10.78.0.1", 7400
SERVER_MAC = "02:00:00:00:00:01"
MEMIF = "socket/dataplane/bench-memif.sock"
GRABS, GRABS_SMOKE = 100000, 2000
USERS = 10000
SECONDS = 2
PER_DATAGRAM = (1, 22)
IN_FLIGHT = {1: 512, 22: 2816}  # frames
DURABLE_S_MAX = 60
GOAL_PER_S = 4000000
GOAL_MAC_SWAP = 0.5


def environment(scratch):
    """EAL keeps files of its own in the scratch directory, not in /run."""
    return dict(os.environ, RUNTIME_DIRECTORY=scratch)


class Server:
    """A peer that sends back what comes; a context manager."""

    def __init__(self, scratch, *words):
        self.process = subprocess.Popen([frames_program(), *words], stdout=subprocess.PIPE,
                                        stderr=subprocess.PIPE, text=True,
                                        env=environment(scratch))
        line = self.process.stdout.readline()
        if not line:
            _, why = self.process.communicate()
            expect(False, "hongbao-frames-bench", words, "ended:", why)
        pin([self.process.pid], cpu_of_server())

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.send_signal(signal.SIGTERM)
        self.process.wait()

    def pids(self):
        return [self.process.pid]


def client(command, grabs, per, seconds, pids, *words):
    """One run. @return its figures, with CPU µs per frame of the other side"""
    def prepare():
        go_first()
        os.sched_setaffinity(0, {cpu_of_generator()})

    before = sum(map(cpu_clock_us, pids))
    result = subprocess.run(
        [frames_program(), command, "--grabs", grabs, "--per-datagram", str(per), "--in-flight",
         str(IN_FLIGHT[per]), "--seconds", str(seconds), *words],
        capture_output=True, text=True, preexec_fn=prepare,
        env=environment(os.path.dirname(grabs)))
    expect(result.returncode == 0, result.stderr)
    run = json.loads(result.stdout.strip().splitlines()[-1])
    run["cpu_us_per_frame"] = round(
        (sum(map(cpu_clock_us, pids)) - before) / max(run["ok"], 1), 3)
    expect(run["ok"] > 0, command, "heard nothing:", run)
    return run


def middle(runs):
    rates = [run["rate_per_s"] for run in runs]
    row = {key: statistics.median(run[key] for run in runs) for key in (
        "rate_per_s", "p50_us", "p99_us", "max_us", "cpu_us_per_frame", "lost")}
    row["rate_range"] = "%g..%g" % (min(rates), max(rates))
    row["runs"] = len(runs)
    return row


def show(name, row):
    print("%-26s %10.0f frames/s (%s)  p50 %.0f  p99 %.0f µs  CPU %.2f µs  lost %d" % (
        name, row["rate_per_s"], row["rate_range"], row["p50_us"], row["p99_us"],
        row["cpu_us_per_frame"], row["lost"]))


def turns(node, options, path, ours, scratch):
    """@return {name: runs}: "already" of the node, and the peers"""
    pairs = options.pairs
    seconds = 0.3 if options.smoke else SECONDS
    found = {}
    port = free_port()
    with Server(scratch, "udp-echo", "--port", str(port)) as echo:
        for turn in range(pairs):
            for per in PER_DATAGRAM:
                found.setdefault("already %d" % per, []).append(client(
                    "already", path, per, seconds, node.pids("dataplane"), *ours))
                if options.no_peer:
                    continue
                found.setdefault("kernel UDP %d" % per, []).append(client(
                    "echo", path, per, seconds, echo.pids(), "--port", str(port)))
                # a path of its own: the driver leaves its socket behind
                swap = os.path.join(scratch, "swap-%d-%d.sock" % (turn, per))
                with Server(scratch, "mac-swap", "--memif", swap) as loop:
                    found.setdefault("mac-swap %d" % per, []).append(client(
                        "echo", path, per, seconds, loop.pids(), "--memif", swap))
    return found


def before_up(node):
    """The node's port is a memif whose socket only its dataplane and root can reach."""
    node.set(dataplane__ports="--vdev=net_memif0,role=server,socket=%s,socket-abstract=no,mac=%s" % (
        node.path(MEMIF), SERVER_MAC))


def frames(options):
    """a DPDK client at a net_memif port, 1 and 22 frames per datagram (vdev, no NIC)"""
    grabs = GRABS_SMOKE if options.smoke else GRABS
    result = {"bench": "frames", "metrics": {}, "peers": {}, "ratios": {}, "wrong": []}

    def work(node):
        with open(node.path("key/frame.keys"), encoding="ascii") as f:
            key_id, key, _ = f.readline().split()
        ours = ["--memif", node.path(MEMIF), "--address", ADDRESS, "--port", str(UDP_BASE),
                "--key-id", key_id, "--key", key]
        with tempfile.TemporaryDirectory(prefix="hongbao-bench-") as scratch:
            path = os.path.join(scratch, "grabs")
            with Rings(node, options, grabs, min(USERS, grabs)) as rings:
                rings.command("tell", "all", path, grabs)
            node.wait_applied(LAG_SECONDS_MAX)
            log("%d durable grabs through the port" % grabs)
            durable = client("durable", path, 22, DURABLE_S_MAX, node.pids("dataplane"), *ours)
            if durable["answered"] != grabs or durable["bad"]:
                result["wrong"].append("%d of %d grabs were answered, %d replies were bad" % (
                    durable["answered"], grabs, durable["bad"]))
            runs = turns(node, options, path, ours, scratch)
        for per in PER_DATAGRAM:
            for run in runs["already %d" % per]:
                if run["bad"] or run["already"] != run["replies"] or run["ok"] != run["replies"]:
                    result["wrong"].append("winners did not hear their shares again: %s" % run)
        rows = {name: middle(some) for name, some in runs.items()}
        result["metrics"].update({
            "rate_per_s": rows["already 22"]["rate_per_s"], "rate_goal_per_s": GOAL_PER_S,
            "mac_swap_goal": GOAL_MAC_SWAP, "durable_per_s": durable["rate_per_s"],
            "device": "net_memif (vdev, no NIC)",
            "already": {name: row for name, row in rows.items() if name.startswith("already")}})
        for name, row in rows.items():
            show(name, row)
            if not name.startswith("already"):
                result["peers"][name] = row
                mine = rows["already " + name.rsplit(" ", 1)[1]]
                result["ratios"][name] = round(mine["rate_per_s"] / row["rate_per_s"], 2)
        print("durable, 22 per datagram: %.0f/s" % durable["rate_per_s"])
        print("times the peers: %s" % "  ".join("%s %.2f" % item
                                                for item in result["ratios"].items()))
        return result

    # the port's lcore has the first CPU, as the peers have; the owner shares the client's, and not
    # where the kernel happens to put it: beside the port's lcore it takes most of its time away
    return with_node(options, work, before_up, port__address=ADDRESS, port__udp_base=UDP_BASE,
                     dataplane__cpus="%d,%d" % (cpu_of_generator(), cpu_of_server()))
