"""Everything of test_fastpath.py once more, on gso ports: the same behaviour and the same counters."""
from test_fastpath import *  # noqa: F401,F403
from fastpath_peer import gso_lab as lab  # noqa: E402,F401  last: the fixture that these tests ask for
