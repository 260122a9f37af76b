"""What all tests share: hypothesis settings, and what a test needs of the machine.

`VIGILNET_TEST_NOTHING_MISSING=1` (set by .ci/run): each skip for lack of root or a program is a failure.
"""

import os
from collections.abc import Generator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from tests.support.needs import has_root

SIMULATION = Path(__file__).parent / "simulation"

# No deadline: the machines that run this are shared and noisy. Failures print how to repeat them.
settings.register_profile("vigilnet", deadline=None, print_blob=True, max_examples=100)
settings.register_profile("quick", deadline=None, print_blob=True, max_examples=10)  # of `make check`
settings.register_profile(
    "thorough",
    deadline=None,
    print_blob=True,
    max_examples=2000,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "vigilnet"))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Simulated networks are for `make test`: no part of the quick tests."""
    for item in items:
        if SIMULATION in item.path.parents:
            item.add_marker(pytest.mark.slow)


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> Generator[None]:
    """Keep tests marked `netns` from machines where namespaces cannot be made; in CI say so loudly."""
    try:
        if item.get_closest_marker("netns") and not has_root():
            pytest.skip("needs root and ip netns")
        return (yield)
    except pytest.skip.Exception as skipped:
        if os.environ.get("VIGILNET_TEST_NOTHING_MISSING") and "needs" in str(skipped):
            pytest.fail(f"skipped where nothing may be missing: {skipped}", pytrace=False)
        raise
