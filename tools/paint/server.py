"""The page's server: the standard library's, on this machine alone, for those who know the token in its address.

Refused are requests for another Host or from another Origin, without the token, for paths that are not in the tables
below, with bodies that are too large, too slow or no JSON. No path of a request ever becomes the name of a file.
"""
import contextlib
import json
import os
import re
import secrets
import socket
import sys
import threading
import time
from collections.abc import Callable
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from support.files import BadInput, write_whole
from tools.paint.session import Session

PAGE = Path(__file__).parent / "page"
TYPES = {".html": "text/html", ".css": "text/css", ".js": "text/javascript"}
LARGEST_BODY = 2**20             # bytes: strokes of 20,000 points have less
PATIENCE = 10                    # seconds in which a request has to be here
MOST_CONNECTIONS = 64            # a browser opens six
NUMBER = r"(\d{1,9})"
POLICY = "default-src 'self'; img-src 'self' blob: data:; frame-ancestors 'none'; base-uri 'none'; form-action 'none'"
HEADERS = {"Content-Security-Policy": POLICY, "X-Content-Type-Options": "nosniff", "Referrer-Policy": "no-referrer",
           "Cross-Origin-Resource-Policy": "same-origin"}


class Refused(Exception):
    """A request that is not answered, and why: an HTTP status and a line."""

    def __init__(self, status: int, line: str):
        super().__init__(line)
        self.status = status


def routes(session: Session) -> list[tuple[re.Pattern, Callable]]:
    """Return what can be read, as (the path behind the token, a function of its numbers that returns an answer)."""
    return [(re.compile(path), answer) for path, answer in [
        (r"state", session.state),
        (rf"state\?after={NUMBER}", session.wait),
        (rf"tile/{NUMBER}/(image|strokes|prediction|uncertainty)/{NUMBER}/{NUMBER}/{NUMBER}\.png(?:\?v=[\w.-]{{1,99}})?",
         session.tile),
        (rf"pixel/{NUMBER}/{NUMBER}/{NUMBER}", session.pixel),
        (rf"windows/{NUMBER}", session.windows),
        (rf"worst/{NUMBER}", session.worst)]]


class Handler(BaseHTTPRequestHandler):
    """One connection of a browser."""

    protocol_version = "HTTP/1.1"
    server_version, sys_version = "paint", ""
    timeout = PATIENCE
    disable_nagle_algorithm = True
    server: "Server"

    def do_GET(self) -> None:
        self.answer(self.get)

    def do_POST(self) -> None:
        self.answer(self.post)

    def answer(self, function: Callable) -> None:
        """Send what a function returns, or why not."""
        try:
            self.refuse_strangers()
            content, kind, kept = function()
            self.send(200, content, kind, kept)
        except Refused as error:
            self.close_connection = True         # a body may still be coming
            self.send_error(error.status, str(error))
        except (KeyError, FileNotFoundError):
            self.send_error(404, "there is no such thing here")
        except BadInput as error:
            self.send_error(400, str(error))
        except (TimeoutError, ConnectionError):
            self.close_connection = True

    def refuse_strangers(self) -> None:
        """Raise Refused for what does not come from our own page."""
        hosts, origins = self.headers.get_all("Host", []), self.headers.get_all("Origin", [])
        own = [f"{name}:{self.server.server_port}" for name in ("127.0.0.1", "localhost")]
        if len(hosts) != 1 or hosts[0] not in own:
            raise Refused(403, "another Host")   # a site whose name was made to lead here
        if any(origin not in [f"http://{host}" for host in own] for origin in origins):
            raise Refused(403, "another Origin")
        _, token, *rest = self.path.split("/", 2) if self.path.startswith("/") else ("", "")
        if not rest or not secrets.compare_digest(token.encode("utf-8", "replace"), self.server.token.encode()):
            raise Refused(404, "there is no such thing here")
        self.place = rest[0]

    def get(self) -> tuple[bytes, str, bool]:
        """Return (content, its type, whether the browser may keep it)."""
        name = self.place or "index.html"
        if name in self.server.page:
            return self.server.page[name].read_bytes(), f"{TYPES[Path(name).suffix]}; charset=utf-8", False
        for path, function in self.server.routes:
            found = path.fullmatch(name)
            if found:
                numbers = [int(part) if part.isdigit() else part for part in found.groups()]
                answer = function(*numbers)
                return (*answer, True) if isinstance(answer, tuple) else (as_json(answer), "application/json", False)
        raise KeyError(name)

    def post(self) -> tuple[bytes, str, bool]:
        """Carry out what the page asks for and return the state."""
        return as_json(self.server.session.post(self.place, self.body())), "application/json", False

    def body(self) -> dict:
        """Return the body of a request. Raises Refused and BadInput."""
        length = self.headers.get("Content-Length", "")
        if "Transfer-Encoding" in self.headers or not re.fullmatch(r"\d{1,15}", length):
            raise Refused(411, "expected a Content-Length")
        if int(length) > LARGEST_BODY:
            raise Refused(413, f"expected at most {LARGEST_BODY} bytes")
        if self.headers.get_content_type() != "application/json":
            raise Refused(415, "expected application/json")
        content = self.read_in_time(int(length))
        try:
            found = json.loads(content, parse_constant=no_number)
        except (ValueError, RecursionError):
            raise BadInput("expected JSON") from None
        if not isinstance(found, dict):
            raise BadInput("expected a JSON object")
        return found

    def read_in_time(self, length: int) -> bytes:
        """Return so many bytes of the body. Raises Refused where they do not come in time."""
        deadline, content = time.monotonic() + PATIENCE, b""
        while len(content) < length:
            remaining = deadline - time.monotonic()
            if remaining <= 0:
                raise Refused(408, "too slow")
            self.connection.settimeout(remaining)
            try:
                part = self.rfile.read1(length - len(content))
            except TimeoutError:
                raise Refused(408, "too slow") from None
            if not part:
                raise Refused(400, "an incomplete body")
            content += part
        self.connection.settimeout(self.timeout)
        return content

    def send(self, status: int, content: bytes, kind: str, kept: bool = False) -> None:
        """Send an answer."""
        self.send_response(status)
        for name, value in HEADERS.items():
            self.send_header(name, value)
        self.send_header("Cache-Control", "private, max-age=31536000, immutable" if kept else "no-store")
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(content)))
        if self.close_connection:
            self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(content)

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
        """Send why a request is refused; http.server calls this, too, of methods that it does not know with 501."""
        code = 405 if code == 501 else code
        self.close_connection = self.close_connection or code != 400 and code != 404
        with contextlib.suppress(OSError):
            self.send(code, as_json({"error": "another method" if code == 405 else message or "refused"}),
                      "application/json")

    def finish(self) -> None:
        """Hang up, but read on for a while: closed amid a body, a connection is reset and its answer may be lost.

        RFC 9112, section 9.6, calls it closing in stages.
        """
        super().finish()
        deadline = time.monotonic() + PATIENCE
        with contextlib.suppress(OSError):       # a TimeoutError, or cut off
            self.connection.shutdown(socket.SHUT_WR)
            while (remaining := deadline - time.monotonic()) > 0:
                self.connection.settimeout(remaining)
                if not self.connection.recv(2**16):
                    break

    def log_message(self, *message: Any) -> None:
        """Print nothing."""


