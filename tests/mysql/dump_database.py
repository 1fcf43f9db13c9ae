#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Print a small database as SQL that makes it again: dump_database.py SOCKET DATABASE.

For fixtures (HACKING.md). Uses the mariadb client alone; texts and bytes are written as
hexadecimal literals. Reads only.
"""
import subprocess
import sys


def query(sql):
    result = subprocess.run(
        ["mariadb", "--no-defaults", "--socket=" + sys.argv[1], "--user=root", "-N", "-B", "--raw",
         "--default-character-set=utf8mb4", sys.argv[2], "-e", sql],
        capture_output=True, text=True, check=True)
    return result.stdout


def literal(name, kind):
    if kind in ("char", "varchar", "binary", "varbinary"):
        return "CONCAT('X''', HEX(`%s`), '''')" % name
    return "`%s`" % name


def main():
    for table in query("SHOW TABLES").split():
        made = query("SHOW CREATE TABLE `%s`" % table).split("\t", 1)[1].rstrip("\n")
        print(made + ";")
        columns = [line.split("\t") for line in query(
            "SELECT column_name, data_type FROM information_schema.columns WHERE table_schema = "
            "DATABASE() AND table_name = '%s' ORDER BY ordinal_position" % table).splitlines()]
        rows = query("SELECT CONCAT_WS(',', %s) FROM `%s`" % (
            ", ".join(literal(*column) for column in columns), table)).splitlines()
        for first in range(0, len(rows), 100):
            print("INSERT INTO `%s` VALUES\n%s;" % (
                table, ",\n".join("(%s)" % row for row in rows[first:first + 100])))


if __name__ == "__main__":
    main()
