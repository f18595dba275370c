"""Small requests made to cost much are refused at once, and harm nobody. Figures are printed."""

from harness.faults.kinds.xmlrpc import BOMB, MEBIBYTE, call, post, text
from lab.errors import Code
from tests.bombs import Bombs
from tests.wire import one_node
from tests.xmlrpc.test_wire import XmlRpcWire

ROOM = MEBIBYTE - 1000


def filled(part: str, before: str = "", after: str = "") -> bytes:
    """Return a call whose argument is *part*, as often as a request can hold it."""
    return post(call("add_insult", before + part * ((ROOM - len(before + after)) // len(part)) + after))


ATTRIBUTES = " ".join(f'a{number}=">"' for number in range(90_000))
BOMBS: dict[str, tuple[bytes, Code]] = {
    "elements": (filled("<value/>", "<array><data>", "</data></array>"), Code.TOO_LARGE),
    "elements nobody knows": (filled("<i/>"), Code.MALFORMED),
    "texts": (filled("<value>x</value>", "<array><data>", "</data></array>"), Code.TOO_LARGE),
    "members": (
        filled("<member><name>a</name><value/></member>", "<struct>", "</struct>"),
        Code.TOO_LARGE,
    ),
    "attributes": (post(call("add_insult", f"<string {ATTRIBUTES}/>")), Code.TOO_LARGE),
    "attributes of many elements": (
        filled('<value a="" b="" c="" d="" e="" f="" g="" h=""/>', "<array><data>", "</data></array>"),
        Code.TOO_LARGE,
    ),
    "a tag": (post(call("add_insult", f"<{'a' * ROOM}/>")), Code.TOO_LARGE),
    "depth": (filled("<array><data><value>"), Code.MALFORMED),
    "line breaks": (filled("\n"), Code.TOO_LARGE),
    "references": (filled("&amp;", "<string>", "</string>"), Code.TOO_LARGE),
    "comments": (filled("<!---->", "<string>", "</string>"), Code.MALFORMED),
    "digits": (filled("9", "<int>", "</int>"), Code.MALFORMED),
    "a decimal": (filled("9", "<bigdecimal>", "</bigdecimal>"), Code.WRONG_TYPE),
    "base64 of nothing": (filled("\n", "<base64>", "</base64>"), Code.MALFORMED),
    "a billion laughs": (post(call("add_insult", text("&l9;"), head=BOMB)), Code.MALFORMED),
    "chunks of a byte": (
        post(b"1\r\n \r\n" * MEBIBYTE + b"1\r\n \r\n", "Transfer-Encoding: chunked", length=""),
        Code.TOO_LARGE,
    ),
}


node = one_node("xmlrpc")


class TestBombs(Bombs):
    wire = XmlRpcWire
    kinds = BOMBS
