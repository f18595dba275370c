"""The rule of censoring: which places of a text are insults, and what becomes of the rest."""

import re
import subprocess
import sys
import unicodedata

import pytest

from lab.applications.censor import Automaton, Censor
from lab.applications.units import LONGEST_UNIT, nfc
from lab.limits import MAX_INSULT_CHARACTERS
from lab.load.texts import default_insults


def censored(text: str, *insults: str) -> str:
    """Return *text* as a censor of *insults* writes it."""
    return Censor(insults).censor(text)


def nfd(text: str) -> str:
    return unicodedata.normalize("NFD", text)


RULE: list[tuple[str, str, list[str], str]] = [
    ("every occurrence is replaced", "tonto y tonto", ["tonto"], "CENSORED y CENSORED"),
    ("the case of the text does not matter", "quin tOnTo! TONTO", ["tonto"], "quin CENSORED! CENSORED"),
    ("the case of the insult does not matter", "quin tonto!", ["ToNtO"], "quin CENSORED!"),
    ("a word that holds an insult is none", "a classic assassin", ["ass"], "a classic assassin"),
    ("several words are replaced as one", "Un Cap d'Espinaca, home", ["cap d'espinaca"], "Un CENSORED, home"),
    ("the longest at a place wins", "tros de quòniam", ["tros", "tros de quòniam", "tros de"], "CENSORED"),
    ("the shorter where the longer ends early", "tros de pa", ["tros", "tros de quòniam"], "CENSORED de pa"),
    ("of overlapping ones the left one wins", "a b c", ["a b", "b c"], "CENSORED c"),
    ("the search goes on behind a match", "a b b c", ["a b", "b c"], "CENSORED CENSORED"),
    ("a failed longer match hides nothing", "a b c x", ["a b c d", "b c"], "a CENSORED x"),
    ("punctuation alone is an insult, too", "oh !! no", ["!!"], "oh CENSORED no"),
    ("punctuation at both ends, too", "say ¿tonto? now", ["¿tonto?"], "say CENSORED now"),
    ("an accent makes another word", "rúc i ru\u0301c", ["ruc"], "rúc i ru\u0301c"),
    ("a vowel sign belongs to its word", "गधा गधे", ["गध"], "गधा गधे"),
    ("Korean needs word boundaries", "바보들 바보", ["바보"], "바보들 CENSORED"),
    ("selectors alone are never found", "a\ufe0f \ufe0f b", ["\ufe0f"], "a\ufe0f \ufe0f b"),
    ("a mark belongs to its letter in Thai", "ธิ ธ", ["ธ"], "ธิ CENSORED"),
    ("and in Japanese", "か\u3099", ["か"], "か\u3099"),
    ("composed or not", "か\u3099 が", ["が"], "CENSORED CENSORED"),
    (
        "the text around keeps its case and form",
        "İ E\u0301\r\ntonto\t\u00c9 ﬂ\u2028",
        ["tonto"],
        "İ E\u0301\r\nCENSORED\t\u00c9 ﬂ\u2028",
    ),
]


@pytest.mark.parametrize(
    ("text", "insults", "expected"), [row[1:] for row in RULE], ids=[row[0] for row in RULE]
)
def test_the_rule_of_censoring(text: str, insults: list[str], expected: str) -> None:
    assert censored(text, *insults) == expected


def test_an_insult_inside_a_longer_word_is_none() -> None:
    for text in ("tontos", "xtonto", "tonto_", "tonto1", "1tonto", "tontó", "tonto\u0301", "tontoд"):
        assert censored(text, "tonto") == text


def test_what_is_no_letter_digit_or_underscore_ends_a_word() -> None:
    for around in ("{}", "({})", "-{}-", "{},", "«{}»", "\t{}\n", "¡{}!", "{}'s", "\u200b{}"):
        assert censored(around.format("tonto"), "tonto") == around.format("CENSORED")


def test_an_insult_of_several_words_matches_only_as_it_is_written() -> None:
    for text in ("cap d espinaca", "cap d'espinaques", "capd'espinaca", "cap d' espinaca"):
        assert censored(text, "cap d'espinaca") == text


def test_composed_and_decomposed_letters_are_the_same() -> None:
    for text in ("estúpido", nfd("estúpido"), "ESTÚPIDO", nfd("ESTÚPIDO")):
        for insult in ("estúpido", nfd("estúpido")):
            assert censored(f"¡{text}!", insult) == "¡CENSORED!"


