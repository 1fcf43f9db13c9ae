# SPDX-License-Identifier: Apache-2.0
"""hbctl import: files of accounts and credits on a whole node, good, bad, interrupted and repeated."""
import json
import os
import pty
import re
import signal
import subprocess
import time

from lib import Options, OwnNode, expect, log, test, wait_for

OK, WRONG, USAGE = 0, 1, 2
FIRST = 700001


def write(path, text):
    with open(path, "w", newline="") as f:
        f.write(text)
    return path


def read(path):
    with open(path, newline="") as f:
        return f.read()


def load(node, what, path, *more, code=OK):
    """@return hbctl's object"""
    got, out, err = node.hbctl("import", what, path, *more, "--json")
    expect(got == code, "import", what, path, "ended with", got, "not", code, "\n" + out + err)
    return json.loads(out.splitlines()[-1])


def balances(node):
    """@return account -> available fen, from MySQL"""
    node.wait_applied()
    rows = []
    for shard in range(16):
        rows += node.sql("SELECT account, available_fen FROM account_%02d "
                         "WHERE account BETWEEN %d AND %d" % (shard, FIRST, FIRST + 10000000))
    return {int(account): int(fen) for account, fen in rows}


def refuses_bad_files(node, folder):
    path = os.path.join(folder, "bad.csv")
    for text, words in (
            ("", "missing"), ("account,color\n1,red\n", "color"),
            ("account,account\n1,1\n", "twice"), ("kind\nuser\n", "lacks 'account'"),
            ('"account\n1\n', "never closed")):
        value = load(node, "accounts", write(path, text), code=USAGE)
        expect(words in value["error"], text, "was refused with", value)
    value = load(node, "credits", write(path, "account,amount_fen\n1,1\n"), code=USAGE)
    expect("'key'" in value["error"], value)
    value = load(node, "credits", os.path.join(folder, "nothing.csv"), code=USAGE)
    expect("No such file" in value["error"], value)


def tells_every_bad_line(node, folder):
    path = os.path.join(folder, "credits.csv")
    account = FIRST
    write(path, "\ufeffkey,account,amount_fen,channel\r\n"
          "k1,%d,100,manual\r\n" "k2,%d,0,\r\n" "k3,%d,-5,\r\n" "k4,%d,1x,\r\n"
          "k5,%d,99999999999999999999,\r\n" "k6,%d,100000000001,\r\n" "k1,%d,7,\r\n"
          "k7,0,7,\r\n" "k8,%d,7,paypal\r\n" "k9,%d,7\r\n" ",%d,7,\r\n" "\"k,10\",%d,\"7\",\r\n"
          "k11,999999999,7,\r\n" % ((account,) * 7 + (account,) * 4))
    dry = load(node, "credits", path, "--dry-run", code=WRONG)
    expect(dry["rows"] == 3 and dry["bad"] == 10 and dry["done"] == 0, dry)
    expect(not os.path.exists(path + ".import"), "a dry run leaves a mark")
    load(node, "accounts", write(os.path.join(folder, "one.csv"), "account\n%d\n" % account))
    value = load(node, "credits", path, code=WRONG)
    expect(value["done"] == 2 and value["failed"] == 1 and value["left"] == 0, value)
    errors = read(path + ".errors.csv")
    for line, reason in ((3, "is 0"), (4, "negative"), (5, "not a whole number"),
                         (6, "is more than"), (7, "is more than"), (8, "same key stands in line 2"),
                         (9, "account '0'"), (10, "channel 'paypal'"), (11, "3 fields"),
                         (12, "key ''"), (14, "account_unknown")):
        expect(re.search('^%d,"[^"]*%s' % (line, reason), errors, re.M),
               "line", line, "is not told with", reason, "in\n" + errors)
    expect(balances(node)[account] == 107, "booked", balances(node)[account])
    # the errors, corrected, are a file to import
    fixed = [row for row in errors.splitlines() if row.startswith(("line,", "3,"))]
    again = write(os.path.join(folder, "fixed.csv"), "\n".join(fixed).replace(",0,", ",9,"))
    expect(load(node, "credits", again)["done"] == 1)
    expect(load(node, "credits", again)["already"] == 1)
    expect(balances(node)[account] == 116)
    write(path + ".import", "%d\n" % (time.time() - 7 * 86400))
    value = load(node, "credits", path, code=WRONG)
    expect("6 days ago" in value["error"], value)


