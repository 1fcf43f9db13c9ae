# SPDX-License-Identifier: Apache-2.0
"""MariaDB alone as a peer: a private server in a directory of its own, never the service of the
host. A grab is a row whose key is packet and user, and an UPDATE of what is left, in one
transaction; hongbao-bench mariadb asks, as many connections as we have requests in flight."""
import json
import os
import shutil
import subprocess
import tempfile

from generator import go_first, program
from lib import Failure, expect, wait_for

SHARES = 10
# Durable as the node's own server; a pool of threads, as 500 connections share two CPUs.
SETTINGS = """[mysqld]
user = root
datadir = {0}/data
socket = {0}/server.sock
pid-file = {0}/server.pid
tmpdir = {0}
skip-networking
skip-name-resolve
performance_schema = 0
max_connections = 600
thread_handling = pool-of-threads
innodb_flush_log_at_trx_commit = 1
innodb_doublewrite = 1
innodb_flush_method = O_DIRECT
innodb_buffer_pool_size = 512M
innodb_log_file_size = 512M
"""
TABLES = """
CREATE DATABASE peer; USE peer;
CREATE TABLE packet (id BIGINT UNSIGNED PRIMARY KEY, left_count INT NOT NULL,
  left_fen BIGINT NOT NULL) ENGINE=InnoDB;
CREATE TABLE claim (packet BIGINT UNSIGNED, user BIGINT UNSIGNED, amount_fen BIGINT NOT NULL,
  PRIMARY KEY (packet, user)) ENGINE=InnoDB;
INSERT INTO packet SELECT seq, %d, %d FROM seq_0_to_%d;
DELIMITER //
CREATE PROCEDURE grab(p BIGINT UNSIGNED, u BIGINT UNSIGNED)
BEGIN
  DECLARE EXIT HANDLER FOR SQLEXCEPTION BEGIN ROLLBACK; RESIGNAL; END;
  START TRANSACTION;
  INSERT INTO claim VALUES (p, u, 100);
  UPDATE packet SET left_count = left_count - 1, left_fen = left_fen - 100
    WHERE id = p AND left_count > 0;
  IF ROW_COUNT() = 0 THEN SIGNAL SQLSTATE '45000' SET MESSAGE_TEXT = 'sold out'; END IF;
  COMMIT;
END //
"""


def mariadb_installed():
    return shutil.which("mariadbd") and shutil.which("mariadb-install-db")


class MariaDB:
    """A private mariadbd with `grabs` shares; a context manager."""

    def __init__(self, directory, grabs):
        self.directory = tempfile.mkdtemp(prefix="hongbao-mariadb-", dir=directory)
        self.socket = os.path.join(self.directory, "server.sock")
        self.grabs, self.used, self.process = grabs, 0, None
        settings = os.path.join(self.directory, "server.cnf")
        with open(settings, "w", encoding="ascii") as f:
            f.write(SETTINGS.format(self.directory))
        try:
            made = subprocess.run(
                ["mariadb-install-db", "--defaults-file=" + settings, "--skip-test-db",
                 "--auth-root-authentication-method=normal"], capture_output=True, text=True)
            expect(made.returncode == 0, "mariadb-install-db:", made.stdout, made.stderr)
            self.process = subprocess.Popen(
                ["mariadbd", "--defaults-file=" + settings], stdout=subprocess.DEVNULL,
                stderr=open(os.path.join(self.directory, "log"), "w", encoding="utf-8"),
                preexec_fn=go_first)
            wait_for("mariadbd to answer", 60, lambda: self.sql("SELECT 1").returncode == 0)
            made = self.sql(TABLES % (SHARES, SHARES * 100, grabs // SHARES))
            expect(made.returncode == 0, "tables of the peer:", made.stderr)
        except BaseException:
            self.close()
            raise

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        if self.process:
            self.process.terminate()
            self.process.wait()
        shutil.rmtree(self.directory, ignore_errors=True)

    def sql(self, text):
        return subprocess.run(["mariadb", "--no-defaults", "-N", "-B", "-S", self.socket, "-u",
                               "root"], input=text, capture_output=True, text=True)

    def grab(self, clients, count):
        """@return {"rate_per_s", "p50_us", "p99_us", "max_us"}"""
        expect(self.used + count <= self.grabs, "the peer has no shares left")
        result = subprocess.run(
            [program(), "mariadb", "--socket", self.socket, "--database", "peer", "--clients",
             str(clients), "--first", str(self.used), "--count", str(count)],
            capture_output=True, text=True, preexec_fn=go_first)
        self.used += count
        if result.returncode != 0:
            raise Failure("hongbao-bench mariadb: %s" % result.stderr)
        return json.loads(result.stdout)

    def check(self):
        """Every grab is one claim, and nothing is left of what was taken."""
        found = self.sql("SELECT COUNT(*) FROM peer.claim; "
                         "SELECT SUM(%d - left_count) FROM peer.packet;" % SHARES).stdout.split()
        expect(found == [str(self.used)] * 2, "the peer lost grabs:", found, self.used)
