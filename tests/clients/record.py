"""Records what clients send: a proxy between them and a running server.

    python3 tests/clients/record.py http://127.0.0.1:8080 8081 >tests/data/recorded/NAME.jsonl
    python3 tests/clients/openai_client.py http://127.0.0.1:8081/v1

Each line of the output is a request as it was sent: method, path, the headers that an answer may depend on, the body,
and the status of the answer. `cargo test --test recorded` sends them again. A body that is JSON stands as JSON; one that
is not, as text. The name of the model that was asked for becomes MODEL. Equal requests are kept once; long ones and those
about files and batches that exist only then are passed on without a record. Nothing but the standard library is needed.
"""

import http.client
import json
import sys
import urllib.parse
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Lock

upstream = urllib.parse.urlsplit(sys.argv[1])
# Of these an answer may depend, or a guard asks for them; the others are of the connection, or tell of a machine.
KEPT = {"accept", "content-type", "anthropic-version", "x-stainless-read-timeout", "x-stainless-retry-count", "user-agent"}
LONGEST = 8000
seen, lock = set(), Lock()
model = None


def model_name():
    connection = http.client.HTTPConnection(upstream.netloc)
    connection.request("GET", "/v1/models")
    return json.load(connection.getresponse())["data"][0]["id"]


def record(method, path, headers, body, status):
    if len(body) > LONGEST or path == "/health" or path.startswith(("/v1/files/", "/v1/batches")):
        return
    try:
        shown = json.loads(body) if body else None
    except ValueError:
        shown = body.decode(errors="replace")
    line = {"method": method, "path": path, "headers": headers, "body": shown, "status": status}
    text = json.dumps(line).replace(json.dumps(model), '"MODEL"').replace(f'"{model}:latest"', '"MODEL:latest"')
    with lock:
        if text not in seen:
            seen.add(text)
            print(text, flush=True)


class Proxy(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def pass_on(self):
        body = self.rfile.read(int(self.headers.get("content-length", 0)))
        if self.headers.get("transfer-encoding") == "chunked":
            body = b""
            while size := int(self.rfile.readline(), 16):
                body += self.rfile.read(size)
                self.rfile.readline()
            self.rfile.readline()
        headers = {name: value for name, value in self.headers.items() if name.lower() not in ("host", "connection",
                   "transfer-encoding", "content-length", "accept-encoding")}
        connection = http.client.HTTPConnection(upstream.netloc)
        connection.request(self.command, self.path, body, headers)
        answer = connection.getresponse()
        content = answer.read()
        self.send_response(answer.status)
        for name, value in answer.getheaders():
            if name.lower() not in ("transfer-encoding", "content-length", "connection"):
                self.send_header(name, value)
        self.send_header("content-length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)
        kept = {name.lower(): value for name, value in headers.items() if name.lower() in KEPT}
        record(self.command, self.path, kept, body, answer.status)

    do_GET = do_POST = do_DELETE = do_HEAD = pass_on

    def log_message(self, *_):
        pass


model = model_name()
ThreadingHTTPServer(("127.0.0.1", int(sys.argv[2])), Proxy).serve_forever()
