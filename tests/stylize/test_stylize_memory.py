"""What a style transfer takes and how long: counted tensors with known sizes, real peaks of real runs, known plans."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor

from cvtool.errors import UnsuitableInputError, UsageError
from cvtool.models.loader import Model, load
from cvtool.stylize.extractor import EVERYWHERE, Extractor, Guides, Seen
from cvtool.stylize.memory import (
    FIXED,
    LARGEST_TILE,
    LEAST_TILE,
    PICTURE,
    Cost,
    Job,
    Limit,
    Needs,
    choose_tile,
    estimate,
    limit_of,
    measure_needs,
    peak_bytes,
)
from cvtool.stylize.options import StylizeOptions
from cvtool.stylize.pace import LARGEST, Pace, Work, measure_pace, work_of
from cvtool.stylize.planning import foresee
from cvtool.stylize.pyramid import Scale
from cvtool.stylize.receptive import Field
from cvtool.stylize.service import resolve

MIB = 2**20
NEEDS = Needs(Cost(0, 1000.0), Cost(0, 300.0), 10.0)
FIELD = Field(73, 16, {})
BIG = Job(2731, 4096, 16, 4096**2)


@pytest.fixture(scope="module")
def lite() -> Model:
    return load("efficientnet-lite0")


def floats(mib: int) -> Tensor:
    return torch.ones(mib * MIB // 4)


def kept_by_the_graph() -> None:
    x = floats(1).requires_grad_(True)  # 1
    y = x.exp()  # 2: kept for the way back
    (y + 1).sum().backward()  # 3 with the sum, which dies; then 3 with the gradient


@pytest.mark.parametrize(
    ("work", "mib"),
    [
        (lambda: floats(3), 3),
        (lambda: [floats(1) for _ in range(5)], 5),
        (lambda: [floats(2).sum() for _ in range(5)], 2),  # each is gone before the next
        (lambda: floats(2).view(2, -1)[:, ::2].T, 2),  # views have no memory of their own
        (lambda: floats(1).add_(1).mul_(2), 1),
        (lambda: floats(1) + floats(1), 3),
        (kept_by_the_graph, 3),
    ],
)
def test_the_most_that_tensors_hold_at_once(work: Callable[[], object], mib: int) -> None:
    assert peak_bytes(work) / MIB == pytest.approx(mib, abs=0.01)


def test_a_network_is_measured_as_its_graph_is_made(lite: Model) -> None:
    """Two activations of a known size: what the stem keeps can be counted by hand."""
    stem = measure_needs(lite, ["bn1"], ["bn1"], "fp32")
    map_bytes = 32 * 4 / 4  # 32 channels at half the size, per pixel of the picture
    assert stem.maps == map_bytes
    # Convolution and ReLU6 are kept and so is the map times the shares; gradients on two of them at once at least.
    assert 4 * map_bytes < stem.graph.per_pixel < 12 * map_bytes
    assert map_bytes < stem.look.per_pixel < stem.graph.per_pixel
    deeper = measure_needs(lite, ["bn1", "blocks.1"], ["blocks.2"], "fp32")
    assert deeper.graph.per_pixel > 2 * stem.graph.per_pixel
    half = measure_needs(lite, ["bn1", "blocks.1"], ["blocks.2"], "bf16")
    assert 0.45 * deeper.graph.per_pixel < half.graph.per_pixel < 0.8 * deeper.graph.per_pixel
    more = measure_needs(lite, ["bn1"], ["bn1"], "fp32", regions=3)
    assert more.graph.per_pixel > stem.graph.per_pixel + map_bytes


def test_pictures_at_full_size_have_their_share() -> None:
    no_network = Needs(Cost(0, 0), Cost(0, 0), 0)
    job = Job(1000, 1000)
    plain = estimate(job, no_network, 0, None, 5e6)
    assert plain - 5e6 - FIXED == pytest.approx(16 * PICTURE * 1e6 * 1.05)
    for more, least in (
        (Job(1000, 1000, lbfgs=True), 20),  # ten pairs of vectors
        (Job(1000, 1000, fidelity=True), 1),
        (Job(1000, 1000, anchor=True), 3),
        (Job(1000, 1000, regions=2), 4),
        (Job(1000, 1000, style_pixels=8_000_000), 10),
    ):
        assert estimate(more, no_network, 0, None, 5e6) - plain >= least * PICTURE * 1e6


def test_tiles_cap_the_graph() -> None:
    whole = estimate(BIG, NEEDS, 0, None, 0)
    tiled = [estimate(BIG, NEEDS, tile, FIELD, 0) for tile in (64, 128, 256, 512, 1024)]
    assert tiled == sorted(tiled)
    assert tiled[-1] < whole / 2
    assert estimate(BIG, NEEDS, 5000, FIELD, 0) == whole  # one tile would be all of it


def test_no_tiles_where_all_fits_and_the_field_is_not_asked_for() -> None:
    def never() -> Field:
        raise AssertionError("not needed")

    small = Job(300, 400, 16)
    assert choose_tile(small, NEEDS, never, 0, Limit(1e9)).tile == 0
    assert choose_tile(small, NEEDS, never, 0, Limit(1e9), tile=0).tile == 0


def test_the_largest_tile_that_fits() -> None:
    seen = []
    for gigabytes in (4.5, 5, 6, 8, 10):
        fit = choose_tile(BIG, NEEDS, lambda: FIELD, 5e8, Limit(gigabytes * 1e9))
        assert fit.bytes == estimate(BIG, NEEDS, fit.tile, FIELD, 5e8) <= gigabytes * 1e9
        assert fit.tile % FIELD.stride == 0
        assert LEAST_TILE <= fit.tile <= LARGEST_TILE
        if fit.tile < LARGEST_TILE:
            larger = range(fit.tile + 16, LARGEST_TILE + 1, 16)
            assert all(estimate(BIG, NEEDS, tile, FIELD, 5e8) > gigabytes * 1e9 for tile in larger)
        seen.append(fit.tile)
    assert seen == sorted(seen)
    assert seen[-1] == LARGEST_TILE


def test_what_cannot_be_met_names_the_least_that_can() -> None:
    with pytest.raises(UnsuitableInputError) as caught:
        choose_tile(BIG, NEEDS, lambda: FIELD, 5e8, Limit(1.2e9))
    text = str(caught.value)
    assert text.startswith("1.2 GB at --max-memory is too little for 4096×2731: the least is ")
    assert text.endswith(" GB. Raise it, or lower --size.")
    least = float(text.partition("least is ")[2].partition(" GB")[0]) * 1e9
    assert choose_tile(BIG, NEEDS, lambda: FIELD, 5e8, Limit(least)).tile
    with pytest.raises(UnsuitableInputError):
        choose_tile(BIG, NEEDS, lambda: FIELD, 5e8, Limit(0.9 * least))
    with pytest.raises(
        UnsuitableInputError, match=r"1.2 GB of free memory .* Close other programs, or lower --size\.$"
    ):
        choose_tile(BIG, NEEDS, lambda: FIELD, 5e8, Limit(1.2e9, asked=False))


def test_a_tile_that_was_asked_for_is_kept_or_refused() -> None:
    assert choose_tile(BIG, NEEDS, lambda: FIELD, 5e8, Limit(6e9), tile=200).tile == 200
    with pytest.raises(UnsuitableInputError, match="Use smaller tiles, raise it, or lower --size"):
        choose_tile(BIG, NEEDS, lambda: FIELD, 5e8, Limit(6e9), tile=2000)
    with pytest.raises(UnsuitableInputError, match="Use --tile auto, raise it, or lower --size"):
        choose_tile(BIG, NEEDS, lambda: FIELD, 5e8, Limit(6e9), tile=0)


def test_a_network_that_knows_no_tiles_says_what_it_needs() -> None:
    def field() -> Field:
        raise UsageError("The layers see all. Use --tile off, or another --model.")

    with pytest.raises(UnsuitableInputError, match=r"is 17 GB\. The layers see all\. Raise it, or lower --size\."):
        choose_tile(BIG, NEEDS, field, 5e8, Limit(6e9))
    with pytest.raises(UsageError, match="--tile off") as caught:
        choose_tile(BIG, NEEDS, field, 5e8, Limit(6e9), tile=512)
    assert not isinstance(caught.value, UnsuitableInputError), "other pictures would not fare better"


def test_the_limit_is_what_was_asked_for_or_most_of_what_is_free() -> None:
    cpu = torch.device("cpu")
    assert limit_of(cpu, 1e9, 5e9) == Limit(5e9)
    found = limit_of(cpu, 1e9, None)
    assert not found.asked
    assert 1e9 < found.bytes < 1e14


RUN = """
import json, re, sys
from pathlib import Path
import numpy as np, torch
torch.set_num_threads(1)
from cvtool.memory import process_memory
from cvtool.models.loader import load
from cvtool.stylize.memory import Job, estimate, measure_needs
from cvtool.stylize.options import StylizeOptions
from cvtool.stylize.receptive import receptive_field
from cvtool.stylize.service import stylize
size, tile = int(sys.argv[1]), int(sys.argv[2])
model = load("efficientnet-lite0")
style, content = model.card.style_layers, model.card.content_layers
picture = np.random.default_rng(0).random((size * 3 // 4, size, 3), dtype=np.float32)
needs = measure_needs(model, style, content, "fp32")
field = receptive_field(model.module, (*style, *content), model.normalize)
height, width = picture.shape[:2]
guess = estimate(Job(height, width, 16, size * size * 3 // 4), needs, tile, field, process_memory())
stylize(picture, [picture], model, StylizeOptions(size=size, tile=tile, steps=(0,) * 4 + (2,)))
# Not getrusage: a child begins with the peak of its parent there.
peak = int(re.search(r"VmHWM:\\s*(\\d+)", Path("/proc/self/status").read_text())[1]) * 1024
print(json.dumps([guess, peak]))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="peaks are in kilobytes there")
@pytest.mark.parametrize("tile", [0, 192])
def test_a_real_run_stays_below_the_estimate_and_not_far(tile: int) -> None:
    done = subprocess.run([sys.executable, "-c", RUN, "512", str(tile)], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    guess, peak = json.loads(done.stdout.splitlines()[-1])
    assert peak <= guess <= 1.25 * peak


def test_work_is_counted_in_pixels() -> None:
    plan = (Scale(32, 64, 10), Scale(48, 96, 0), Scale(64, 128, 5))
    plain = work_of(plan, 0, None, 0)
    assert plain == Work(looked=32 * 64 + 64 * 128, stepped=10 * 32 * 64 + 5 * 64 * 128, moved=plain.stepped)
    margins = work_of(plan, 0, None, 16)
    assert margins.stepped == 10 * (32 + 32) * (64 + 32) + 5 * (64 + 32) * (128 + 32)
    styles = work_of(plan, 0, None, 0, styles=[(100, 100)])
    assert styles.looked - plain.looked == 50 * 50 + 100 * 100
    assert work_of(plan, 0, None, 0, searches=2).stepped == 2 * plain.stepped
    tiled = work_of((Scale(64, 128, 5),), 32, Field(8, 8, {}), 0)
    # Rows of 32 + 8; columns of 40, 48, 48 and 40: with tiles, all is seen twice in a step and once before.
    given = 2 * 40 * (40 + 48 + 48 + 40)
    assert tiled == Work(looked=6 * given, stepped=5 * given, moved=5 * 64 * 128)
    assert tiled.seconds(Pace(1.0, 10.0, 100.0)) == 6 * given + 50 * given + 500 * 64 * 128


@pytest.mark.parametrize("regions", [0, 1, 3])
def test_the_probe_sees_as_many_regions_as_there_are_masks(
    lite: Model, regions: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: set[tuple[bool, ...]] = set()
    plain = Extractor.__call__

    def look(self: Extractor, picture: Tensor, guides: Guides = EVERYWHERE, **more: bool) -> Seen:
        seen.add(tuple(guide is not None for guide in guides))
        return plain(self, picture, guides, **more)

    options = resolve(StylizeOptions(size=0, steps=(2,), max_memory=1 << 40), lite, 1)
    monkeypatch.setattr("cvtool.stylize.planning.measure_needs", lambda *_: NEEDS)
    monkeypatch.setattr(Extractor, "__call__", look)
    canvas = np.zeros((64, 64, 3), np.float32)
    assert foresee(canvas, [canvas], [Scale(64, 64, 2)], lite, options, regions=regions) is not None
    assert seen == {(True,) * regions or (False,)}


def test_a_probe_is_short_and_near_the_truth(lite: Model) -> None:
    """Larger pieces are only looked at where the work is long enough for that to be a small part of it."""

    class Counting(Extractor):
        sides: list[int]

        def _run(self, padded: Tensor) -> dict[str, Tensor]:
            self.sides.append(padded.shape[-1])
            return super()._run(padded)

    extractor = Counting(lite, ["bn1", "blocks.0"], ["blocks.1"], 0, "fp32")
    picture = torch.rand(1, 3, 200, 300)
    largest = []
    for steps in (1, 1000):
        extractor.sides = []
        pace = measure_pace(extractor, picture, work_of((Scale(200, 300, steps),), 0, None, 0))
        assert 0 < pace.rest < 1e-3
        assert 0 < pace.look < 1e-3
        assert 0 < pace.step < 1e-3
        largest.append(max(extractor.sides))
    assert largest == [128, 128]  # the picture has no piece of 256 x 256
    extractor.sides = []
    measure_pace(extractor, torch.rand(1, 3, 300, 300), work_of((Scale(300, 300, 10**6),), 0, None, 0))
    assert max(extractor.sides) == 256 < LARGEST
    extractor.sides = []
    assert math.isfinite(measure_pace(extractor, torch.rand(1, 3, 5, 7), Work(1, 1, 1)).step)  # repeated
