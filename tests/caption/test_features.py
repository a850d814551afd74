"""Features in files: what is kept, that it grows, that it survives, and what is refused."""

from __future__ import annotations

import signal
import subprocess
import sys
import textwrap
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch
from helpers import save
from PIL import Image
from torch import Tensor, nn

from cvtool.caption.datasets import CaptionedPicture, Problem
from cvtool.caption.extractor import Extractor, compute_features
from cvtool.caption.feature_store import kinds_of, store_pca, writing
from cvtool.caption.features import Origin, principal_components, read_features
from cvtool.errors import BadInputError, CvtoolError, UsageError
from cvtool.images import read_picture
from cvtool.models.cards import CARDS, Resize
from cvtool.models.loader import Model, load
from cvtool.progress import Step

SIDE = 16


class Tiny(nn.Module):
    """A map of 2 × 2 places that is known: each channel is the mean of a quarter of the picture."""

    def __init__(self) -> None:
        super().__init__()
        self.pool = nn.Sequential(nn.Conv2d(3, 3, 8, stride=8, groups=3, bias=False), nn.ReLU())
        nn.init.constant_(self.pool[0].weight, 1 / 64)
        self.head = nn.Linear(3, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.pool(x).mean((2, 3)))


def as_model(module: nn.Module, side: int = SIDE, fingerprint: str = "0" * 12) -> Model:
    """With pixels as they are: no normalisation."""
    card = replace(
        CARDS["efficientnet-lite0"], name="tiny", mean=(0, 0, 0), std=(1, 1, 1), scale=1.0, input_size=side, classes=4
    )
    return Model(module.eval().requires_grad_(False), card, torch.device("cpu"), fingerprint)


@pytest.fixture
def extractor() -> Extractor:
    return Extractor(as_model(Tiny()))


@pytest.fixture
def pictures(tmp_path: Path) -> list[CaptionedPicture]:
    """Twenty pictures whose left half is red as their number, whose right half is green."""
    return [picture(tmp_path, number) for number in range(20)]


