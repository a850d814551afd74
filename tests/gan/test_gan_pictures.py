"""How pictures of any kind become alike, what is said of broken ones, and what the cache does and does not keep."""

from __future__ import annotations

import errno
import io
import json
import os
import shutil
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from cvtool import tars
from cvtool.cli import gan_data
from cvtool.cli.console import Console
from cvtool.errors import BadInputError
from cvtool.gan.datasets import (
    BadPicturesError,
    Color,
    Fit,
    PictureOptions,
    Pictures,
    archives,
    cache,
    decoding,
    fashion,
    read_pictures,
)
from cvtool.gan.datasets.framing import frame, size_for, to_grey

RED, BLUE = (255, 0, 0), (0, 0, 255)


def encoded(image: Image.Image, format: str = "PNG", **more: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, format, **more)
    return buffer.getvalue()


def plain(color: int | tuple[int, ...], size: tuple[int, int] = (16, 16), mode: str = "RGB") -> Image.Image:
    return Image.new(mode, size, color)


def folder(path: Path, **files: bytes | Image.Image) -> Path:
    path.mkdir(exist_ok=True)
    for name, content in files.items():
        data = content if isinstance(content, bytes) else encoded(content)
        (path / f"{name}.png").write_bytes(data)
    return path


@pytest.fixture
def read(tmp_path: Path) -> Callable[..., Pictures]:
    def reading(spec: object, **options: object) -> Pictures:
        return read_pictures(str(spec), PictureOptions(**options), cache=tmp_path / "cache")  # type: ignore[arg-type]

    return reading


class TestSizes:
    @pytest.mark.parametrize(
        ("size", "fit", "side"),
        [
            ((28, 28), Fit.crop, 28),
            ((32, 32), Fit.pad, 32),
            ((128, 128), Fit.crop, 128),
            ((37, 37), Fit.crop, 32),
            ((96, 96), Fit.crop, 64),
            ((256, 256), Fit.crop, 64),
            ((40, 30), Fit.crop, 28),
            ((40, 30), Fit.pad, 32),
            ((5, 5), Fit.crop, 8),
        ],
    )
    def test_of_equal_pictures(
        self, size: tuple[int, int], fit: Fit, side: int, tmp_path: Path, read: Callable[..., Pictures]
    ) -> None:
        found = read(folder(tmp_path / "set", a=plain(RED, size), b=plain(BLUE, size)), fit=fit)
        assert found.size == found.pixels.shape[2] == side
        np.testing.assert_array_equal(found.pixels[0], np.broadcast_to(RED, (side, side, 3)))

    def test_of_mixed_pictures(self, tmp_path: Path, read: Callable[..., Pictures]) -> None:
        equal = {f"a{number:03}": plain(RED, (28, 28)) for number in range(200)}
        found = read(folder(tmp_path / "set", **equal, z=plain(BLUE, (29, 28))))
        assert found.pixels.shape == (201, 64, 64, 3)
        np.testing.assert_array_equal(found.pixels[-1, 30, 30], BLUE)
        np.testing.assert_array_equal(found.pixels[:-1], np.broadcast_to(RED, (200, 64, 64, 3)))

    @pytest.mark.parametrize("side", [8, 37, 200])
    def test_asked_for(self, side: int, tmp_path: Path, read: Callable[..., Pictures]) -> None:
        found = read(folder(tmp_path / "set", a=plain(RED, (50, 20)), b=plain(BLUE)), size=side)
        assert found.pixels.shape == (2, side, side, 3)

    @given(st.integers(1, 600), st.integers(1, 600), st.sampled_from(Fit))
    def test_never_enlarges_what_is_large_enough(self, height: int, width: int, fit: Fit) -> None:
        side = size_for(height, width, fit)
        assert side <= max(8, min(height, width) if fit is Fit.crop else max(height, width))


