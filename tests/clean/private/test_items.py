"""What is personal or secret in a text: ten of each kind by hand, what only looks like it, and borders."""

import sys
from itertools import pairwise

import pytest

from notus.clean.private.items import KINDS, check_libraries, find_items
from notus.core.errors import MissingExtraError

LONG = "q7Zr2kLm9Xw4Tb6Yc1Vn8Hs3Jd5Fg0Pa"
FOUND = {
    "email": [
        "ann.lee@firm.com",
        "Ann.Lee@Firm.CO.UK",
        "ann+news@mail.firm.org",
        "a_l@uni-bonn.de",
        "ann@firm.io",
        "ann [at] firm [dot] de",
        "ann(at)firm.de",
        "o'neil@firm.ie",
        "ann%list@firm.museum",
        "ünal@firm.de",
    ],
    "phone": [
        "+1 202 555 0143",
        "+12025550143",
        "(212) 736-5000",
        "212-736-5000",
        "212.736.5000",
        "+44 20 7946 0958",
        "+49 30 23125 0",
        "+33 1 42 68 53 00",
        "+91 98765 43210",
        "+81 3-3224-5000",
    ],
    "handle": [
        "@ann_lee",
        "@annlee42",
        "@Ann",
        "u/ann_lee",
        "/u/ann-lee",
        "https://twitter.com/annlee",
        "https://www.instagram.com/ann.lee",
        "https://www.linkedin.com/in/ann-lee-42",
        "https://t.me/annlee",
        "@AnnLeeWrites",
    ],
    "ip": [
        "81.2.69.142",
        "8.8.4.4",
        "1.2.3.4",
        "203.9.45.1",
        "99.86.4.20",
        "2a02:26f0:6c00::210",
        "2001:4860:4860::8888",
        "2600:1f18:24e6:b900:8f6:5e1:1c2:9b",
        "151.101.1.69",
        "223.255.255.1",
    ],
    "iban": [  # the examples of the IBAN registry
        "DE89370400440532013000",
        "DE89 3704 0044 0532 0130 00",
        "GB29 NWBK 6016 1331 9268 19",
        "gb29nwbk60161331926819",
        "FR14 2004 1010 0505 0001 3M02 606",
        "NL91ABNA0417164300",
        "CH93 0076 2011 6238 5295 7",
        "ES91 2100 0418 4502 0005 1332",
        "IT60X0542811101000000123456",
        "NO93 8601 1117 947",
    ],
    "card": [  # the issuers' test numbers
        "4012888888881881",
        "4012 8888 8888 1881",
        "5105-1051-0510-5100",
        "2223 0031 2200 3222",
        "378282246310005",
        "3714 496353 98431",
        "6011000990139424",
        "30569309025904",
        "3530111333300000",
        "38520000023237",
    ],
    "secret": [
        "AKIAIOSFODNN7EXAMPLQ",
        f"ghp_{LONG}Ab12",
        f"sk-{LONG}{LONG[:16]}",
        f"hf_{LONG}ab",
        f"AIza{LONG}abc",
        f"sk-ant-api03-{LONG}",
        "xoxb-12345678901-12345678901-abcDEF123456ghiJKL7890",
        "sk_live_" + LONG[:24],
        "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0NSJ9.c2lnbmF0dXJlLXBhcnQ",
        f"-----BEGIN RSA PRIVATE KEY-----\nMIIEpAIBAAKCAQEA{LONG}\n1234==\n-----END RSA PRIVATE KEY-----",
    ],
}
NOT_FOUND = {
    "email": [
        "ann@example.com",
        "ann at the firm.de",
        "foo@2x.png",
        "a@b",
        "@property",
        "price @ 3.50 each",
        "x@y.notasuffix",
    ],
    "phone": [
        "1234567890",
        "2020-11-29",
        "978-3-16-148410-0",
        "192.168.1.1",
        "1, 2, 3, 4, 5, 6, 7",
        "3.14159265358979",
        "12 + 34 = 46",
    ],
    "handle": [
        "`@ann`",
        "```\n@app.route\n```",
        "@property",
        "@media (max-width: 3px)",
        "ann@firm",
        "@Override",
        "a u/ b",
    ],
    "ip": [
        "192.168.0.1",
        "10.0.0.7",
        "127.0.0.1",
        "version 4.10.2.1",
        "1.2.3.4.5",
        "999.1.1.1",
        "192.0.2.44",
        "std::string::npos",
        "12:30:45",
    ],
    "iban": ["DE88370400440532013000", "GB29 NWBK 6016 1331 9268 18", "AB12 is a model", "XX89370400440532013000"],
    "card": ["4012888888881882", "1234567812345670", "0000000000000000", "4111111111111111111111", "1646615806005"],
    "secret": [
        "my password is long",
        "https://user:password@host",
        "https://host/a:b@c",
        "f3b5c1a9d8e7f6a5b4c3d2e1f0a9b8c7",
        "sk-learn",
        "-----BEGIN PRIVATE KEY-----",
        "AKIA",
    ],
}


@pytest.mark.parametrize("kind", KINDS)
def test_ten_of_each_kind_are_found_whole_between_words_and_marks(kind):
    assert len(FOUND[kind]) == 10
    for text in FOUND[kind]:
        for before, after in (("It is ", " as we said."), ("Is it ", ", or not?"), ("", "")):
            found = [item for item in find_items(before + text + after) if item.kind == kind]
            assert len(found) == 1, (kind, text)
            shown = (before + text + after)[found[0].start : found[0].stop]
            assert text.endswith(shown), (text, shown)
            if kind not in ("handle",):  # of a profile's address, the name alone
                assert shown == text


@pytest.mark.parametrize("kind", KINDS)
def test_what_only_looks_like_it_is_not_found(kind):
    assert [(text, find_items(text, (kind,))) for text in NOT_FOUND[kind] if find_items(text, (kind,))] == []


def test_the_password_alone_is_the_secret_of_an_address():
    text = "see https://ann:hunter42x@firm.com/path"
    (item,) = find_items(text, ("secret",))
    assert text[item.start : item.stop] == "hunter42x"


def test_two_notations_of_one_thing_have_one_key():
    for kind, texts in {
        "phone": ("+1 212 736 5000", "(212) 736-5000", "212.736.5000"),
        "iban": ("DE89370400440532013000", "DE89 3704 0044 0532 0130 00", "de89370400440532013000"),
        "email": ("Ann@Firm.com", "ann@firm.com", "ann [at] firm [dot] com"),
    }.items():
        assert len({find_items(text, (kind,))[0].key for text in texts}) == 1, kind


def test_items_come_in_order_and_never_overlap():
    text = "ann@firm.com, +1 212 736 5000, DE89 3704 0044 0532 0130 00 and @ann_lee from 81.2.69.142"
    found = find_items(text)
    assert [item.kind for item in found] == ["email", "phone", "iban", "handle", "ip"]
    assert all(a.stop <= b.start for a, b in pairwise(found))


def test_a_region_decides_whose_numbers_are_known_without_a_code():
    text = "call 020 7946 0018 now"
    assert [item.key for item in find_items(text, ("phone",), ("GB",))] == ["+442079460018"]
    assert find_items(text, ("phone",), ("US",)) == []


def test_without_its_library_a_kind_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "phonenumbers", None)
    with pytest.raises(MissingExtraError, match=r"notus\[privacy\]"):
        check_libraries(("phone",))
