"""Pictures from every form people have them in; the same pictures give the same set, whatever holds them."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import struct
import tarfile
import zipfile
from collections.abc import Callable
from functools import partial
from pathlib import Path

import h5py
import numpy as np
import pytest
from PIL import Image

from cvtool.errors import BadInputError, CvtoolError, UnknownNameError, UsageError
from cvtool.gan.datasets import Color, Conditional, Fit, PictureOptions, Pictures, fashion, read_pictures
from cvtool.progress import Step
from cvtool.run_files import SAMPLES
from cvtool.training import RunDirectory

CLASSES = ("cat", "dog", "emu")
EACH = 4


def picture(number: int, size: tuple[int, int] = (16, 16), channels: int = 3) -> np.ndarray:
    """(H, W, C) uint8, another one for every number; `size` is (width, height)."""
    shape = (size[1], size[0], channels)
    return np.random.default_rng(number).integers(0, 256, shape, dtype=np.uint8)


def png(pixels: np.ndarray, format: str = "PNG") -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels[..., 0] if pixels.shape[2] == 1 else pixels).save(buffer, format)
    return buffer.getvalue()


def members(top: str = "") -> dict[str, bytes]:
    """Path inside the data set → bytes of a file: `EACH` pictures of each class, and things that are none."""
    files = {
        f"{top}{name}/{number}.png": png(picture(10 * which + number))
        for which, name in enumerate(CLASSES)
        for number in range(EACH)
    }
    return files | {f"{top}readme.txt": b"hello", f"{top}cat/.hidden.png": b"no", f"{top}Thumbs.db": b"no"}


def expected() -> tuple[np.ndarray, np.ndarray]:
    pixels = [picture(10 * which + number) for which in range(len(CLASSES)) for number in range(EACH)]
    return np.stack(pixels), np.repeat(np.arange(len(CLASSES)), EACH)


def as_folder(path: Path, files: dict[str, bytes]) -> str:
    for name, data in files.items():
        file = path / "set" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(data)
    return f"folder:{path / 'set'}"


def as_zip(path: Path, files: dict[str, bytes]) -> str:
    with zipfile.ZipFile(path / "set.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in reversed(files.items()):  # the order in the archive means nothing
            archive.writestr(name, data)
    return f"zip:{path / 'set.zip'}"


def as_tar(path: Path, files: dict[str, bytes], mode: str = "w", name: str = "set.tar") -> str:
    with tarfile.open(path / name, mode) as archive:
        for member, data in reversed(files.items()):
            info = tarfile.TarInfo(f"./{member}")
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return f"tar:{path / name}"


def as_tgz(path: Path, files: dict[str, bytes]) -> str:
    return as_tar(path, files, "w:gz", "set.tar.gz")


def packed(pack: Callable[[bytes], bytes]) -> Callable[[Path, dict[str, bytes]], str]:
    """Writes a tar in another envelope."""

    def make(path: Path, files: dict[str, bytes]) -> str:
        plain = Path(as_tar(path, files).removeprefix("tar:"))
        plain.write_bytes(pack(plain.read_bytes()))
        return f"tar:{plain}"

    return make


as_tbz, as_txz = packed(bz2.compress), packed(lzma.compress)
as_tlz = packed(partial(lzma.compress, format=lzma.FORMAT_ALONE))


def idx(array: np.ndarray) -> bytes:
    """As Yann LeCun's page describes the format."""
    return struct.pack(f">HBB{array.ndim}I", 0, 8, array.ndim, *array.shape) + array.astype(np.uint8).tobytes()


@pytest.fixture
def read(tmp_path: Path) -> Callable[..., Pictures]:
    """`read_pictures` with a cache of its own and options as keywords."""

    def reading(spec: object, *, split: str = "train", cache: Path | None = None, **options: object) -> Pictures:
        return read_pictures(
            str(spec),
            PictureOptions(**options),
            cache=cache or tmp_path / "cache",
            split=split,  # type: ignore[arg-type]
        )

    return reading


