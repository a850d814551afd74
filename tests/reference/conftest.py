"""What the tests of the recurrent reference share."""

from __future__ import annotations

import json

import pytest


@pytest.fixture(scope="session")
def golden(shared_data):
    """The course's inputs and outputs; inputs are the ends of `numeric.spaced`."""
    return json.loads((shared_data / "cs231n" / "golden.json").read_text("utf-8"))