class TestFraming:
    def stripes(self) -> np.ndarray:
        """(8, 24, 3): three squares, red, green, blue."""
        pixels = np.zeros((8, 24, 3), np.uint8)
        for which in range(3):
            pixels[:, 8 * which : 8 * which + 8, which] = 255
        return pixels

    def test_crop_takes_the_middle(self) -> None:
        np.testing.assert_array_equal(frame(self.stripes(), 8, Fit.crop), self.stripes()[:, 8:16])
        turned = self.stripes().swapaxes(0, 1)
        np.testing.assert_array_equal(frame(turned, 8, Fit.crop), turned[8:16])

    def test_pad_keeps_everything(self) -> None:
        pixels = np.full((8, 24, 3), 200, np.uint8)
        pixels[2:6, 4:20] = (10, 20, 30)
        framed = frame(pixels, 24, Fit.pad)
        np.testing.assert_array_equal(framed[8:16], pixels)
        np.testing.assert_array_equal(framed[:8], np.full((8, 24, 3), 200))
        np.testing.assert_array_equal(framed[16:], np.full((8, 24, 3), 200))
        np.testing.assert_array_equal(frame(pixels.swapaxes(0, 1), 24, Fit.pad), framed.swapaxes(0, 1))

    def test_what_fits_stays(self) -> None:
        pixels = np.random.default_rng(0).integers(0, 256, (16, 16, 1), dtype=np.uint8)
        np.testing.assert_array_equal(frame(pixels, 16, Fit.crop), pixels)
        np.testing.assert_array_equal(frame(pixels.astype(np.float32) / 255, 16, Fit.pad), pixels)

    def test_smaller_is_antialiased(self) -> None:
        lines = np.zeros((64, 64, 1), np.uint8)
        lines[::2] = 255  # to pick every eighth row would give all white
        framed = frame(lines, 8, Fit.crop).astype(int)
        assert abs(framed[2:-2] - 127.5).max() < 8

    @pytest.mark.parametrize("fit", list(Fit))
    def test_large_ones_are_as_by_pillow_alone(self, fit: Fit) -> None:
        ramp = np.linspace(0, 255, 1203)
        waves = 127 + 60 * np.sin(np.linspace(0, 20, 905))[:, None] + 60 * np.cos(np.linspace(0, 33, 1203))
        pixels = np.stack([np.broadcast_to(ramp, waves.shape), waves, waves[::-1]], axis=2).round().astype(np.uint8)
        if fit is Fit.crop:
            image = Image.fromarray(pixels[:, 149 : 149 + 905]).resize((64, 64), Image.Resampling.LANCZOS)
            framed = frame(pixels, 64, fit)
        else:
            image = Image.fromarray(pixels).resize((64, 48), Image.Resampling.LANCZOS)
            framed = frame(pixels, 64, fit)[8:56]
        assert abs(framed.astype(int) - np.asarray(image)).max() <= 3

    @settings(max_examples=40)
    @given(st.integers(1, 40), st.integers(1, 40), st.integers(8, 40), st.sampled_from(Fit), st.sampled_from([1, 3]))
    def test_any_shape(self, height: int, width: int, size: int, fit: Fit, channels: int) -> None:
        pixels = np.random.default_rng(height * 41 + width).integers(0, 256, (height, width, channels), dtype=np.uint8)
        framed = frame(pixels, size, fit)
        assert framed.shape == (size, size, channels)
        assert framed.dtype == np.uint8
        constant = np.full_like(pixels, 77)
        assert (frame(constant, size, fit) == 77).all()

    def test_grey_is_pillows(self) -> None:
        pixels = np.random.default_rng(0).integers(0, 256, (32, 32, 3), dtype=np.uint8)
        pillows = np.asarray(Image.fromarray(pixels).convert("L")).astype(int)
        assert abs(to_grey(pixels)[..., 0].astype(int) - pillows).max() <= 1