@pytest.mark.parametrize("make", [as_folder, as_zip, as_tar, as_tgz, as_tbz, as_txz, as_tlz])
@pytest.mark.parametrize("top", ["", "train/", "data/all of it/"])
def test_all_containers_and_layouts_give_the_same_set(
    make: Callable[[Path, dict[str, bytes]], str], top: str, tmp_path: Path, read: Callable[..., Pictures]
) -> None:
    pixels, labels = expected()
    for spec in (make(tmp_path, members(top)), make(tmp_path, members(top)).partition(":")[2]):  # and recognised
        found = read(spec)
        assert found.classes == CLASSES
        np.testing.assert_array_equal(found.pixels, pixels)
        np.testing.assert_array_equal(found.labels, labels)
        assert found.labels is not None
        assert found.labels.dtype == np.int64
        assert found.fingerprint == Pictures.of(pixels, labels, CLASSES).fingerprint
        assert found.problems == ()
        assert not found.pixels.flags.writeable
        assert not found.labels.flags.writeable


def test_what_a_run_among_the_pictures_has_made_is_none_of_them(tmp_path: Path, read: Callable[..., Pictures]) -> None:
    spec = as_folder(tmp_path, members())
    run = RunDirectory.create(tmp_path / "set" / "run")
    (run.path / SAMPLES).mkdir()
    for step in (4, 8):
        (run.path / SAMPLES / f"step-{step:06d}.png").write_bytes(png(picture(90 + step)))
    assert len(read(spec, conditional=Conditional.no)) == len(CLASSES) * EACH + 2  # not yet a run
    run.write_config({})
    run.log({"step": 4})
    assert read(spec).fingerprint == Pictures.of(*expected(), CLASSES).fingerprint
    assert len(read(f"folder:{run.path}")) == 2  # asked for by name


def test_the_fingerprint_is_of_contents() -> None:
    pixels, labels = expected()
    base = Pictures.of(pixels, labels, CLASSES)
    assert Pictures.of(pixels.copy(), labels, CLASSES, name="other").fingerprint == base.fingerprint
    changed = pixels.copy()
    changed[3, 2, 1, 0] ^= 1
    others = [
        Pictures.of(changed, labels, CLASSES),
        Pictures.of(pixels, labels[::-1], CLASSES),
        Pictures.of(pixels, labels, ("cat", "dog", "gnu")),
        Pictures.of(pixels),
        Pictures.of(pixels.reshape(3, 32, 32, 3)[:, :, :, :], None),
    ]
    assert len({each.fingerprint for each in [base, *others]}) == 6


@pytest.mark.parametrize(
    ("pixels", "labels"),
    [
        (np.zeros((2, 4, 5, 3), np.uint8), None),
        (np.zeros((2, 4, 4, 2), np.uint8), None),
        (np.zeros((2, 4, 4, 3), np.float32), None),
        (np.zeros((2, 4, 4, 3), np.uint8), np.zeros(3, np.int64)),
        (np.zeros((2, 4, 4, 3), np.uint8), np.array([0, -1])),
    ],
)
def test_arrays_that_do_not_fit_are_refused(pixels: np.ndarray, labels: np.ndarray | None) -> None:
    with pytest.raises(UsageError):
        Pictures.of(pixels, labels)


class TestSplits:
    @pytest.mark.parametrize("make", [as_folder, as_zip, as_tar])
    @pytest.mark.parametrize("test", ["test", "val", "Validation"])
    def test_folders(
        self, make: Callable[[Path, dict[str, bytes]], str], test: str, tmp_path: Path, read: Callable[..., Pictures]
    ) -> None:
        files = members("top/train/") | {f"top/{test}/{name}/x.png": png(picture(90)) for name in CLASSES}
        spec = make(tmp_path, files)
        assert len(read(spec)) == 12
        found = read(spec, split="test")
        assert len(found) == 3
        assert found.classes == CLASSES

    def test_no_test_pictures(self, tmp_path: Path, read: Callable[..., Pictures]) -> None:
        for top in ("", "train/"):
            with pytest.raises(BadInputError, match="no pictures set apart for tests"):
                read(as_zip(tmp_path, members(top)), split="test")

    def test_a_class_may_be_called_train(self, tmp_path: Path, read: Callable[..., Pictures]) -> None:
        files = {f"{name}/{i}.png": png(picture(i)) for name in ("train", "plane") for i in range(3)}
        assert read(as_folder(tmp_path, files)).classes == ("plane", "train")

    def test_unknown(self, tmp_path: Path) -> None:
        with pytest.raises(UsageError, match="No split 'dev'"):
            read_pictures(as_folder(tmp_path, members()), split="dev")


