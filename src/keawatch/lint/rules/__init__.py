"""Every rule, by what it is about."""

from keawatch.lint.model import Rule
from keawatch.lint.rules import ha_refused, ha_settings, ha_tuning, pairs, server

RULES: tuple[Rule, ...] = (
    *ha_refused.RULES.rules,
    *ha_settings.RULES.rules,
    *ha_tuning.RULES.rules,
    *server.RULES.rules,
    *pairs.RULES.rules,
)
"""All of them, in the order in which they are listed."""
