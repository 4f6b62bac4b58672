"""Batches: lines are those of `verbatim batch`, whatever dies while they are answered."""

import collections
import itertools
import json
import os
import signal
import subprocess
import sys
import threading
import time
import tracemalloc
import uuid
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pytest
import ray
from ray.exceptions import RayError

from verbatim_ray.batch import Servers, answers, batch
from verbatim_ray.batch import capacity as capacity_module
from verbatim_ray.batch import pool as pool_module
from verbatim_ray.batch import source as source_module
from verbatim_ray.batch import worker as worker_module
from verbatim_ray.batch.capacity import CapacityError, check
from verbatim_ray.batch.folder import Folder, FolderError
from verbatim_ray.batch.lines import LineError, answered, canonical, of_row, read
from verbatim_ray.batch.source import look
from verbatim_ray.batch.worker import UNANSWERED, Answer, Settings, Worker
from verbatim_ray.binary import find
from verbatim_ray.child import ChildError

NUMBERS = (
    "1e16 1e15 1e21 12345678901234567890123 1.5e-5 0.0001 -2e-05 1e-6 1e-7 5e-324 -0 -0.0 1.0 1E5 "
    "1.7976931348623157e308 18446744073709551615 18446744073709551616 -9223372036854775809"
)


def line(name: str, url: str = "/v1/completions", **body: object) -> str:
    return json.dumps(
        {"custom_id": name, "method": "POST", "url": url, "body": body}, ensure_ascii=False
    )


