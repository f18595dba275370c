"""The rule of censoring: which places of a text are insults, and what becomes of the rest."""

import re
import subprocess
import sys
import unicodedata

import pytest

from lab.applications.censor import LONGEST_UNIT, Automaton, Censor, nfc
from lab.data import default_insults
from lab.limits import MAX_INSULT_CHARACTERS


def censored(text: str, *insults: str) -> str:
    """Return *text* as a censor of *insults* writes it."""
    return Censor(insults).censor(text)


def nfd(text: str) -> str:
    return unicodedata.normalize("NFD", text)


def test_every_occurrence_of_an_insult_is_replaced() -> None:
    assert censored("tonto y tonto", "tonto") == "CENSORED y CENSORED"


@pytest.mark.parametrize("written", ["tonto", "TONTO", "Tonto", "tOnTo"])
def test_the_case_of_the_text_does_not_matter(written: str) -> None:
    assert censored(f"quin {written}!", "tonto") == "quin CENSORED!"


@pytest.mark.parametrize("insult", ["TONTO", "ToNtO"])
def test_the_case_of_the_insult_does_not_matter(insult: str) -> None:
    assert censored("quin tonto!", insult) == "quin CENSORED!"


@pytest.mark.parametrize(
    "text",
    ["tontos", "xtonto", "tonto_", "tonto1", "1tonto", "tontó", "tonto\u0301", "tontoд", "tontos y tontas"],
)
def test_an_insult_inside_a_longer_word_is_none(text: str) -> None:
    assert censored(text, "tonto") == text


def test_a_word_that_holds_an_insult_is_not_censored() -> None:
    assert censored("a classic assassin", "ass") == "a classic assassin"


@pytest.mark.parametrize(
    "around", ["{}", "({})", "-{}-", "{},", "«{}»", "\t{}\n", "¡{}!", "{}'s", "\u200b{}"]
)
def test_what_is_no_letter_digit_or_underscore_ends_a_word(around: str) -> None:
    assert censored(around.format("tonto"), "tonto") == around.format("CENSORED")


def test_an_insult_of_several_words_is_replaced_as_one() -> None:
    assert censored("Ets un Cap d'Espinaca, home", "cap d'espinaca") == "Ets un CENSORED, home"


@pytest.mark.parametrize("text", ["cap d espinaca", "cap d'espinaques", "capd'espinaca", "cap d' espinaca"])
def test_an_insult_of_several_words_matches_only_as_it_is_written(text: str) -> None:
    assert censored(text, "cap d'espinaca") == text


def test_the_longest_insult_at_a_place_wins() -> None:
    assert censored("tros de quòniam", "tros", "tros de quòniam", "tros de") == "CENSORED"


def test_a_shorter_insult_is_found_where_the_longer_is_not_complete() -> None:
    assert censored("tros de pa", "tros", "tros de quòniam") == "CENSORED de pa"


def test_of_overlapping_insults_the_one_further_left_wins() -> None:
    assert censored("a b c", "a b", "b c") == "CENSORED c"


def test_the_search_goes_on_behind_a_match() -> None:
    assert censored("a b b c", "a b", "b c") == "CENSORED CENSORED"


def test_a_failed_longer_match_hides_no_insult_inside_it() -> None:
    assert censored("a b c x", "a b c d", "b c") == "a CENSORED x"


def test_an_insult_of_punctuation_alone_is_replaced() -> None:
    assert censored("oh !! no", "!!") == "oh CENSORED no"


def test_an_insult_that_begins_and_ends_with_punctuation_is_replaced() -> None:
    assert censored("say ¿tonto? now", "¿tonto?") == "say CENSORED now"


@pytest.mark.parametrize("text", ["estúpido", nfd("estúpido"), "ESTÚPIDO", nfd("ESTÚPIDO")])
@pytest.mark.parametrize("insult", ["estúpido", nfd("estúpido")])
def test_composed_and_decomposed_letters_are_the_same(text: str, insult: str) -> None:
    assert censored(f"¡{text}!", insult) == "¡CENSORED!"