def picture(folder: Path, number: int, name: str = "") -> CaptionedPicture:
    path = save(folder / f"pictures/{name or number}.png", (0, 0, 0), (SIDE, SIDE))
    pixels = np.zeros((SIDE, SIDE, 3), np.uint8)
    pixels[:, : SIDE // 2, 0] = 10 * number
    pixels[:, SIDE // 2 :, 1] = 255
    Image.fromarray(pixels).save(path)
    return CaptionedPicture(path.name, path, ("A picture.",), "train")


def expected(numbers: Sequence[int]) -> np.ndarray:
    """(N, 4, 3): places row by row."""
    values = np.zeros((len(numbers), 4, 3), np.float32)
    values[:, 0::2, 0] = np.array(numbers)[:, None] * 10 / 255
    values[:, 1::2, 1] = 1
    return values


def test_what_is_kept(extractor: Extractor, pictures: list[CaptionedPicture], tmp_path: Path):
    steps: list[Step] = []
    file = compute_features(pictures, extractor, tmp_path / "f.h5", flipped=True, progress=steps.append)
    assert file.names == tuple(f"{number}.png" for number in range(20))
    assert (file.origin.model, file.origin.channels, file.origin.places) == ("tiny", 3, (2, 2))
    assert [(step.done, step.total) for step in steps] == [(8, 20), (16, 20), (20, 20)]
    spatial, pooled = file.rows("spatial"), file.rows("pooled")
    order = [19, 3, 3, 0]
    np.testing.assert_allclose(spatial.read(order), expected(order), atol=1e-3)
    np.testing.assert_allclose(pooled.read(order), expected(order).mean(1, keepdims=True), atol=1e-3)
    np.testing.assert_allclose(spatial.read(order, True), expected(order)[:, [1, 0, 3, 2]], atol=1e-3)
    assert spatial.read([1]).dtype == np.float16
    assert (spatial.channels, spatial.can_flip, file.has_spatial) == (3, True, True)
    assert spatial.read([]).shape == (0, 4, 3)
    assert file.numbers(["3.png", "0.png"]) == [3, 0]
    with pytest.raises(BadInputError, match=r"lacks 1 of 2 pictures, the first is 'x\.png'"):
        file.numbers(["3.png", "x.png"])


def test_the_file_is_plain_hdf5(extractor: Extractor, pictures: list[CaptionedPicture], tmp_path: Path):
    compute_features(pictures[:3], extractor, tmp_path / "f.h5")
    with h5py.File(tmp_path / "f.h5") as file:
        assert file["names"].asstr()[: file.attrs["count"]].tolist() == ["0.png", "1.png", "2.png"]
        assert file["pooled"].dtype == file["spatial"].dtype == np.float16
        assert file["spatial"].chunks == (1, 4, 3)
        np.testing.assert_allclose(file["spatial"][:], expected([0, 1, 2]), atol=1e-3)
        assert file.attrs["model"].decode() == "tiny"
        assert len(file.attrs["fingerprint"]) == 64
    assert (tmp_path / "f.h5").read_bytes()[8] == 2  # the version with checksums, and without marks of open files


def test_only_new_pictures_are_computed(extractor: Extractor, pictures: list[CaptionedPicture], tmp_path: Path):
    path = tmp_path / "f.h5"
    compute_features(pictures[:5], extractor, path)
    steps: list[Step] = []
    longer = picture(tmp_path, 7, "a name that is much longer, ü")
    file = compute_features([*pictures[3:20], longer], extractor, path, progress=steps.append)
    assert (steps[-1].done, steps[-1].total) == (16, 16)
    assert file.names == (*(f"{number}.png" for number in range(20)), longer.name)
    everything = [*range(20), 7]
    np.testing.assert_allclose(file.rows("spatial").read(range(21)), expected(everything), atol=1e-3)
    np.testing.assert_allclose(file.rows("pooled").read(range(21))[:, 0], expected(everything).mean(1), atol=1e-3)
    before = path.read_bytes()
    steps.clear()
    compute_features(pictures, extractor, path, progress=steps.append)
    assert not steps
    assert path.read_bytes() == before


def test_stopping_and_going_on(extractor: Extractor, pictures: list[CaptionedPicture], tmp_path: Path):
    path = tmp_path / "f.h5"
    file = compute_features(pictures, extractor, path, stop=lambda: True)
    assert len(file.names) == 8
    file = compute_features(pictures, extractor, path)
    assert len(file.names) == 20
    compute_features(pictures, extractor, tmp_path / "once.h5")
    assert path.read_bytes() == (tmp_path / "once.h5").read_bytes()


def test_rows_touch_nothing_but_their_own_room(tmp_path: Path):
    """What makes a kill harmless: once the room is there, HDF5's own index is never written again."""
    path, origin = tmp_path / "f.h5", Origin("m", "f" * 64, 6, (3, 3))
    names = [f"{number}" for number in range(50)]
    with writing(path, origin, names, kinds_of(spatial=True, flipped=False)):
        pass
    before = np.frombuffer(path.read_bytes(), np.uint8)
    values = {"pooled": np.full((50, 6), 255, np.float16), "spatial": np.full((50, 9, 6), 255, np.float16)}
    with writing(path, origin, names, kinds_of(spatial=True, flipped=False)) as writer:
        writer.add(names, [-1] * 50, values)
    after = np.frombuffer(path.read_bytes(), np.uint8)
    assert len(before) == len(after)
    allowed = np.zeros(len(after), bool)
    with h5py.File(path) as file:
        for name in ("names", "sizes", "pooled", "spatial"):
            chunks: list[tuple[int, int]] = []
            file[name].id.chunk_iter(lambda chunk, chunks=chunks: chunks.append((chunk.byte_offset, chunk.size)))
            for offset, size in chunks:
                allowed[offset : offset + size] = True
    changed = np.flatnonzero((before != after) & ~allowed)
    assert 1 <= len(changed) <= 5  # the lowest byte of `count` and the checksum of four bytes behind it
    assert changed[-1] - changed[0] < 32


def test_a_kill_leaves_what_was_finished(tmp_path: Path, pictures: list[CaptionedPicture], extractor: Extractor):
    path = tmp_path / "f.h5"
    script = f"""
        import os, signal, sys
        sys.path[:0] = {[str(Path(__file__).parent), *sys.path]!r}
        from pathlib import Path
        from cvtool.caption.datasets import CaptionedPicture
        from cvtool.caption.extractor import Extractor, compute_features
        from test_features import Tiny, as_model
        pictures = [CaptionedPicture(f"{{n}}.png", Path({str(tmp_path)!r}, "pictures", f"{{n}}.png"), (), "train")
                    for n in range(20)]
        def kill(step):
            if step.done >= 10:
                os.kill(os.getpid(), signal.SIGKILL)
        compute_features(pictures, Extractor(as_model(Tiny())), Path({str(path)!r}), batch=2, progress=kill)
    """
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(script)], capture_output=True, text=True)
    assert done.returncode == -signal.SIGKILL, done.stderr
    file = read_features(path)
    assert len(file.names) == 10
    np.testing.assert_allclose(file.rows("spatial").read(range(10)), expected(range(10)), atol=1e-3)
    file = compute_features(pictures, extractor, path)
    np.testing.assert_allclose(file.rows("spatial").read(range(20)), expected(range(20)), atol=1e-3)
    assert list(tmp_path.glob(".cvtool-*")) == []


