"""An S3-protocol server on loopback, and in front of it a door that fails on purpose; a process of its own.

A process, since a thread of the test's own could not answer while pyarrow holds the interpreter's lock. It writes the
two ports as JSON once it listens, and ends when its standard input does.

The door passes every request on to the server, but fails as it was told by `GET /_faults?kind=503&every=3&after=0`: of
the requests behind the first `after`, every third is answered with 503 (or 500), gets no answer at all (`drop`), half
of one (`half`), or is carried out and then gets no answer (`late`). `every=0` passes everything. The answer to such a
wish is the number of requests since the last one, as JSON.
"""

import http.client
import itertools
import json
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

from moto.server import ThreadedMotoServer

_BUSY = b"<?xml version='1.0'?><Error><Code>SlowDown</Code><Message>Please reduce your request rate.</Message></Error>"


class Door(BaseHTTPRequestHandler):
    """Passes on or fails one request after the other."""

    protocol_version = "HTTP/1.1"
    wbufsize = -1  # an answer in one piece: several small ones wait for each other
    server_port_behind = 0
    kind, every, after = "none", 0, 0
    turn = itertools.count(1)

    def _serve(self) -> None:
        address = urlsplit(self.path)
        body = self._body()
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
        behind = http.client.HTTPConnection("127.0.0.1", Door.server_port_behind, timeout=30)
        headers = {
            name: value for name, value in self.headers.items() if name.lower() not in ("expect", "transfer-encoding")
        }
        behind.request(self.command, self.path, body=body, headers=headers | {"Content-Length": str(len(body))})
        response = behind.getresponse()
        content = response.read()
        behind.close()
        if fails and Door.kind == "late":
            return self._hang_up()
        self._answer(response.status, dict(response.getheaders()), content, half=fails)
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
