"""Tests that run beside one another share the cores, or their threads would wait for each other's.

Numeric libraries read these names when they are imported, so this comes before them.
"""

import os

_WORKERS = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
_SHARE = os.environ.get("OMP_NUM_THREADS") or str(max(1, (os.cpu_count() or 1) // _WORKERS))
for _name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ.setdefault(_name, _SHARE)
os.environ.setdefault("OMP_WAIT_POLICY", "passive")  # threads that wait leave the core to others