@pytest.mark.skipif(sys.platform == "win32", reason="needs limits of POSIX")
def test_a_full_disk(tmp_path: Path):
    """The limit on a file's size stands for the disk: the error is one line, and what was there stays."""
    script = f"""
        import resource, sys
        sys.path[:0] = {sys.path!r}
        import numpy as np
        from pathlib import Path
        from cvtool.caption.feature_store import kinds_of, writing
        from cvtool.caption.features import Origin
        path, origin = Path({str(tmp_path / "f.h5")!r}), Origin("m", "f" * 64, 64, (8, 8))
        rows = [(f"{{n}}", {{"pooled": np.ones((1, 64), np.float16), "spatial": np.ones((1, 64, 64), np.float16)}})
                for n in range(40)]
        with writing(path, origin, [name for name, _ in rows], kinds_of(spatial=True, flipped=False)) as writer:
            for name, values in rows[:10]:
                writer.add([name], [1], values)
            resource.setrlimit(resource.RLIMIT_FSIZE, (150000, 150000))
            for name, values in rows[10:]:
                writer.add([name], [1], values)
    """
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(script)], capture_output=True, text=True)
    assert done.returncode == 1
    assert "CvtoolError: Cannot write" in done.stderr
    assert "File too large" in done.stderr
    file = read_features(tmp_path / "f.h5")
    assert len(file.names) >= 10
    assert (file.rows("spatial").read(range(len(file.names))) == 1).all()


def test_no_room_is_said_before_any_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    import shutil
    from collections import namedtuple

    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage(10, 9, 1))
    with (
        pytest.raises(CvtoolError, match="Free some space"),
        writing(tmp_path / "f.h5", Origin("m", "f", 9, (2, 2)), ["a"], ("pooled",)),
    ):
        pass
    assert list(tmp_path.iterdir()) == []


def test_two_writers_at_once(tmp_path: Path):
    path, origin = tmp_path / "f.h5", Origin("m", "f", 9, (2, 2))
    with writing(path, origin, ["a"], ("pooled",)):
        script = f"""
            import sys
            sys.path[:0] = {sys.path!r}
            from pathlib import Path
            from cvtool.caption.feature_store import writing
            from cvtool.caption.features import Origin
            with writing(Path({str(path)!r}), Origin("m", "f", 9, (2, 2)), ["a", "b"], ("pooled",)):
                pass
        """
        done = subprocess.run([sys.executable, "-c", textwrap.dedent(script)], capture_output=True, text=True)
    assert "BadInputError" in done.stderr
    assert "in use by another program" in done.stderr


