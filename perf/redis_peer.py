# SPDX-License-Identifier: Apache-2.0
"""Redis as a peer: a private server process on a Unix socket in a directory of its own, never the
service of the host. The script gives a grab the same meaning as the engine's: token, claim,
share, log, credit, decided atomically."""
import csv
import io
import os
import shutil
import subprocess
import tempfile
import time

from generator import go_first
from lib import Failure, expect, wait_for

BALANCE_HASHES = 16


def redis_installed():
    return shutil.which("redis-server") and shutil.which("redis-benchmark")


def grab_script(token):
    """One grab as EVALSHA sends it. KEYS: claims, shares, log, tokens; ARGV: user.
    `token` is a Lua condition that is true when the user may."""
    return """
local user = ARGV[1]
local claimed = redis.call('HGET', KEYS[1], user)
if claimed then return claimed end
if redis.call('LLEN', KEYS[2]) == 0 then return 'sold_out' end
if not (%s) then return 'token_invalid' end
local amount = redis.call('LPOP', KEYS[2])
redis.call('HSETNX', KEYS[1], user, amount)
redis.call('RPUSH', KEYS[3], user .. ':' .. amount)
redis.call('HINCRBY', 'balance:' .. (tonumber(string.sub(user, -4)) %% %d), user, amount)
return amount
""" % (token, BALANCE_HASHES)


# Preparation: packets of ARGV[2] shares from number ARGV[1] on, ARGV[3] of them, and their tokens
# for users ARGV[4] ..; the same loop then grabs. One user per share.
PREPARE_LOOP = """
local first, shares, packets, users = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4])
for p = first, first + packets - 1 do
  for s = 0, shares - 1 do
    redis.call('RPUSH', 'shares:' .. p, 100)
    local user = (p * shares + s) * 7919 % users + 1
    redis.call('HSET', 'tokens:' .. p, user, 'GR-' .. user)
  end
end
return 'OK'
"""
GRAB_LOOP = """
local first, shares, packets, users = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4])
local n = 0
for s = 0, shares - 1 do
  for p = first, first + packets - 1 do
    local user = (p * shares + s) * 7919 % users + 1
    if not redis.call('HGET', 'claims:' .. p, user)
        and redis.call('HGET', 'tokens:' .. p, user) == 'GR-' .. user then
      local amount = redis.call('LPOP', 'shares:' .. p)
      if amount and redis.call('HSETNX', 'claims:' .. p, user, amount) == 1 then
        redis.call('RPUSH', 'log', p .. ':' .. user .. ':' .. amount)
        redis.call('HINCRBY', 'balance:' .. (user % 16), user, amount)
        n = n + 1
      end
    end
  end
end
return n
"""
REJECT_LOOP = """
local count, users, n = tonumber(ARGV[1]), tonumber(ARGV[2]), 0
for i = 1, count do
  local user = i * 7919 % users + 1
  if not redis.call('HGET', 'claims:0', user) and redis.call('LLEN', 'shares:0') == 0 then
    n = n + 1
  end
end
return n
"""


class Redis:
    """A private redis-server; a context manager."""

    def __init__(self, appendfsync=None, directory=None, log_file=None, ahead=False):
        """@param ahead: server and redis-benchmark go before others on the machine, as our node
        and our client do"""
        program = shutil.which("redis-server")
        expect(program, "the peer needs redis-server, which is not installed: run "
               "./hongbao setup --bench, or bench with --no-peer")
        self.directory = tempfile.mkdtemp(prefix="hongbao-redis-", dir=directory)
        self.prepare = go_first if ahead else None
        self.socket = os.path.join(self.directory, "redis.sock")
        self.words = [program, "--port", "0", "--unixsocket", self.socket, "--dir", self.directory,
                      "--save", "", "--daemonize", "no", "--maxclients", "1000"]
        if appendfsync:
            self.words += ["--appendonly", "yes", "--appendfsync", appendfsync,
                           "--auto-aof-rewrite-percentage", "0"]
        if log_file:
            self.words += ["--logfile", os.path.join(self.directory, log_file)]
        self.start()

    def start(self, seconds_max=10):
        self.process = subprocess.Popen(self.words, stdout=subprocess.DEVNULL,
                                        preexec_fn=self.prepare)
        try:
            wait_for("redis-server to answer", seconds_max, lambda: self.ping())
        except BaseException:
            self.close()
            raise

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        self.process.terminate()
        self.process.wait()
        shutil.rmtree(self.directory, ignore_errors=True)

    def ping(self):
        return subprocess.run(["redis-cli", "-s", self.socket, "ping"], capture_output=True,
                              text=True).stdout.strip() == "PONG"

    def cli(self, *words):
        result = subprocess.run(["redis-cli", "-s", self.socket, *map(str, words)],
                                capture_output=True, text=True)
        answer = result.stdout.strip()
        expect(result.returncode == 0 and "ERR" not in answer, "redis-cli:", answer, result.stderr)
        return answer

    def cpu_s(self):
        lines = dict(line.split(":", 1) for line in self.cli("INFO", "cpu").splitlines()
                     if ":" in line)
        return float(lines["used_cpu_user"]) + float(lines["used_cpu_sys"])

    def version(self):
        for line in self.cli("INFO", "server").splitlines():
            if line.startswith("redis_version:"):
                return line.split(":", 1)[1].strip()
        return "unknown"

    def timed(self, script, *arguments):
        """EVAL with the time it took. @return (answer, wall seconds, CPU seconds)"""
        cpu, wall = self.cpu_s(), time.monotonic()
        answer = self.cli("EVAL", script, 0, *arguments)
        wall = time.monotonic() - wall
        return answer, wall, self.cpu_s() - cpu

    def benchmark(self, clients, pipeline, requests, *command):
        """redis-benchmark. @return {"rate_per_s", "p50_us", "p99_us", "max_us"}"""
        result = subprocess.run(
            ["redis-benchmark", "-s", self.socket, "-c", str(clients), "-P", str(pipeline),
             "-n", str(requests), "-r", "1000000000", "--csv", *map(str, command)],
            capture_output=True, text=True, preexec_fn=self.prepare)
        rows = [row for row in csv.reader(io.StringIO(result.stdout)) if len(row) >= 8]
        if result.returncode != 0 or len(rows) < 2:
            raise Failure("redis-benchmark: %s %s" % (result.stdout, result.stderr))
        row = dict(zip(rows[0], rows[-1]))
        return {"rate_per_s": float(row["rps"]), "p50_us": float(row["p50_latency_ms"]) * 1e3,
                "p99_us": float(row["p99_latency_ms"]) * 1e3,
                "max_us": float(row["max_latency_ms"]) * 1e3}
