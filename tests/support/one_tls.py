"""Reading the certificates of all authorities takes 30 ms, and each client of a server reads them anew: once is enough
for tests, whose servers are on this machine.
"""

from contextlib import suppress
from functools import cache

with suppress(ImportError, AttributeError):
    import httpcore2

    httpcore2.default_ssl_context = cache(httpcore2.default_ssl_context)