class TestColors:
    def test_all_grey(self, tmp_path: Path, read: Callable[..., Pictures]) -> None:
        place = folder(tmp_path / "set", a=plain(9, mode="L"), b=plain((40, 40, 40)), c=plain(1, mode="1"))
        found = read(place)
        assert found.pixels.shape == (3, 16, 16, 1)
        assert found.channels == 1
        np.testing.assert_array_equal(found.pixels[:, 3, 3, 0], [9, 40, 255])
        assert read(place, color=Color.rgb).pixels.shape == (3, 16, 16, 3)

    def test_one_of_many_in_color(self, tmp_path: Path, read: Callable[..., Pictures]) -> None:
        grey = {f"a{number:03}": plain(number, mode="L") for number in range(100)}
        place = folder(tmp_path / "set", **grey, z=plain(RED))
        found = read(place)
        assert found.channels == 3
        np.testing.assert_array_equal(found.pixels[50, 0, 0], [50, 50, 50])
        grey_ones = read(place, color=Color.grey)
        np.testing.assert_array_equal(grey_ones.pixels[:, 0, 0, 0], [*range(100), 76])  # .299 · 255

    def test_every_mode(self, tmp_path: Path, read: Callable[..., Pictures]) -> None:
        deep = Image.fromarray(np.full((16, 16), 0x8080, np.uint16))
        palette = plain(RED).quantize(4)
        clear = plain((0, 0, 0, 0), mode="RGBA")  # shows the white it lies on
        found = read(
            folder(
                tmp_path / "set", a=deep, b=palette, c=clear, d=encoded(plain((0, 255, 255, 0), mode="CMYK"), "TIFF")
            ),
        )
        np.testing.assert_array_equal(found.pixels[:3, 4, 4], [[128] * 3, RED, [255] * 3])
        assert found.pixels[3, 4, 4, 0] > 150

    def test_turned_by_exif(self, tmp_path: Path, read: Callable[..., Pictures]) -> None:
        image = plain(BLUE, (32, 32))
        image.paste(plain(RED, (32, 16)))  # red above blue
        exif = Image.Exif()
        exif[274] = 3  # upside down
        found = read(folder(tmp_path / "set", a=encoded(image, exif=exif), b=image))
        np.testing.assert_array_equal(found.pixels[:, 2, 2], [BLUE, RED])


