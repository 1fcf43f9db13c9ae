#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""docs/openapi.yaml names every route and every status that the programs have, and no other."""
import os
import re
import sys

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
# Answered by the front itself: front/gateway.c.
FRONT_PACKET = {("GET", "/v1/packets/{}"), ("POST", "/v1/packets/{}/grab")}
FRONT_EVENTS = {("GET", "/v1/events")}  # front/ngx_hb_events.c


def read(path):
    with open(os.path.join(ROOT, path), encoding="utf-8") as file:
        return file.read()


def routes_of_programs():
    control = re.findall(r'^\t\{"(GET|POST)", "([^"]+)",', read("controlplane/admin_api.c"), re.M)
    front = [(method, path) for path, method in
             re.findall(r'\{"(/[^"]+)", HB_METHOD_(GET|POST), HB_ROUTE_', read("front/gateway.c"))]
    assert len(control) > 20 and len(front) >= 4, "the route tables have another form now"
    return set(control) | set(front) | FRONT_PACKET | FRONT_EVENTS


def routes_of_page(page):
    routes, path = set(), None
    for line in page[page.index("\npaths:"):page.index("\ncomponents:")].splitlines():
        if match := re.match(r"  (/\S+):$", line):
            path = re.sub(r"\{\w+\}", "{}", match.group(1))
        elif match := re.match(r"    (get|post):$", line):
            routes.add((match.group(1).upper(), path))
    return routes


def statuses_of_programs():
    table = re.findall(r'X\(\d+, \w+, "(\w+)", (\d+),', read("shm/frame.h"))
    assert len(table) > 20, "HB_STATUS_TABLE has another form now"
    return {name: code for name, code in table if name != "ok"}


def statuses_of_page(page):
    statuses = {}
    for names, code in re.findall(r"^    \| ([a-z_, ]+) \| (\d{3}) \|", page, re.M):
        for name in names.split(", "):
            statuses[name.strip()] = code
    return statuses


def statuses_of_control():
    found = set()
    for name in os.listdir(os.path.join(ROOT, "controlplane")):
        if name.endswith(".c"):
            found |= set(re.findall(r'hb_http_error\(&?reply,\s*(\d{3}),\s*"(\w+)"',
                                    read("controlplane/" + name)))
    assert len(found) > 5, "hb_http_error is called in another form now"
    return found


def main():
    page = read("docs/openapi.yaml")
    wrong = []
    programs, documented = routes_of_programs(), routes_of_page(page)
    wrong += ["not in the page: %s %s" % route for route in sorted(programs - documented)]
    wrong += ["only in the page: %s %s" % route for route in sorted(documented - programs)]
    statuses = statuses_of_page(page)
    for name, code in sorted(statuses_of_programs().items()):
        if statuses.get(name) != code and name != "not_allowed":
            wrong.append("status %s is %s, the page says %s" % (name, code, statuses.get(name)))
    for code, name in sorted(statuses_of_control()):
        if statuses.get(name) != code:
            wrong.append("control answers %s %s, the page says %s" % (code, name,
                                                                    statuses.get(name)))
    for line in wrong:
        print(line)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
