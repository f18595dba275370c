"""The streams of texts that every middleware is given alike."""

from itertools import islice
from pathlib import Path

import pytest

from lab.applications.censor import CENSORED, Censor
from lab.data import default_insults
from lab.errors import Code, InvalidRequest
from lab.limits import MAX_TEXT_BYTES
from lab.load.texts import POOL_SIZE, corpus_texts, generated_texts


def pool(
    seed: int = 1, length: int = 80, hit_rate: float = 0.1, insults: list[str] | None = None
) -> list[str]:
    """Return the texts of a stream up to where it repeats."""
    return list(islice(generated_texts(seed, length, hit_rate, insults), POOL_SIZE))


def hits(texts: list[str]) -> int:
    """Return how many of *texts* hold an insult."""
    censor = Censor(default_insults())
    return sum(CENSORED in censor.censor(text) for text in texts)


def refusal_of(path: Path) -> InvalidRequest:
    """Return the error that reading *path* raises."""
    with pytest.raises(InvalidRequest) as caught:
        corpus_texts(path)
    return caught.value


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    """Where a corpus may be written."""
    return tmp_path / "corpus.txt"


def test_the_same_seed_makes_the_same_texts() -> None:
    assert pool(seed=7) == pool(seed=7)


def test_another_seed_makes_other_texts() -> None:
    assert pool(seed=7) != pool(seed=8)


def test_the_stream_goes_on_for_ever_with_the_same_texts() -> None:
    texts = list(islice(generated_texts(1), 2 * POOL_SIZE + 1))
    assert texts[:POOL_SIZE] == texts[POOL_SIZE:-1]
    assert texts[-1] == texts[0]


@pytest.mark.parametrize("hit_rate", [0.0, 0.1, 0.5, 1.0])
def test_the_declared_share_of_texts_holds_an_insult(hit_rate: float) -> None:
    assert hits(pool(hit_rate=hit_rate)) == round(hit_rate * POOL_SIZE)


def test_texts_with_insults_are_spread_over_the_stream() -> None:
    texts = pool(hit_rate=0.5)
    assert 0 < hits(texts[: POOL_SIZE // 2]) < POOL_SIZE // 2


def test_only_the_given_insults_are_put_into_texts() -> None:
    texts = pool(hit_rate=1.0, insults=["xyzzy"])
    assert all("xyzzy" in text.lower() for text in texts)
    assert hits(texts) == 0


@pytest.mark.parametrize("length", [1, 20, 80, 1000])
def test_texts_are_about_as_long_as_declared(length: int) -> None:
    lengths = [len(text) for text in pool(length=length, hit_rate=0.0)]
    assert length - 1 <= min(lengths)
    assert max(lengths) <= length + len(" assassinate")


@pytest.mark.parametrize(
    ("length", "hit_rate"), [(0, 0.1), (-1, 0.1), (80, -0.1), (80, 1.1), (80, float("nan"))]
)
def test_a_length_or_hit_rate_that_cannot_be_is_refused(length: int, hit_rate: float) -> None:
    with pytest.raises(InvalidRequest) as caught:
        generated_texts(1, length, hit_rate)
    assert caught.value.code is Code.MALFORMED


def test_without_insults_there_can_be_no_hits() -> None:
    with pytest.raises(InvalidRequest) as caught:
        generated_texts(1, hit_rate=0.5, insults=[])
    assert caught.value.code is Code.MALFORMED
    assert hits(pool(hit_rate=0.0, insults=[])) == 0


def test_a_line_of_a_corpus_is_a_text(corpus: Path) -> None:
    corpus.write_text("Thou knave!\r\n  é ß 喂 \nlast", encoding="utf-8")
    assert list(islice(corpus_texts(corpus), 3)) == ["Thou knave!", "  é ß 喂 ", "last"]


def test_a_corpus_begins_again_at_its_end(corpus: Path) -> None:
    corpus.write_text("one\ntwo\n", encoding="utf-8")
    assert list(islice(corpus_texts(corpus), 5)) == ["one", "two", "one", "two", "one"]


def test_blank_lines_of_a_corpus_are_left_out(corpus: Path) -> None:
    corpus.write_text("\n \none\n\t\n\ntwo\n\n", encoding="utf-8")
    assert list(islice(corpus_texts(corpus), 3)) == ["one", "two", "one"]


def test_a_corpus_that_is_not_there_is_named(corpus: Path) -> None:
    error = refusal_of(corpus)
    assert error.code is Code.MALFORMED
    assert str(corpus) in error.message


def test_a_folder_is_no_corpus(tmp_path: Path) -> None:
    error = refusal_of(tmp_path)
    assert error.code is Code.MALFORMED
    assert str(tmp_path) in error.message


@pytest.mark.parametrize("content", ["", "\n", " \n\t\n"])
def test_a_corpus_without_text_is_named(corpus: Path, content: str) -> None:
    corpus.write_text(content, encoding="utf-8")
    error = refusal_of(corpus)
    assert error.code is Code.MALFORMED
    assert str(corpus) in error.message


def test_a_corpus_that_is_not_utf_8_is_named(corpus: Path) -> None:
    corpus.write_bytes("estúpido".encode("latin-1"))
    error = refusal_of(corpus)
    assert error.code is Code.BAD_ENCODING
    assert str(corpus) in error.message


def test_a_line_may_have_64_kib_and_not_a_byte_more(corpus: Path) -> None:
    corpus.write_text("x" * MAX_TEXT_BYTES, encoding="utf-8")
    assert len(next(corpus_texts(corpus))) == MAX_TEXT_BYTES
    corpus.write_text("good\n" + "x" * (MAX_TEXT_BYTES + 1), encoding="utf-8")
    assert refusal_of(corpus).code is Code.TOO_LARGE
