"""``cvtool gan sample``, ``interpolate``, ``invert``, ``evaluate`` and ``export`` from words to files."""

from __future__ import annotations

import json
import shlex
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers import save
from PIL import Image

import cvtool.cli.gan_generator as shared
import cvtool.cli.main as program
from cvtool.gan.checkpoint import Checkpoint, write_checkpoint
from cvtool.gan.networks import Shape, build
from cvtool.gan.options import NetworkOptions
from cvtool.gan.sampling import latents, sample
from cvtool.provenance import read_provenance

COMMON = {"command", "input", "output", "model", "device", "seed", "seconds", "version"}
NAMES = ("sock", "hat", "left shoe")


@pytest.fixture(scope="module")
def shelf(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two untrained generators; nobody writes here."""
    folder = tmp_path_factory.mktemp("generators")
    for name, size, channels, classes in (("grey", 16, 1, NAMES), ("plain", 8, 3, ())):
        torch.manual_seed(0)
        options = NetworkOptions(width=4, latent=8)
        network, _ = build(options, Shape(size, channels, len(classes)))
        noise = network.noise(64, torch.Generator().manual_seed(0))
        for _ in range(30):
            network(noise, torch.arange(64) % 3 if classes else None)
        write_checkpoint(folder / f"{name}.safetensors", Checkpoint(network.eval(), options, classes, "nothing"))
    return folder


@pytest.fixture
def grey(shelf: Path) -> Path:
    return shelf / "grey.safetensors"


@pytest.fixture
def plain(shelf: Path) -> Path:
    return shelf / "plain.safetensors"


def pixels_of(path: Path | str) -> np.ndarray:
    with Image.open(path) as image:
        return np.asarray(image.convert("RGB"))


def network_of(path: Path):
    from cvtool.gan.checkpoint import read_checkpoint

    return read_checkpoint(path).generator


def test_a_grid(cvtool, here: Path, grey: Path) -> None:
    done = cvtool("gan", "sample", "--checkpoint", grey, "-n", 7, "--columns", 3, "--scale", 2, "--json", "-q")
    assert done.code == 0
    facts = json.loads(done.out)
    assert set(facts) >= COMMON | {"samples", "seeds", "labels"}
    assert (facts["output"], facts["seed"], facts["samples"]) == ("grey-sample.png", 0, 7)
    assert facts["seeds"] == list(range(7))
    assert facts["labels"] == [NAMES[number % 3] for number in range(7)]
    sheet = pixels_of("grey-sample.png")
    assert sheet.shape == (facts["height"], facts["width"], 3)
    network = network_of(grey)
    expected = sample(network, latents(network, range(7)), torch.arange(7) % 3)
    top = sheet.shape[0] - 3 * 36
    for number, picture in enumerate(expected):
        row, column = divmod(number, 3)
        cell = sheet[top + row * 36 : top + row * 36 + 32, 4 + column * 36 : 4 + column * 36 + 32]
        assert np.array_equal(cell, picture.repeat(3, 2).repeat(2, 0).repeat(2, 1))


def test_stdout(cvtool, here: Path, grey: Path) -> None:
    done = cvtool("gan", "sample", "--checkpoint", grey, "-n", 2, "-o", "-")
    assert (done.code, "PNG" in done.out[:8]) == (0, True)
    assert list(here.iterdir()) == []


def test_classes_fill_whole_rows(cvtool, here: Path, grey: Path, plain: Path) -> None:
    for file, count, width in ((grey, 66, 4 + 3 * 260), (plain, 64, 4 + 8 * (14 * 8 + 4))):
        facts = json.loads(cvtool("gan", "sample", "--checkpoint", file, "--json").out)
        assert facts["samples"] == count
        assert facts["width"] == width


def test_single_files_are_the_grid_s_pictures(cvtool, here: Path, grey: Path) -> None:
    words = ("--checkpoint", grey, "--seeds", "3,40-41", "--label", "Left_Shoe,0", "--truncation", 1)
    done = cvtool("gan", "sample", *words, "--files", "-o", "out", "--json")
    assert done.code == 0
    lines = [json.loads(line) for line in done.out.splitlines()]
    assert [(each["seed"], each["labels"]) for each in lines] == [
        (3, ["left shoe"]),
        (40, ["sock"]),
        (41, ["left shoe"]),
    ]
    names = ["grey-sample-03-left-shoe.png", "grey-sample-40-sock.png", "grey-sample-41-left-shoe.png"]
    assert sorted(path.name for path in Path("out").iterdir()) == names
    network = network_of(grey)
    expected = sample(network, latents(network, [3, 40, 41], 1.0), torch.tensor([2, 0, 2]))
    for name, picture in zip(names, expected, strict=True):
        assert np.array_equal(pixels_of(f"out/{name}"), picture.repeat(3, 2))


@pytest.mark.parametrize(
    "words",
    [
        ("sample", "--seeds", "5-9", "--label", "hat", "-o", "x.png"),
        ("sample", "-n", 5, "--seed", 4, "--truncation", 0.5, "--format", "tiff", "-o", "x.tiff"),
        ("interpolate", "--seeds", "1,2", "--frames", 5, "-o", "x.png"),
        ("interpolate", "--loop", "--label", "sock", "-o", "x.png"),
    ],
    ids=lambda words: " ".join(map(str, words)),
)
def test_the_line_in_a_picture_makes_it_again(cvtool, here: Path, grey: Path, words) -> None:
    assert cvtool("gan", *words, "--checkpoint", grey, "-q").code == 0
    first = Path(words[-1])
    line = shlex.split(read_provenance(first).command_line)
    assert line[0] == "cvtool"
    assert cvtool(*line[1:], "-o", f"again{first.suffix}").code == 0
    assert np.array_equal(pixels_of(first), pixels_of(f"again{first.suffix}"))


def test_the_line_in_a_single_file_makes_that_picture(cvtool, here: Path, grey: Path) -> None:
    assert cvtool("gan", "sample", "--checkpoint", grey, "-n", 4, "--files", "-o", "out", "-q").code == 0
    file = Path("out/grey-sample-2-left-shoe.png")
    line = shlex.split(read_provenance(file).command_line)
    assert cvtool(*line[1:], "-o", "again.png").code == 0
    assert np.array_equal(pixels_of("again.png"), pixels_of(file))
    assert cvtool(*line[1:]).code == 0
    assert np.array_equal(pixels_of(file.name), pixels_of(file))


def test_the_line_in_a_file_of_given_noise_makes_all(
    cvtool, here: Path, grey: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    np.save("three.npy", np.random.default_rng(0).normal(size=(3, 8)).astype(np.float32))
    words = ("--checkpoint", grey, "--latent", "three.npy", "--label", "hat,sock", "--files", "-o", "out", "-q")
    assert cvtool("gan", "sample", *words).code == 0
    files = sorted((here / "out").iterdir())
    assert [file.name for file in files] == [f"grey-sample-{name}.png" for name in ("1-hat", "2-sock", "3-hat")]
    (here / "elsewhere").mkdir()
    monkeypatch.chdir("elsewhere")
    line = shlex.split(read_provenance(files[1]).command_line)
    assert cvtool(*line[1:]).code == 0
    for file in files:
        assert np.array_equal(pixels_of(file.name), pixels_of(file))


@pytest.mark.parametrize("suffix", [".gif", ".webp", ".mp4"])
def test_animations(cvtool, here: Path, plain: Path, suffix: str) -> None:
    words = ("--checkpoint", plain, "--seeds", "0,1,2", "--frames", 9, "--scale", 2, "--animate", f"w{suffix}")
    done = cvtool("gan", "interpolate", *words, "--json")
    assert done.code == 0
    facts = json.loads(done.out)
    assert (facts["frames"], facts["loop"], facts["output"], facts["labels"]) == (9, True, f"w{suffix}", None)
    assert [path.name for path in here.iterdir()] == [f"w{suffix}"]  # no strip unless asked for
    made = read_provenance(f"w{suffix}")
    assert (made.command, made.options["animate"], made.options["scale"]) == ("gan interpolate", f"w{suffix}", 2)
    before = Path(f"w{suffix}").read_bytes()
    assert cvtool(*shlex.split(made.command_line)[1:]).code == 0
    assert Path(f"w{suffix}").read_bytes() == before
    assert [path.name for path in here.iterdir()] == [f"w{suffix}"]
    if suffix != ".mp4":
        with Image.open(f"w{suffix}") as image:
            assert (image.n_frames, image.size) == (9, (16, 16))


def test_a_strip_has_a_row_for_each_leg(cvtool, here: Path, grey: Path) -> None:
    words = ("--checkpoint", grey, "--seeds", "7,8,9", "--frames", 7, "--scale", 1, "-o", "s.png")
    assert cvtool("gan", "interpolate", *words).code == 0
    sheet = pixels_of("s.png")
    assert sheet.shape[0] == 2 + 2 * 18
    network = network_of(grey)
    stops = sample(network, latents(network, [7, 8, 9]), torch.arange(3)).repeat(3, 3)
    left = sheet.shape[1] - 4 * 18  # four pictures a row, after its label

    def cell(row: int, column: int) -> np.ndarray:
        return sheet[2 + row * 18 : 18 + row * 18, left + column * 18 : left + column * 18 + 16]

    for (row, column), stop in {(0, 0): 0, (0, 3): 1, (1, 0): 1, (1, 3): 2}.items():
        assert np.array_equal(cell(row, column), stops[stop])


def test_there_and_back(cvtool, here: Path, grey: Path) -> None:
    """A picture that was made, its noise found again, and made from that."""
    network = network_of(grey)
    made = sample(network, latents(network, [99]), torch.tensor([1]))[0]
    Image.fromarray(made[..., 0]).save("made.png")
    words = ("--checkpoint", grey, "--latent", "noise.npy", "--steps", 200)
    done = cvtool("gan", "invert", "made.png", *words, "--json")
    assert done.code == 0
    facts = json.loads(done.out)
    assert set(facts) >= COMMON | {"psnr", "ssim", "classes", "latent", "stopped_by"}
    assert facts["psnr"] > 25
    assert facts["classes"][0]["name"] == "hat"
    assert np.load("noise.npy").shape == (1, 8 + 3)
    assert read_provenance("made-inverted.png").command == "gan invert"
    for command in (("sample", "--scale", 1), ("sample", "--files")):
        assert cvtool("gan", *command, "--checkpoint", grey, "--latent", "noise.npy", "-o", "z/", "-q").code == 0
    again = pixels_of(next(Path("z").glob("grey-sample-1*")))
    assert np.square(again.astype(float) - made).mean() == pytest.approx(255**2 / 10 ** (facts["psnr"] / 10), rel=0.01)
    both = np.load("noise.npy").repeat(2, 0)
    np.save("two.npy", both[:, :8])
    assert cvtool("gan", "interpolate", "--checkpoint", grey, "--latent", "two.npy", "-o", "w.png").code == 0


def test_the_line_in_what_was_found_finds_it_again(
    cvtool, here: Path, plain: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save("a.png", size=(20, 12))
    words = ("--checkpoint", plain, "--steps", 3, "--starts", 2, "--seed", 4)
    assert cvtool("gan", "invert", "a.png", *words).code == 0
    line = shlex.split(read_provenance("a-inverted.png").command_line)
    (here / "elsewhere").mkdir()
    monkeypatch.chdir("elsewhere")
    assert cvtool(*line[1:]).code == 0
    assert np.array_equal(pixels_of("a-inverted.png"), pixels_of("../a-inverted.png"))


def test_several_pictures_are_inverted(cvtool, here: Path, plain: Path) -> None:
    for name in ("a", "b"):
        Image.new("RGB", (20, 12), "red").save(f"{name}.png")
    Path("c.png").write_text("no picture")
    words = ("--checkpoint", plain, "--steps", 3, "--starts", 2, "--latent", "n.npy", "-o", "out", "--json")
    done = cvtool("gan", "invert", "a.png", "c.png", "b.png", *words)
    assert done.code == 3
    assert [json.loads(line).get("error") is None for line in done.out.splitlines()] == [True, False, True]
    assert np.load("n.npy").shape == (2, 8)
    assert len(list(Path("out").iterdir())) == 2


def test_the_same_picture_twice(cvtool, here: Path, plain: Path) -> None:
    """Each has a result of its own."""
    Image.new("RGB", (8, 8), "red").save("a.png")
    done = cvtool("gan", "invert", "a.png", "a.png", "--checkpoint", plain, "--steps", 2, "--starts", 2, "--json")
    assert done.code == 0
    written = ["a-inverted.png", "a-inverted-2.png"]
    assert [json.loads(line)["output"] for line in done.out.splitlines()] == written
    assert all(Path(name).is_file() for name in written)


def test_broken_weights_are_told_once(cvtool, here: Path, plain: Path) -> None:
    for name in "ab":
        Image.new("RGB", (8, 8), "red").save(f"{name}.png")
    Path("w.pth").write_bytes(b"no weights")
    words = ("--checkpoint", plain, "--features", 1, "--weights", "w.pth", "--json")
    done = cvtool("gan", "invert", "a.png", "b.png", *words)
    assert (done.code, done.out, done.err.count("\n")) == (3, "", 1)
    assert "w.pth" in done.err
    assert "absent.png" in cvtool("gan", "invert", "absent.png", *words).err, "a single picture is read first"


def test_pictures_are_also_compared_by_what_a_network_sees(cvtool, here: Path, plain: Path) -> None:
    Image.new("RGB", (8, 8), "red").save("a.png")
    words = ("--checkpoint", plain, "--steps", 2, "--starts", 2, "--features", 1, "-q")
    assert cvtool("gan", "invert", "a.png", *words).code == 0


def test_evaluation(cvtool, here: Path, grey: Path) -> None:
    rng = np.random.default_rng(0)
    for number in range(60):
        path = Path(f"set/{NAMES[number % 3]}/{number}.png")
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 256, (16, 16), dtype=np.uint8)).save(path)
    words = ("--checkpoint", grey, "--data", "folder:set", "--samples", 30, "--cache", "cache")
    done = cvtool("gan", "evaluate", *words, "--nearest", "near.png", "--json")
    assert done.code == 0, done.err
    facts = json.loads(done.out)
    assert set(facts) >= COMMON | {"fd", "kd", "precision", "recall", "feature_model", "samples"}
    assert facts["samples"] == facts["reference"] == facts["real"]["samples"] == 30
    assert facts["real"]["split"] == "train"
    assert facts["fd"] > facts["real"]["fd"]
    assert facts["learned_from_this"] is False
    near = read_provenance("near.png")
    assert (near.command, "--nearest near.png" in near.command_line) == ("gan evaluate", True)
    picture = Path("set/hat/1.png").read_bytes()
    refused = cvtool("gan", "evaluate", *words, "--nearest", "set/hat/1.png")
    assert (refused.code, "is an input and would be overwritten" in refused.err) == (2, True)
    assert Path("set/hat/1.png").read_bytes() == picture
    rounded = json.loads(cvtool("gan", "evaluate", *words, "--precision", "bf16", "--json").out)
    assert rounded["feature_model"] == facts["feature_model"] + "/bfloat16"
    told = cvtool("gan", "evaluate", *words)
    assert told.out.splitlines()[0].split() == ["generated", "real", "(held", "back)"]
    assert told.out.splitlines()[1].startswith("Fréchet distance")
    assert cvtool("gan", "evaluate", *words[:2], "--data", "folder:nowhere").code == 3


@pytest.mark.filterwarnings("ignore:`torch.jit.load` is deprecated")
def test_export(cvtool, here: Path, grey: Path) -> None:
    done = cvtool("gan", "export", "--checkpoint", grey, "-o", "g.pt", "--json")
    assert done.code == 0
    facts = json.loads(done.out)
    assert (facts["inputs"], facts["latent"], facts["classes"]) == (["z", "label"], 8, list(NAMES))
    assert facts["largest_difference"] < 1e-4
    assert torch.jit.load("g.pt")(torch.zeros(2, 8), torch.tensor([0, 1])).shape == (2, 1, 16, 16)


@pytest.mark.filterwarnings("ignore:`torch.jit.load` is deprecated")
def test_the_line_in_an_export_makes_it_again(cvtool, here: Path, grey: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def opened(path: str) -> tuple[torch.Tensor, str]:
        """A picture that it makes, and the line in it."""
        facts = {"cvtool": ""}
        made = torch.jit.load(path, _extra_files=facts)(torch.ones(1, 8), torch.tensor([2]))
        return made, json.loads(facts["cvtool"])["command_line"]

    assert cvtool("gan", "export", "--checkpoint", grey, "-o", "deep/g.pt", "-q").code == 0
    made, line = opened("deep/g.pt")
    (here / "elsewhere").mkdir()
    monkeypatch.chdir("elsewhere")
    assert cvtool(*shlex.split(line)[1:]).code == 0
    again, second = opened("g.pt")
    assert torch.equal(again, made)
    assert second == line


REFUSED = {
    "sample --seeds 3- -o x.png": (2, "--seeds '3-'"),
    "sample --seeds 5-2": (2, "--seeds"),
    "sample --seeds -1": (2, "--seeds"),
    "sample --seeds ,": (2, "--seeds"),
    "sample --seeds 0-99999999": (2, "more than 1000000"),
    "sample --seeds 4294967296": (2, "up to 4294967295"),
    "sample --seed 4294967290": (2, "lower --seed"),
    "sample --seeds 1-3 -n 5": (2, "-n has no effect"),
    "sample -n 20000": (2, "--files"),
    "sample -n 500 --scale 64": (2, "500 pictures of 1024 px are too many at once. Use --files"),
    "sample --latent z.npy --seeds 1": (2, "--seeds has no effect"),
    "sample --latent missing.npy": (3, "missing.npy"),
    "sample --label glove": (2, "No class 'glove'"),
    "sample --truncation 0": (2, "--truncation"),
    "sample -o x.bmp": (2, "x.bmp"),
    "sample --files -o -": (2, "--files"),
    "sample --json -o -": (2, "--json"),
    "interpolate --seeds 4": (2, "at least two"),
    "interpolate --seeds 4,5,6 --frames 2": (2, "3 or more"),
    "interpolate --animate x.avi": (2, "x.avi"),
    "interpolate --animate x.gif --scale 64 --frames 2000": (2, "too many"),
    "interpolate --scale 64 --frames 2000": (2, "too many"),
    "interpolate --animate x.webp -o x.webp": (2, "--animate 'x.webp' is already another output"),
    "invert missing.png": (3, "missing.png"),
    "invert missing.png --latent x.png -o x.png": (2, "--latent 'x.png' is already another output"),
    "invert missing.png --label nothing": (2, "No class 'nothing'"),
    "export -o x.bin": (2, ".onnx"),
}


@pytest.mark.parametrize("words", REFUSED)
def test_what_cannot_be_done_is_told_in_one_line(cvtool, here: Path, grey: Path, words: str) -> None:
    code, told = REFUSED[words]
    command, *rest = words.split()
    done = cvtool("gan", command, "--checkpoint", grey, *rest)
    assert done.code == code
    assert told in done.err
    assert len(done.err.strip().splitlines()) == 1
    assert list(here.iterdir()) == []


def test_the_checkpoint_stays_as_it_is(cvtool, here: Path, grey: Path) -> None:
    copy = here / "g.png"
    copy.write_bytes(grey.read_bytes())
    for words in (("sample", "-o", copy), ("interpolate", "--animate", copy), ("interpolate", "-o", copy)):
        assert cvtool("gan", *words, "--checkpoint", copy).code == 2
    assert copy.read_bytes() == grey.read_bytes()
    copy.write_bytes(grey.read_bytes()[:-9])
    done = cvtool("gan", "sample", "--checkpoint", copy)
    assert done.code == 3
    assert "not a checkpoint" in done.err


def test_files_so_far_stay_after_ctrl_c(cvtool, here: Path, grey: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import signal

    from cvtool.cli.gan_sample import Sampling

    write = Sampling._write_file

    def press(self, destination, place, pixels) -> None:
        write(self, destination, place, pixels)
        if place == 2:
            signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(Sampling, "_write_file", press)
    done = cvtool("gan", "sample", "--checkpoint", grey, "-n", 50, "--files", "-o", "out")
    assert done.code == 130
    assert "3 of 50" in done.err
    assert len(list(Path("out").iterdir())) == 3


def test_seeds() -> None:
    assert shared.parse_seeds("0-3, 9,7-7") == (0, 1, 2, 3, 9, 7)
    assert shared.fitting_scale(28, 10, 900, 256) == 3
    assert shared.fitting_scale(300, 3, 900, 256) == 1
    assert program.run(["gan", "sample", "--help"]) == 0