def test_an_accent_makes_another_word() -> None:
    assert censored("rúc i ru\u0301c", "ruc") == "rúc i ru\u0301c"


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


def test_a_vowel_sign_belongs_to_its_word() -> None:
    assert censored("गधा गधे", "गध") == "गधा गधे"


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


def test_the_text_around_a_match_keeps_its_case_and_its_form() -> None:
    before, after = "İ E\u0301\r\n", "\t\u00c9 ﬂ\u2028"
    assert censored(f"{before}tonto{after}", "tonto") == f"{before}CENSORED{after}"


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


def test_an_insult_of_selectors_alone_is_never_found() -> None:
    assert censored("a\ufe0f \ufe0f b", "\ufe0f") == "a\ufe0f \ufe0f b"


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


def test_a_mark_still_belongs_to_its_letter_in_a_script_without_spaces() -> None:
    assert censored("ธิ ธ", "ธ") == "ธิ CENSORED"
    assert censored("か\u3099", "か") == "か\u3099"
    assert censored("か\u3099 が", "が") == "CENSORED CENSORED"


def test_an_insult_in_korean_needs_word_boundaries() -> None:
    assert censored("바보들 바보", "바보") == "바보들 CENSORED"


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


def test_without_insults_nothing_is_censored() -> None:
    assert Censor().censor("CENSORED tonto") == "CENSORED tonto"


def test_an_added_insult_counts_from_the_next_text() -> None:
    censor = Censor(["bobo"])
    assert censor.censor("tonto bobo") == "tonto CENSORED"
    censor.add("tonto")
    assert censor.censor("tonto bobo") == "CENSORED CENSORED"


def test_a_removed_insult_counts_no_more() -> None:
    censor = Censor(["tonto", "bobo"])
    censor.remove("tonto")
    assert censor.censor("tonto bobo") == "tonto CENSORED"


def test_an_insult_added_twice_is_removed_at_once() -> None:
    censor = Censor(["tonto"])
    censor.add("tonto")
    censor.remove("tonto")
    assert (censor.censor("tonto"), len(censor)) == ("tonto", 0)


def test_removing_what_is_not_there_does_nothing() -> None:
    censor = Censor(["tonto"])
    censor.remove("bobo")
    censor.remove("Tonto")
    assert (censor.censor("tonto bobo"), len(censor)) == ("CENSORED bobo", 1)


def test_of_two_spellings_one_is_removed_and_the_other_still_censored() -> None:
    censor = Censor(["Tonto", "tonto"])
    censor.remove("tonto")
    assert censor.censor("TONTO") == "CENSORED"
    censor.remove("Tonto")
    assert censor.censor("TONTO") == "TONTO"


def test_removing_a_longer_insult_leaves_the_shorter() -> None:
    censor = Censor(["tros", "tros de quòniam"])
    censor.remove("tros de quòniam")
    assert censor.censor("tros de quòniam") == "CENSORED de quòniam"


def test_removing_a_shorter_insult_leaves_the_longer() -> None:
    censor = Censor(["tros de quòniam", "tros"])
    censor.remove("tros")
    assert censor.censor("tros, tros de quòniam") == "tros, CENSORED"


def test_removing_one_of_two_insults_with_the_same_longest_word_leaves_the_other() -> None:
    censor = Censor(["a rascal", "my rascal"])
    censor.remove("a rascal")
    assert censor.censor("a rascal, my rascal") == "a rascal, CENSORED"


def test_an_insult_of_punctuation_can_be_removed() -> None:
    censor = Censor(["!!"])
    censor.remove("!!")
    assert censor.censor("oh !! no") == "oh !! no"


@pytest.mark.parametrize("insult", default_insults())
def test_every_insult_that_comes_with_the_lab_is_found(insult: str) -> None:
    assert Censor(default_insults()).censor(f"x {insult.upper()} x") == "x CENSORED x"


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
