"""Writes the table of rules into docs/lint.md: python -m tests.lint.document."""

from pathlib import Path

from keawatch.lint.output import written_into
from keawatch.lint.run import ALL_RULES

DOCUMENT = Path(__file__).parents[2] / "docs/lint.md"


def main() -> None:
    DOCUMENT.write_text(written_into(DOCUMENT.read_text(encoding="utf-8"), ALL_RULES), encoding="utf-8")


if __name__ == "__main__":
    main()