def some(count: int, tokens: int) -> list[str]:
    """Requests of both endpoints, few of them with a seed."""
    lines = []
    for i in range(count):
        how = {"max_tokens": tokens, "temperature": 1.0, "ignore_eos": True}
        if i % 4 == 0:
            how["seed"] = i
        if i % 2:
            lines.append(line(f"r{i}", prompt=f"Number {i} is", **how))
        else:
            messages = [{"role": "user", "content": f"Tell me {i}, é"}]
            lines.append(
                line(f"r{i}", "/v1/chat/completions", messages=messages, n=1 + i % 3 // 2, **how)
            )
    return lines


def odd() -> list[str]:
    """Lines with something that a hash, or an error, could get wrong."""
    return [
        line(
            'é"\n\u2028\x7f',
            prompt="x \u0001 😀",
            max_tokens=3,
            metadata={"b": [], "a": None, "": {}},
        ),
        *(
            f'{{"custom_id":"n{i}","method":"POST","url":"/v1/completions",'
            f'"body":{{"prompt":"x","max_tokens":1,"metadata":{{"x":{number}}}}}}}'
            for i, number in enumerate(NUMBERS.split())
        ),
        line("long", prompt="x" * 100_000),
        line("wrong", prompt="x", max_tokens=-5),
        line("embedded", "/v1/embeddings", input="x"),
        line("get", prompt="x").replace("POST", "GET"),
        line("r0", prompt="the same custom_id"),
        '{"custom_id": 5}',
        '{"custom_id": "no body", "method": "POST", "url": "/v1/completions"}',
        line("where", "/v1/models"),
    ]


def solo(folder: Path, lines: list[str], name: str) -> list[str]:
    """What one machine answers."""
    (folder / "in.jsonl").write_text("\n".join(lines) + "\n")
    command = [find(), "batch", "in.jsonl", "-o", "solo.jsonl", "--served-model-name", name]
    subprocess.run(command, cwd=folder, check=True, capture_output=True)
    return sorted((folder / "solo.jsonl").read_text().splitlines())


def written(folder: Path) -> list[str]:
    parts = [*folder.glob("part-*.jsonl"), folder / "refused.jsonl"]
    return sorted(answer for part in parts for answer in part.read_text().splitlines())


def servers(name: str) -> list[int]:
    """The process ids of the servers of a test, which are known by the name that they serve."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            words = (entry / "cmdline").read_bytes().split(b"\0")
        except OSError:
            continue
        if name.encode() in words and b"serve" in words and b"python" not in words[0]:
            found.append(int(entry.name))
    return found


def parent(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


# Lines ------------------------------------------------------------------------------------------


def test_a_row_is_the_line_that_it_stands_for() -> None:
    text = '{"custom_id":"7","method":"POST","url":"/v1/completions","body":{"prompt":"x","n":2}}'
    assert of_row({"line": text, "id": 3}, {}) == text
    assert of_row({"id": 7, "prompt": "x"}, {"n": 2}) == text
    body = {"prompt": "x", "n": 2, "stop": None}  # another row of the table has one
    assert of_row({"custom_id": "7", "url": "/v1/completions", "body": body}, {}) == text
    assert of_row({"id": 7, "url": "/v1/completions", "body": '{"prompt":"x","n":2}'}, {}) == text
    messages = [{"role": "user", "content": "x", "name": None}]
    chat = read(of_row({"id": "a", "messages": messages, "seed": 3}, {}))
    assert chat.body == {"messages": [{"role": "user", "content": "x"}], "seed": 3}
    for row in ({"prompt": "x"}, {"id": 1}, {"id": 1, "text": "x"}):
        with pytest.raises(LineError, match="column"):
            of_row(row, {})


def test_a_line_that_is_no_request_says_why() -> None:
    for text, param in [
        ("{", None),
        ("[]", None),
        ("[" * 100_000, None),
        ('{"custom_id": NaN}', None),
        ('{"custom_id": "\udc80"}', None),
        (line("x\ud800"), None),
        (line("x", prompt="\udfff\ud800"), None),
        (line("x").replace("{}", '{"a":' * 700 + "1" + "}" * 700), "body"),
        (line(""), "custom_id"),
        (line("x" * 513), "custom_id"),
        (line("x", "/v1/models"), "url"),
        (line("x").replace('"body": {}', '"body": 5'), "body"),
    ]:
        with pytest.raises(LineError) as caught:
            read(text)
        assert caught.value.param == param
        assert len(str(caught.value)) < 300
    assert read(line("x\U0001f600")).custom_id == "x\U0001f600", "a pair of escapes is text"


def test_json_is_written_as_the_server_writes_it() -> None:
    assert canonical({"a": [1e-5, 1e-7, 1e16, 0.1, True, None, 'é\x01\x7f"']}) == (
        '{"a":[0.00001,1e-7,1e+16,0.1,true,null,"é\\u0001\x7f\\""]}'
    )


# Folder -----------------------------------------------------------------------------------------


def answer(called: str, fingerprint: str = "vb-1", name: str | None = None) -> str:
    response = {"status_code": 200, "body": {"system_fingerprint": fingerprint}}
    return canonical(
        {
            "id": f"batch_req_{name or called}",
            "custom_id": called,
            "response": response,
            "error": None,
        }
    )


def test_a_folder_goes_on_behind_the_last_whole_line(tmp_path: Path) -> None:
    with Folder(tmp_path) as folder:
        folder.append("a", "a", 200, answer("a"))
        folder.append("b", "b", 200, answer("b"))
    part = tmp_path / "part-00001.jsonl"
    part.write_bytes(part.read_bytes()[:-5])
    with Folder(tmp_path) as folder:
        assert folder.done == {"a": "a"}
        with pytest.raises(FolderError, match="another batch"):
            Folder(tmp_path)
        with pytest.raises(FolderError, match="two requests"):
            folder.append("a", "a", 200, answer("a"))
        with pytest.raises(FolderError, match=r"vb-1.*vb-2"):
            folder.append("c", "c", 200, answer("c", "vb-2"))
        folder.append("b", "b", 200, answer("b"))
    assert written(tmp_path) == [answer("a"), answer("b")]
    part.write_text("{}\n")
    with pytest.raises(FolderError, match="line 1 is no answer"):
        Folder(tmp_path)


def test_a_folder_of_another_input_is_left_alone(tmp_path: Path) -> None:
    source = tmp_path / "in.jsonl"
    with Folder(tmp_path / "out") as folder:
        name = read(line("a", prompt="x")).name
        folder.append("a", name, 200, answer("a", name=name))
    for lines, message in [
        ([line("b", prompt="x")], "does not ask for"),
        ([line("a", prompt="y")], "another request"),
    ]:
        source.write_text("\n".join(lines))
        with pytest.raises(FolderError, match=message):
            batch(source, tmp_path / "out")
    source.write_text(line("a", prompt="x"))
    assert batch(source, tmp_path / "out").before == 1  # and nobody asks for Ray


# Memory -----------------------------------------------------------------------------------------


def test_a_file_may_be_larger_than_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither requests nor answers are kept, in a run that is begun again, either."""
    count, text = 400, "x" * (64 << 10)
    source, out = tmp_path / "in.jsonl", tmp_path / "out"
    with source.open("w") as file:
        for i in range(count):
            file.write(line(f"r{i}", prompt=text) + "\n" + "no request\n" * (i % 40 == 0))
    most = 300

    def told(_: Settings, blocks: Iterator[list[str]]) -> Iterator[Answer]:
        """A server that says back what it is asked, and dies behind `most` lines."""
        lines = (read(one) for block in blocks for one in block)
        for asked in itertools.islice(lines, most):
            body = canonical({"said": asked.body["prompt"]}).encode()
            yield 200, answered(asked, 200, body), asked.custom_id
        if most < count:
            raise RuntimeError("the driver is killed")

    monkeypatch.setattr(pool_module, "answered", told)
    monkeypatch.setattr(capacity_module, "check", lambda *_: None)
    size = source.stat().st_size
    tracemalloc.start()
    try:
        with pytest.raises(RuntimeError, match="killed"):
            batch(source, out)
        most = count
        report = batch(source, out)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert (report.answered, report.before, report.refused) == (400, 300, 10)
    assert len(written(out)) == count + 10
    assert sum(part.stat().st_size for part in out.glob("part-*")) > size - 100_000
    assert peak < size / 8, "blocks of eight lines, and names"


def test_a_line_is_bounded_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(source_module, "LINE_MAX", 100)
    (tmp_path / "in").write_bytes(
        b"\r\n  \n" + b"a" * 100 + b"\r\n" + b"b" * 101 + b"\n" + b"c" * 1000 + b"\n" + b"d" * 500
    )
    with Folder(tmp_path / "out") as folder:
        file = look(tmp_path / "in", folder)
    assert (file.total, file.refused, file.left) == (4, 4, 0)
    wrong = [json.loads(text)["error"]["code"] for text in written(tmp_path / "out")]
    assert sorted(wrong) == ["invalid_json_line"] + ["line_too_long"] * 3


def test_lines_that_are_no_text_are_refused_by_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(source_module, "LINE_MAX", 100)
    odd = [b"\xff\xfe", b'{"custom_id":"\xe9"}', b"x" + "é".encode() * 200, rb'"\ud800"']
    (tmp_path / "in").write_bytes(b"\n".join(odd))
    with Folder(tmp_path / "out") as folder:
        assert look(tmp_path / "in", folder).refused == 4
    told = [json.loads(text) for text in written(tmp_path / "out")]
    assert len({one["id"] for one in told}) == 4
    codes = collections.Counter(one["error"]["code"] for one in told)
    assert codes == {"invalid_json_line": 3, "line_too_long": 1}


def test_a_file_that_is_cut_off_meanwhile_is_told(tmp_path: Path) -> None:
    source = tmp_path / "in.jsonl"
    source.write_text("".join(line(name) + "\n" for name in "abc"))
    with Folder(tmp_path / "out") as folder:
        file = look(source, folder)
    with source.open("a") as more:
        more.write(line("d") + "\n")
    assert [len(block) for block in file.blocks(2)] == [2, 1]
    source.write_text(line("a") + "\n")
    with pytest.raises(FolderError, match="cut off"):
        list(file.blocks(2))


def test_what_cannot_be_read_twice_is_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(FolderError, match="read twice"):
        batch(tmp_path / "pipe", tmp_path / "out")


# Processors -------------------------------------------------------------------------------------


def test_too_few_processors_are_told_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    nodes = [
        {"Alive": alive, "Resources": {"CPU": cpus}}
        for alive, cpus in [(True, 2.0), (True, 3.0), (False, 64.0)]
    ]
    begun: list[bool] = []
    monkeypatch.setattr(ray, "is_initialized", lambda: bool(begun))
    monkeypatch.setattr(ray, "init", lambda: begun.append(True))
    monkeypatch.setattr(ray, "nodes", lambda: nodes if begun else pytest.fail("Ray is not begun"))
    monkeypatch.setattr(ray, "available_resources", lambda: {"CPU": 4.0})
    check(Servers(replicas=4, threads=1, wait_s=0))
    check(Servers(replicas=2, threads=2, wait_s=0))
    for replicas, threads, spare in [(5, 1, 0), (4, 1, 1), (1, 4, 0), (3, 2, 0)]:
        with pytest.raises(CapacityError, match=f"{replicas} servers of {threads} threads"):
            check(Servers(replicas=replicas, threads=threads, wait_s=0), spare)
    nodes.append({"Alive": True, "Resources": {"CPU": 8.0}})
    monkeypatch.setattr(ray, "available_resources", lambda: {"CPU": 12.0 if slept else 4.0})
    slept: list[float] = []
    check(Servers(replicas=1, threads=8, wait_s=60), 0, slept.append)
    assert len(slept) == 1
    assert begun == [True]


# A server's end ---------------------------------------------------------------------------------


@pytest.mark.cluster
@pytest.mark.quick
def test_a_worker_outlives_its_server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker_module, "LOOK_S", 0.1)
    monkeypatch.setattr(worker_module, "PATIENCE_S", 0.5)
    name = f"test-{uuid.uuid4().hex}"
    lines = some(24, 40)
    expected = solo(tmp_path, lines, name)
    worker = Worker(Settings(Servers(args=["--served-model-name", name, "--threads", "1"])))
    told = []
    for strike in (signal.SIGKILL, signal.SIGSTOP, None):
        asked = threading.Thread(
            target=lambda: told.append(worker(pa.table({"line": lines, "mine": lines})))
        )
        asked.start()
        if strike:
            os.kill(worker.child.pid, strike)
        asked.join()
    for table in told:
        assert sorted(table["answer"].to_pylist()) == expected
        assert table["mine"].to_pylist() == lines

    monkeypatch.setattr(worker_module, "TRIES", 1)
    monkeypatch.setattr(worker_module, "PATIENCE_S", 60)
    os.kill(worker.child.pid, signal.SIGSTOP)
    asked = threading.Thread(target=lambda: told.append(worker(pa.table({"line": lines}))))
    asked.start()
    time.sleep(0.2)  # a row that was not sent yet is answered by the next server
    os.kill(worker.child.pid, signal.SIGKILL)
    asked.join()
    statuses = collections.Counter(told[-1]["status"].to_pylist())
    assert statuses[UNANSWERED] > 0
    assert statuses[UNANSWERED] + statuses[200] == len(lines)
    worker.child.stop()


