"""How a picture that ``cvtool fool`` made was shown to the network there."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from cvtool.errors import BadInputError
from cvtool.models.cards import Resize

if TYPE_CHECKING:
    from cvtool.cli.inputs import Input


def judged_resize(given: Input) -> Resize | None:
    """The ``--resize`` that a picture was made to fool with; None if it was not, or cannot tell.

    Only files tell: what comes through a pipe can be read once, and that is for the picture.
    """
    from cvtool.provenance import read_provenance

    if given.path is None or given.member is not None or not os.path.isfile(given.path):
        return None
    try:
        found = read_provenance(given.path)
    except BadInputError:  # no provenance, as most pictures
        return None
    named = found.options.get("resize")
    known = {way.value: way for way in Resize}
    return known.get(named) if found.command == "fool" and isinstance(named, str) else None
