"""GET /: the page and its files, and GET /health."""
import re

import pytest

FILES = {"/": "text/html; charset=utf-8", "/app.js": "text/javascript; charset=utf-8",
         "/style.css": "text/css; charset=utf-8", "/alpaca.svg": "image/svg+xml"}


@pytest.mark.parametrize("path", FILES)
def test_each_file_is_the_one_in_public(server, path):
    from conftest import ROOT
    answer = server.ask("GET", path)
    assert answer.status == 200
    assert answer.headers["Content-Type"] == FILES[path]
    assert answer.body == (ROOT / "public" / (path[1:] or "index.html")).read_bytes()
    head = server.ask("HEAD", path)
    assert head.status == 200 and head.body == b""
    assert head.headers["Content-Length"] == str(len(answer.body))


def test_the_page_names_only_files_that_exist(server):
    text = server.ask("GET", "/").text
    links = re.findall(r'(?:src|href)="([^"]+)"', text)
    assert links
    for link in links:
        assert not link.startswith("/"), f"{link} leaves the path that a proxy puts the page under"
        assert server.ask("GET", "/" + link).status == 200, link


def test_a_page_that_has_not_changed_is_not_sent_again(server):
    tag = server.ask("GET", "/").headers["ETag"]
    for header in (tag, f'"other", {tag}', "*"):
        again = server.ask("GET", "/", headers={"If-None-Match": header})
        assert again.status == 304 and again.body == b"" and again.headers["ETag"] == tag
    assert server.ask("GET", "/", headers={"If-None-Match": '"other"'}).status == 200


def test_a_query_does_not_change_the_page(server):
    assert server.ask("GET", "/?prompt=a&seed=1").body == server.ask("GET", "/").body


def test_the_page_may_load_nothing_from_elsewhere_and_nothing_inline(server):
    answer = server.ask("GET", "/")
    policy = answer.headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy and "frame-ancestors 'none'" in policy
    assert "unsafe" not in policy
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert not re.search(r"<style|style=|onclick|<script(?![^>]*src=)", answer.text)


def test_health_names_the_model(server):
    answer = server.ask("GET", "/health")
    assert answer.status == 200
    assert answer.json()["status"] == "ok" and answer.json()["model"]
