"""``cvtool stylize`` from words to files; the painter itself answers at once (see `conftest`)."""

from __future__ import annotations

import json
import shlex
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from helpers import mean_color, piped, save
from PIL import Image

from cvtool import __version__
from cvtool.cli.frames import Watcher
from cvtool.images import Picture, read_picture, visible_colors
from cvtool.provenance import read_provenance
from cvtool.stylize.options import Colors, Init, Optimizer, Recipe, StylizeOptions

pytestmark = pytest.mark.usefixtures("cat", "wave")


# inputs


def test_one_content_and_one_style(cvtool, painter, here: Path) -> None:
    done = cvtool("stylize", "cat.png", "wave.png")
    assert (done.code, done.out) == (0, "")
    assert sorted(p.name for p in here.iterdir()) == ["cat-stylize.png", "cat.png", "wave.png"]
    assert mean_color(read_picture("cat-stylize.png").pixels) == [100, 30, 15]
    (call,) = painter.calls
    assert mean_color(call["content"]) == [200, 60, 30]
    assert [mean_color(style) for style in call["styles"]] == [[20, 40, 180]]
    assert call["init"] is None
    assert painter.loads == [("efficientnet-lite0", {"device": "auto", "weights": None})]


def test_several_styles_and_folders_of_styles(cvtool, painter) -> None:
    save("more/b.png", (2, 2, 2))
    save("more/a.png", (1, 1, 1))
    assert cvtool("stylize", "cat.png", "wave.png", "more").code == 0
    assert [mean_color(style) for style in painter.calls[0]["styles"]] == [[20, 40, 180], [1, 1, 1], [2, 2, 2]]
    assert painter.calls[0]["options"].style_weights == ()