class TestClasses:
    def test_folders_of_numbers_are_in_order_of_numbers(self, tmp_path: Path, read: Callable[..., Pictures]) -> None:
        files = {f"{name}/a.png": png(picture(name)) for name in (10, 9, 1)}
        found = read(as_folder(tmp_path, files))
        assert found.classes == ("1", "9", "10")
        np.testing.assert_array_equal(found.pixels[2], picture(10))

    def test_one_class_is_none(self, tmp_path: Path, read: Callable[..., Pictures]) -> None:
        spec = as_folder(tmp_path, {name: data for name, data in members().items() if name.startswith("cat")})
        found = read(spec)
        assert (found.labels, found.classes, len(found)) == (None, (), EACH)
        with pytest.raises(BadInputError, match="no two classes"):
            read(spec, conditional=Conditional.yes)

    def test_not_wanted(self, tmp_path: Path, read: Callable[..., Pictures]) -> None:
        found = read(as_tar(tmp_path, members()), conditional=Conditional.no)
        assert (found.labels, found.classes, len(found)) == (None, (), 12)

    def test_pictures_beside_the_classes(self, tmp_path: Path, read: Callable[..., Pictures]) -> None:
        spec = as_folder(tmp_path, members() | {"stray.png": png(picture(1))})
        with pytest.raises(BadInputError, match="1 problem") as caught:
            read(spec)
        assert [str(each) for each in caught.value.problems] == [  # type: ignore[attr-defined]
            "'stray.png' lies beside the folders of classes and has no class (--conditional no takes it)"
        ]
        assert len(read(spec, skip_bad=True)) == 12
        assert len(read(spec, conditional=Conditional.no)) == 13

    def test_a_class_whose_pictures_are_all_broken_is_gone(self, tmp_path: Path, read: Callable[..., Pictures]) -> None:
        files = {name: b"broken" if name.startswith("dog") else data for name, data in members().items()}
        found = read(as_zip(tmp_path, files), skip_bad=True)
        assert found.classes == ("cat", "emu")
        np.testing.assert_array_equal(found.labels, [0] * EACH + [1] * EACH)
        assert len(found.problems) == EACH

    def test_a_limit_takes_from_all_of_them(self, tmp_path: Path, read: Callable[..., Pictures]) -> None:
        found = read(as_zip(tmp_path, members()), limit=6)
        np.testing.assert_array_equal(found.labels, [0, 0, 1, 1, 2, 2])
        assert len(read(as_zip(tmp_path, members()), limit=100)) == 12


