"""What is not collected: scripts of tests that run in processes of their own, and tests of torch where it is not tested."""

from __future__ import annotations

from tests.conftest import BACKENDS

collect_ignore = ["jax_devices.py"]
collect_ignore_glob = [] if "torch" in BACKENDS else ["test_torch*.py", "triton_checks.py"]
