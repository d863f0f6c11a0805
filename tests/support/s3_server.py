"""An S3-protocol server on loopback, and in front of it a door that fails on purpose; a process of its own.

A process, since a thread of the test's own could not answer while pyarrow holds the interpreter's lock. It writes the
two ports as JSON once it listens, and ends when its standard input does.

The door passes every request on to the server, but fails as it was told by `GET /_faults?kind=503&every=3&after=0`: of
the requests behind the first `after`, every third is answered with 503 (or 500), gets no answer at all (`drop`), half
of one (`half`), or is carried out and then gets no answer (`late`). `every=0` passes everything. The answer to such a
wish is the number of requests since the last one, as JSON.

The server itself is not atomic: it closes the object that is replaced before the new one stands in its place, and looks
up one by one what it lists, so that a reader in between gets an error 500. S3 promises better. After
`GET /_watch?prefix=bucket/place`, the door lets one request through at a time, and after each that changes something it
looks itself: it lists the place and gets what is there. `GET /_seen` ends that, and answers with what was there each
time: name to content (base64).
"""

import base64
import http.client
import itertools
import json
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, quote, urlsplit
from xml.etree import ElementTree

from moto.server import ThreadedMotoServer

_BUSY = b"<?xml version='1.0'?><Error><Code>SlowDown</Code><Message>Please reduce your request rate.</Message></Error>"


class Door(BaseHTTPRequestHandler):
    """Passes on or fails one request after the other."""

    protocol_version = "HTTP/1.1"
    wbufsize = -1  # an answer in one piece: several small ones wait for each other
    server_port_behind = 0
    kind, every, after = "none", 0, 0
    turn = itertools.count(1)
    one_at_a_time = threading.Lock()
    watched = ""
    seen: list[dict[str, str]] = []

    def _serve(self) -> None:
        address = urlsplit(self.path)
        body = self._body()
        if address.path in ("/_watch", "/_seen"):
            answer, Door.seen = json.dumps(Door.seen).encode(), []
            Door.watched = parse_qs(address.query).get("prefix", [""])[0]
            return self._answer(200, {}, answer)
        if address.path == "/_faults":
            wish = parse_qs(address.query)
            passed = next(Door.turn) - 1
            Door.kind, Door.every, Door.after = wish["kind"][0], int(wish["every"][0]), int(wish["after"][0])
            Door.turn = itertools.count(1)
            return self._answer(200, {}, json.dumps(passed).encode())
        turn = next(Door.turn) - Door.after
        fails = Door.every > 0 and turn > 0 and turn % Door.every == 0
        if fails and Door.kind in ("500", "503"):
            return self._answer(int(Door.kind), {"Content-Type": "application/xml"}, _BUSY)
        if fails and Door.kind == "drop":
            return self._hang_up()
        headers = {
            name: value for name, value in self.headers.items() if name.lower() not in ("expect", "transfer-encoding")
        }
        headers["Content-Length"] = str(len(body))
        if Door.watched:
            with Door.one_at_a_time:
                status, told, content = _ask(self.command, self.path, body, headers)
                if self.command not in ("GET", "HEAD"):
                    Door.seen.append(_look(Door.watched, headers))
        else:
            status, told, content = _ask(self.command, self.path, body, headers)
        if fails and Door.kind == "late":
            return self._hang_up()
        self._answer(status, told, content, half=fails)
        return None

    do_GET = do_PUT = do_POST = do_DELETE = do_HEAD = _serve  # noqa: N815 - names http.server looks for

    def _body(self) -> bytes:
        if "chunked" in self.headers.get("Transfer-Encoding", ""):
            content = b""
            while size := int(self.rfile.readline().split(b";")[0], 16):
                content += self.rfile.read(size)
                self.rfile.readline()
            self.rfile.readline()
            return content
        return self.rfile.read(int(self.headers.get("Content-Length", 0)))

    def _answer(self, status: int, headers: dict[str, str], content: bytes, half: bool = False) -> None:
        self.send_response_only(status)
        told = {
            name.lower(): value
            for name, value in headers.items()
            if name.lower() not in ("connection", "transfer-encoding")
        }
        if self.command != "HEAD":
            told["content-length"] = str(len(content))
        for name, value in told.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content[: len(content) // 2] if half else content)
        self.wfile.flush()
        if half:
            self._hang_up()

    def _hang_up(self) -> None:
        self.wfile.flush()
        self.close_connection = True

    def handle_expect_100(self) -> bool:
        """Ask for the body at once: the client would wait a second for that."""
        super().handle_expect_100()
        self.wfile.flush()
        return True

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing: the test looks at what the product says."""


def _ask(command: str, path: str, body: bytes, headers: dict[str, str]) -> tuple[int, dict[str, str], bytes]:
    """Hand a request to the server; return status, headers and content of its answer."""
    behind = http.client.HTTPConnection("127.0.0.1", Door.server_port_behind, timeout=30)
    behind.request(command, path, body=body, headers=headers)
    response = behind.getresponse()
    content = response.read()
    behind.close()
    return response.status, dict(response.getheaders()), content


def _look(place: str, headers: dict[str, str]) -> dict[str, str]:
    """Return what a reader sees who lists a place, then gets each object: all of its content, or its error."""
    bucket, _, prefix = place.partition("/")
    who = {name: value for name, value in headers.items() if name.lower() == "authorization"}
    _, _, listing = _ask("GET", f"/{bucket}?list-type=2&prefix={quote(prefix)}", b"", who)
    names = [key.text or "" for key in ElementTree.fromstring(listing).iter() if key.tag.endswith("}Key")]
    found = {name: _ask("GET", f"/{bucket}/{quote(name)}", b"", who)[2] for name in names}
    return {name: base64.b64encode(content).decode() for name, content in found.items()}


def main() -> None:
    """Serve until standard input ends."""
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    _, Door.server_port_behind = server.get_host_and_port()
    door = ThreadingHTTPServer(("127.0.0.1", 0), Door)
    threading.Thread(target=door.serve_forever, daemon=True).start()
    sys.stdout.write(json.dumps({"server": Door.server_port_behind, "door": door.server_port}) + "\n")
    sys.stdout.flush()
    sys.stdin.read()
    door.shutdown()
    server.stop()


if __name__ == "__main__":
    main()
