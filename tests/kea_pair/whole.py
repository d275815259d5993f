"""
Says whether the whole of the slow matrices is to be played (`make kea-all`), or a part of them in which everything is met once.

`make test` has to end in reasonable time on two cores: there the versions take turns where a matrix crosses them with
something long. What is left out is measured by hand before a release, and its figures stand in the documentation.
"""

import os

WHOLE = "KEAWATCH_WHOLE" in os.environ
