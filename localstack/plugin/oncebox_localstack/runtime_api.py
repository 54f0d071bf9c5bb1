"""Lambda's Runtime API (version 2018-06-01) over HTTP, for one process, and as much of the
Extensions API (version 2020-01-01) as a process needs that wants to hear of its end.

Source of the rules: https://docs.aws.amazon.com/lambda/latest/dg/runtimes-api.html and
https://docs.aws.amazon.com/lambda/latest/dg/runtimes-extensions-api.html
"""

from __future__ import annotations

import json
import re
import threading
import uuid
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from oncebox_localstack.runtime import Runtime

MAX_BODY_BYTES = 64 * 1024 * 1024
ROOT = "/2018-06-01/runtime"
EXTENSION = "/2020-01-01/extension"
ANSWER = re.compile(rf"{ROOT}/invocation/([^/]+)/(response|error)")


class RuntimeApi:
    """Serves one process until `close`."""

    def __init__(self, runtime: Runtime) -> None:
        handler = type("BoundHandler", (_Handler,), {"runtime": runtime})
        self._server = _Server(("127.0.0.1", 0), handler)
        host, port = self._server.server_address[:2]
        self.address = f"{host}:{port}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), name="runtime-api", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stops listening. Open connections end with the process on their other side."""
        self._server.shutdown()
        self._server.server_close()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False

    def handle_error(self, request, client_address) -> None:
        """A process killed in the middle of a request is no news: its watcher reports it."""


class _BadRequest(Exception):
    pass


class _Handler(BaseHTTPRequestHandler):
    runtime: Runtime
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # headers and body are two writes; 40 ms apart with Nagle's

    def do_GET(self) -> None:
        if self.path == f"{EXTENSION}/event/next":
            return self._hold()
        if self.path != f"{ROOT}/invocation/next":
            return self._refuse(404, "NotFound", self.path)
        invocation = self.runtime.next_invocation()
        if invocation is None:
            return self._refuse(403, "InvalidStateTransition", "no invocation can be asked for now")
        self.send_response(200)
        self.send_header("Lambda-Runtime-Aws-Request-Id", invocation.request_id)
        self.send_header("Lambda-Runtime-Deadline-Ms", str(int(invocation.deadline * 1000)))
        self.send_header("Lambda-Runtime-Invoked-Function-Arn", invocation.function_arn)
        if invocation.trace_id:
            self.send_header("Lambda-Runtime-Trace-Id", invocation.trace_id)
        self._send("application/json", invocation.payload)

    def do_POST(self) -> None:
        try:
            body = self._read_body()
        except (_BadRequest, ValueError) as error:
            self.close_connection = True
            return self._refuse(400, "InvalidRequest", str(error))
        if self.path == f"{EXTENSION}/register":
            return self._register(body)
        if self.path == f"{ROOT}/init/error":
            self.runtime.fail_init(body)
        elif answer := ANSWER.fullmatch(self.path):
            if not self.runtime.finish(answer[1], body, is_error=answer[2] == "error"):
                return self._refuse(400, "InvalidRequestID", f"{answer[1]} is not being processed")
        else:
            return self._refuse(404, "NotFound", self.path)
        self.send_response(202)
        self._send("application/json", b'{"status":"OK"}\n')

    def _register(self, body: bytes) -> None:
        """Takes an extension that wants no events; there are none that would be sent to others."""
        try:
            events = json.loads(body or b"{}")["events"]
        except (ValueError, KeyError, TypeError):
            return self._refuse(400, "InvalidRequest", 'expected {"events": […]}')
        if events:
            return self._refuse(400, "Extension.InvalidEventType", "this emulator sends extensions no events")
        self.send_response(200)
        self.send_header("Lambda-Extension-Identifier", str(uuid.uuid4()))
        answer = {"functionName": "function", "functionVersion": "$LATEST", "handler": "bootstrap"}
        self._send("application/json", json.dumps(answer).encode())

    def _hold(self) -> None:
        """An extension without events waits for ever: until its process ends and the connection with it."""
        self.close_connection = True
        try:
            self.rfile.read(1)
        except OSError:
            pass

    def _read_body(self) -> bytes:
        if "chunked" not in self.headers.get("Transfer-Encoding", "").lower():
            length = int(self.headers.get("Content-Length") or 0)
            return self._read_exactly(self._bounded(length))
        body = bytearray()
        while length := int(self.rfile.readline().split(b";")[0].strip(), 16):
            body += self._read_exactly(self._bounded(len(body) + length) - len(body))
            self.rfile.readline()
        while self.rfile.readline().strip():  # trailers (streamed responses report errors there)
            pass
        return bytes(body)

    def _read_exactly(self, length: int) -> bytes:
        data = self.rfile.read(length)
        if len(data) != length:
            raise _BadRequest("the connection ended in the middle of a body")
        return data

    @staticmethod
    def _bounded(length: int) -> int:
        if not 0 <= length <= MAX_BODY_BYTES:
            raise _BadRequest(f"body larger than {MAX_BODY_BYTES} bytes")
        return length

    def _refuse(self, status: int, kind: str, message: str) -> None:
        self.send_response(status)
        self._send("application/json", json.dumps({"errorType": kind, "errorMessage": message}).encode())

    def _send(self, content_type: str, body: bytes) -> None:
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args) -> None:
        """Silent: the function's log is the place to look."""
