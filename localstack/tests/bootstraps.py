"""Tiny functions for the tests: Python programs that speak the Runtime API themselves."""

from __future__ import annotations

import stat
import sys
import textwrap
from pathlib import Path

# `/usr/bin/env python3` would depend on the function's PATH, which is not ours.
SHEBANG = f"#!{sys.executable} -S\n"

API = """
import http.client, json, os, signal, subprocess, sys, time
ROOT = "/2018-06-01/runtime"
api = http.client.HTTPConnection(os.environ["AWS_LAMBDA_RUNTIME_API"])

def call(method, path, body=None, **options):
    api.request(method, ROOT + path, body, **options)
    response = api.getresponse()
    return response, response.read()

def next_event():
    response, body = call("GET", "/invocation/next")
    return response.getheader("Lambda-Runtime-Aws-Request-Id"), json.loads(body), response

def answer(request_id, value, **options):
    return call("POST", f"/invocation/{request_id}/response", json.dumps(value), **options)[0].status
"""

# Does what its event says.
OBEDIENT = """
while True:
    request_id, event, response = next_event()
    todo = event.get("do", "echo")
    print("doing", todo, event.get("note", ""), flush=True)
    if todo == "crash":
        os._exit(3)
    if todo == "hang":
        child = subprocess.Popen(["/bin/sleep", "600"])
        open(event["pid_file"], "w").write(f"{os.getpid()} {child.pid}")
        signal.pause()
    if todo == "meet":  # waits until `count` processes are here, so they run at the same time
        open(os.path.join(event["at"], request_id), "w").close()
        while len(os.listdir(event["at"])) < event["count"]:
            time.sleep(0.01)
    if todo == "error":
        call("POST", f"/invocation/{request_id}/error", json.dumps({"errorType": "Mine", "errorMessage": "no"}))
    elif todo == "chunked":
        body = iter([b'{"a":', b"1}"])
        call("POST", f"/invocation/{request_id}/response", body, encode_chunked=True)
    elif todo == "environment":
        answer(request_id, dict(os.environ))
    elif todo == "headers":
        answer(request_id, dict(response.getheaders()))
    elif todo == "wrong-id":
        answer(request_id, {"refused": answer("another", {})})
    elif todo == "next-again":
        second = call("GET", "/invocation/next")[0].status
        answer(request_id, {"refused": second})
    else:
        answer(request_id, {"echo": event, "pid": os.getpid()})
"""

BATCH = """
while True:
    request_id, event, response = next_event()
    records = event["Records"]
    print("batch", json.dumps({"bodies": [r["body"] for r in records], "arn": records[0]["eventSourceARN"]}), flush=True)
    failed = [r["messageId"] for r in records if json.loads(r["body"]).get("fail")]
    answer(request_id, {"batchItemFailures": [{"itemIdentifier": one} for one in failed]})
"""

INIT_ERROR = """
call("POST", "/init/error", json.dumps({"errorType": "Runtime.NoTable", "errorMessage": "DEDUPE_TABLE is not set"}))
"""

EXITS_AT_ONCE = """
print("no configuration", flush=True)
sys.exit(7)
"""


def write(path: Path, program: str) -> Path:
    """Makes an executable of the program at `path`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(SHEBANG + textwrap.dedent(API) + program)
    path.chmod(path.stat().st_mode | stat.S_IXUSR | stat.S_IXGRP | stat.S_IXOTH)
    return path
