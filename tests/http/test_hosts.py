"""Where the server listens, and by which names it may be asked."""
import re
import socket

import pytest
from conftest import error_of
from test_process import run


def has_ipv6():
    try:
        with socket.socket(socket.AF_INET6) as six:
            six.bind(("::1", 0))
        return True
    except OSError:
        return False


needs_ipv6 = pytest.mark.skipif(not has_ipv6(), reason="no IPv6 here")


def ask(server, address, host):
    server.host = address
    return server.ask("GET", "/health", headers={"Host": host})


def test_localhost_is_this_machine_in_both_families(start):
    server = start("--host", "localhost")
    assert server.url == f"http://localhost:{server.port}"
    assert run("--health-check", "--host", "localhost", "--port", server.port).returncode == 0
    for address in ["127.0.0.1", *(["::1"] if has_ipv6() else [])]:
        assert ask(server, address, f"localhost:{server.port}").status == 200
        assert ask(server, address, "stories.example").status == 421
    assert "GET /health 200" in server.stop()


@needs_ipv6
def test_localhost_is_refused_while_another_program_has_one_half_of_it():
    with socket.socket(socket.AF_INET6) as taken:
        taken.bind(("::1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        result = run("--host", "localhost", "--port", port)
    assert result.returncode == 1
    assert f"port {port}" in result.stderr and "in use" in result.stderr


@needs_ipv6
@pytest.mark.parametrize("host", ["::1", "[::1]"])
def test_an_address_of_ipv6_may_stand_in_brackets(start, host):
    server = start("--host", host)
    assert server.url == f"http://[::1]:{server.port}"
    assert ask(server, "::1", f"[::1]:{server.port}").status == 200
    assert ask(server, "::1", "stories.example").status == 421
    assert run("--health-check", "--host", host, "--port", server.port).returncode == 0


def test_brackets_hold_an_address():
    result = run("--host", "[no.such.host.invalid]", "--port", 0)
    assert result.returncode == 1
    assert result.stderr.count("\n") == 1 and "no.such.host.invalid" in result.stderr


LOCAL = ["127.0.0.1", "127.0.0.1:8080", "192.168.1.5", "10.0.0.1:80", "[::1]", "[::1]:8080",
         "[fe80::1]", "localhost", "LOCALHOST:8080", "localhost.", "stories", "stories:8080", "",
         "app.localhost", "app.localhost:3000"]
STRANGE = ["stories.example", "STORIES.EXAMPLE:8080", "stories.example.",
           "127.0.0.1.stories.example", "localhost.stories.example", "1.2.3", "1.2.3.4.5",
           "notlocalhost.example", ".localhost.x", "other.example", "a.stories.example",
           "xstories.example", "stories.examples"]


@pytest.mark.parametrize("host", LOCAL)
def test_a_name_that_no_web_page_can_have_made_is_answered(server, host):
    assert ask(server, server.host, host).status == 200


@pytest.mark.parametrize("host", STRANGE)
def test_a_name_that_a_web_page_may_have_made_is_refused(server, host):
    """It may have had its name point to 127.0.0.1, to ask through its visitor's browser."""
    for method, path in (("GET", "/"), ("POST", "/generate"), ("GET", "/nothing"),
                         ("OPTIONS", "/generate")):
        answer = server.ask(method, path, headers={"Host": host})
        assert answer.status == 421
        error = error_of(answer)
        assert error["code"] == "unknown_host" and "--allow-host" in error["message"]


def test_the_target_names_the_host_where_it_does(server):
    answer = server.ask("GET", "http://stories.example/health", headers={"Host": "localhost"})
    assert answer.status == 421


def test_names_can_be_allowed(start):
    server = start("--allow-host", "stories.example, Tales.Example:8080,fairy-tales.example.")
    for host in ("stories.example", "STORIES.example:443", "stories.example.", "tales.example",
                 "fairy-tales.example", *LOCAL):
        assert ask(server, server.host, host).status == 200
    for host in STRANGE[3:]:
        assert ask(server, server.host, host).status == 421


@pytest.mark.parametrize("names", [
    ",,", "stories.example,", "a" * 256, "https://stories.example", "stories.example/", "*",
    "*.example", "stories.example:http", "stories.example tales.example", ":8080", "."])
def test_what_cannot_be_a_name_is_not_allowed(names):
    """Else nobody would know before the first request of the proxy why it is refused."""
    result = run("--port", 0, "--allow-host", names)
    assert result.returncode == 1
    assert result.stderr.count("\n") == 1 and "--allow-host " in result.stderr
    assert "1 to 255 bytes" in result.stderr or "names such as stories.example" in result.stderr


def test_a_server_for_others_has_any_name(start):
    server = start("--host", "0.0.0.0")
    assert ask(server, "127.0.0.1", "stories.example").status == 200


def test_idle_connections_outlast_the_minute_that_balancers_keep_theirs():
    row = re.search(r"`--idle-timeout` \| `ALPACA_IDLE_TIMEOUT` \| (\d+) ",
                    run("--help-markdown").stdout)
    assert int(row[1]) > 60
