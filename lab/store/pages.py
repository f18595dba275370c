"""Cut pages so that no reply is too large to send."""

from collections.abc import Iterable
from itertools import islice

from lab.contract import Result, ResultPage
from lab.limits import MAX_REPLY_BYTES


def result_page(results: Iterable[Result], limit: int) -> ResultPage:
    """Return the first *limit* results, fewer where they pass 512 KiB; ``more`` says that it was cut."""
    page, size = ResultPage(), 0
    for result in islice(results, limit + 1):
        size += len(result.text.encode()) + len(result.petition_id)
        if len(page) == limit or (page and size > MAX_REPLY_BYTES):
            page.more = True
            return page
        page.append(result)
    return page


def insult_page(insults: Iterable[str]) -> list[str]:
    """Return the first of the sorted *insults* that fit into 512 KiB."""
    page: list[str] = []
    size = 0
    for insult in insults:
        size += len(insult.encode())
        if page and size > MAX_REPLY_BYTES:
            break
        page.append(insult)
    return page
