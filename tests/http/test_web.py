"""GET /web/: the engine for browsers, which --web offers."""
import json
import struct
import subprocess

import pytest

from conftest import BIN, error_of

PACK = "model-0123456789abcdef.pack"
FILES = {"alpaca.wasm": (b"\0asm engine", "application/wasm"),
         PACK: (b"numbers" * 1000, "application/octet-stream")}


@pytest.fixture
def folder(tmp_path):
    """What `make web` makes, but for the contents."""
    (tmp_path / "web").mkdir()
    for name, (content, _) in FILES.items():
        (tmp_path / "web" / name).write_bytes(content)
    (tmp_path / "web" / "engine.json").write_text(json.dumps({"pack": PACK, "bytes": 7000}))
    return tmp_path


def test_the_files_are_sent_as_they_are(start, folder):
    server = start("--web", folder)
    manifest = server.ask("GET", "/web/engine.json").json()
    assert manifest == {"server": True, "pack": PACK, "bytes": 7000}
    for name, (content, content_type) in FILES.items():
        answer = server.ask("GET", f"/web/{name}")
        assert (answer.status, answer.body) == (200, content)
        assert answer.headers["Content-Type"] == content_type
        assert server.ask("HEAD", f"/web/{name}").headers["Content-Length"] == str(len(content))
        again = server.ask("GET", f"/web/{name}", headers={"If-None-Match": answer.headers["ETag"]})
        assert (again.status, again.body) == (304, b"")
    for name in ("nothing", "..%2Fengine.json", "web/engine.json", ""):
        assert server.ask("GET", f"/web/{name}").status == 404
    assert server.metrics()['http_requests_total{path="/web/{id}",method="GET",code="200"}'] == 3


def packed(fingerprint):
    """The beginning of a packed model (engine/engine.c)."""
    return struct.pack("<4s5I64s16s", b"Pack", 3, 1, 0, 0, 0, b"name", fingerprint.encode())


def test_a_packed_model_that_differs_from_the_servers_is_warned_of(start, server, folder):
    def warnings():
        log = start("--web", folder).stop()
        return [line for line in log.splitlines() if " warn --web: " in line]

    [line] = warnings()
    assert PACK in line and "no packed model that can be read" in line
    own = server.generate(max_tokens=1)["system_fingerprint"]
    for fingerprint, count in ((own, 0), ("fp_0123456789", 1)):
        (folder / "web" / PACK).write_bytes(packed(fingerprint))
        lines = warnings()
        assert len(lines) == count
        assert all(f" {fingerprint}, than the server has, {own}" in line for line in lines)


def test_only_the_packed_model_need_not_be_asked_for_again(start, folder):
    server = start("--web", folder)
    assert "immutable" in server.ask("GET", f"/web/{PACK}").headers["Cache-Control"]
    for path in ("/web/engine.json", "/web/alpaca.wasm", "/worker.js", "/"):
        assert server.ask("GET", path).headers["Cache-Control"] == "no-cache"


def test_the_policy_allows_workers_and_webassembly_only_where_needed(start, server, folder):
    offering = start("--web", folder)

    def policy(of, path):
        return of.ask("GET", path).headers["Content-Security-Policy"]

    assert policy(offering, "/") == policy(server, "/") + "; worker-src 'self'"
    assert policy(offering, "/worker.js") == \
           "default-src 'none'; script-src 'wasm-unsafe-eval'; connect-src 'self'"
    assert policy(offering, "/app.js") == policy(server, "/app.js") == policy(server, "/worker.js")
    assert "wasm" not in policy(server, "/") + policy(offering, "/app.js")


def test_without_the_option_nothing_is_offered(server):
    assert server.ask("GET", "/web/engine.json").json() == {"server": True}
    assert error_of(server.ask("GET", "/web/alpaca.wasm"))["code"] == "not_found"


def test_the_files_need_no_key(start, folder, tmp_path):
    (tmp_path / "keys").write_text("secret\n")
    server = start("--web", folder, "--api-key-file", tmp_path / "keys")
    assert server.ask("GET", f"/web/{PACK}").status == 200
    assert server.post("/generate").status == 401


@pytest.mark.parametrize("manifest, problem", [
    (None, "engine.json: No such file"), ("{", "engine.json names no"),
    ("{}", "names no packed model"), ('{"pack": 3}', "names no packed model"),
    ('{"pack": "../engine.json"}', "names no packed model"),
    ('{"pack": "other.pack"}', "other.pack: No such file"),
    (f'{{"pack": "{"a" * 100}"}}', "names no packed model"),
])
def test_a_folder_that_make_web_did_not_fill_is_refused(folder, manifest, problem):
    (folder / "web" / "engine.json").unlink()
    if manifest is not None:
        (folder / "web" / "engine.json").write_text(manifest)
    ended = subprocess.run([BIN / "alpaca-server", "--port", "0", "--web", folder],
                           stdin=subprocess.DEVNULL, capture_output=True, text=True)
    assert ended.returncode == 1
    assert problem in ended.stderr, ended.stderr