class TestIdx:
    def write(self, folder: Path, *, labels: bool = True, packed: bool = False, split: str = "train") -> np.ndarray:
        folder.mkdir(exist_ok=True)
        pixels = np.stack([picture(number, (28, 28), 1) for number in range(6)])
        files = {f"{split}-images-idx3-ubyte": idx(pixels[..., 0])}
        if labels:
            files[f"{split}-labels-idx1-ubyte"] = idx(np.array([3, 1, 3, 0, 1, 3]))
        for name, data in files.items():
            (folder / f"{name}{'.gz' if packed else ''}").write_bytes(gzip.compress(data) if packed else data)
        return pixels

    @pytest.mark.parametrize("packed", [False, True])
    def test_with_labels(self, packed: bool, tmp_path: Path, read: Callable[..., Pictures]) -> None:
        pixels = self.write(tmp_path / "mnist", packed=packed)
        for spec in (f"idx:{tmp_path / 'mnist'}", tmp_path / "mnist"):
            found = read(spec)
            np.testing.assert_array_equal(found.pixels, pixels)
            np.testing.assert_array_equal(found.labels, [2, 1, 2, 0, 1, 2])
            assert found.classes == ("0", "1", "3")

    def test_without_labels(self, tmp_path: Path, read: Callable[..., Pictures]) -> None:
        pixels = self.write(tmp_path / "mnist", labels=False)
        found = read(f"idx:{tmp_path / 'mnist'}")
        np.testing.assert_array_equal(found.pixels, pixels)
        assert (found.labels, found.classes) == (None, ())
        with pytest.raises(BadInputError, match="no two classes"):
            read(f"idx:{tmp_path / 'mnist'}", conditional=Conditional.yes)

    def test_the_test_pictures(self, tmp_path: Path, read: Callable[..., Pictures]) -> None:
        self.write(tmp_path / "mnist")
        with pytest.raises(BadInputError, match="set apart for tests"):
            read(f"idx:{tmp_path / 'mnist'}", split="test")
        self.write(tmp_path / "mnist", split="t10k", labels=False)
        assert read(f"idx:{tmp_path / 'mnist'}", split="test").labels is None
        assert read(f"idx:{tmp_path / 'mnist'}").labels is not None

    def test_one_file(self, tmp_path: Path, read: Callable[..., Pictures]) -> None:
        pixels = np.stack([picture(number) for number in range(3)])
        (tmp_path / "mine.idx4-ubyte").write_bytes(idx(pixels))
        np.testing.assert_array_equal(read(f"idx:{tmp_path / 'mine.idx4-ubyte'}").pixels, pixels)
        np.testing.assert_array_equal(read(tmp_path / "mine.idx4-ubyte").pixels, pixels)

    @pytest.mark.parametrize("packed", [False, True])
    @pytest.mark.parametrize(
        ("harm", "message"),
        [
            (lambda data: data[:-1], "truncated: 4703 of 4704 bytes"),
            (lambda data: data + b"!", "longer than it says"),
            (lambda data: data[:9], "truncated"),
            (lambda data: b"", "no IDX file"),
            (lambda data: b"\x00\x00\x0d" + data[3:], "no IDX file of bytes"),
            (lambda data: data[:4] + b"\xff" * 12 + data[16:], "claims to hold"),
            (lambda data: data[:3] + b"\x04" + b"\xff" * 12 + bytes(4), "claims a shape"),
        ],
    )
    def test_broken(
        self,
        harm: Callable[[bytes], bytes],
        message: str,
        packed: bool,
        tmp_path: Path,
        read: Callable[..., Pictures],
    ) -> None:
        self.write(tmp_path / "mnist")
        file = tmp_path / "mnist/train-images-idx3-ubyte"
        data = harm(file.read_bytes())
        file.unlink()
        file.with_name(f"{file.name}.gz" if packed else file.name).write_bytes(gzip.compress(data) if packed else data)
        with pytest.raises(BadInputError, match=message):
            read(f"idx:{tmp_path / 'mnist'}")

    def test_a_packed_file_cut_off(self, tmp_path: Path, read: Callable[..., Pictures]) -> None:
        self.write(tmp_path / "mnist", packed=True)
        file = tmp_path / "mnist/train-images-idx3-ubyte.gz"
        file.write_bytes(file.read_bytes()[:-500])
        with pytest.raises(BadInputError, match="truncated or broken"):
            read(f"idx:{tmp_path / 'mnist'}")

    def test_labels_that_do_not_fit(self, tmp_path: Path, read: Callable[..., Pictures]) -> None:
        self.write(tmp_path / "mnist")
        (tmp_path / "mnist/train-labels-idx1-ubyte").write_bytes(idx(np.zeros(5)))
        with pytest.raises(BadInputError, match="labels for 6 pictures"):
            read(f"idx:{tmp_path / 'mnist'}")

    def test_several_sets(self, tmp_path: Path, read: Callable[..., Pictures]) -> None:
        self.write(tmp_path / "mnist")
        self.write(tmp_path / "mnist", split="extra")
        with pytest.raises(BadInputError, match="several sets"):
            read(f"idx:{tmp_path / 'mnist'}")

    def test_none_there(self, tmp_path: Path, read: Callable[..., Pictures]) -> None:
        with pytest.raises(BadInputError, match="holds no"):
            read(f"idx:{tmp_path}")
        with pytest.raises(BadInputError, match="does not exist"):
            read(f"idx:{tmp_path}/none")


