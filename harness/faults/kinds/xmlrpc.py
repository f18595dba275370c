"""Kinds of bad input on the wire of XML-RPC, by name, each with the code that it gets."""

import gzip

from lab.errors import Code

MEBIBYTE = 1024 * 1024
INSULT = "tonto"
"""What good requests among them carry."""


def post(body: bytes, *headers: str, length: object = None, method: str = "POST") -> bytes:
    """Return a whole HTTP request."""
    length = len(body) if length is None else length
    lines = [f"{method} /RPC2 HTTP/1.1", "Host: node", "Content-Type: text/xml", *headers]
    if length != "":
        lines.append(f"Content-Length: {length}")
    return "\r\n".join(lines).encode("latin-1") + b"\r\n\r\n" + body


def call(method: str, *values: str, head: str = "<?xml version='1.0'?>", encoding: str = "utf-8") -> bytes:
    """Return a method call whose parameters are the XML *values*."""
    params = "".join(f"<param><value>{value}</value></param>" for value in values)
    text = f"{head}<methodCall><methodName>{method}</methodName><params>{params}</params></methodCall>"
    return text.encode(encoding)


def text(content: str) -> str:
    return f"<string>{content}</string>"


def multicall(item: str, times: int = 1) -> bytes:
    return call("system.multicall", f"<array><data>{f'<value>{item}</value>' * times}</data></array>")


GOOD = call("add_insult", text(INSULT))
INSULT_ME = "<struct><member><name>methodName</name><value>insult_me</value></member></struct>"
LAUGHS = "".join(f'<!ENTITY l{n + 1} "{f"&l{n};" * 10}">' for n in range(9))
BOMB = f'<?xml version="1.0"?><!DOCTYPE bomb [<!ENTITY l0 "lol">{LAUGHS}]>'
UTF_16_BOMB = BOMB.replace("1.0", '1.0" encoding="utf-16', 1)
FILE_ENTITY = '<?xml version="1.0"?><!DOCTYPE x [<!ENTITY file SYSTEM "file:///etc/passwd">]>'
NESTED = "<array><data><value>" * 10_000 + "</value></data></array>" * 10_000

