"""The atlas explains every word keawatch and Kea use, briefly, and never leaves a question open."""

import json
import re

import pytest

from keawatch.core.atlas import CODES, STATES, explain_code, explain_state
from keawatch.core.codes import Code
from keawatch.core.model import HaState
from keawatch.core.remedies import REMEDIES

KEYS = {"title", "meaning", "served", "kea_next", "keawatch_does", "you_can"}
ALL = [explain_code(code) for code in CODES] + [explain_state(state) for state in STATES]
NAMES = [*CODES, *STATES]


def test_every_diagnosis_is_explained() -> None:
    assert set(CODES) == set(Code)


def test_every_state_is_explained() -> None:
    assert set(STATES) == set(HaState)


@pytest.mark.parametrize("text", ALL, ids=NAMES)
class TestAnExplanation:
    def test_answers_every_question(self, text: dict[str, str]) -> None:
        assert text.keys() == KEYS
        assert all(words.strip() for words in text.values())

    def test_is_at_most_three_sentences_an_answer(self, text: dict[str, str]) -> None:
        for words in text.values():
            assert len(re.findall(r"[.?!](?:\s|$)", words)) <= 3, words

    def test_ends_each_answer_with_a_full_stop_and_the_title_without(self, text: dict[str, str]) -> None:
        assert not text["title"].endswith(".")
        assert all(words.endswith(".") for key, words in text.items() if key != "title")

    def test_is_one_json_document(self, text: dict[str, str]) -> None:
        assert json.loads(json.dumps(text)) == text


@pytest.mark.parametrize("code", sorted(set(Code) - set(REMEDIES)))
def test_no_healing_is_promised_where_there_is_no_remedy(code: Code) -> None:
    assert "heals by the first" not in explain_code(code)["keawatch_does"].lower()


def test_what_one_word_says_can_be_changed_without_changing_it_for_others() -> None:
    explain_code("OK")["title"] = "changed"
    assert explain_code("OK")["title"] != "changed"


@pytest.mark.parametrize("word", ["", "ok", "FINE", "hot-standby"])
def test_a_word_that_is_no_diagnosis_is_refused(word: str) -> None:
    with pytest.raises(ValueError, match="is not a valid Code"):
        explain_code(word)


@pytest.mark.parametrize("word", ["", "HOT_STANDBY", "OK"])
def test_a_word_that_is_no_state_is_refused(word: str) -> None:
    with pytest.raises(ValueError, match="is not a valid HaState"):
        explain_state(word)
