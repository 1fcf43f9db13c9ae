#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""docs/shm-layout.md says where every field in shared memory lies: the page is compared with what
the compiler made of the structures.

    test_layout_page.py PRINT_LAYOUT PAGE
"""
import re
import subprocess
import sys

CACHE_LINES = 128  # what stands alone is this far from its neighbours
FAULTS = []


def fault(*words):
    FAULTS.append(" ".join(str(word) for word in words))


def compiled(program):
    """@return constants {name: value}, structures {name: (size, [(field, offset, size)])}"""
    constants, structures, fields = {}, {}, None
    for line in subprocess.run([program], capture_output=True, text=True,
                               check=True).stdout.splitlines():
        what, name, offset, value = line.split()
        if what == "constant":
            constants[name] = int(value)
        elif what == "struct":
            fields = []
            structures[name] = (int(value), fields)
        else:
            fields.append((name, int(offset), int(value)))
    return constants, structures


def written(page):
    """The same of the page."""
    constants, structures, fields = {}, {}, None
    with open(page, encoding="utf-8") as file:
        for line in file:
            if line.startswith("#"):
                fields = None
            found = re.match(r"### `(\w+)`, (\d+) bytes", line)
            if found:
                fields = []
                structures[found[1]] = (int(found[2]), fields)
            found = re.match(r"\| (\d+) \| (\d+) \| `(\w+)` \| \S", line)
            if found and fields is not None:
                fields.append((found[3], int(found[1]), int(found[2])))
            found = re.match(r"\| `(HBI?_\w+)` \| (0x[0-9a-f]+|\d+) \|", line)
            if found:
                constants[found[1]] = int(found[2], 0)
    return constants, structures


def expect_no_gaps(name, size, fields):
    """Between listed fields there is nothing but alignment."""
    at = 0
    for field, offset, length in fields + [("the end", size, 0)]:
        gap = offset - at
        if gap < 0 or gap >= CACHE_LINES or (gap >= 8 and offset % CACHE_LINES != 0):
            fault("%s: %d bytes before %s are in no field: list them in print_layout.c"
                  % (name, gap, field))
        at = offset + length


def main():
    constants, structures = compiled(sys.argv[1])
    page_constants, page_structures = written(sys.argv[2])
    if len(structures) < 17 or len(constants) < 10:
        fault("the program printed next to nothing")
    for name, value in constants.items():
        if page_constants.get(name) != value:
            fault("%s is %d (0x%x), the page says %s" % (name, value, value, page_constants.get(name)))
    for name, (size, fields) in structures.items():
        expect_no_gaps(name, size, fields)
        if name not in page_structures:
            fault("the page has no '### `%s`, %d bytes'" % (name, size))
            continue
        page_size, page_fields = page_structures[name]
        if page_size != size:
            fault("%s has %d bytes, the page says %d" % (name, size, page_size))
        for field, offset, length in fields:
            if (field, offset, length) not in page_fields:
                fault("%s: the page lacks | %d | %d | `%s` | …" % (name, offset, length, field))
        for field in page_fields:
            if field not in fields:
                fault("%s: the page has %s at %d, %d bytes, which is not so" % (name, *field))
    for name in set(page_structures) - set(structures) | set(page_constants) - set(constants):
        fault("the page has %s, which print_layout.c does not" % name)
    for line in FAULTS:
        print(line, file=sys.stderr)
    if not FAULTS:
        print("%d structures, %d fields, %d constants are where the page says" % (
            len(structures), sum(len(fields) for _, fields in structures.values()), len(constants)))
    return 1 if FAULTS else 0


if __name__ == "__main__":
    sys.exit(main())
