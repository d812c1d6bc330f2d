"""Marks of tests."""

import pytest


def slow(*values) -> list:
    """Parameters of a test that only `make test-slow` tries."""
    return [pytest.param(value, marks=pytest.mark.slow) for value in values]