def test_features_of_another_network_or_framing(extractor: Extractor, pictures: list[CaptionedPicture], tmp_path: Path):
    path = tmp_path / "f.h5"
    compute_features(pictures[:2], extractor, path)
    others = [
        Extractor(as_model(Tiny(), fingerprint="1" * 12)),
        Extractor(as_model(Tiny(), side=24)),
        Extractor(as_model(Tiny()), resize=Resize.crop),
    ]
    assert len({each.origin.fingerprint for each in [extractor, *others]}) == 4
    assert Extractor(as_model(Tiny()), precision="bf16").origin.fingerprint == extractor.origin.fingerprint
    before = path.read_bytes()
    for other in others:
        with pytest.raises(BadInputError, match="has features of 'tiny'"):
            compute_features(pictures, other, path)
        with pytest.raises(BadInputError, match="has features of 'tiny'"):
            read_features(path, fingerprint=other.origin.fingerprint)
    assert path.read_bytes() == before


def test_other_kinds_of_features(extractor: Extractor, pictures: list[CaptionedPicture], tmp_path: Path):
    path = tmp_path / "f.h5"
    file = compute_features(pictures[:2], extractor, path, spatial=False)
    assert not file.has_spatial
    with pytest.raises(BadInputError, match="no spatial features"):
        file.rows("spatial")
    with pytest.raises(UsageError, match="mirror"):
        file.rows("pooled").read([0], True)
    with pytest.raises(UsageError, match="asked for are pooled, spatial"):
        compute_features(pictures, extractor, path)


def test_another_picture_of_the_same_name(extractor: Extractor, pictures: list[CaptionedPicture], tmp_path: Path):
    path = tmp_path / "f.h5"
    compute_features(pictures, extractor, path)
    save(tmp_path / "pictures/3.png", (1, 2, 3), (99, 99))
    with pytest.raises(BadInputError, match=r"another picture called '3\.png'"):
        compute_features(pictures, extractor, path)


def test_broken_pictures(extractor: Extractor, pictures: list[CaptionedPicture], tmp_path: Path):
    path = tmp_path / "f.h5"
    broken, absent = tmp_path / "pictures/9.png", tmp_path / "pictures/12.png"
    broken.write_bytes(broken.read_bytes()[:60])
    absent.unlink()
    with pytest.raises(BadInputError, match=r"9\.png' is truncated"):
        compute_features(pictures, extractor, path)
    assert len(read_features(path).names) == 8
    skipped: list[Problem] = []
    file = compute_features(pictures, extractor, path, skip=skipped.append)
    assert [problem.name for problem in skipped] == ["9.png", "12.png"]
    kept = [number for number in range(20) if number not in (9, 12)]
    assert file.names == tuple(f"{number}.png" for number in kept)
    np.testing.assert_allclose(file.rows("spatial").read(range(18)), expected(kept), atol=1e-3)


def test_pictures_that_cannot_be(extractor: Extractor, tmp_path: Path):
    with pytest.raises(UsageError, match="no picture file"):
        compute_features([CaptionedPicture("train/1", None, (), "train")], extractor, tmp_path / "f.h5")
    odd = CaptionedPicture("a\udcff.png", tmp_path / "a", (), "train")
    with pytest.raises(BadInputError, match="not UTF-8"):
        compute_features([odd], extractor, tmp_path / "f.h5")


@pytest.fixture
def made(extractor: Extractor, pictures: list[CaptionedPicture], tmp_path: Path) -> Path:
    compute_features(pictures, extractor, tmp_path / "f.h5")
    return tmp_path / "f.h5"