def no_number(text: str) -> None:
    raise ValueError(f"{text} is no number")


def as_json(content: Any) -> bytes:
    return json.dumps(content, allow_nan=False).encode()


class Server(ThreadingHTTPServer):
    """Listens on 127.0.0.1; `token` is the first part of each path."""

    daemon_threads = True
    allow_reuse_address = os.name != "nt"        # there, it would take a port that another program listens on

    def __init__(self, session: Session, token: str, port: int):
        super().__init__(("127.0.0.1", port), Handler)
        self.session, self.token, self.routes = session, token, routes(session)
        self.page = {path.name: path for path in PAGE.glob("*") if path.suffix in TYPES}
        self.free = threading.BoundedSemaphore(MOST_CONNECTIONS)

    def process_request(self, request: Any, address: Any) -> None:
        """Begin a thread for a connection, unless there are too many."""
        if self.free.acquire(blocking=False):
            return super().process_request(request, address)
        self.shutdown_request(request)

    def process_request_thread(self, request: Any, address: Any) -> None:
        try:
            super().process_request_thread(request, address)
        finally:
            self.free.release()

    def handle_error(self, request: Any, address: Any) -> None:
        """Say nothing of a connection that the browser cut off; let others be seen."""
        if not isinstance(sys.exc_info()[1], (ConnectionError, TimeoutError)):
            super().handle_error(request, address)


def open_server(session: Session, port: int | None) -> Server:
    """Return a server with the address of the last session in this folder, where that is free. Raises BadInput.

    So a page that was left open goes on after a restart. The address is in a file that others cannot read.
    """
    path = session.out / ".address"
    former: dict = {}
    with contextlib.suppress(OSError, ValueError):
        former = json.loads(path.read_text())
    token, last = former.get("token"), former.get("port")
    if not (isinstance(token, str) and re.fullmatch(r"[\w-]{32}", token)):
        token = secrets.token_urlsafe(24)
    choices = [last, 0] if port is None and type(last) is int and 0 < last < 65536 else [port or 0]
    server = next(filter(None, map(partial(try_port, session, token), choices)), None)
    if server is None:
        raise BadInput(f"--port {port} is taken by another program; expected a free one, or none")
    if server.server_port != last:               # whoever has that port now may have heard the token from an open page
        server.token = secrets.token_urlsafe(24)
    with write_whole(path) as temporary:
        temporary.touch(mode=0o600)
        temporary.write_text(json.dumps({"token": server.token, "port": server.server_port}))
    return server


def try_port(session: Session, token: str, port: int) -> Server | None:
    try:
        return Server(session, token, port)
    except OSError:
        return None
