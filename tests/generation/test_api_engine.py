"""Chat APIs, against a local server that answers, refuses, stalls and lies: what is sent, tried, kept and counted."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Lock, Thread
from typing import Any

import pytest

from domino_lightning.cli.main import main
from domino_lightning.errors import StageFailed, UserError
from domino_lightning.generation import requests as requests_module
from domino_lightning.generation.api_engine import APIEngine, Traffic
from domino_lightning.generation.language_model import LanguageModel, ModelSource, Sampled
from domino_lightning.generation.ledger import ANSWERS, keeping, usage
from domino_lightning.stages import stage_class
from domino_lightning.synthesis import FewShot, Sampling
from domino_lightning.utils.jsonl import read_json, read_jsonl
from tests.conftest import refused

KEY = "sk-this-is-a-secret-key-of-no-one"
SAMPLING = Sampling(temperature=0.7, top_p=0.9, max_new_tokens=12)
USAGE = {"prompt_tokens": 10, "completion_tokens": 3}


class State:
    """What the server was asked, and what it is to do before it behaves."""

    def __init__(self) -> None:
        self.bodies: list[dict[str, Any]] = []
        self.headers: list[dict[str, str]] = []
        self.times: list[float] = []
        self.trouble: list[tuple[int, dict[str, str], bytes] | float] = []  # an answer, or seconds to stall
        self.usage: dict[str, int] | None = USAGE
        self.finish, self.text = "stop", "answer to {}"
        self.lock = Lock()


@pytest.fixture
def server() -> Iterator[tuple[State, str]]:
    state = State()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:  # noqa: N802
            assert self.path == "/v1/chat/completions"
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            with state.lock:
                state.bodies.append(body)
                state.headers.append(dict(self.headers))
                state.times.append(time.monotonic())
                trouble = state.trouble.pop(0) if state.trouble else None
            if isinstance(trouble, float):
                time.sleep(trouble)
            elif trouble is not None:
                return self._answer(*trouble)
            text = state.text and state.text.format(body["messages"][-1]["content"])
            choice = {"message": {"role": "assistant", "content": text}, "finish_reason": state.finish}
            content = {"choices": [choice]} | ({"usage": state.usage} if state.usage else {})
            return self._answer(200, {}, json.dumps(content).encode())

        def _answer(self, status: int, headers: dict[str, str], data: bytes) -> None:
            try:
                self.send_response(status)
                for name, value in {**headers, "Content-Length": str(len(data))}.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(data)
            except OSError:  # the client did not wait
                return

        def log_message(self, *_: Any) -> None:
            return

    running = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    Thread(target=running.serve_forever, daemon=True).start()
    yield state, f"http://127.0.0.1:{running.server_address[1]}/v1"
    running.shutdown()


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(requests_module, "PAUSE_S", 0.0)
    monkeypatch.setenv("MY_KEY", KEY)


def model(url: str, **traffic: Any) -> LanguageModel:
    return APIEngine(url, api_key_env="MY_KEY", runtime=Traffic(**traffic)).load(ModelSource("some-model"))


def ask(loaded: LanguageModel, *texts: str, rows: Any = None, seed: int = 0) -> list[Sampled]:
    chats = [[{"role": "user", "content": text}] for text in texts]
    return loaded.complete(chats, rows or range(len(texts)), seed, SAMPLING)


def error(status: int, **headers: str) -> tuple[int, dict[str, str], bytes]:
    return status, {name.replace("_", "-"): value for name, value in headers.items()}, b'{"error": "no"}'


def test_a_chat_goes_out_with_every_setting_and_comes_back_in_order(server: tuple[State, str]) -> None:
    state, url = server
    assert ask(model(url), "a", "b", "c") == [Sampled(f"answer to {each}", True, 3) for each in "abc"]
    bodies = sorted(state.bodies, key=lambda body: body["messages"][0]["content"])
    assert bodies[0] == {
        "model": "some-model",
        "messages": [{"role": "user", "content": "a"}],
        "temperature": 0.7,
        "top_p": 0.9,
        "max_tokens": 12,
        "seed": bodies[0]["seed"],
    }
    assert len({body["seed"] for body in bodies}) == 3 and all(0 <= body["seed"] < 2**31 for body in bodies)
    assert {headers["Authorization"] for headers in state.headers} == {f"Bearer {KEY}"}


def test_the_model_the_seed_and_further_fields_are_settings(server: tuple[State, str]) -> None:
    state, url = server
    engine = APIEngine(url, model="other", api_key_env=None, send_seed=False, body={"reasoning_effort": "low"})
    ask(engine.load(ModelSource("some-model")), "a")
    (body,) = state.bodies
    assert (body["model"], body["reasoning_effort"], "seed" in body) == ("other", "low", False)
    assert "Authorization" not in state.headers[0]


@pytest.mark.parametrize(
    ("finish", "text", "expected"),
    [("length", "cut", Sampled("cut", False, 3)), ("stop", None, Sampled("", False, 3))],
)
def test_a_cut_or_refused_answer_is_unfinished(
    server: tuple[State, str], finish: str, text: Any, expected: Any
) -> None:
    state, url = server
    state.finish, state.text = finish, text
    assert ask(model(url), "a") == [expected]


@pytest.mark.parametrize("status", [408, 409, 429, 500, 502, 503, 504])
def test_what_may_mend_itself_is_tried_again(server: tuple[State, str], status: int) -> None:
    state, url = server
    state.trouble = [error(status), error(status)]
    assert ask(model(url), "a") == [Sampled("answer to a", True, 3)]
    assert len(state.bodies) == 3


@pytest.mark.parametrize(
    "answer", [b"<html>busy</html>", b"{}", b'{"choices": []}', b'{"choices": [{"message": {"content": 3}}]}', b"[]"]
)
def test_an_answer_that_cannot_be_read_is_asked_for_again_and_then_told(
    server: tuple[State, str], answer: bytes
) -> None:
    state, url = server
    state.trouble = [(200, {}, answer)]
    assert ask(model(url), "a") == [Sampled("answer to a", True, 3)]
    state.trouble = [(200, {}, answer)] * 2
    with pytest.raises(StageFailed, match=r"an answer that cannot be read .*What is done stays"):
        ask(model(url, attempts=2), "a")


def test_a_server_that_takes_too_long_is_asked_again(server: tuple[State, str]) -> None:
    state, url = server
    state.trouble = [1.0]
    assert ask(model(url, timeout_s=0.5), "a") == [Sampled("answer to a", True, 3)]
    assert len(state.bodies) >= 2
    with pytest.raises(StageFailed, match="gave no completion .ConnectError"):
        ask(model("http://127.0.0.1:9/v1", attempts=2), "a")


@pytest.mark.parametrize("status", [400, 401, 403, 404, 422])
def test_what_will_not_mend_itself_is_told_at_once_without_the_key(server: tuple[State, str], status: int) -> None:
    state, url = server
    state.trouble = [(status, {}, f'{{"error": "what is {KEY}?"}}'.encode())]
    with pytest.raises(StageFailed, match=str(status)) as caught:
        ask(model(url), "a")
    assert len(state.bodies) == 1 and KEY not in str(caught.value)


def test_retry_after_is_honored_as_seconds_and_as_a_date_but_not_beyond_the_limit(server: tuple[State, str]) -> None:
    state, url = server
    state.trouble = [error(429, Retry_After="0.4")]
    ask(model(url), "a")
    assert state.times[1] - state.times[0] >= 0.4
    state.trouble = [error(503, Retry_After=formatdate(time.time() + 3600, usegmt=True))]
    with pytest.raises(StageFailed, match=r"asks to wait 3[56]\d\d s, longer than 120 s"):
        ask(model(url), "a")
    assert len(state.times) == 3


def test_requests_keep_to_the_rate(server: tuple[State, str]) -> None:
    _, url = server
    started = time.monotonic()
    ask(model(url, requests_per_minute=600), *"abcd")  # one every 0.1 s
    assert time.monotonic() - started >= 0.3


def test_an_answer_that_was_paid_for_is_never_asked_for_again(server: tuple[State, str], tmp_path: Path) -> None:
    state, url = server
    prices = {"prompt_price": 2.0, "completion_price": 10.0}
    with keeping(lambda: tmp_path):
        state.trouble = [error(500), error(400)]
        with pytest.raises(StageFailed):
            ask(model(url, concurrency=1, **prices), *"abc")  # a after two attempts, or none; b or c
    kept = len(read_jsonl(tmp_path / ANSWERS)) if (tmp_path / ANSWERS).is_file() else 0
    state.bodies.clear()
    with open(tmp_path / ANSWERS, "a", encoding="utf-8") as file:
        file.write('{"key": "torn by a ki')
    with keeping(lambda: tmp_path) as ledger:
        texts = ask(model(url, concurrency=1, **prices), *"abc")
        again = ask(model(url, **prices), *"abc")
        other_seed = ask(model(url, **prices), "a", seed=1)
    assert texts == again == [Sampled(f"answer to {each}", True, 3) for each in "abc"]
    assert other_seed == texts[:1] and len(state.bodies) == 3 - kept + 1
    totals = ledger.totals()
    assert totals["requests"] == 4 and totals["prompt_tokens"] == 40 and totals["completion_tokens"] == 12
    assert totals["cost_usd"] == pytest.approx((40 * 2 + 12 * 10) / 1e6)
    ledger.close(tmp_path)
    assert usage("answer", tmp_path)["answer/api/requests"] == 4
    assert KEY not in (tmp_path / ANSWERS).read_text()


def test_what_is_not_said_or_not_priced_is_not_made_up(
    server: tuple[State, str], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    state, url = server
    state.usage = None
    with keeping(lambda: tmp_path) as ledger:
        assert ask(model(url, prompt_price=1.0, completion_price=1.0), "a", "b") == [
            Sampled("answer to a", True, 0),
            Sampled("answer to b", True, 0),
        ]
    assert len([each for each in caplog.records if "counted too low" in each.message]) == 1
    assert (ledger.totals()["without_usage"], "cost_usd" in ledger.totals()) == (2, False)


def test_what_a_chat_api_cannot_do_is_refused(
    server: tuple[State, str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    _, url = server
    loaded = model(url)
    with pytest.raises(UserError, match="takes chats, and this prompt is a text"):
        loaded.complete(["go on"], [0], 0, SAMPLING)
    with pytest.raises(UserError, match="min_p and repetition_penalty cannot be asked"):
        loaded.complete([[{"role": "user", "content": "a"}]], [0], 0, Sampling(min_p=0.1))
    with pytest.raises(UserError, match="takes no soft prompt"):
        APIEngine(url).load(ModelSource("m", soft_prompt=tmp_path))
    monkeypatch.delenv("MY_KEY")
    with pytest.raises(UserError, match="variable MY_KEY is not set"):
        model(url)
    with pytest.raises(UserError, match="no name of an environment variable") as caught:
        APIEngine(url, api_key_env=KEY)
    assert KEY not in str(caught.value)
    with pytest.raises(UserError, match="holds no user or password"):
        APIEngine("https://me:secret@example.org/v1")


GENERATOR = {
    "class_path": "domino_lightning.synthesis.FewShot",
    "init_args": {"backbone": "a-model-somewhere", "shots": 1, "sampling": {"max_new_tokens": 5}},
}


def generator(url: str, **runtime: Any) -> dict[str, Any]:
    settings = {"base_url": url, "api_key_env": "MY_KEY", "runtime": runtime}
    engine = {"class_path": "domino_lightning.synthesis.APIEngine", "init_args": settings}
    return {"class_path": GENERATOR["class_path"], "init_args": {**GENERATOR["init_args"], "engine": engine}}  # type: ignore[dict-item]


def test_a_stage_asks_once_counts_and_is_found_again_under_other_traffic(
    server: tuple[State, str], write_experiment: Callable[..., Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    state, url = server
    stop = {"candidates": 6, "min_screened": 0}
    tree = {"synthesize": {"generator": generator(url), "block_size": 2, "stop": stop}}
    experiment = str(write_experiment(tree))
    assert main(["run", experiment, "--until", "synthesize", "--trial", "api"]) == 0
    assert len(state.bodies) == 6
    slower = "synthesize.generator.init_args.engine.init_args.runtime.concurrency=1"
    assert main(["run", experiment, slower, "--until", "synthesize", "--trial", "api"]) == 0
    assert len(state.bodies) == 6
    directory = tmp_path / "outputs" / "runs" / "small" / "api" / "synthesize"
    assert read_json(directory / "api.json")["requests"] == 6
    assert stage_class("synthesize").metrics(directory)["synthesize/api/completion_tokens"] == 18
    assert not any(KEY in path.read_text(errors="replace") for path in directory.rglob("*") if path.is_file())
    assert KEY not in capsys.readouterr().out


def test_a_stage_that_failed_in_its_first_block_keeps_what_it_paid(
    server: tuple[State, str], write_experiment: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    state, url = server
    stop = {"candidates": 6, "min_screened": 0}
    tree = {"synthesize": {"generator": generator(url, concurrency=1), "block_size": 6, "stop": stop}}
    experiment = str(write_experiment(tree))
    state.trouble = [0.0, 0.0, 0.0, error(401)]
    assert main(["run", experiment, "--until", "synthesize"]) == 1
    assert "gave no completion (401" in capsys.readouterr().err
    assert main(["run", experiment, "--until", "synthesize"]) == 0
    assert len(state.bodies) == 7  # three that were paid for, one that was refused, three more


def test_check_asks_nothing_and_says_that_the_key_is_missing(
    server: tuple[State, str],
    write_experiment: Callable[..., Path],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    state, url = server
    monkeypatch.delenv("MY_KEY")
    experiment = str(write_experiment({"synthesize": {"generator": generator(url)}}))
    assert main(["check", experiment]) == 0
    assert "the environment variable MY_KEY, whose key FewShot needs, is not set here" in capsys.readouterr().out
    message = refused(capsys, "check", experiment, "synthesize.generator.init_args.engine.init_args.runtime.attempts=0")
    assert "attempts 0 must be 1 or more" in message
    assert state.bodies == []
    assert FewShot.contents(generator(url)["init_args"]) == {}
