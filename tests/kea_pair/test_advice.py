"""What lint advises keeps its promise on real Kea, and the script that shows it for every rule still works."""

import pytest

from tests.kea_pair import advice

pytestmark = [pytest.mark.kea, pytest.mark.usefixtures("possible")]


@pytest.mark.parametrize("rule", ["ha-unacked-quiet", "logger-twice"])
def test_the_advice_keeps_its_promise(rule: str) -> None:
    result = advice.prove(advice.BY_RULE[rule])
    assert result.get("kept"), result
