# SPDX-License-Identifier: Apache-2.0
"""A stranger tries other people's numbers on every route of docs/openapi.yaml. The table fails when a
route is added without a row."""
import json
import os
import re

from lib import ROOT, expect, test, wait_for
from test_hostile import GROUP, OTHER_GROUP, Scene, plain


def user_routes():
    """(method, path) of every route for users in docs/openapi.yaml."""
    with open(os.path.join(ROOT, "docs/openapi.yaml"), encoding="utf-8") as f:
        page = f.read()
    found, path = set(), None
    for line in page[page.index("\npaths:"):page.index("\ncomponents:")].splitlines():
        if match := re.match(r"  (/\S+):$", line):
            path = match.group(1)
        elif match := re.match(r"    (get|post|put|delete|patch):$", line):
            found.add((match.group(1).upper(), path))
    return found


class Others:
    """What Mallory does on each route with what is Alice's and Bob's."""

    def __init__(self, scene):
        self.scene = scene
        business, node = scene.business, scene.node
        code, sent = business.call("POST", "/business/v1/packets", {
            "sender": scene.alice, "kind": "normal", "recipient": scene.bob, "total_fen": 70})
        expect(code == 201, "a packet was answered", code, sent)
        self.private = sent["packet"]
        node.wait_applied()
        orders = wait_for("orders of the sender in the lists", 20, lambda: node.user(
            scene.alice).call("GET", "/v1/orders")[1]["items"])
        self.order = orders[0]["order_no"]
        self.transfer = scene.money_token(scene.bob, "transfer")
        self.send = scene.money_token(scene.bob, "send")

    def rows(self):
        scene, order = self.scene, self.order
        grab = {"group": GROUP, "token": scene.token, "sequence": scene.sequence}
        refused = (401, 403, 404)
        mine = lambda value: str(scene.alice) not in json.dumps(value) and \
            str(scene.bob) not in json.dumps(value)  # noqa: E731
        empty = lambda value: mine(value) and order not in json.dumps(value)  # noqa: E731
        terms = {"kind": "lucky", "group": GROUP, "total_fen": 100, "count": 2}
        about = "?user=%d&account=%d&sub=%d" % ((scene.bob,) * 3)
        # (method, path of the page) -> list of (path, value, codes, what must hold of the answer)
        return {
            ("GET", "/health"): [("/health", None, (200,), mine)],
            ("POST", "/v1/packets"): [
                ("/v1/packets", dict(terms, token=self.send[0], sequence=self.send[1]), (403,),
                 mine),
                ("/v1/packets", dict(terms, sender=scene.bob, token=self.send[0],
                                     sequence=self.send[1]), (400,), mine)],
            ("GET", "/v1/packets/{packet}"): [
                ("/v1/packets/%s" % packet + query, None, refused, empty)
                for packet in (scene.packet, self.private) for query in ("", "?group=%d" % GROUP)],
            ("POST", "/v1/packets/{packet}/grab"): [
                ("/v1/packets/%s/grab" % scene.packet, grab, (403,), mine),
                ("/v1/packets/%s/grab" % scene.packet, dict(grab, group=OTHER_GROUP), (403,), mine),
                ("/v1/packets/%s/grab" % self.private, {"token": scene.token, "sequence":
                                                        scene.sequence}, (403,), mine)],
            ("GET", "/v1/balance"): [("/v1/balance" + query, None, (200, 400), mine)
                                     for query in ("", about)],
            ("POST", "/v1/tokens"): [
                ("/v1/tokens", {"operation": "grab", "target": scene.packet, "user": scene.bob},
                 (400,), mine),
                ("/v1/tokens", {"operation": "transfer", "target": str(scene.bob)}, (400, 403),
                 mine)],
            ("GET", "/v1/events"): [("/v1/events" + about, None, (200, 400), mine)],
            ("POST", "/v1/transfers"): [
                ("/v1/transfers", {"to": scene.mallory, "amount_fen": 5, "token": self.transfer[0],
                                   "sequence": self.transfer[1]}, (400, 403), mine),
                ("/v1/transfers", {"from": scene.bob, "to": scene.mallory, "amount_fen": 5,
                                   "token": self.transfer[0], "sequence": self.transfer[1]},
                 (400,), mine)],
            ("GET", "/v1/orders"): [("/v1/orders" + query, None, (200, 400), empty)
                                    for query in ("", about)],
            ("GET", "/v1/orders/{order_no}"): [("/v1/orders/" + order, None, (403, 404), mine)],
            ("GET", "/v1/statement"): [
                ("/v1/statement" + query, None, (200, 400), empty)
                for query in ("?from=2020-01-01&to=2030-01-01",
                              "?from=2020-01-01&to=2030-01-01&" + about[1:])],
            ("GET", "/v1/packets/sent"): [("/v1/packets/sent" + query, None, (200, 400), empty)
                                          for query in ("", about)],
            ("GET", "/v1/packets/received"): [
                ("/v1/packets/received" + query, None, (200, 400), empty)
                for query in ("", about)],
        }


@test
def other_peoples_numbers_are_of_no_use_on_any_route():
    scene = Scene()
    others = Others(scene)
    before = [scene.node.user(user).balance() for user in (scene.alice, scene.bob)]
    rows, routes = others.rows(), user_routes()
    for_users = {route for route in routes if route[1].startswith("/v1/") or
                 route[1] == "/health"}
    expect(for_users == set(rows), "the table of this test and docs/openapi.yaml differ:",
           for_users ^ set(rows))
    for (method, path), calls in sorted(rows.items()):
        for target, value, codes, holds in calls:
            code, answer = ask(scene, method, target, value)
            expect(code in codes, method, target, "with others' numbers was answered", code, answer)
            expect(holds(answer), method, target, "tells a stranger", answer)
    not_for_users(scene, routes - for_users)
    expect([scene.node.user(user).balance() for user in (scene.alice, scene.bob)] == before and
           scene.taken() == 0, "something of it took effect")


def ask(scene, method, target, value):
    if target.startswith("/v1/events"):  # stays open: a look at what comes first
        connection = plain(scene.node.address)
        connection.sendall(("GET %s HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer %s\r\n\r\n" % (
            target, scene.jwt(scene.mallory, [OTHER_GROUP]))).encode())
        text = connection.recv(65536).decode("latin-1")
        connection.close()
        return int(text.split(" ")[1]), text
    return scene.stranger.call(method, target, value)


def not_for_users(scene, routes):
    """What is for the business system and for operators is nothing to a user's token."""
    numbers = {"{account}": str(scene.bob), "{packet}": scene.packet, "{order_no}": "1" * 32,
               "{name}": "expire", "{number}": "1", "{hold}": "0" * 16}
    expect(len(routes) > 20, "the page names fewer routes than it did:", len(routes))
    for method, path in sorted(routes):
        target = path
        for name, number in numbers.items():
            target = target.replace(name, number)
        expect("{" not in target, "no number for", path)
        code, answer = scene.stranger.call(method, target, {} if method == "POST" else None)
        wanted = (401,) if path.startswith("/business/") else (401, 404)
        if path == "/metrics":
            wanted = (200,)  # from this machine only; holds no numbers of people
            expect("account=" not in str(answer), "/metrics names accounts")
        expect(code in wanted, method, target, "was answered", code, answer)