class TestFashionMnist:
    def test_debians_files(self, read: Callable[..., Pictures]) -> None:
        if not fashion.DEBIAN.is_dir():
            pytest.skip("needs the Debian package dataset-fashion-mnist")
        found = read("fashion-mnist", split="test")
        assert found.pixels.shape == (10000, 28, 28, 1)
        assert (found.name, found.classes) == ("fashion-mnist", fashion.CLASSES)
        np.testing.assert_array_equal(np.bincount(found.labels), [1000] * 10)  # type: ignore[arg-type]
        assert found.pixels.mean() / 255 == pytest.approx(0.2868, abs=1e-4)  # as published for this split

    def test_debians_files_come_first(
        self, tmp_path: Path, read: Callable[..., Pictures], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(fashion, "DEBIAN", tmp_path / "debian")
        monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
        pixels = TestIdx().write(fashion.DEBIAN, packed=True)
        other = tmp_path / "torch" / fashion.TORCHVISION
        other.mkdir(parents=True)
        (other / "train-images-idx3-ubyte").write_bytes(idx(255 - pixels[..., 0]))
        found = read("fashion-mnist")
        np.testing.assert_array_equal(found.pixels, pixels)
        assert (found.name, found.classes) == ("fashion-mnist", ("T-shirt", "trouser", "dress"))

    def test_torchvisions_files(
        self, tmp_path: Path, read: Callable[..., Pictures], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(fashion, "DEBIAN", tmp_path / "absent")
        monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
        folder = tmp_path / "torch" / fashion.TORCHVISION
        folder.parent.mkdir(parents=True)
        TestIdx().write(folder)
        assert read("fashion-mnist").classes == ("T-shirt", "trouser", "dress")

    def test_absent(self, tmp_path: Path, read: Callable[..., Pictures], monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(fashion, "DEBIAN", tmp_path / "absent")
        monkeypatch.setenv("TORCH_HOME", str(tmp_path))
        monkeypatch.chdir(tmp_path)
        with pytest.raises(BadInputError, match="apt-get install dataset-fashion-mnist"):
            read("fashion-mnist")


class TestHdf5:
    def write(self, tmp_path: Path, pixels: np.ndarray, name: str = "images", **more: np.ndarray) -> Path:
        with h5py.File(tmp_path / "set.h5", "w") as file:
            file[name] = pixels
            for key, values in more.items():
                file[key] = values
        return tmp_path / "set.h5"

    @pytest.mark.parametrize("form", ["NHWC", "NCHW", "float32", "float16"])
    def test_color(self, form: str, tmp_path: Path, read: Callable[..., Pictures]) -> None:
        pixels, labels = expected()
        stored = {
            "NHWC": pixels,
            "NCHW": pixels.transpose(0, 3, 1, 2),
            "float32": pixels.astype(np.float32) / 255,
            "float16": (pixels / 255).astype(np.float16),
        }[form]
        path = self.write(tmp_path, stored, labels=labels * 5)
        for spec in (f"h5:{path}#images", f"h5:{path}", path, f"{path}#images"):
            found = read(spec)
            np.testing.assert_array_equal(found.pixels, pixels)
            np.testing.assert_array_equal(found.labels, labels)
            assert found.classes == ("0", "5", "10")

    def test_grey_in_a_group(self, tmp_path: Path, read: Callable[..., Pictures]) -> None:
        pixels = expected()[0][..., 0]
        path = self.write(tmp_path, pixels, "a/b", **{"a/labels": np.arange(12)[:, None] % 2})
        found = read(f"h5:{path}#a/b")
        np.testing.assert_array_equal(found.pixels[..., 0], pixels)
        np.testing.assert_array_equal(found.labels, np.arange(12) % 2)

    def test_a_limit(self, tmp_path: Path, read: Callable[..., Pictures]) -> None:
        path = self.write(tmp_path, expected()[0])
        np.testing.assert_array_equal(read(path, limit=4).pixels, expected()[0][[0, 3, 6, 9]])

    def test_values_that_are_not_numbers(self, tmp_path: Path, read: Callable[..., Pictures]) -> None:
        values = expected()[0].astype(np.float32) / 255
        values[3, 0, 0, 0], values[7, 5, 5, 1] = np.nan, np.inf
        path = self.write(tmp_path, values)
        with pytest.raises(BadInputError, match="2 problems") as caught:
            read(path)
        assert [each.name for each in caught.value.problems] == ["images[3]", "images[7]"]  # type: ignore[attr-defined]
        found = read(path, skip_bad=True)
        np.testing.assert_array_equal(found.pixels, np.delete(expected()[0], [3, 7], axis=0))

    def test_values_of_another_range(self, tmp_path: Path, read: Callable[..., Pictures]) -> None:
        path = self.write(tmp_path, expected()[0].astype(np.float32))
        with pytest.raises(BadInputError, match="values from 0 to 255"):
            read(path)

    @pytest.mark.parametrize(
        ("pixels", "message"),
        [
            (np.zeros((4, 8, 8, 5), np.uint8), "Pictures are"),
            (np.zeros((4, 8, 8), np.int32), "Pictures are"),
            (np.zeros((0, 8, 8), np.uint8), "Pictures are"),
        ],
    )
    def test_no_pictures(self, pixels: np.ndarray, message: str, tmp_path: Path, read: Callable[..., Pictures]) -> None:
        with pytest.raises(BadInputError, match=message):
            read(f"h5:{self.write(tmp_path, pixels)}#images")

    def test_which_dataset(self, tmp_path: Path, read: Callable[..., Pictures]) -> None:
        pixels = expected()[0]
        path = self.write(tmp_path, pixels, "one", two=pixels)
        with pytest.raises(BadInputError, match="does not tell which dataset"):
            read(path)
        with pytest.raises(BadInputError, match=r"has no dataset 'three'\. It has: one, two"):
            read(f"{path}#three")

    def test_labels_that_do_not_fit(self, tmp_path: Path, read: Callable[..., Pictures]) -> None:
        path = self.write(tmp_path, expected()[0], labels=np.zeros(11, np.int64))
        with pytest.raises(BadInputError, match="one whole number for each of 12"):
            read(path)
        assert len(read(path, conditional=Conditional.no)) == 12

    def test_links_to_other_files_are_not_followed(self, tmp_path: Path, read: Callable[..., Pictures]) -> None:
        path = self.write(tmp_path, expected()[0])
        with h5py.File(tmp_path / "liar.h5", "w") as file:
            file["images"] = h5py.ExternalLink(str(path), "images")
        with pytest.raises(BadInputError, match="not followed"):
            read(f"h5:{tmp_path / 'liar.h5'}#images")

    @pytest.mark.parametrize("keep", [0, 20, 3000])
    def test_truncated(self, keep: int, tmp_path: Path, read: Callable[..., Pictures]) -> None:
        path = self.write(tmp_path, expected()[0])
        path.write_bytes(path.read_bytes()[:keep])
        with pytest.raises(BadInputError, match=r"HDF5|truncated"):
            read(f"h5:{path}")


class TestSpecs:
    @pytest.mark.parametrize(
        ("spec", "kind", "message"),
        [
            ("fashion-mnits", UnknownNameError, "Nearest: fashion-mnist"),
            ("zap:thing.zip", UnknownNameError, "Nearest: zip"),
            ("folder:", UsageError, "names no place"),
            ("", UsageError, "No data set"),
            ("nowhere/at/all", BadInputError, "There is no 'nowhere/at/all'"),
            ("folder:nowhere", BadInputError, "no folder"),
            ("zip:nowhere.zip", BadInputError, "no such file"),
            ("h5:nowhere.h5#x", BadInputError, "no such file"),
            ("nul\0byte", BadInputError, "There is no"),
            ("zip:nul\0byte", BadInputError, "Cannot read"),
        ],
    )
    def test_wrong(
        self,
        spec: str,
        kind: type[CvtoolError],
        message: str,
        tmp_path: Path,
        read: Callable[..., Pictures],
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        monkeypatch.chdir(tmp_path)
        with pytest.raises(kind, match=message) as caught:
            read(spec)
        assert "\n" not in str(caught.value)

    def test_a_file_of_another_kind(self, tmp_path: Path, read: Callable[..., Pictures]) -> None:
        (tmp_path / "a.txt").write_text("hello")
        with pytest.raises(BadInputError, match="no data set in a form that is known"):
            read(tmp_path / "a.txt")

    @pytest.mark.parametrize(("size", "limit"), [(7, None), (513, None), (None, 1), (0, None)])
    def test_options_out_of_range(self, size: int | None, limit: int | None, read: Callable[..., Pictures]) -> None:
        with pytest.raises(UsageError):
            read("fashion-mnist", size=size, limit=limit)


def test_progress_is_told(tmp_path: Path) -> None:
    steps: list[Step] = []
    spec = as_folder(tmp_path, members())
    read_pictures(spec, cache=tmp_path / "cache", progress=steps.append)
    assert (steps[-1].stage, steps[-1].done, steps[-1].total) == ("decoding", 12, 12)
    steps.clear()
    read_pictures(spec, cache=tmp_path / "cache", progress=steps.append)
    assert not steps


def test_cifar10_in_a_zip(shared_data: Path, read: Callable[..., Pictures]) -> None:
    found = read(shared_data / "cifar10-train.zip", limit=1000)
    assert found.pixels.shape == (1000, 32, 32, 3)
    assert found.classes[:3] == ("airplane", "automobile", "bird")
    np.testing.assert_array_equal(np.bincount(found.labels), [100] * 10)  # type: ignore[arg-type]
    # mean of CIFAR-10 as published: .4914 .4822 .4465
    np.testing.assert_allclose(found.pixels.mean((0, 1, 2)) / 255, [0.4914, 0.4822, 0.4465], atol=0.02)


def test_photographs(shared_data: Path, read: Callable[..., Pictures]) -> None:
    found = read(f"folder:{shared_data / 'pictures/content'}", color=Color.rgb, fit=Fit.crop)
    assert found.pixels.shape[1:] == (64, 64, 3)
    assert found.labels is None
