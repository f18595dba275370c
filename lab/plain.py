"""Answers as plain values (lists, dictionaries, text), the same on every wire, and back."""

from collections.abc import Mapping
from typing import cast

from lab.contract import Result, ResultPage
from lab.errors import InternalError


def to_plain(answer: object) -> object:
    """Return *answer* as a value every wire can carry."""
    if isinstance(answer, ResultPage):
        return {"results": [list(result) for result in answer], "more": answer.more}
    return answer


def page_from_plain(value: object) -> ResultPage:
    """Return the page of results that :func:`to_plain` wrote."""
    if not isinstance(value, Mapping) or "results" not in value:
        raise InternalError("reply", f"not a page of results: {type(value).__name__}")
    page = ResultPage(Result(*pair) for pair in cast(list[list[str]], value["results"]))
    page.more = bool(value.get("more"))
    return page