KINDS: dict[str, tuple[bytes, Code]] = {
    "not HTTP": (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(200), Code.MALFORMED),
    "HTTP/2": (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", Code.MALFORMED),
    "a wrong HTTP method": (post(GOOD, method="PUT"), Code.MALFORMED),
    "GET": (post(b"", method="GET"), Code.MALFORMED),
    "a header without a colon": (post(GOOD, "no colon here"), Code.MALFORMED),
    "a header too long": (post(GOOD, f"X-Long: {'x' * 100_000}"), Code.TOO_LARGE),
    "a header that does not end": (b"POST / HTTP/1.1\r\nX-Long: " + b"x" * 2 * MEBIBYTE, Code.TOO_LARGE),
    "too many headers": (post(GOOD, *(f"X-{n}: {n}" for n in range(5000))), Code.TOO_LARGE),
    "a content length that is no number": (post(GOOD, length="many"), Code.MALFORMED),
    "a negative content length": (post(GOOD, length=-1), Code.MALFORMED),
    "two content lengths": (post(GOOD, "Content-Length: 3"), Code.MALFORMED),
    "two operation ids": (post(GOOD, "Idempotency-Key: a", "Idempotency-Key: b"), Code.MALFORMED),
    "the same operation id twice": (post(GOOD, "Idempotency-Key: a", "idempotency-key: a"), Code.MALFORMED),
    "two hosts": (post(GOOD, "Host: another"), Code.MALFORMED),
    "no host in HTTP/1.1": (post(GOOD).replace(b"Host: node\r\n", b""), Code.MALFORMED),
    "a trailer that does not end": (
        post(b"0\r\nX-Long: " + b"x" * 3 * MEBIBYTE, "Transfer-Encoding: chunked", length=""),
        Code.TOO_LARGE,
    ),
    "an extension of a chunk that does not end": (
        post(b"1;x=" + b"x" * 3 * MEBIBYTE, "Transfer-Encoding: chunked", length=""),
        Code.TOO_LARGE,
    ),
    "chunks that are compressed": (
        post(b"0\r\n\r\n", "Transfer-Encoding: gzip, chunked", length=""),
        Code.BAD_ENCODING,
    ),
    "a content length and chunks": (post(GOOD, "Transfer-Encoding: chunked"), Code.MALFORMED),
    "a bad chunk": (post(b"zz\r\n", "Transfer-Encoding: chunked", length=""), Code.MALFORMED),
    "no content length": (post(GOOD, length=""), Code.MALFORMED),
    "a content length too small": (post(GOOD, length=len(GOOD) - 5), Code.MALFORMED),
    "an offer to change the protocol": (post(GOOD, "Connection: Upgrade", "Upgrade: h2c"), Code.MALFORMED),
    "a body announced too long": (post(b"", length=MEBIBYTE + 1), Code.TOO_LARGE),
    "a body too long": (post(b" " * (2 * MEBIBYTE)), Code.TOO_LARGE),
    "chunks too long": (
        post(b"100000\r\n%b\r\n" % bytes(MEBIBYTE) * 2, "Transfer-Encoding: chunked", length=""),
        Code.TOO_LARGE,
    ),
    "a compressed body": (post(gzip.compress(GOOD), "Content-Encoding: gzip"), Code.BAD_ENCODING),
    "a compressed body that does not say so": (post(gzip.compress(GOOD)), Code.BAD_ENCODING),
    "an operation id too long": (post(GOOD, f"Idempotency-Key: {'x' * 129}"), Code.TOO_LARGE),
    "an operation id that is empty": (post(GOOD, "Idempotency-Key: "), Code.MALFORMED),
    "an operation id with a space": (post(GOOD, "Idempotency-Key: one two"), Code.MALFORMED),
    "an operation id not ASCII": (post(GOOD, "Idempotency-Key: ñ"), Code.MALFORMED),
    "an empty body": (post(b""), Code.MALFORMED),
    "JSON": (post(b'{"method": "insult_me"}'), Code.MALFORMED),
    "HTML": (post(b"<html><body>hello</body></html>"), Code.MALFORMED),
    "a call cut short": (post(GOOD[:-20]), Code.MALFORMED),
    "a response in place of a call": (
        post(b"<methodResponse><params/></methodResponse>"),
        Code.MISSING_FIELD,
    ),
    "a fault in place of a call": (
        post(
            b"<methodResponse><fault><value><struct><member><name>faultCode</name><value><int>1</int></value>"
            b"</member><member><name>faultString</name><value>x</value></member></struct></value></fault>"
            b"</methodResponse>"
        ),
        Code.MALFORMED,
    ),
    "not UTF-8": (post(GOOD.replace(b"tonto", b"\xff\xfe")), Code.BAD_ENCODING),
    "an encoding that does not exist": (
        post(call("insult_me", head='<?xml version="1.0" encoding="klingon"?>')),
        Code.BAD_ENCODING,
    ),
    "a lone surrogate": (post(GOOD.replace(b"tonto", b"\xed\xa0\x80")), Code.BAD_ENCODING),
    "a lone surrogate as a reference": (post(call("add_insult", text("&#xD800;"))), Code.MALFORMED),
    "a lone surrogate in base64": (
        post(call("add_insult", "<base64>7aCA</base64>")),
        Code.BAD_ENCODING,
    ),
    "a control character": (post(call("add_insult", text("\x01"))), Code.MALFORMED),
    "a control character in base64": (post(call("add_insult", "<base64>AQ==</base64>")), Code.MALFORMED),
    "a line break in an insult": (post(call("add_insult", text("a\nb"))), Code.MALFORMED),
    "invalid base64": (post(call("add_insult", "<base64>x</base64>")), Code.MALFORMED),
    "a document type": (post(call("insult_me", head="<!DOCTYPE x>")), Code.MALFORMED),
    "a billion laughs": (post(call("add_insult", text("&l9;"), head=BOMB)), Code.MALFORMED),
    "a billion laughs in UTF-16": (
        post(call("add_insult", text("&l9;"), head=UTF_16_BOMB, encoding="utf-16")),
        Code.MALFORMED,
    ),
    "an entity that reads a file": (
        post(call("add_insult", text("&file;"), head=FILE_ENTITY)),
        Code.MALFORMED,
    ),
    "nested too deeply": (post(call("add_insult", NESTED)), Code.MALFORMED),
    "no method name": (post(b"<methodCall><params></params></methodCall>"), Code.MISSING_FIELD),
    "an empty method name": (post(call("")), Code.MISSING_FIELD),
    "an unknown method": (post(call("format_disk")), Code.UNKNOWN_OPERATION),
    "a method of Python's": (post(call("__init__")), Code.UNKNOWN_OPERATION),
    "a method name too long": (post(call("x" * 100_000)), Code.UNKNOWN_OPERATION),
    "an operation of the other application": (post(call("filter", text("hi"))), Code.UNKNOWN_OPERATION),
    "too few arguments": (post(call("add_insult")), Code.MISSING_FIELD),
    "too many arguments": (post(call("add_insult", text("a"), text("b"))), Code.WRONG_TYPE),
    "a number in place of a text": (post(call("add_insult", "<int>42</int>")), Code.WRONG_TYPE),
    "null in place of a text": (post(call("add_insult", "<nil/>")), Code.WRONG_TYPE),
    "an array in place of a text": (
        post(call("add_insult", "<array><data></data></array>")),
        Code.WRONG_TYPE,
    ),
    "a text in place of a number": (post(call("get_insults", text(""), text("ten"))), Code.WRONG_TYPE),
    "a truth value in place of a number": (
        post(call("get_insults", text(""), "<boolean>1</boolean>")),
        Code.WRONG_TYPE,
    ),
    "an invalid number": (post(call("get_insults", text(""), "<int>ten</int>")), Code.MALFORMED),
    "an invalid decimal number": (post(call("add_insult", "<bigdecimal>x</bigdecimal>")), Code.MALFORMED),
    "an invalid date": (
        post(call("add_insult", "<dateTime.iso8601>yesterday</dateTime.iso8601>")),
        Code.MALFORMED,
    ),
    "a number far too large": (
        post(call("get_insults", text(""), f"<int>{'9' * 100_000}</int>")),
        Code.MALFORMED,
    ),
    "a page too large": (post(call("get_insults", text(""), "<int>1001</int>")), Code.TOO_LARGE),
    "an empty insult": (post(call("add_insult", text(""))), Code.MALFORMED),
    "an insult too long": (post(call("add_insult", text("x" * 201))), Code.TOO_LARGE),
    "a subscriber that is no URL": (post(call("add_subscriber", text("me"))), Code.MALFORMED),
    "a subscriber of another protocol": (
        post(call("add_subscriber", text("file:///etc/passwd"))),
        Code.MALFORMED,
    ),
    "a subscriber's URL too long": (
        post(call("add_subscriber", text("http://" + "x" * 3000))),
        Code.TOO_LARGE,
    ),
    "a multicall without an array": (post(call("system.multicall", text("x"))), Code.WRONG_TYPE),
    "a multicall too large": (post(multicall(INSULT_ME, 1001)), Code.TOO_LARGE),
}

ITEMS: dict[str, tuple[str, Code]] = {
    "no struct": (text("insult_me"), Code.WRONG_TYPE),
    "no method name": ("<struct></struct>", Code.MISSING_FIELD),
    "an unknown method": (INSULT_ME.replace("insult_me", "format_disk"), Code.UNKNOWN_OPERATION),
    "a multicall in a multicall": (
        INSULT_ME.replace("insult_me", "system.multicall"),
        Code.UNKNOWN_OPERATION,
    ),
}