# Over Ray ---------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def cluster() -> collections.abc.Iterator[str]:
    """A Ray of three processors, as Ray counts them."""
    context = ray.init("local", num_cpus=3, include_dashboard=False, log_to_driver=False)
    yield context.address_info["gcs_address"]
    ray.shutdown()


def test_a_server_that_is_killed_while_it_starts_is_started_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    fails, made = [1, 1], object()

    def child(*_: object) -> object:
        if fails and fails.pop():
            raise ChildError("verbatim ended with -9")
        return made

    monkeypatch.setattr(worker_module, "Child", child)
    assert worker_module.started(Servers()) is made
    fails += [1] * worker_module.STARTS
    with pytest.raises(ChildError):
        worker_module.started(Servers())


@pytest.mark.cluster
@pytest.mark.quick
def test_a_block_is_read_when_an_actor_is_free(cluster: str) -> None:
    class Echo:
        def answer(self, block: list[str]) -> list[str]:
            return block

    read_so_far = 0

    def blocks() -> Iterator[list[str]]:
        nonlocal read_so_far
        for at in range(40):
            read_so_far += 1
            yield [str(at), "x"]

    actors = [ray.remote(Echo).options(num_cpus=1).remote() for _ in range(2)]
    seen = []
    try:
        for answers_of_block in pool_module.spread(actors, blocks()):
            seen.append(int(answers_of_block[0]))
            assert read_so_far <= len(seen) + 2 * pool_module.CALLS
    finally:
        for actor in actors:
            ray.kill(actor)
    assert sorted(seen) == list(range(40))