@pytest.mark.parametrize(
    ("text", "insult"),
    [
        ("ДУРАК", "дурак"),
        ("ΒΛΆΚΑΣ", "βλάκας"),  # a final sigma has one capital with the others
        ("मूर्ख", "मूर्ख"),
        ("傻瓜", "傻瓜"),
        ("أحمق", "أحمق"),
        ("바보", nfd("바보")),
        ("😈", "😈"),
    ],
)
def test_insults_of_every_script_are_found(text: str, insult: str) -> None:
    assert censored(f"« {text} »", insult) == "« CENSORED »"


@pytest.mark.parametrize(
    ("text", "insult"),
    [
        ("GROSSMAUL", "Großmaul"),
        ("Großmaul", "GROSSMAUL"),
        ("İDİOT", "i\u0307di\u0307ot"),
        ("i\u0307dİot", "İDİOT"),
        ("ﬂegel", "flegel"),
        ("\N{KELVIN SIGN}nave", "knave"),
    ],
)
def test_a_letter_whose_lower_case_has_another_length_is_found(text: str, insult: str) -> None:
    assert censored(f"İ {text} ß", insult) == "İ CENSORED ß"


@pytest.mark.parametrize(
    "text",
    ["", " ", "\r\n\t", "<&>\"' ]]>", "e\u0301 İ ß ﬂ", "\u0301", "\U0001f600\ufe0f", "a\x00b\x7f", "\ufeffx"],
)
def test_a_text_without_insults_comes_back_unchanged(text: str) -> None:
    assert censored(text, "tonto", "estúpido", "a b") == text


@pytest.mark.parametrize(
    "space", ["  ", "\u00a0", "\t", "\n", "\r\n", "\u2028", "\u3000", " \ufe0f ", "\ufe0e\x1f", " " * 5000]
)
def test_a_run_of_white_space_stands_for_one_space(space: str) -> None:
    assert censored(f"un cap{space}d'espinaca.", "cap d'espinaca") == "un CENSORED."
    assert censored(f"ค un cap{space}d'espinaca.", "cap d'espinaca") == "ค un CENSORED."
    assert censored("un cap d'espinaca.", f"cap{space[:100]}d'espinaca") == "un CENSORED."


@pytest.mark.parametrize("apostrophe", "'\u2018\u2019\u201b\u02bc\uff07")
@pytest.mark.parametrize("stored", "'\u2019\u02bc")
def test_typographic_apostrophes_equal_the_plain_one(apostrophe: str, stored: str) -> None:
    assert censored(f"I don{apostrophe}t", f"don{stored}t") == "I CENSORED"
    assert censored(f"a fool{apostrophe}s errand", "fool") == f"a CENSORED{apostrophe}s errand"


@pytest.mark.parametrize("hyphen", "-\u2010\u2011\u2012\u2013\u2212\ufe63\uff0d")
@pytest.mark.parametrize("stored", "-\u2011\u2013")
def test_typographic_hyphens_equal_the_plain_one(hyphen: str, stored: str) -> None:
    assert censored(f"you half{hyphen}wit!", f"half{stored}wit") == "you CENSORED!"


@pytest.mark.parametrize("symbol", ["☠", "🖕", "❤", "tonto", "傻瓜", "é", "!!"])
@pytest.mark.parametrize("selector", ["\ufe0f", "\ufe0e", "\U000e0101", "\ufe0f\ufe00"])
def test_variation_selectors_are_ignored_both_ways(symbol: str, selector: str) -> None:
    marked = "".join(character + selector for character in symbol)
    assert censored(f"oh {marked}, {symbol}.", symbol) == "oh CENSORED, CENSORED."
    assert censored(f"oh {marked}, {symbol}.", marked) == "oh CENSORED, CENSORED."
    assert censored(f"{selector}a {symbol}", symbol) == f"{selector}a CENSORED"


@pytest.mark.parametrize(
    ("insult", "text"),
    [
        ("傻瓜", "你是个{}吗"),
        ("ばか", "お前は{}だ"),
        ("バカ", "この{}め"),
        ("ไอ้โง่", "มึงมัน{}จริงๆ"),
        ("ໂງ່", "ເຈົ້າ{}ຫຼາຍ"),
        ("ឆ្កួត", "អ្នក{}ណាស់"),
        ("အရူး", "မင်း{}ပဲ"),
        ("idiot", "你这个{}真烦"),
        ("傻x", "你个{}。"),
    ],
)
def test_in_a_script_without_spaces_an_insult_is_found_anywhere(insult: str, text: str) -> None:
    assert censored(text.format(insult), insult) == text.format("CENSORED")