def test_weights_go_to_their_styles_and_a_folder_shares_its_own(cvtool, painter) -> None:
    save("more/b.png")
    save("more/a.png")
    words = ["stylize", "cat.png", "wave.png", "more", "--style-weight", 1, "--style-weight", 3]
    assert cvtool(*words).code == 0
    assert painter.calls[0]["options"].style_weights == (1.0, 1.5, 1.5)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["cat.png"], "style is missing"),
        (["cat.png", "wave.png", "--style-weight", "1", "--style-weight", "1"], "2 times for 1 styles"),
        (["cat.png", "wave.png", "--style-weight", "0"], "would leave its style out"),
        (["cat.png", "wave.png", "--style-weight", "nan"], "finite"),
        (["cat.png", "wave.png", "--strength", "nan"], "--strength"),
        (["cat.png", "wave.png", "--strength=-1"], "--strength"),
        (["cat.png", "wave.png", "--style-scale", "0"], "--style-scale"),
        (["cat.png", "wave.png", "--tv=-1"], "--tv"),
        (["cat.png", "wave.png", "--size=-5"], "--size"),
        (["cat.png", "wave.png", "--steps", "ten"], "--steps 'ten'"),
        (["cat.png", "wave.png", "--steps=-3"], "--steps '-3'"),
        (["cat.png", "wave.png", "--budget", "soon"], "--budget 'soon'"),
        (["cat.png", "wave.png", "--precision", "fp8"], "--precision"),
        (["cat.png", "wave.png", "--seed=-1"], "--seed"),
        (["cat.png", "wave.png", "--bits", "12"], "--bits"),
        (["cat.png", "wave.png", "--bits", "16", "-o", "x.jpg"], "--bits 16 is for png and tiff"),
        (["cat.png", "wave.png", "--bits", "16", "--format", "webp"], "--bits 16"),
        (["cat.png", "wave.png", "-o", "x.gif"], "'.gif'"),
        (["cat.png", "wave.png", "--animate", "x.avi"], "'.avi'"),
        (["cat.png", "wave.png", "--preview", "x.doc"], "'.doc'"),
        (["cat.png", "wave.png", "-o", "cat.png"], "is an input"),
        (["cat.png", "wave.png", "-o", "wave.png"], "is an input"),
        (["cat.png", "wave.png", "--init", "noise.png", "-o", "noise.png"], "is an input"),
        (["cat.png", "wave.png", "--preview", "cat.png"], "is an input"),
        (["cat.png", "wave.png", "--checkpoint", "wave.png"], "is an input"),
        (["cat.png", "wave.png", "--resume", "noise.png", "-o", "noise.png"], "is an input"),
        (["cat.png", "wave.png", "--resume", "noise.png", "--preview", "noise.png"], "is an input"),
        (["cat.png", "wave.png", "--weights", "noise.png", "-o", "noise.png"], "is an input"),
        (["cat.png", "wave.png", "-o", "x.png", "--preview", "x.png"], "already another output"),
        (["cat.png", "wave.png", "-o", "-", "--json"], "--json"),
        (["-", "-"], "only once"),
        (["cat.png", "asset:wavee"], "No bundled picture"),
        (["cat.png", "cat.png", "--style", "wave.png", "-o", "x.png"], "2 results"),
        (["cat.png", "cat.png", "--style", "wave.png", "--animate", "x.gif"], "--animate is for a single content"),
        (["cat.png", "cat.png", "--style", "wave.png", "--resume", "x.pt"], "--resume is for a single content"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_wrong_usage_ends_before_any_work(cvtool, painter, here: Path, words: list[str], message: str) -> None:
    save("noise.png")
    before = {path: path.read_bytes() for path in here.iterdir()}
    done = cvtool("stylize", *words)
    assert (done.code, done.out, done.err.count("\n")) == (2, "", 1)
    assert message in done.err
    assert painter.loads == painter.calls == []
    assert {path: path.read_bytes() for path in here.iterdir()} == before


def test_with_style_all_arguments_are_contents(cvtool, painter, here: Path) -> None:
    save("pics/a.png")
    save("pics/deep/b.png")
    words = ["stylize", "cat.png", "pics", "--style", "wave.png", "--recursive", "-o", "out"]
    assert cvtool(*words).code == 0
    assert sorted(p.name for p in (here / "out").iterdir()) == ["a-stylize.png", "b-stylize.png", "cat-stylize.png"]
    assert len(painter.loads) == 1, "the network is loaded once"


def test_a_folder_as_content_means_many(cvtool, painter, here: Path) -> None:
    save("pics/a.png")
    save("pics/b.jpg")
    assert cvtool("stylize", "pics", "wave.png", "-o", "out").code == 0
    assert sorted(p.name for p in (here / "out").iterdir()) == ["a-stylize.png", "b-stylize.png"]
    assert len(painter.calls) == 2


def test_results_of_one_run_never_overwrite_each_other(cvtool, painter, here: Path) -> None:
    save("one/cat.png", (10, 10, 10))
    save("two/cat.jpg", (250, 250, 250))
    assert cvtool("stylize", "one/cat.png", "two/cat.jpg", "--style", "wave.png").code == 0
    assert mean_color(read_picture("cat-stylize.png").pixels) == [5, 5, 5]
    assert mean_color(read_picture("cat-stylize-2.png").pixels) == [125, 125, 125]


def test_bundled_pictures_are_inputs(cvtool, painter) -> None:
    assert cvtool("stylize", "asset:cat", "asset:mosaic", "--json").code == 0
    assert Path("cat-stylize.png").exists()


# options


def test_defaults_are_those_of_the_service(cvtool, painter) -> None:
    cvtool("stylize", "cat.png", "wave.png")
    assert painter.calls[0]["options"] == StylizeOptions()


def test_every_option_arrives(cvtool, painter, here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cvtool.cli.stylize_painter.seconds_since_start", lambda: 2.0)
    save("start.png", (9, 9, 9))
    words = """stylize cat.png wave.png --strength 70 --size 64 --steps 3,2 --optimizer lbfgs --init start.png
        --preserve-colors match --style-scale 0.5 --tv 0.1 --budget 1.5m --recipe gatys --seed 7 --precision bf16
        --style-layers a,b --content-layers c --model vgg19 --weights w.pth --device cuda:1 --style-weight 2"""
    assert cvtool(*words.split()).code == 0
    assert painter.calls[0]["options"] == StylizeOptions(
        strength=70,
        size=64,
        steps=(3, 2),
        optimizer=Optimizer.lbfgs,
        init=None,
        preserve_colors=Colors.match,
        style_scale=0.5,
        style_weights=(2.0,),
        tv=0.1,
        budget=pytest.approx(90 - 2 - 0.3, abs=0.01),  # less the start of the process and what writing takes
        recipe=Recipe.gatys,
        seed=7,
        precision="bf16",
        style_layers=("a", "b"),
        content_layers=("c",),
    )
    assert mean_color(painter.calls[0]["init"]) == [9, 9, 9]
    assert painter.loads == [("vgg19", {"device": "cuda:1", "weights": Path("w.pth")})]


@pytest.mark.parametrize(("recipe", "model"), [("default", "efficientnet-lite0"), ("gatys", "vgg19")])
def test_a_recipe_brings_its_network(cvtool, painter, recipe: str, model: str) -> None:
    outcome = cvtool("stylize", "cat.png", "wave.png", "--recipe", recipe, "--json")
    assert painter.loads[0][0] == model
    assert json.loads(outcome.out)["model"] == model


@pytest.mark.parametrize("name", [member.value for member in Init])
def test_init_by_name(cvtool, painter, name: str) -> None:
    assert cvtool("stylize", "cat.png", "wave.png", "--init", name).code == 0
    assert painter.calls[0]["options"].init is Init(name)
    assert painter.calls[0]["init"] is None


# outputs


@pytest.mark.parametrize(
    ("words", "file", "format"),
    [
        (["-o", "x.jpg"], "x.jpg", "JPEG"),
        (["-o", "x.tif"], "x.tif", "TIFF"),
        (["-o", "x.webp"], "x.webp", "WEBP"),
        (["-o", "x", "--format", "jpg"], "x", "JPEG"),
        (["--format", "webp"], "cat-stylize.webp", "WEBP"),
        (["-o", "new/deep/x.png"], "new/deep/x.png", "PNG"),
        (["-o", "folder/"], "folder/cat-stylize.png", "PNG"),
    ],
)
def test_formats_and_places(cvtool, painter, words: list[str], file: str, format: str) -> None:
    assert cvtool("stylize", "cat.png", "wave.png", *words).code == 0
    with Image.open(file) as image:
        assert image.format == format
        assert image.size == (48, 32)


def test_sixteen_bits(cvtool, painter) -> None:
    assert cvtool("stylize", "cat.png", "wave.png", "--bits", "16", "-o", "x.png").code == 0
    assert read_picture("x.png").bits == 16
    assert cvtool("stylize", "cat.png", "wave.png", "-o", "y.png").code == 0
    assert read_picture("y.png").bits == 8


def test_alpha_is_kept(cvtool, painter) -> None:
    pixels = np.zeros((32, 48, 4), np.uint8)
    pixels[..., 0] = 200
    pixels[:, :24, 3] = 255
    pixels[:, 40:, 3] = 128
    Image.fromarray(pixels).save("cut.png")
    assert cvtool("stylize", "cut.png", "wave.png", "-o", "x.png").code == 0
    assert (np.asarray(Image.open("x.png"))[..., 3] == pixels[..., 3]).all()
    assert cvtool("stylize", "cut.png", "wave.png", "-o", "x.jpg").code == 0
    assert np.asarray(Image.open("x.jpg"))[16, 32].min() > 250, "JPEG has no alpha: white shows through"


def test_colors_behind_transparent_pixels_do_not_bleed() -> None:
    pixels = np.zeros((2, 2, 3), np.float32)
    pixels[0] = (1.0, 0.5, 0.0)
    alpha = np.array([[1, 0.25], [0, 0]], np.float32)
    seen = visible_colors(Picture(pixels, alpha, 8, "x"))
    assert seen[0] == pytest.approx(pixels[0])
    assert seen[1] == pytest.approx(np.array([[1.0, 0.5, 0.0]] * 2))
    assert seen.dtype == np.float32
    nothing = visible_colors(Picture(pixels, np.zeros((2, 2), np.float32), 8, "x"))
    assert np.isfinite(nothing).all()


def test_stdin_to_stdout(here: Path) -> None:
    """In a process of its own, as pipes are."""
    program = f"""
import sys
sys.path[:0] = {[str(folder) for folder in Path(__file__).parents[:2]]!r}
import pytest
from conftest import FakePainter
from types import ModuleType
fake = FakePainter()
for name, attribute in (("cvtool.stylize.service", "stylize"), ("cvtool.models.loader", "load")):
    module = ModuleType(name)
    setattr(module, attribute, getattr(fake, attribute))
    sys.modules[name] = module
from cvtool.cli.main import run
sys.exit(run(["stylize", "-", "wave.png", "-o", "-", "--format", "webp"]))
"""
    with open("cat.png", "rb") as picture:
        done = subprocess.run([sys.executable, "-c", program], stdin=picture, capture_output=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout[:4] == b"RIFF"
    assert done.stdout[8:12] == b"WEBP"
    assert done.stderr.decode().startswith("- -> - ")
    assert sorted(p.name for p in here.iterdir()) == ["cat.png", "wave.png"]


def test_what_comes_from_stdin_is_called_so(cvtool, painter, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", piped("cat.png"))
    assert cvtool("stylize", "-", "wave.png").code == 0
    assert Path("stdin-stylize.png").exists()


def test_an_animation_shows_how_it_came_to_be(cvtool, painter) -> None:
    assert cvtool("stylize", "cat.png", "wave.png", "--animate", "films/x.gif").code == 0
    made = read_provenance("films/x.gif")
    assert (made.command, made.options["animate"]) == ("stylize", "x.gif")
    assert cvtool(*shlex.split(made.command_line)[1:]).code == 0
    assert Path("x.gif").read_bytes() == Path("films/x.gif").read_bytes()
    with Image.open("films/x.gif") as film:
        assert film.n_frames >= 3
        assert film.size == (48, 32)
        film.seek(film.n_frames - 1)
        assert np.asarray(film.convert("RGB"))[0, 0] == pytest.approx([100, 30, 15], abs=2)


def test_a_preview_is_the_picture_so_far(cvtool, painter) -> None:
    assert cvtool("stylize", "cat.png", "wave.png", "--preview", "now.png").code == 0
    assert mean_color(read_picture("now.png").pixels) == [100, 30, 15]


@pytest.mark.parametrize("format", ["png", "jpg"])
def test_a_preview_knows_how_it_is_made_at_any_time(
    cvtool, painter, monkeypatch: pytest.MonkeyPatch, format: str
) -> None:
    file, seen = f"now.{format}", []
    keep = Watcher.__call__

    def watch(self: Watcher, pixels: np.ndarray) -> None:
        keep(self, pixels)
        seen.append(read_provenance(file))

    monkeypatch.setattr(Watcher, "__call__", watch)
    assert cvtool("stylize", "cat.png", "wave.png", "--budget", "9s", "--preview", file).code == 0
    assert {made.options["preview"] for made in seen} == {file}
    assert "--budget 9.0" in seen[-1].command_line
    made = read_provenance(file)
    assert made.options["steps"] == [3, 2]
    assert f"--preview {file}" in made.command_line
    before = Path(file).read_bytes()
    assert cvtool(*shlex.split(made.command_line)[1:]).code == 0
    assert Path(file).read_bytes() == before


def test_checkpoints_are_the_business_of_the_service(cvtool, painter) -> None:
    words = ["stylize", "cat.png", "wave.png", "-o", "x.png"]
    assert cvtool(*words, "--checkpoint", "states/x.safetensors", "--budget", "9s").code == 0
    assert painter.calls[0]["resume"] is None
    assert cvtool(*words, "--checkpoint", "states/x.safetensors", "--resume", "states/x.safetensors").code == 0
    assert painter.calls[1]["resume"].facts == painter.snapshot().facts


def test_a_checkpoint_knows_how_it_was_made(cvtool, painter, here: Path) -> None:
    words = ["stylize", "cat.png", "wave.png", "-o", "x.png", "--checkpoint", "x.safetensors", "--budget", "9s"]
    assert cvtool(*words).code == 0
    line = shlex.split(read_provenance("x.safetensors").command_line)
    assert line == ["cvtool", "stylize", "--budget", "9.0", str(here / "cat.png"), str(here / "wave.png")]
    assert "--budget 9.0" in cvtool("info", "x.safetensors").out


@pytest.mark.parametrize("file", ["gone.safetensors", "wave.png"])
def test_what_is_no_checkpoint(cvtool, painter, file: str) -> None:
    done = cvtool("stylize", "cat.png", "wave.png", "--resume", file)
    assert (done.code, done.err.count("\n")) == (3, 1)
    assert file in done.err
    assert painter.loads == painter.calls == []


# what is said


def test_json_has_the_promised_keys(cvtool, painter) -> None:
    done = cvtool("stylize", "cat.png", "wave.png", "-o", "x.png", "--json", "--seed", "3", "-q")
    assert (done.code, done.err) == (0, "")
    record = json.loads(done.out)
    expected = {
        "command": "stylize",
        "input": "cat.png",
        "output": "x.png",
        "model": "efficientnet-lite0",
        "device": "cpu",
        "seed": 3,
        "version": __version__,
        "width": 48,
        "height": 32,
        "steps": 5,
        "content_loss": 0.25,
        "style_loss": 0.5,
        "tv_loss": None,
        "stopped_by": "steps",
    }
    assert record.items() >= expected.items()
    assert record["seconds"] >= 0
    assert record["peak_memory_mb"] > 10


def test_one_json_object_per_result_in_order(cvtool, painter) -> None:
    done = cvtool("stylize", "cat.png", "wave.png", "--style", "wave.png", "--json")
    assert [json.loads(line)["input"] for line in done.out.splitlines()] == ["cat.png", "wave.png"]


def test_stderr_names_what_was_written_unless_quiet(cvtool, painter) -> None:
    said = cvtool("stylize", "cat.png", "wave.png", "-o", "x.png")
    assert said.err.count("\n") == 1
    assert "x.png" in said.err
    assert cvtool("stylize", "cat.png", "wave.png", "-o", "x.png", "-q").err == ""
    assert cvtool("stylize", "cat.png", "wave.png", "-o", "x.png", "-v").err.count("peak memory") == 1