@pytest.mark.cluster
@pytest.mark.quick
def test_a_block_that_kills_its_actors_is_not_asked_for_for_ever(
    tmp_path: Path, cluster: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Dies:
        def __init__(self, settings: Settings) -> None:
            self.log = Path(settings.servers.args[0])

        def answer(self, block: list[str]) -> None:
            with self.log.open("a") as log:
                log.write(block[0])
            os._exit(1)

    monkeypatch.setattr(pool_module, "Answerer", Dies)
    monkeypatch.setattr(pool_module, "DEATHS", 1)
    settings = Settings(Servers(replicas=1, args=[str(tmp_path / "log")]))
    with pytest.raises(RayError):
        list(pool_module.answered(settings, [["x"]]))
    assert (tmp_path / "log").read_text() == "xx"


@pytest.mark.cluster
@pytest.mark.quick
def test_kills_change_no_byte(tmp_path: Path, cluster: str) -> None:
    name = f"test-{uuid.uuid4().hex}"
    expected = solo(tmp_path, [*some(500, 100), *odd()], name)
    ended, struck = threading.Event(), []

    def strike() -> None:
        """Kills a server a second, and of every third its actor, too."""
        while len(struck) < 6 and not ended.wait(1):
            for pid in servers(name)[:1]:
                struck.append(pid)
                os.kill(parent(pid) if len(struck) % 3 == 0 else pid, signal.SIGKILL)

    striking = threading.Thread(target=strike)
    striking.start()
    try:
        report = batch(tmp_path / "in.jsonl", tmp_path / "out", args=["--served-model-name", name])
    finally:
        ended.set()
        striking.join()
    assert struck
    assert written(tmp_path / "out") == expected
    assert (report.answered, report.failed, report.refused) == (522, 3, 5)
    again = batch(tmp_path / "in.jsonl", tmp_path / "out")
    assert (again.answered, again.before) == (522, 522)


@pytest.mark.cluster
def test_a_killed_driver_is_begun_again(tmp_path: Path, cluster: str) -> None:
    name = f"test-{uuid.uuid4().hex}"
    expected = solo(tmp_path, some(500, 100), name)
    command = [sys.executable, "-m", "verbatim_ray.batch", "in.jsonl", "out", "--address", cluster]
    command += ["--replicas", "1", "--wait", "60", "--", "--served-model-name", name]
    part = tmp_path / "out" / "part-00001.jsonl"
    with (tmp_path / "log").open("w") as log:
        driver = subprocess.Popen(command, cwd=tmp_path, stdout=log, stderr=log)
        while not (part.exists() and part.stat().st_size) and driver.poll() is None:
            time.sleep(0.01)
        driver.kill()
        driver.wait()
        whole = part.read_text().splitlines(keepends=True)
        subprocess.run(command, cwd=tmp_path, stdout=log, stderr=log, check=True)
    assert 0 < len(whole) < 500
    assert part.read_text() == "".join(whole), "what was answered is kept as it is"
    assert written(tmp_path / "out") == expected


@pytest.mark.cluster
def test_a_data_set_has_the_answers_of_its_rows(tmp_path: Path, cluster: str) -> None:
    name = f"test-{uuid.uuid4().hex}"
    how = {"max_tokens": 8, "temperature": 1.0}
    rows = [{"id": i, "prompt": f"Number {i} is", "mine": -i} for i in range(40)]
    expected = solo(tmp_path, [of_row(row, how) for row in rows], name)
    asked = {"parameters": how, "args": ["--served-model-name", name]}
    table = answers(ray.data.from_items(rows), **asked).take_all()
    assert sorted(row["answer"] for row in table) == expected
    assert all(row["custom_id"] == str(-row["mine"]) for row in table)

    out = tmp_path / "out"
    assert batch(ray.data.from_items(rows[:10]), out, **asked).answered == 10
    wrong = {"id": 99, "prompt": None}
    report = batch(ray.data.from_items([*rows, wrong]), out, **asked)
    assert (report.answered, report.before, report.refused) == (40, 10, 1)
    assert [text for text in written(out) if '"response":null' not in text] == expected
    with pytest.raises(CapacityError, match="4 servers of 1 threads need 4 processors"):
        answers(ray.data.from_items(rows), replicas=4, wait_s=0)
