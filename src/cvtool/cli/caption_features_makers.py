"""Who computes the features of ``cvtool caption features``: one process, or several that torchrun has started."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from cvtool.cli.caption_data import Finder, complete_features
from cvtool.cli.console import Console
from cvtool.cli.outputs import check_writable, make_folder
from cvtool.cli.parts import Parts, folder_of
from cvtool.cli.shared_batch import end_quietly, stop_together, take_device
from cvtool.cli.shares import Own
from cvtool.errors import BadInputError, Interrupted
from cvtool.files import write_atomically
from cvtool.launch import Launch, launch, meeting

if TYPE_CHECKING:
    from cvtool.caption.datasets import CaptionData, CaptionedPicture, Problem
    from cvtool.caption.extractor import Extractor
    from cvtool.caption.features import FeatureFile

CHECKED_TOGETHER = 32
"""Pictures that one process opens in a row to see whether they can be read."""


@dataclass(frozen=True)
class Wanted:
    """What features are asked for, and where."""

    path: Path
    console: Console
    spatial: bool
    flipped: bool
    components: int
    skip_bad: bool


@dataclass
class Maker:
    """One process that computes all."""

    wanted: Wanted

    def problems(self, data: CaptionData, find: Finder) -> list[Problem]:
        """All that is wrong with a data set."""
        return find(data)

    def complete(self, pictures: Sequence[CaptionedPicture], load: Callable[[], Extractor]) -> FeatureFile:
        """The file with all these pictures in it, see `complete_features`."""
        return self._complete(pictures, load(), self.wanted.path, self.wanted.components, None)

    def _complete(
        self,
        pictures: Sequence[CaptionedPicture],
        extractor: Extractor,
        path: Path,
        components: int,
        skip: Callable[[Problem], None] | None,
    ) -> FeatureFile:
        wanted = self.wanted
        return complete_features(
            pictures,
            path,
            wanted.console,
            extractor,
            spatial=wanted.spatial,
            flipped=wanted.flipped,
            components=components,
            skip_bad=wanted.skip_bad,
            skip=skip,
        )


@contextmanager
def features_maker(context: typer.Context, wanted: Wanted, device: str) -> Iterator[Maker]:
    """A block in which features are made, with the other processes of the launch if there are any.

    Of several, only the first leaves it in the usual way.

    Raises:
        CvtoolError: another process had to end the work.
    """
    place = launch()
    if place is None or place.size == 1:
        if not wanted.path.exists():  # one that lacks nothing is only read
            check_writable(wanted.path, (), "--output")
        yield Maker(wanted)
        return
    params = {name: value for name, value in sorted(context.params.items()) if name not in ("quiet", "verbose")}
    folder = folder_of(wanted.path.parent, f"{context.command_path} {params!r}", meeting())
    maker = _SharingMaker(wanted, Parts(folder, place), device)
    if place.is_main:
        check_writable(wanted.path, (), "--output")
    make_folder(folder)
    maker.parts.begin()
    try:
        yield maker
    except BaseException as error:
        maker.stop(error)
        raise


@dataclass
class _SharingMaker(Maker):
    """One of several: each makes a file of its part, and the first puts them together."""

    parts: Parts
    device: str
    gather_up: Callable[[], None] = lambda: None
    """Puts together what there is so far."""

    @property
    def _place(self) -> Launch:
        return self.parts.place

    def problems(self, data: CaptionData, find: Finder) -> list[Problem]:
        """See `Maker.problems`; every process looks at its part."""
        from cvtool.caption.datasets import Problem

        mine = find(replace(data, pictures=tuple(self._own(data.pictures, CHECKED_TOGETHER))))
        everyone = self._told("problems", [[each.name, each.what] for each in mine])
        order = {picture.name: number for number, picture in enumerate(data.pictures)}
        found = dict.fromkeys([*data.found, *(Problem(*each) for told in everyone for each in told)])
        general = set(data.found)
        return sorted(found, key=lambda each: -1 if each in general else order.get(each.name, -1))

    def complete(self, pictures: Sequence[CaptionedPicture], load: Callable[[], Extractor]) -> FeatureFile:
        """See `Maker.complete`."""
        from cvtool.caption.datasets import Problem
        from cvtool.caption.feature_merging import merge_features

        take_device(self.device, self._place)
        extractor, wanted, parts = load(), self.wanted, self.parts
        wanted = self._as_there(extractor)
        missing = self._missing(pictures, extractor)
        mine = parts.folder / f"features-{self._place.rank}.h5"

        def gather_up() -> None:
            merge_features(
                [picture.name for picture in missing],
                sorted(parts.folder.glob("features-*.h5")),
                wanted.path,
                extractor.origin,
                spatial=wanted.spatial,
                flipped=wanted.flipped,
                together=extractor.batch,
            )

        self.gather_up = gather_up
        skipped: list[list[str]] = []
        own = self._own(missing, extractor.batch)
        try:
            if own:
                self._complete(own, extractor, mine, 0, lambda problem: skipped.append([problem.name, problem.what]))
        except Interrupted as error:  # it names this process's part
            raise Interrupted(
                f"Stopped; what was computed is kept for '{wanted.path}'; the same command goes on."
            ) from (error)
        everyone = self._told("skipped", skipped, only_main=True)
        parts.end()
        if not self._place.is_main:
            end_quietly()
        parts.wait(parts.others_ended, parts.others)
        if missing:
            gather_up()
        left_out = {name: Problem(name, what) for told in everyone for name, what in told}
        for picture in missing:
            if picture.name in left_out:
                wanted.console.warn(str(left_out[picture.name]))
        file = self._complete(pictures, extractor, wanted.path, wanted.components, lambda problem: None)
        parts.remove()
        return file

    def stop(self, error: BaseException) -> None:
        """All have to stop: what is computed is kept, in the file unless all will be started again."""
        if not isinstance(error, SystemExit):
            stop_together(self.parts, error, self.gather_up)

    def _own(self, items: Sequence[CaptionedPicture], together: int) -> Sequence[CaptionedPicture]:
        return Own(items, together, self._place.rank, self._place.size)

    def _as_there(self, extractor: Extractor) -> Wanted:
        """With the kinds of features of the file that is there."""
        from cvtool.caption.features import read_features

        if self.wanted.path.exists():
            there = read_features(self.wanted.path, fingerprint=extractor.origin.fingerprint)
            self.wanted = replace(self.wanted, spatial=there.has_spatial, flipped=there.can_flip)
        return self.wanted

    def _missing(self, pictures: Sequence[CaptionedPicture], extractor: Extractor) -> list[CaptionedPicture]:
        """The pictures that the file lacked when the first attempt began: each process has its part of these."""
        from cvtool.caption.extractor import with_files
        from cvtool.caption.feature_store import existing_sizes

        path, parts = self.wanted.path, self.parts
        if self._place.is_main and not parts.inputs.exists():
            found = [each.name for each, _ in with_files(pictures, existing_sizes(path, extractor.origin), path)]
            write_atomically(parts.inputs, json.dumps(found).encode())
        parts.wait(parts.inputs.exists, range(1))
        by_name = {picture.name: picture for picture in pictures}
        names = json.loads(parts.inputs.read_bytes())
        if not all(name in by_name for name in names):
            raise BadInputError("The data set has changed since this launch began. Start again.")
        return [by_name[name] for name in names]

    def _told(self, what: str, mine: list[list[str]], *, only_main: bool = False) -> list[list[list[str]]]:
        """What all processes say, each a list of texts; with `only_main` just the first waits for it."""
        parts = self.parts
        write_atomically(parts.folder / f"{what}-{self._place.rank}", json.dumps(mine).encode())
        if only_main and not self._place.is_main:
            return []
        files = [parts.folder / f"{what}-{rank}" for rank in range(self._place.size)]
        parts.wait(lambda: all(file.exists() for file in files), range(self._place.size))
        return [json.loads(file.read_bytes()) for file in files]
