"""Who may ask the page: Host, Origin, token, paths, sizes, and the headers of each answer, of a server that runs."""

import json

import pytest

from notus.core.errors import ConfigError
from notus.review.security import Access, is_loopback
from tests.helpers.review_server import served

DECISION = b'{"target":"%s","what":"drop"}'


@pytest.fixture(scope="module")
def page(feedback_file, tmp_path_factory):
    with served(feedback_file, tmp_path_factory.mktemp("secure") / "decisions.sqlite") as running:
        yield running


@pytest.fixture(scope="module")
def target(page):
    from notus.review.filter import Filter

    return page.desk.review.page(Filter(), 0, 1).rows[0].id


def decide(page, target, **change):
    headers = page.own_headers() | change
    return page.request("POST", "/decide", headers=headers, body=DECISION % target.encode())


def traversals() -> list[str]:
    ups = ["..", "%2e%2e", "%2E%2E", ".%2e", "..%00", "%252e%252e", "..;", "....", "%c0%ae%c0%ae", "..%5c"]
    roots = ["/static/{}/{}/etc/passwd", "/static/{}/app.py", "/{}/{}/{}/etc/shadow", "/record/{}/{}/etc/passwd"]
    roots += ["/static//{}/x", "/static/{}%2f{}%2fetc%2fpasswd", "/static/review.css/{}/app.py", "/record/{}%2fx"]
    roots += ["/{}", "/static/x{}\\..\\..\\windows\\win.ini"]
    return [root.replace("{}", up) for root in roots for up in ups]


def test_a_hundred_ways_out_of_the_folder_lead_nowhere(page):
    paths = traversals()
    assert len(set(paths)) == 100
    for path in paths:
        status, text, _ = page.request("GET", path)
        assert status == 404, path
        assert "root:" not in text, path
        assert "def make_app" not in text, path


@pytest.mark.parametrize(
    "path", ["/static/", "/static/app.py", "/static/review.css.bak", "/templates/base.html.j2", "/docs"]
)
def test_only_files_of_the_table_are_served(page, path):
    assert page.request("GET", path)[0] == 404


def test_the_files_of_the_table_are(page):
    for name, kind in (("review.css", "text/css"), ("review.js", "text/javascript"), ("icon.svg", "image/svg+xml")):
        status, _, headers = page.request("GET", f"/static/{name}")
        assert status == 200
        assert headers["content-type"].startswith(kind)


@pytest.mark.parametrize(
    "host",
    [
        "evil.example",
        "evil.example:{}",
        "127.0.0.1.evil.example:{}",
        "localhost.evil.example:{}",
        "127.0.0.1:1",
        "0.0.0.0:{}",
        "[::2]:{}",
        "",
        "127.0.0.1:{}@evil.example",
        "169.254.169.254:{}",
        "127.0.0.1:-{}",
        "127.0.0.1:{}:{}",
    ],
)
def test_a_name_that_was_made_to_point_here_is_refused(page, target, host):
    named = host.replace("{}", str(page.port))
    for method in ("GET", "POST"):
        status, text, _ = page.request(method, "/", headers={"Host": named})
        assert status in (400, 421), (method, named)  # without any Host the server itself refuses
        assert "csrf" not in text
    assert decide(page, target, Host=named)[0] in (400, 421)
    assert page.force() == []


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "LOCALHOST", "[::1]"])
def test_the_names_of_this_machine_are_taken(page, host):
    assert page.request("GET", "/", headers={"Host": f"{host}:{page.port}"})[0] == 200


