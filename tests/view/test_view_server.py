"""Who may ask the server, and what a question can and cannot do."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from starlette.testclient import TestClient
from view_runs import write_run

from hgpo.cli import main
from hgpo.view.server import HEADERS, application, new_token
from hgpo.view.sources import open_source

TOKEN = "secret-token"
CREDIT = json.dumps({"name": "own"})


@pytest.fixture
def client(tmp_path) -> TestClient:
    sources = [open_source(write_run(tmp_path / "run"), {}, None)]
    return TestClient(application(sources, TOKEN), base_url="http://127.0.0.1:8000")


def test_without_the_token_nothing_is_told(client):
    for path in (
        "/",
        "/api/sources",
        "/secret-toke/api/sources",
        "/secret-token2/",
        "/web/view.js",
        "/%00/",
        "/ä/",
    ):
        answer = client.get(path)
        assert answer.status_code == 403, path
        assert "hgpo view printed" in answer.text and "run" not in answer.text
    assert client.get(f"/{TOKEN}/").status_code == 200
    assert len({new_token() for _ in range(100)}) == 100 and len(new_token()) >= 24


def test_another_site_that_points_here_is_refused(client):
    # DNS rebinding: the browser asks this address by the name of the other site.
    for host in ("evil.example", "evil.example:8000", "127.0.0.1.evil.example", ""):
        assert client.get(f"/{TOKEN}/api/sources", headers={"Host": host}).status_code == 400, host
    for host in ("127.0.0.1:8000", "localhost:8000", "localhost"):
        assert client.get(f"/{TOKEN}/api/sources", headers={"Host": host}).status_code == 200, host


def test_every_answer_has_the_headers_that_bind_the_browser(client):
    for path in ("/", f"/{TOKEN}/", f"/{TOKEN}/web/view.js", f"/{TOKEN}/api/sources", f"/{TOKEN}/api/none"):
        answer = client.get(path)
        for name, value in HEADERS.items():
            assert answer.headers[name] == value
        assert "access-control-allow-origin" not in answer.headers
    policy = HEADERS["Content-Security-Policy"]
    assert "default-src 'none'" in policy and "unsafe" not in policy and "frame-ancestors 'none'" in policy


def test_only_the_page_s_own_files_are_served(client):
    assert client.get(f"/{TOKEN}/web/view.js").headers["content-type"].startswith("text/javascript")
    for name in ("report.js", "view.html", "..%2f..%2fserver.py", "%2fetc%2fpasswd", "style.css.gz"):
        assert client.get(f"/{TOKEN}/web/{name}").status_code == 404, name


def test_questions_only_read(client):
    for method in ("post", "put", "delete", "patch"):
        assert getattr(client, method)(f"/{TOKEN}/api/sources").status_code == 405
    assert client.get(f"/{TOKEN}/api/none").status_code == 404


@pytest.mark.parametrize(
    ("question", "words"),
    [
        ("rollouts?source=0", "credit is missing"),
        ("rollouts?page=-1", "source is missing"),
        ("rollouts?source=7&credit={}", "there are 1 sources"),
        ("rollouts?source=-1&credit={}", "there are 1 sources"),
        ("rollouts?source=x&credit={}", "expected an integer"),
        ("rollouts?source=0&credit=nonsense", "expected JSON such as"),
        ('rollouts?source=0&credit={"name": "os:system"}', "no estimator 'os:system'"),
        ('rollouts?source=0&credit={"name": ["hgpo"]}', "expected JSON such as"),
        ("rollouts?source=0&credit=[]", "expected JSON such as"),
        ("rollouts?source=0&credit={OWN}&steps=many", "a range such as 2..5"),
        ("rollouts?source=0&credit={OWN}&sort=colour", "choose from iteration"),
        ("task?source=0&iteration=99&task=t&credit={OWN}", "no rollouts of iteration 99"),
        ("task?source=0&iteration=1&task=t&credit={OWN}", "no task 't'"),
        ("answers?source=0&iteration=1&trajectory=t", "no rollout 't'"),
    ],
)
def test_wrong_questions_are_answered_in_one_line(question, words, client):
    answer = client.get(f"/{TOKEN}/api/{question.replace('{OWN}', CREDIT)}")
    assert answer.status_code == 400
    assert words in answer.json()["error"]


def test_the_page_as_one_file_loads_nothing(client):
    text = client.get(f"/{TOKEN}/offline").text
    assert "<link" not in text and "src=" not in text and "MODULES" not in text
    assert "script-src 'sha256-" in text and "connect-src" not in text
    assert "\nimport " not in text and "\nexport " not in text


def test_the_command_s_own_errors(tmp_path: Path, capsys):
    for words, message in [
        ([], "name a run"),
        ([str(tmp_path / "no")], "no file or folder"),
        ([str(tmp_path)], "has no file whose name ends in"),
        ([str(tmp_path), "--rename", "x"], "expected THEIRS=OURS"),
        ([str(tmp_path), "--port", "99999"], "0 to 65535"),
        ([str(tmp_path), "--tokenizer", str(tmp_path)], "has no tokenizer.json"),
    ]:
        assert main(["view", *words]) == 2
        error = capsys.readouterr().err
        assert message in error and error.count("\n") == 1