def test_files_that_are_truncated_or_something_else(made: Path, tmp_path: Path):
    whole = made.read_bytes()
    for length, words in (
        (len(whole) - 1, "truncated"),
        (len(whole) // 2, "truncated"),
        (10, "broken"),
        (0, "broken|truncated|not an HDF5"),
    ):
        made.write_bytes(whole[:length])
        with pytest.raises(BadInputError, match=words):
            read_features(made)
    with h5py.File(tmp_path / "other.h5", "w") as file:
        file["pooled"] = np.zeros((3, 3))
    with pytest.raises(BadInputError, match="no file of cvtool's features"):
        read_features(tmp_path / "other.h5")
    for path in (tmp_path / "nowhere.h5", tmp_path):
        with pytest.raises(BadInputError, match="Cannot read"):
            read_features(path)


def test_every_damaged_byte_is_harmless(made: Path, tmp_path: Path):
    """The file with a byte changed in its first part, where the index is: read, or refused in one line."""
    whole = bytearray(made.read_bytes())
    refused: list[str] = []
    for position in range(0, 3000, 37):
        copy = bytearray(whole)
        copy[position] ^= 0xFF
        (tmp_path / "damaged.h5").write_bytes(copy)
        try:
            file = read_features(tmp_path / "damaged.h5")
            file.rows("spatial").read(range(len(file.names)))
        except BadInputError as error:
            refused.append(str(error))
    assert len(refused) > 5
    assert not any("\n" in message for message in refused)


def change(path: Path, name: str, make: object) -> None:
    with h5py.File(path, "r+") as file:
        del file[name]
        if make is not None:
            file[name] = make


@pytest.mark.parametrize(
    ("name", "make", "words"),
    [
        ("pooled", None, "no dataset 'pooled'"),
        ("pooled", np.zeros((20, 3)), "does not fit"),
        ("pooled", np.zeros((20, 4), np.float16), "does not fit"),
        ("pooled", np.zeros((19, 3), np.float16), "19 rows, not 20"),
        ("pooled", np.zeros((20, 3), np.float16), "laid out otherwise"),
        ("pooled", np.zeros((20, 3), np.int16), "int16"),
        ("spatial", h5py.ExternalLink("/etc/passwd", "spatial"), "link to elsewhere"),
        ("names", h5py.SoftLink("/pooled"), "link to elsewhere"),
        ("names", np.array([b"a"] * 20), "twice"),
        ("names", np.array([bytes([65 + n]) for n in range(19)]), "20 rows but 19 names"),
        ("names", np.array([bytes([200 + n]) for n in range(20)]), "UTF-8"),
    ],
)
def test_parts_that_do_not_fit(made: Path, name: str, make: object, words: str):
    change(made, name, make)
    with pytest.raises(BadInputError, match=words):
        read_features(made)


def test_compressed_or_absent_rows(made: Path):
    with h5py.File(made, "r+") as file:
        values = file["pooled"][:]
        del file["pooled"]
        file.create_dataset("pooled", data=values, chunks=(32, 3), maxshape=(None, 3), compression="gzip")
    with pytest.raises(BadInputError, match="compressed"):
        read_features(made)
    with h5py.File(made, "r+") as file:
        del file["pooled"]
        file.create_dataset("pooled", (20, 3), np.float16, chunks=(32, 3), maxshape=(None, 3))  # not a row written
    with pytest.raises(BadInputError, match="not there in full"):
        read_features(made)


@pytest.mark.parametrize(
    "attributes",
    [{"count": -1}, {"count": 10**15}, {"count": "x"}, {"places": 5}, {"channels": 0}, {"format_version": 99}],
)
def test_attributes_that_make_no_sense(made: Path, attributes: dict):
    with h5py.File(made, "r+") as file:
        file.attrs.update(attributes)
    with pytest.raises(BadInputError):
        read_features(made)


def test_names_that_claim_terabytes(made: Path):
    with h5py.File(made, "r+") as file:
        del file["names"]
        file.create_dataset("names", (10**12,), "S64", chunks=(1024,))
    with pytest.raises(BadInputError, match="GiB"):
        read_features(made)


def test_principal_components(tmp_path: Path):
    """Against NumPy's singular values of the same matrix."""
    path, origin = tmp_path / "f.h5", Origin("m", "f", 12, (1, 1))
    values = np.random.default_rng(0).normal(size=(300, 12)) @ np.diag(np.arange(12) + 1) + 5
    names = [f"{number}" for number in range(300)]
    with writing(path, origin, names, ("pooled",)) as writer:
        writer.add(names, [1] * 300, {"pooled": values.astype(np.float16)})
    rows = read_features(path).rows("pooled")
    pca = principal_components(rows, range(300), 5)
    stored = values.astype(np.float16).astype(np.float64)
    _, _, directions = np.linalg.svd(stored - stored.mean(0), full_matrices=False)
    signs = np.sign((pca.components * directions[:5]).sum(1))[:, None]
    np.testing.assert_allclose(pca.components, directions[:5] * signs, atol=1e-4)
    assert (pca.components[np.arange(5), np.abs(pca.components).argmax(1)] > 0).all()
    store_pca(path, pca)
    store_pca(path, pca)  # again, in its place
    file = read_features(path)
    projected = file.rows("pooled", pca=True)
    assert projected.channels == 5
    right = (stored[7:9] - stored.mean(0)) @ (directions[:5] * signs).T
    np.testing.assert_allclose(projected.read([7, 8])[:, 0], right, rtol=2e-3, atol=2e-2)
    with pytest.raises(UsageError, match="Ask for 1 to 12"):
        principal_components(rows, range(300), 13)


def test_components_are_asked_for_with_the_features(
    extractor: Extractor, pictures: list[CaptionedPicture], tmp_path: Path
):
    path = tmp_path / "f.h5"
    with pytest.raises(UsageError, match="Ask for 1 to 3"):
        compute_features(pictures, extractor, path, components=4)
    assert not path.exists()
    file = compute_features(pictures[:10], extractor, path, components=2)
    assert file.pca is not None
    assert file.rows("spatial", pca=True).read([0]).shape == (1, 4, 2)
    grown = compute_features(pictures, extractor, path, components=2)
    assert grown.pca is not None
    np.testing.assert_array_equal(grown.pca.components, file.pca.components)  # a captioner may rest on them
    with pytest.raises(BadInputError, match="no principal components"):
        compute_features(pictures, extractor, tmp_path / "g.h5").rows("pooled", pca=True)


def test_features_that_are_no_numbers_or_too_large(tmp_path: Path, pictures: list[CaptionedPicture]):
    module = Tiny()
    nn.init.constant_(module.pool[0].weight, 1e6)
    file = compute_features(pictures, Extractor(as_model(module)), tmp_path / "f.h5")
    assert file.rows("spatial").read([19]).max() == np.finfo(np.float16).max
    nn.init.constant_(module.pool[0].weight, float("nan"))
    with pytest.raises(CvtoolError, match="not numbers"):
        compute_features(pictures, Extractor(as_model(module), fold=False), tmp_path / "g.h5")
    assert read_features(tmp_path / "g.h5").names == ()


def test_the_bundled_network_gives_what_its_classifier_sees(shared_photo: Path):
    """Pooled features times the classifier's weights are the network's own answer."""
    model = load("efficientnet-lite0")
    extractor = Extractor(model)
    assert (extractor.origin.channels, extractor.origin.places) == (1280, (7, 7))
    canvas = extractor.canvas(read_picture(shared_photo))
    assert canvas.shape == (224, 224, 3)
    pooled, spatial = extractor([canvas, canvas * 0.5])
    assert spatial.shape == (2, 49, 1280)
    assert pooled.dtype == np.float32
    x = torch.from_numpy(np.stack([canvas, canvas * 0.5])).permute(0, 3, 1, 2)
    right = model.module(model.normalize(x)).numpy()
    classifier = model.module.get_submodule("classifier")
    mine = classifier(torch.from_numpy(pooled)).numpy()
    np.testing.assert_allclose(mine, right, atol=0.02)
    np.testing.assert_allclose(spatial.mean(1), pooled, atol=2e-3)
    alone, _ = extractor([canvas])
    np.testing.assert_allclose(alone[0], pooled[0], atol=2e-3)
    maps = extractor.maps(x).flatten(2).transpose(1, 2).numpy()
    np.testing.assert_allclose(maps, spatial, atol=5e-3)
    half, _ = Extractor(model, precision="bf16")([canvas])
    assert 0 < np.linalg.norm(half - alone) / np.linalg.norm(alone) < 0.05
    flipped, _ = extractor([np.ascontiguousarray(canvas[:, ::-1])])
    np.testing.assert_allclose(extractor([canvas], flipped=True)[0], flipped, atol=2e-3)


@pytest.fixture
def shared_photo() -> Path:
    from cvtool.bundled import find_asset, list_assets

    return find_asset(list_assets()[0].name).path


@pytest.mark.parametrize(
    ("name", "layer", "shape"),
    [
        ("resnet18", "layer4", (1, 49, 512)),
        ("vgg11", "features.19", (1, 196, 512)),  # before the last pool: 14 × 14 as in Show, Attend and Tell
        ("densenet121", "features.norm5", None),
        ("mobilenet_v2", "features", (1, 49, 1280)),
    ],
)
def test_networks_of_torchvision(name: str, layer: str, shape: tuple[int, ...] | None):
    import torchvision

    module = torchvision.models.get_model(name, weights=None)
    extractor = Extractor(as_model(module, side=224), fold=False)
    _, spatial = extractor([np.full((224, 224, 3), 0.5, np.float32)])
    if shape is not None:
        assert (extractor.layer, spatial.shape) == (layer, shape)
    assert spatial.shape[1] in (49, 196)


@pytest.mark.parametrize(
    ("name", "places", "channels"),
    [
        ("resnet10t", (7, 7), 512),
        ("vit_tiny_patch16_224", (14, 14), 192),  # a class token before the patches
        ("swin_tiny_patch4_window7_224", (7, 7), 768),  # (N, H, W, C)
    ],
)
def test_networks_of_timm(name: str, places: tuple[int, int], channels: int):
    import timm

    module = timm.create_model(name, pretrained=False).eval()
    extractor = Extractor(as_model(module, side=224), fold=False)
    assert (extractor.origin.places, extractor.origin.channels) == (places, channels)
    x = torch.rand(1, 3, 224, 224, generator=torch.Generator().manual_seed(0))
    found = extractor.maps(x)
    right = module.forward_features(x)
    if name.startswith("vit"):
        assert torch.equal(found[0, :, 2, 5], right[0, 1 + 2 * 14 + 5])
    elif name.startswith("swin"):
        assert torch.equal(found[0, :, 2, 5], right[0, 2, 5])
    else:
        assert torch.equal(found, right)


def test_a_network_without_maps():
    module = nn.Sequential(nn.Flatten(), nn.Linear(3 * SIDE * SIDE, 4))
    with pytest.raises(UsageError, match="no maps"):
        Extractor(as_model(module))


def test_gradients_reach_the_network():
    module = Tiny()
    model = as_model(module)
    module.requires_grad_(True)
    Extractor(model).maps(torch.rand(2, 3, SIDE, SIDE)).sum().backward()
    gradient = module.pool[0].weight.grad
    assert gradient is not None
    assert float(gradient.abs().sum()) > 0


def test_rows_can_be_read_by_several_threads(made: Path):
    from concurrent.futures import ThreadPoolExecutor

    rows = read_features(made).rows("spatial")
    with ThreadPoolExecutor(4) as pool:
        for numbers, found in [(n, pool.submit(rows.read, [n, 19 - n])) for n in range(20)]:
            np.testing.assert_allclose(found.result(), expected([numbers, 19 - numbers]), atol=1e-3)