@pytest.mark.parametrize(
    "change",
    [
        {"Origin": "http://evil.example"},
        {"Origin": "null"},
        {"Origin": ""},
        {"Origin": "https://127.0.0.1:{}"},
        {"Origin": "http://localhost:{}"},
        {"Origin": "http://127.0.0.1:{}.evil.example"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
        {"Sec-Fetch-Site": "none"},
        {"Content-Type": "text/plain"},
        {"Content-Type": "application/x-www-form-urlencoded"},
        {"Content-Type": "multipart/form-data; boundary=x"},
        {"Content-Type": "text/plain; application/json"},
        {"Content-Type": ""},
        {"x-notus-page": ""},
        {"x-notus-page": "x" * 32},
        {"x-notus-page": "é"},
    ],
)
def test_a_decision_from_elsewhere_is_refused(page, target, change):
    for path in ("/decide", "/bulk", "/undo", "/redo", "/who"):
        sent = {name: value.replace("{}", str(page.port)) for name, value in change.items()}
        status, _, _ = page.request("POST", path, headers=page.own_headers() | sent, body=DECISION % target.encode())
        assert status in (403, 415), (path, change)
    assert list(page.store.rulings()) == []


@pytest.mark.parametrize("method", ["PUT", "DELETE", "OPTIONS", "PATCH", "TRACE", "CONNECT"])
def test_other_methods_are_refused(page, method):
    assert page.request(method, "/")[0] in (400, 405)


def test_a_decision_by_get_is_none(page):
    assert page.request("GET", "/decide?target=x&what=drop")[0] in (404, 405)


def test_a_page_is_not_loaded_within_another(page):
    sent = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "no-cors", "Sec-Fetch-Dest": "script"}
    assert page.request("GET", "/", headers=sent)[0] == 403
    assert page.request("GET", "/", headers=sent | {"Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "iframe"})[0] == 403
    opened = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document"}
    assert page.request("GET", "/", headers=opened)[0] == 200  # a link in a mail


def test_large_requests_are_refused(page):
    own = page.own_headers()
    assert page.request("POST", "/decide", headers=own | {"Content-Length": str(2**30)})[0] == 413
    assert page.request("POST", "/decide", headers=own | {"Content-Length": "1e3"})[0] in (400, 413)
    assert page.request("GET", "/?text=" + "x" * 9000)[0] == 414


def test_what_is_sent_in_pieces_is_counted(page):
    from http.client import HTTPConnection

    connection = HTTPConnection("127.0.0.1", page.port, timeout=20)
    pieces = (b"[" * 65_536 for _ in range(64))
    headers = page.own_headers() | {"Transfer-Encoding": "chunked"}
    try:
        connection.request("POST", "/decide", body=pieces, headers=headers, encode_chunked=True)
        status = connection.getresponse().status
    except OSError:  # the server hangs up while we still send
        status = 0
    finally:
        connection.close()
    assert status in (0, 400, 413, 500)
    assert page.request("GET", "/")[0] == 200


@pytest.mark.parametrize("path", ["/", "/nowhere", "/static/review.js", "/record/x", "/?score=x", "/people"])
def test_every_answer_is_guarded_by_its_headers(page, path):
    _, _, headers = page.request("GET", path)
    policy = headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "script-src 'self'" in policy
    assert "frame-ancestors 'none'" in policy
    assert "unsafe" not in policy
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["referrer-policy"] == "no-referrer"
    assert "access-control-allow-origin" not in headers
    assert "server" not in headers or "uvicorn" in headers["server"]


def test_no_page_has_a_script_or_a_style_in_it(page, target):
    for path in ("/", f"/record/{target}", "/people", "/bulk", "/record/none"):
        _, text, _ = page.request("GET", path)
        assert "<style" not in text
        assert " style=" not in text
        assert " onclick" not in text
        assert text.count("<script") == text.count('<script src="/static/')


def test_beyond_loopback_a_token_is_asked_for(feedback_file, tmp_path, target):
    with served(feedback_file, tmp_path / "decisions.sqlite", host="0.0.0.0") as page:
        token = page.access.token
        assert len(token) >= 32
        for path in ("/", f"/record/{target}", "/static/review.js", "/?token=", "/?token=x", f"/?token={token[:-1]}"):
            status, text, _ = page.request("GET", path)
            assert status == 401, path
            assert token not in text
            assert page.access.csrf not in text
        assert decide(page, target)[0] == 401
        assert list(page.store.rulings()) == []
        status, text, headers = page.request("GET", f"/?score=8&token={token}")
        assert status == 200
        assert "url=/?score=8" in text  # and without the token
        assert token not in text
        cookie = headers["set-cookie"]
        assert token not in cookie
        assert "HttpOnly" in cookie
        assert "SameSite=Strict" in cookie
        entered = {"Cookie": cookie.partition(";")[0]}
        assert page.request("GET", "/", headers=entered)[0] == 200
        assert page.request("GET", "/", headers={"Cookie": entered["Cookie"] + "0"})[0] == 401
        assert decide(page, target, **entered)[0] == 200
        # An address is what it says; a name that someone made is not.
        assert page.request("GET", "/", headers=entered | {"Host": f"192.168.7.7:{page.port}"})[0] == 200
        assert page.request("GET", "/", headers=entered | {"Host": f"rebound.example:{page.port}"})[0] == 421


def test_a_token_may_be_asked_for_on_loopback(feedback_file, tmp_path):
    with served(feedback_file, tmp_path / "decisions.sqlite", token="a" * 16) as page:
        assert page.request("GET", "/")[0] == 401
        assert page.request("GET", "/?token=" + "a" * 16)[0] == 200


def test_tokens_and_hosts():
    assert Access.make("127.0.0.1", 80, None).token == ""
    assert Access.make("0.0.0.0", 80, None).token
    assert Access.make("::", 8377, "x" * 16).link == "http://[::1]:8377/?token=" + "x" * 16
    with pytest.raises(ConfigError, match="has 5 characters; give 16"):
        Access.make("0.0.0.0", 80, "short")
    with pytest.raises(ConfigError, match="letters, digits"):
        Access.make("0.0.0.0", 80, "x" * 16 + "&y=1")
    assert [
        is_loopback(each) for each in ("localhost", "127.8.8.8", "::1", "0.0.0.0", "example.org", "192.168.1.1")
    ] == ([True, True, True, False, False, False])


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        b"{",
        b'{"target":1,"what":"drop"}',
        b'{"target":"x","what":"burn"}',
        b'{"target":"x","what":"drop","more":1}',
        b"\xff\xfe",
        b"[" * 10000,
        b'{"target":"x","what":"drop","value":1e999}',
    ],
)
def test_what_cannot_be_read_is_refused_in_one_line(page, body):
    status, text, _ = page.request("POST", "/decide", headers=page.own_headers(), body=body)
    assert status in (400, 404)
    assert "\n" not in json.loads(text)["error"]
    assert list(page.store.rulings()) == []