def start(node, what, path):
    """Start an import on a terminal. @return (process, the terminal's other end)"""
    ours, theirs = pty.openpty()
    process = subprocess.Popen([node.path("bin/hbctl"), "-c", node.path("etc/hongbao.conf"),
                                "import", what, path, "--json"], stdout=subprocess.PIPE,
                               stderr=theirs, text=True)
    os.close(theirs)
    return process, ours


def goes_on_after_interruptions(node, folder, count):
    accounts = os.path.join(folder, "many.csv")
    credits = os.path.join(folder, "bonus.csv")
    write(accounts, "account,kind\n" + "".join("%d,user\n" % (FIRST + i) for i in range(count)))
    write(credits, "key,account,amount_fen\n" + "".join(
        "bonus-%d,%d,%d\n" % (i, FIRST + i, 100 + i % 7) for i in range(count)))
    begun = time.monotonic()
    value = load(node, "accounts", accounts)
    log("accounts: %d rows in %.1f s, %d rows/s" % (
        count, time.monotonic() - begun, value["rows_per_second"]))
    expect(value["done"] + value["already"] == count, value)
    before = balances(node)
    process, terminal = start(node, "credits", credits)
    shown = os.read(terminal, 200).decode()
    process.send_signal(signal.SIGINT)
    out, _ = process.communicate(timeout=60)
    os.close(terminal)
    value = json.loads(out)
    expect("rows/s" in shown and "s left" in shown, "the terminal shows", repr(shown))
    expect(process.returncode == WRONG and 0 < value["done"] and value["left"] > 0, value)
    sent = value["done"]
    process, terminal = start(node, "credits", credits)
    os.read(terminal, 200)
    process.kill()
    process.wait()
    os.close(terminal)
    begun = time.monotonic()
    value = load(node, "credits", credits)
    log("credits: the last %d of %d rows in %.1f s, %d rows/s" % (
        value["done"], count, time.monotonic() - begun, value["rows_per_second"]))
    expect(value["already"] >= sent and value["done"] + value["already"] == count, value)
    value = load(node, "credits", credits)
    expect(value["already"] == count and value["done"] == 0, value)
    log("credits: %d rows again, %d rows/s" % (count, value["rows_per_second"]))
    after = balances(node)
    wrong = [i for i in range(count)
             if after[FIRST + i] != before.get(FIRST + i, 0) + 100 + i % 7]
    expect(not wrong, len(wrong), "accounts were credited not once, the first:", wrong[:3])


def waits_for_the_engine(node, folder):
    path = write(os.path.join(folder, "wait.csv"), "key,account,amount_fen\nw1,%d,5\n" % FIRST)
    before = balances(node)[FIRST]
    node.kill("dataplane")
    process, terminal = start(node, "credits", path)
    time.sleep(1.5)
    expect(process.poll() is None, "it did not wait")
    node.up()
    out, _ = process.communicate(timeout=60)
    os.close(terminal)
    expect(json.loads(out)["done"] == 1, out)
    expect(balances(node)[FIRST] == before + 5)


@test
def a_file_is_imported_once_however_often_it_is_given():
    count = Options.import_rows
    with OwnNode("import", dataplane__lcores=2) as node:
        folder = os.path.join(node.directory, "import-test")
        os.makedirs(folder)
        refuses_bad_files(node, folder)
        tells_every_bad_line(node, folder)
        goes_on_after_interruptions(node, folder, count)
        waits_for_the_engine(node, folder)
        wait_for("a mark", 10, lambda: node.hbctl("mark")[0] == OK)
        node.expect_sound()