class TestBad:
    def bad(self) -> dict[str, bytes]:
        whole = encoded(Image.effect_noise((64, 64), 50), "JPEG")
        return {"cut": whole[: len(whole) // 2], "empty": b"", "text": b"not a picture", "zeros": bytes(5000)}

    def good(self, count: int = 3) -> dict[str, Image.Image]:
        return {f"good{number}": plain(number, mode="L") for number in range(count)}

    def test_all_are_named_at_once(self, tmp_path: Path, read: Callable[..., Pictures]) -> None:
        place = folder(tmp_path / "set", **self.good(), **self.bad())
        for _ in range(2):  # decoded, and from the cache
            with pytest.raises(BadPicturesError, match=r"'set' has 4 problems\. .*--skip-bad") as caught:
                read(place)
            assert sorted(each.name for each in caught.value.problems) == [f"{name}.png" for name in sorted(self.bad())]
            for problem in caught.value.problems:
                assert "\n" not in str(problem)
                assert str(problem).count(problem.name) == 1
        found = read(place, skip_bad=True)
        np.testing.assert_array_equal(found.pixels[:, 0, 0, 0], [0, 1, 2])
        assert len(found.problems) == 4

    def test_a_mended_picture_is_read_again(self, tmp_path: Path, read: Callable[..., Pictures]) -> None:
        place = folder(tmp_path / "set", **self.good(), late=b"")
        with pytest.raises(BadPicturesError):
            read(place)
        folder(place, late=plain(200, mode="L"))
        assert read(place).pixels[-1, 0, 0, 0] == 200

    @pytest.mark.parametrize("size", [None, 16])
    def test_nothing_but_bad(self, size: int | None, tmp_path: Path, read: Callable[..., Pictures]) -> None:
        place = folder(tmp_path / "set", **self.bad())
        with pytest.raises(BadPicturesError) as caught:
            read(place, skip_bad=True, size=size)
        assert len(caught.value.problems) == 4

    def test_one_picture(self, tmp_path: Path, read: Callable[..., Pictures]) -> None:
        with pytest.raises(BadInputError, match="only 1 picture"):
            read(folder(tmp_path / "set", **self.good(1)))

    def test_ten_pictures(self, tmp_path: Path, read: Callable[..., Pictures]) -> None:
        assert len(read(folder(tmp_path / "set", **self.good(10)))) == 10

    @pytest.mark.parametrize("files", [{}, {"note.txt": b"x"}, {".hidden.png": b"x"}])
    def test_empty_folder(self, files: dict[str, bytes], tmp_path: Path, read: Callable[..., Pictures]) -> None:
        place = folder(tmp_path / "set")
        for name, data in files.items():
            (place / name).write_bytes(data)
        for spec in (place, f"folder:{place}"):
            with pytest.raises(BadInputError, match="holds no pictures"):
                read(spec)

    def test_a_bomb(self, tmp_path: Path, read: Callable[..., Pictures]) -> None:
        huge = bytearray(encoded(plain(0, mode="L")))
        huge[16:24] = (60000).to_bytes(4, "big") * 2  # a header that claims 3.6 Gpixel
        huge[29:33] = zlib.crc32(huge[12:29]).to_bytes(4, "big")
        with pytest.raises(BadPicturesError) as caught:
            read(folder(tmp_path / "set", **self.good(), huge=bytes(huge)))
        assert "too large" in str(caught.value.problems[0])

    @pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs pipes")
    def test_links_and_pipes(self, tmp_path: Path, read: Callable[..., Pictures]) -> None:
        place = folder(tmp_path / "set", **self.good())
        (place / "loop").symlink_to(place)
        (place / "twice.png").symlink_to(place / "good0.png")
        (place / "broken.png").symlink_to(place / "nowhere.png")
        os.mkfifo(place / "pipe.png")  # to read it would never end
        np.testing.assert_array_equal(read(place).pixels[:, 0, 0, 0], [0, 1, 2, 0])


class TestArchives:
    def zipped(self, path: Path, **files: bytes) -> Path:
        with zipfile.ZipFile(path, "w") as archive:
            for number in range(6):
                archive.writestr(f"{number}.png", encoded(plain(number, mode="L")))
            for name, data in files.items():
                archive.writestr(name, data)
        return path

    def test_a_zip_cut_off(self, tmp_path: Path, read: Callable[..., Pictures]) -> None:
        path = self.zipped(tmp_path / "set.zip")
        path.write_bytes(path.read_bytes()[:-40])
        for spec in (path, f"zip:{path}"):
            with pytest.raises(BadInputError, match="its end is missing"):
                read(spec)

    def test_a_broken_member(self, tmp_path: Path, read: Callable[..., Pictures]) -> None:
        path = self.zipped(tmp_path / "set.zip")
        data = bytearray(path.read_bytes())
        data[70] ^= 0xFF
        path.write_bytes(data)
        with pytest.raises(BadPicturesError) as caught:
            read(path)
        assert [each.name for each in caught.value.problems] == ["0.png"]
        assert len(read(path, skip_bad=True)) == 5

    def test_encrypted_and_links(self, tmp_path: Path, read: Callable[..., Pictures]) -> None:
        path = self.zipped(tmp_path / "set.zip")
        with zipfile.ZipFile(path, "a") as archive:
            link = zipfile.ZipInfo("link.png")
            link.external_attr = (stat.S_IFLNK | 0o777) << 16
            archive.writestr(link, "/etc/passwd")
        assert len(read(path)) == 6
        data = path.read_bytes()
        first = data.index(b"PK\x01\x02")
        path.write_bytes(data[: first + 8] + b"\x01" + data[first + 9 :])
        with pytest.raises(BadPicturesError) as caught:
            read(path)
        assert list(map(str, caught.value.problems)) == ["'0.png' is encrypted"]

    @pytest.mark.parametrize("mode", ["w:gz", "zip"])
    def test_little_that_becomes_much(
        self, mode: str, tmp_path: Path, read: Callable[..., Pictures], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        for module in (tars, archives):
            monkeypatch.setattr(module, "LARGEST_MEMBER", 1 << 20)
        good = {f"{number}.png": encoded(plain(number, mode="L")) for number in range(3)}
        files = good | {"huge.png": bytes((1 << 20) + 1)}
        path = tmp_path / "set.bin"
        if mode == "zip":
            with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
                for name, data in files.items():
                    archive.writestr(name, data)
        else:
            write_tar(path, files, mode)
        with pytest.raises(BadPicturesError) as caught:
            read(path)
        assert list(map(str, caught.value.problems)) == ["'huge.png' is larger than 1 MiB"]

    def test_nothing_is_written_beside(self, tmp_path: Path, read: Callable[..., Pictures]) -> None:
        png = encoded(plain(3, mode="L"))
        files = {"../../escape.png": png, "/absolute.png": png, "fine.png": png}
        (tmp_path / "in").mkdir()
        write_tar(tmp_path / "in" / "set.tar", files)
        before = {path for path in tmp_path.rglob("*") if "cache" not in path.parts}
        assert len(read(tmp_path / "in" / "set.tar")) == 2, "the first is no name inside a data set"
        assert {path for path in tmp_path.rglob("*") if "cache" not in path.relative_to(tmp_path).parts} == before

    @pytest.mark.parametrize("mode", ["w", "w:gz", "w:bz2", "w:xz"])
    def test_every_cut_of_a_tar_is_noticed(self, mode: str, tmp_path: Path, read: Callable[..., Pictures]) -> None:
        files = {f"{number}.png": encoded(Image.effect_noise((24, 24), 90 + number)) for number in range(5)}
        path = tmp_path / "set.tar"
        write_tar(path, files, mode)
        assert len(read(path)) == 5
        data = path.read_bytes()
        # Between members of a plain tar, too, where the reader alone would see an end like any other.
        with tarfile.open(path) as archive:
            borders = [member.offset for member in archive][1:] if mode == "w" else []
        end = borders[-1] + 100 if mode == "w" else len(data)  # behind it come zeros only
        for keep in [0, 300, end // 3, end // 2, end * 3 // 4, *borders]:
            path.write_bytes(data[:keep])
            with pytest.raises(BadInputError):
                read(f"tar:{path}")
        if mode == "w":
            path.write_bytes(data[: borders[2]])
            found = read(path, skip_bad=True)
            assert len(found) == 3
            assert list(map(str, found.problems)) == ["'set.tar' is truncated: pictures at its end are missing"]

    def test_members_that_are_no_files(self, tmp_path: Path, read: Callable[..., Pictures]) -> None:
        path = tmp_path / "set.tar"
        write_tar(path, {f"{number}.png": encoded(plain(number, mode="L")) for number in range(3)})
        with tarfile.open(path, "a") as archive:
            for kind in (tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE, tarfile.CHRTYPE):
                info = tarfile.TarInfo(f"kind{kind!r}.png")
                info.type, info.linkname = kind, "/etc/passwd"
                archive.addfile(info)
        assert len(read(path)) == 3


def write_tar(path: Path, files: dict[str, bytes], mode: str = "w") -> None:
    with tarfile.open(path, mode) as archive:
        for name, data in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))


class TestCache:
    def place(self, tmp_path: Path) -> Path:
        return folder(tmp_path / "set", **{f"a{number}": plain((number, 0, 9)) for number in range(5)})

    def kept(self, tmp_path: Path) -> list[str]:
        return sorted(path.suffix for path in (tmp_path / "cache").iterdir())

    def test_decodes_once(self, tmp_path: Path, read: Callable[..., Pictures], monkeypatch: pytest.MonkeyPatch) -> None:
        first = read(self.place(tmp_path))
        assert self.kept(tmp_path) == [".json", ".npy"]
        monkeypatch.setattr(decoding, "decode_picture", None)
        again = read(tmp_path / "set")
        np.testing.assert_array_equal(again.pixels, first.pixels)
        assert (again.fingerprint, again.name, again.classes) == (first.fingerprint, "set", ())
        assert isinstance(again.pixels.base, np.memmap)
        assert not again.pixels.flags.writeable

    @pytest.mark.parametrize("change", ["other bytes", "new", "gone"])
    def test_a_changed_folder_is_read_again(self, change: str, tmp_path: Path, read: Callable[..., Pictures]) -> None:
        place = self.place(tmp_path)
        first = read(place)
        old = (place / "a2.png").stat()
        if change == "other bytes":  # of the same size and with the same time of modification
            (place / "a2.png").write_bytes(encoded(plain((77, 0, 9))))
            assert (place / "a2.png").stat().st_size == old.st_size
            os.utime(place / "a2.png", ns=(old.st_atime_ns, old.st_mtime_ns))
        elif change == "new":
            folder(place, b=plain((50, 0, 9)))
        else:
            (place / "a2.png").unlink()
        second = read(place)
        assert second.fingerprint != first.fingerprint
        assert second.pixels[2, 0, 0, 0] == {"other bytes": 77, "new": 2, "gone": 3}[change]
        assert self.kept(tmp_path) == [".json", ".npy"], "what is out of date is removed"
        np.testing.assert_array_equal(first.pixels[:, 0, 0, 0], range(5))  # those who have it keep it

    def test_every_option_has_its_own(self, tmp_path: Path, read: Callable[..., Pictures]) -> None:
        place = self.place(tmp_path)
        shapes = [read(place, **more).pixels.shape for more in ({}, {"size": 8}, {"color": Color.grey}, {"limit": 2})]
        assert shapes == [(5, 16, 16, 3), (5, 8, 8, 3), (5, 16, 16, 1), (2, 16, 16, 3)]
        assert [read(place, **more).pixels.shape for more in ({}, {"size": 8})] == shapes[:2]

    @pytest.mark.parametrize("harm", ["short", "gone", "no json", "other json", "other shape"])
    def test_a_broken_cache_counts_for_nothing(self, harm: str, tmp_path: Path, read: Callable[..., Pictures]) -> None:
        first = read(self.place(tmp_path))
        (array,), (record,) = (list((tmp_path / "cache").glob(f"*.{kind}")) for kind in ("npy", "json"))
        if harm == "short":
            array.write_bytes(array.read_bytes()[:500])
        elif harm == "gone":
            array.unlink()
        elif harm == "other shape":
            np.save(array, np.zeros((4, 16, 16, 3), np.uint8))
        else:
            record.write_text("{" if harm == "no json" else json.dumps([1]))
        again = read(tmp_path / "set")
        assert again.fingerprint == first.fingerprint
        assert again.pixels[4, 0, 0, 0] == 4

    def test_nothing_is_left_of_a_failure(
        self, tmp_path: Path, read: Callable[..., Pictures], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def fail(*_: object) -> None:
            raise KeyboardInterrupt

        monkeypatch.setattr(decoding, "frame", fail)
        with pytest.raises(KeyboardInterrupt):
            read(self.place(tmp_path), size=16)
        assert list((tmp_path / "cache").iterdir()) == []

    def test_without_a_folder_it_stays_in_memory(self, tmp_path: Path) -> None:
        (tmp_path / "file").write_text("")
        found = read_pictures(str(self.place(tmp_path)), cache=tmp_path / "file" / "cache")
        np.testing.assert_array_equal(found.pixels[:, 0, 0, 0], range(5))
        assert not found.pixels.flags.writeable

    @pytest.mark.skipif(not hasattr(os, "posix_fallocate"), reason="needs posix_fallocate")
    def test_on_a_full_disk_it_stays_in_memory(
        self, tmp_path: Path, read: Callable[..., Pictures], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def full(*_: object) -> None:
            raise OSError(errno.ENOSPC, "No space left on device")

        monkeypatch.setattr(os, "posix_fallocate", full)
        found = read(self.place(tmp_path))
        np.testing.assert_array_equal(found.pixels[:, 0, 0, 0], range(5))
        assert list((tmp_path / "cache").iterdir()) == []

    def test_where_room_cannot_be_reserved_it_is_written(
        self, tmp_path: Path, read: Callable[..., Pictures], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.delattr(os, "posix_fallocate", raising=False)
        read(self.place(tmp_path))
        assert self.kept(tmp_path) == [".json", ".npy"]
        assert (read(tmp_path / "set").pixels[:, 0, 0, 0] == range(5)).all()

    def test_what_a_killed_run_left_is_removed_after_a_day(self, tmp_path: Path, read: Callable[..., Pictures]) -> None:
        left = tmp_path / "cache" / "decoding-0"
        left.mkdir(parents=True)
        read(self.place(tmp_path))
        assert left.exists(), "another run may be at it"
        os.utime(left, (0, 0))
        read(tmp_path / "set", size=8)
        assert not left.exists()

    def test_its_usual_place(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "x"))
        read_pictures(str(self.place(tmp_path)))
        assert len(list((tmp_path / "x/cvtool/gan").iterdir())) == 2
        monkeypatch.delenv("XDG_CACHE_HOME")
        monkeypatch.setenv("HOME", str(tmp_path))
        assert cache.default_cache() == tmp_path / ".cache/cvtool/gan"

    def test_without_a_home(self, monkeypatch: pytest.MonkeyPatch) -> None:
        def unknown(uid: int) -> None:
            raise KeyError(uid)

        for name in ("XDG_CACHE_HOME", "TORCH_HOME", "HOME"):
            monkeypatch.delenv(name, raising=False)
        monkeypatch.setattr("pwd.getpwuid", unknown)
        assert not cache.default_cache().parent.exists()
        assert fashion.places()[0] == fashion.DEBIAN


class TestCommandLine:
    def test_problems_are_listed(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        place = folder(tmp_path / "set", **{f"bad{number:02}": b"" for number in range(13)})
        folder(place, **TestBad().good())
        where = tmp_path / "cache"
        with pytest.raises(BadInputError) as caught:
            gan_data.checked(str(place), PictureOptions(), Console(), cache=where)
        assert caught.value.exit_code == 3
        lines = capsys.readouterr().err.splitlines()
        assert len(lines) == 11
        assert lines[0] == "cvtool: error: 'bad00.png' is empty. Fetch or save it again."
        assert lines[-1] == "cvtool: error: … and 3 more like these."
        found = gan_data.checked(str(place), PictureOptions(skip_bad=True), Console(), cache=where)
        assert len(found) == 3
        lines = capsys.readouterr().err.splitlines()
        assert lines[11:] == [
            "cvtool: warning: 13 pictures of 'set' are left out.",
            "cvtool: warning: only 3 pictures: a generator needs 1000 and more to invent new ones.",
        ]

    def test_enough_pictures_are_passed_in_silence(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        image = encoded(plain(RED, (8, 8)))
        place = folder(tmp_path / "set", **{f"a{number}": image for number in range(gan_data.FEW)})
        assert len(gan_data.checked(str(place), PictureOptions(), Console(), cache=tmp_path / "cache")) == 1000
        assert capsys.readouterr().err == ""


def test_the_same_bytes_whatever_the_threads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    images = {
        f"a{number}": Image.fromarray(rng.integers(0, 256, (90, 80 + number, 3), dtype=np.uint8)) for number in range(8)
    }
    place = folder(tmp_path / "set", **images)
    prints = set()
    for threads in (1, 4):
        monkeypatch.setattr(decoding, "MOST_THREADS", threads)
        prints.add(read_pictures(str(place), cache=tmp_path / "cache").fingerprint)
        shutil.rmtree(tmp_path / "cache")
    assert len(prints) == 1
