"""An S3 server on loopback behind a proxy that injects faults, as a separate process.

It is a process since a thread of the test could not answer while pyarrow holds the interpreter's lock. It writes the
two ports as JSON once it listens, and ends when its standard input is closed.

The proxy forwards requests, with faults set by `GET /_faults?kind=503&every=3&after=0`: after the first `after`
requests, every third is answered with 503 (or 500), gets no response (`drop`), half of one (`half`), or is executed and
then gets no response (`late`). `every=0` forwards everything. The response to such a request is the number of requests
since the last one, as JSON.

The server itself is not atomic: it closes an object before it is replaced, and looks up listed objects one by one, so
that a concurrent reader gets an error 500, unlike S3. After `GET /_watch?prefix=bucket/path`, the proxy forwards one
request at a time, and after each that changes something it lists the prefix and gets its objects. `GET /_seen` stops
this, and returns the objects each time: name to content (base64).
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


class Proxy(BaseHTTPRequestHandler):
    """Forwards requests or injects faults, one at a time."""

    protocol_version = "HTTP/1.1"
    wbufsize = -1  # a response in one packet, since several small ones wait for each other
    server_port_behind = 0
    kind, every, after = "none", 0, 0
    turn = itertools.count(1)
    one_at_a_time = threading.Lock()
    recorded_prefix = ""
    seen: list[dict[str, str]] = []

    def _serve(self) -> None:
        address = urlsplit(self.path)
        body = self._body()
        if address.path in ("/_watch", "/_seen"):
            answer, Proxy.seen = json.dumps(Proxy.seen).encode(), []
            Proxy.recorded_prefix = parse_qs(address.query).get("prefix", [""])[0]
            return self._answer(200, {}, answer)
        if address.path == "/_faults":
            faults = parse_qs(address.query)
            passed = next(Proxy.turn) - 1
            Proxy.kind, Proxy.every, Proxy.after = faults["kind"][0], int(faults["every"][0]), int(faults["after"][0])
            Proxy.turn = itertools.count(1)
            return self._answer(200, {}, json.dumps(passed).encode())
        turn = next(Proxy.turn) - Proxy.after
        fails = Proxy.every > 0 and turn > 0 and turn % Proxy.every == 0
        if fails and Proxy.kind in ("500", "503"):
            return self._answer(int(Proxy.kind), {"Content-Type": "application/xml"}, _BUSY)
        if fails and Proxy.kind == "drop":
            return self._hang_up()
        headers = {
            name: value for name, value in self.headers.items() if name.lower() not in ("expect", "transfer-encoding")
        }
        headers["Content-Length"] = str(len(body))
        if Proxy.recorded_prefix:
            with Proxy.one_at_a_time:
                status, returned, content = _ask(self.command, self.path, body, headers)
                if self.command not in ("GET", "HEAD"):
                    Proxy.seen.append(_look(Proxy.recorded_prefix, headers))
        else:
            status, returned, content = _ask(self.command, self.path, body, headers)
        if fails and Proxy.kind == "late":
            return self._hang_up()
        self._answer(status, returned, content, half=fails)
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
        returned = {
            name.lower(): value
            for name, value in headers.items()
            if name.lower() not in ("connection", "transfer-encoding")
        }
        if self.command != "HEAD":
            returned["content-length"] = str(len(content))
        for name, value in returned.items():
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
        """Ask for the body at once, since the client would wait a second."""
        super().handle_expect_100()
        self.wfile.flush()
        return True

    def log_message(self, format: str, *args: object) -> None:
        """Log nothing."""


def _ask(command: str, path: str, body: bytes, headers: dict[str, str]) -> tuple[int, dict[str, str], bytes]:
    """Forward a request to the server; return status, headers and content of the response."""
    behind = http.client.HTTPConnection("127.0.0.1", Proxy.server_port_behind, timeout=30)
    behind.request(command, path, body=body, headers=headers)
    response = behind.getresponse()
    content = response.read()
    behind.close()
    return response.status, dict(response.getheaders()), content


def _look(path: str, headers: dict[str, str]) -> dict[str, str]:
    """List a prefix and get each object: return its content or its error, by name."""
    bucket, _, prefix = path.partition("/")
    who = {name: value for name, value in headers.items() if name.lower() == "authorization"}
    _, _, listing = _ask("GET", f"/{bucket}?list-type=2&prefix={quote(prefix)}", b"", who)
    names = [key.text or "" for key in ElementTree.fromstring(listing).iter() if key.tag.endswith("}Key")]
    found = {name: _ask("GET", f"/{bucket}/{quote(name)}", b"", who)[2] for name in names}
    return {name: base64.b64encode(content).decode() for name, content in found.items()}


def main() -> None:
    """Serve until standard input ends."""
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    _, Proxy.server_port_behind = server.get_host_and_port()
    proxy = ThreadingHTTPServer(("127.0.0.1", 0), Proxy)
    threading.Thread(target=proxy.serve_forever, daemon=True).start()
    sys.stdout.write(json.dumps({"server": Proxy.server_port_behind, "proxy": proxy.server_port}) + "\n")
    sys.stdout.flush()
    sys.stdin.read()
    proxy.shutdown()
    server.stop()


if __name__ == "__main__":
    main()