def test_marks_in_any_order_are_the_same_however_many_there_are() -> None:
    text, insult = "a" + "\u0301\u0316" * 50, "a" + "\u0316" * 50 + "\u0301" * 50
    assert censored(f"x {text} x", insult) == "x CENSORED x"


@pytest.mark.parametrize(
    "pair", ["\u0301\u0316", "\u0344\u0f73", "\u0340\u0341\u0343\u0345", "\u0f73\u0f75\u0f81"]
)
@pytest.mark.parametrize("base", ["", "a", "ά", "ử\u0323", "が"])
def test_runs_of_marks_are_normalised_as_the_standard_library_does(pair: str, base: str) -> None:
    text = f"x{base}{pair * 40}{base}{pair}"
    assert nfc(text) == unicodedata.normalize("NFC", text)


def test_insults_that_nearly_match_everywhere_are_found_by_an_automaton_that_follows_changes() -> None:
    censor = Censor(["! " * 60 + "x", "! !"])
    text = "! " * 3000 + "y"
    assert censor.censor(text) == "CENSORED " * 1500 + "y"
    censor.add("! y")
    assert censor.censor(text) == "CENSORED " * 1500 + "y"
    censor.remove("! !")
    assert censor.censor(text) == "! " * 2999 + "CENSORED"


def test_an_automaton_finds_whole_units_only() -> None:
    automaton = Automaton([("a", "b"), ("a", "b", "c"), ("b",)])
    units = ["b", "a", "b", "ab", "a", "b", "c"]
    found = automaton.find(units, dict(zip(units, units, strict=True)))
    assert [place for _, *place in found] == [[0, 1], [1, 3], [4, 7]]


def test_an_insult_added_twice_is_removed_at_once() -> None:
    censor = Censor(["tonto"])
    censor.add("tonto")
    censor.remove("tonto")
    assert (censor.censor("tonto"), len(censor)) == ("tonto", 0)


def test_of_two_spellings_one_is_removed_and_the_other_still_censored() -> None:
    censor = Censor(["Tonto", "tonto"])
    censor.remove("tonto")
    assert censor.censor("TONTO") == "CENSORED"
    censor.remove("Tonto")
    assert censor.censor("TONTO") == "TONTO"


def test_every_insult_that_comes_with_the_lab_is_found() -> None:
    censor = Censor(default_insults())
    for insult in default_insults():
        assert censor.censor(f"x {insult.upper()} x") == "x CENSORED x"


def test_no_character_has_more_than_four_when_it_is_folded_and_decomposed() -> None:
    longest = 0
    for code in (*range(0xD800), *range(0xE000, 0x110000)):
        folded = unicodedata.normalize("NFC", chr(code)).casefold()
        longest = max(longest, len(unicodedata.normalize("NFD", folded)))
    assert longest * MAX_INSULT_CHARACTERS == LONGEST_UNIT


def test_the_longest_insult_in_its_longest_form_is_found() -> None:
    insult = "\u1f82" * MAX_INSULT_CHARACTERS
    written = "".join(f"{character}\ufe0f" for character in nfd(insult))
    assert len(written) == 2 * LONGEST_UNIT
    assert censored(f"x {written} x", insult) == "x CENSORED x"


def test_every_mark_that_unicode_has_is_known_as_one() -> None:
    text = "".join(f" a{chr(code)}" for code in range(0x110000) if unicodedata.category(chr(code))[0] == "M")
    assert re.sub("CENSORED", "", censored(text, "a")) == re.sub(
        "a[\ufe00-\ufe0f\U000e0100-\U000e01ef]", "", text
    )


def test_to_import_the_censor_and_to_censor_plain_texts_needs_no_table_of_unicode() -> None:
    program = """
import unicodedata
del unicodedata.category
from lab.applications.censor import Censor
print(ascii(Censor(["estúpido", "cap d'espinaca"]).censor("¡ESTÚPIDO! – cap d’espinaca")))
"""
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout == ascii("¡CENSORED! – CENSORED") + "\n"
