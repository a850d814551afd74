"""``cvtool fool`` from words to files, on the bundled network."""

from __future__ import annotations

import csv
import inspect
import json
import shlex
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from helpers import save
from PIL import Image

from cvtool.bundled import find_asset
from cvtool.cli.fool import NOT_WITH_ALL_TARGETS, fool
from cvtool.fool.problem import Problem
from cvtool.images import flatten, read_picture
from cvtool.models.cards import Resize
from cvtool.models.framing import classify, takes_any_size
from cvtool.models.loader import load
from cvtool.provenance import read_provenance, sha256_of

ESPRESSO, TABBY = 967, 281


@pytest.fixture
def photo(here: Path) -> Path:
    """The bundled cat, small."""
    with Image.open(find_asset("cat").path) as picture:
        picture.resize((180, 120)).save(here / "tabby.png")
    return here / "tabby.png"


@pytest.fixture
def photos(here: Path, photo: Path) -> Path:
    """A folder with two pictures and a broken file."""
    folder = here / "photos"
    folder.mkdir()
    with Image.open(photo) as picture:
        picture.save(folder / "a.png")
        picture.transpose(Image.Transpose.FLIP_LEFT_RIGHT).save(folder / "b.png")
    (folder / "c.png").write_bytes(b"no picture")
    return folder


def lines(outcome) -> list[dict]:
    assert outcome.code in (0, 3, 5), outcome.err
    return [json.loads(line) for line in outcome.out.splitlines()]


def seen_in(path: Path, how: Resize = Resize.crop) -> np.ndarray:
    """What the bundled network says of a file, asked without this command."""
    model = load("efficientnet-lite0")
    return classify(flatten(read_picture(path)), model, how, takes_any_size(model)).softmax(0).numpy()


def test_the_saved_file_fools(cvtool, photo: Path, here: Path) -> None:
    done = cvtool("fool", "tabby.png", "--target", "espresso")
    assert (done.code, done.out) == (0, "")
    assert sorted(path.name for path in here.iterdir()) == ["tabby-fool-espresso.png", "tabby.png"]
    assert "espresso" in done.err
    chances = seen_in(here / "tabby-fool-espresso.png")
    assert chances.argmax() == ESPRESSO
    assert chances[ESPRESSO] >= 0.9 - 1e-3
    before, after = (
        np.asarray(Image.open(here / name)).astype(int) for name in ("tabby.png", "tabby-fool-espresso.png")
    )
    assert before.shape == after.shape
    assert 0 < np.abs(before - after).mean() < 3


def test_json(cvtool, photo: Path) -> None:
    (found,) = lines(cvtool("fool", "tabby.png", "--target", ESPRESSO, "--json", "--top-k", 2, "--steps", 40))
    assert {"command", "input", "output", "model", "device", "seed", "seconds", "version"} <= found.keys()
    assert {"method", "success", "queries", "steps", "linf", "l2", "l0", "ssim", "transfer"} <= found.keys()
    assert found["success"] is True
    assert found["target"]["name"] == "espresso"
    assert found["target"]["probability"] >= 0.9 - 1e-3
    assert len(found["original"]["predictions"]) == 2
    assert found["adversarial"]["margin"] > 0 > found["original"]["margin"]
    assert 0.8 < found["ssim"] < 1


def test_json_tells_of_the_file(cvtool, photo: Path) -> None:
    (found,) = lines(cvtool("fool", "tabby.png", "--untargeted", "--method", "fgsm", "--eps", "4/255", "--json"))
    chances = {name: seen_in(Path(found[file])) for name, file in (("original", "input"), ("adversarial", "output"))}
    for name, seen in chances.items():
        first = found[name]["predictions"][0]
        assert (first["index"], first["probability"]) == (seen.argmax(), pytest.approx(seen.max(), abs=1e-4))
    before, after = (np.asarray(Image.open(found[name])) / 255 for name in ("input", "output"))
    change = after - before
    assert found["linf"] == pytest.approx(np.abs(change).max(), abs=1e-6)
    assert found["linf"] == pytest.approx(4 / 255, abs=1e-6)
    assert found["l2"] == pytest.approx(np.sqrt(np.square(change).sum()), rel=1e-5)
    assert found["l0"] == np.any(change != 0, axis=2).sum()


def test_what_is_transparent_is_white(cvtool, here: Path) -> None:
    save("clear.png", (40, 10, 10, 0))
    save("white.png", (255, 255, 255))
    words = ("--untargeted", "--method", "fgsm", "--eps", "1/255", "--json")
    (clear,), (white,) = (lines(cvtool("fool", f"{name}.png", *words)) for name in ("clear", "white"))
    assert clear["original"] == white["original"]
    assert np.array_equal(*(np.asarray(Image.open(each["output"]).convert("RGB")) for each in (clear, white)))


def test_methods_norms_and_a_table(cvtool, photos: Path) -> None:
    done = cvtool(
        *("fool", "photos", "--untargeted", "--method", "pgd,fgsm", "--eps", "4/255", "--confidence", 0.01),
        *("--steps", 5, "--table", "t.csv", "-o", "out"),
    )
    assert done.code == 3
    assert "c.png" in done.err
    rows = list(csv.DictReader(Path("t.csv").read_text().splitlines()))
    assert {(row["method"], row["norm"], row["pictures"]) for row in rows} == {
        ("pgd", "linf", "2"),
        ("fgsm", "linf", "2"),
    }
    for method in ("pgd", "fgsm"):
        shares = [float(row["fooled"]) for row in rows if row["method"] == method]
        assert shares == sorted(shares)
    assert len(list(Path("out").iterdir())) == 4


def test_a_plot(cvtool, photos: Path) -> None:
    """The curve of the table, as a picture; of one picture, too."""
    words = ("fool", "photos/a.png", "--untargeted", "--method", "fgsm", "--eps", "8/255", "-o", "x.png")
    assert cvtool(*words, "--plot", "deep/curve.png", "--table", "t.json").code in (0, 5)
    made = read_provenance("deep/curve.png")
    assert (made.command, made.options["plot"], made.options["method"]) == ("fool", "curve.png", ["fgsm"])
    assert [(Path(each["path"]).name, each["sha256"]) for each in made.inputs] == [
        ("a.png", sha256_of("photos/a.png"))
    ]  # fmt: skip
    assert cvtool(*shlex.split(made.command_line)[1:]).code in (0, 5)
    assert Path("curve.png").read_bytes() == Path("deep/curve.png").read_bytes()
    with Image.open("deep/curve.png") as drawn:
        assert drawn.width > 600
        assert len(drawn.convert("RGB").getcolors(100000)) > 3
    assert {row["pictures"] for row in json.loads(Path("t.json").read_text())} == {1}


def test_a_plot_tells_of_all_that_it_counts(cvtool, photos: Path) -> None:
    words = ("fool", "photos", "--untargeted", "--method", "fgsm,pgd", "--steps", 2, "-o", "out", "-q")
    assert cvtool(*words, "--plot", "p.jpg").code == 3
    made = read_provenance("p.jpg")
    assert [Path(each["path"]).name for each in made.inputs] == ["a.png", "b.png"]
    assert made.options["method"] == ["fgsm", "pgd"]
    assert "--method fgsm,pgd" in made.command_line


def test_a_patch_that_holds_anywhere(cvtool, photo: Path, here: Path) -> None:
    words = ("--untargeted", "--method", "patch", "--patch-size", 0.6, "--steps", 10, "--confidence", 0.2)
    (found,) = lines(cvtool("fool", "tabby.png", *words, "--patch-robust", "--sticker", "-o", "x.png", "--json"))
    place, side = found["sticker"], found["sticker"]["side"]
    assert side == 72
    assert 0.5 < place["holds"] <= 1
    sticker, whole = (np.asarray(Image.open(here / name)) for name in ("x-sticker.png", "x.png"))
    np.testing.assert_array_equal(sticker, whole[place["top"] :, place["left"] :][:side, :side])
    made = read_provenance("x-sticker.png")
    assert (made.command, made.options["sticker"]) == ("fool", True)
    assert "--sticker" in made.command_line
    assert "--sticker" not in read_provenance("x.png").command_line
    assert found["l0"] <= side**2
    (plain,) = lines(cvtool("fool", "tabby.png", *words, "-o", "y.png", "--json"))
    assert plain["sticker"]["holds"] is None
    assert not (here / "y-sticker.png").exists()


def test_a_goal_that_is_not_reached(cvtool, photo: Path, here: Path) -> None:
    done = cvtool("fool", "tabby.png", "--target", "espresso", "--method", "fgsm", "--eps", "1/255", "--json")
    assert done.code == 5
    (found,) = lines(done)
    assert found["success"] is False
    assert (here / "tabby-fool-espresso.png").exists()
    assert "the best try is in 'tabby-fool-espresso.png'" in done.err.splitlines()[-1]


def test_minimize_is_smaller(cvtool, photo: Path) -> None:
    sure, *_ = lines(cvtool("fool", "tabby.png", "--target", "espresso", "--steps", 40, "--json"))
    small, *_ = lines(cvtool("fool", "tabby.png", "--target", "espresso", "--steps", 20, "--minimize", "--json"))
    assert small["success"]
    assert small["l2"] < sure["l2"]
    words = ("--target", "espresso", "--steps", 20, "--minimize", "--confidence", 0.6, "--json")
    between, *_ = lines(cvtool("fool", "tabby.png", *words))
    assert between["success"]
    assert between["target"]["probability"] >= 0.6 - 1e-3 > small["target"]["probability"]
    assert small["l2"] < between["l2"]


def test_what_must_survive(cvtool, photo: Path, here: Path) -> None:
    words = ("--target", "espresso", "--survive", "jpeg:75", "--confidence", 0.5, "--steps", 40, "--json")
    (found,) = lines(cvtool("fool", "tabby.png", *words))
    assert found["survived"] == {"jpeg:75": True}
    assert found["success"]
    with Image.open(here / "tabby-fool-espresso.png") as picture:
        picture.save(here / "worn.jpg", quality=75)
    assert seen_in(here / "worn.jpg").argmax() == ESPRESSO


def test_options_of_one_attack_are_not_told_of_another(cvtool, photo: Path) -> None:
    words = ("--untargeted", "--method", "pgd,fgsm", "--steps", 2, "--restarts", 1, "--eps", "8/255", "-o", "out")
    assert cvtool("fool", "tabby.png", *words).code in (0, 5)
    file = Path("out/tabby-fool-fgsm-untargeted.png")
    made = read_provenance(file)
    assert (made.options["steps"], made.options["restarts"]) == (1, 0)
    assert cvtool(*shlex.split(made.command_line)[1:], "-o", "again.png").code in (0, 5)
    assert Path("again.png").read_bytes() == file.read_bytes()


def test_which_part_is_judged_is_said_once(cvtool, photos: Path) -> None:
    words = ("fool", "photos/a.png", "photos/b.png", "--untargeted", "--method", "fgsm", "-o", "out")
    said = cvtool(*words).err
    assert said.count("Only its central part is shown") == said.count("--resize fit") == 1
    for how in (("--resize", "fit"), ("--resize", "crop"), ("--quiet",)):
        assert "Only its central part" not in cvtool(*words, *how).err
    assert "Only its central part" not in cvtool("fool", "--from-noise", *words[3:]).err


def test_a_class_that_came_first_before(cvtool, photo: Path) -> None:
    first = int(seen_in(photo).argmax())
    words = ("--method", "fgsm", "--eps", "1/255", "-o", "x.png")
    assert "(which came first before, too)" in cvtool("fool", "tabby.png", "--target", first, *words).err
    assert "came first before" not in cvtool("fool", "tabby.png", "--target", ESPRESSO, *words).err


def test_the_table_on_the_terminal_has_sizes_as_people_write_them(cvtool, photos: Path) -> None:
    words = ("photos/a.png", "photos/b.png", "--untargeted", "--eps", "4/255", "-o", "out")
    done = cvtool("fool", *words, "--method", "fgsm")
    rows = [line.split() for line in done.out.splitlines() if line.startswith("fgsm")]
    assert [row[2] for row in rows] == ["1/255", "2/255", "3/255", "4/255"]


def test_a_jpeg_that_fools(cvtool, photo: Path, here: Path) -> None:
    (found,) = lines(cvtool("fool", "tabby.png", "--target", "espresso", "-o", "x.jpg", "--json", "--steps", 40))
    assert found["success"]
    assert seen_in(here / "x.jpg").argmax() == ESPRESSO


def test_views(cvtool, photo: Path, here: Path) -> None:
    words = ("fool", "tabby.png", "--untargeted", "--method", "fgsm", "--confidence", 0.01, "--eps", "8/255")
    done = cvtool(*words, "--view", "panel", "-o", "x.png")
    assert done.code in (0, 5)
    result, beside = done.err.splitlines()[:2]
    assert "-> x.png (" in result
    assert beside == "  x-panel.png"
    with Image.open(here / "x-panel.png") as panel:
        assert panel.width > 3 * 160
    assert cvtool(*words, "--view", "difference", "-o", "x.png").code in (0, 5)
    assert cvtool(*words, "--explain", "-o", "x.png").code in (0, 5)
    assert (here / "x-explain.png").exists()
    for name, option in (("panel", "--view panel"), ("difference", "--view difference"), ("explain", "--explain")):
        made = read_provenance(f"x-{name}.png")
        assert (made.command, made.inputs[0]["sha256"]) == ("fool", sha256_of("tabby.png"))
        assert f"{option} " in made.command_line
        assert cvtool(*shlex.split(made.command_line)[1:], "-o", "again.png").code in (0, 5)
        assert Path(f"again-{name}.png").read_bytes() == Path(f"x-{name}.png").read_bytes()
    before, after, drawn = (flatten(read_picture(here / name)) for name in ("tabby.png", "x.png", "x-difference.png"))
    np.testing.assert_allclose(drawn, np.clip(0.5 + 10 * (after - before), 0, 1), atol=0.6 / 255)


def test_all_targets(cvtool, photo: Path, here: Path) -> None:
    done = cvtool("fool", "tabby.png", "--all-targets", "--top-k", 2, "--steps", 15, "--json")
    assert "tabby.png: looking for the smallest change to each of 2 classes." in done.err
    (found,) = lines(done)
    assert found["output"] is None
    sizes = [row["l2"] for row in found["targets"]]
    assert sizes == sorted(sizes)
    assert all(row["estimate"] > 0 for row in found["targets"])
    assert [path.name for path in here.iterdir()] == ["tabby.png"]


def test_a_mask(cvtool, photo: Path, here: Path) -> None:
    mask = np.zeros((120, 180), dtype=np.uint8)
    mask[:, 90:] = 255
    Image.fromarray(mask).save(here / "right.png")
    assert (
        cvtool("fool", "tabby.png", "--target", "espresso", "--mask", "right.png", "-o", "x.png", "--steps", 40).code
        == 0
    )
    change = np.asarray(Image.open("x.png")).astype(int) - np.asarray(Image.open("tabby.png"))
    assert np.abs(change[:, :90]).max() == 0
    assert np.abs(change[:, 90:]).max() > 0


def test_from_noise(cvtool, here: Path) -> None:
    (found,) = lines(cvtool("fool", "--from-noise", "--target", "espresso", "--json", "--steps", 40))
    assert found["success"]
    assert seen_in(here / "noise-fool-espresso.png").argmax() == ESPRESSO


def test_ctrl_c_writes_the_best_so_far(cvtool, photos: Path, here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plain, calls = Problem.climb, []

    def climb(self, *arguments):
        calls.append(1)
        if len(calls) == 3:
            signal.raise_signal(signal.SIGINT)
        return plain(self, *arguments)

    monkeypatch.setattr(Problem, "climb", climb)
    (photos / "c.png").unlink()
    done = cvtool("fool", "photos", "--target", "espresso", "--method", "ddn,pgd", "-o", "out")
    assert done.code == 130
    assert len(calls) == 3
    assert sorted(path.name for path in Path("out").iterdir()) == ["a-fool-ddn-espresso.png", "b-fool-ddn-espresso.png"]
    assert done.err.endswith("is in 'out/a-fool-ddn-espresso.png', 'out/b-fool-ddn-espresso.png'.\n")


def test_other_networks_are_asked(cvtool, photo: Path) -> None:
    words = ("--untargeted", "--transfer-to", "efficientnet-lite1", "--method", "fgsm", "--json")
    (found,) = lines(cvtool("fool", "tabby.png", *words))
    assert set(found["transfer"]) == {"efficientnet-lite1"}
    assert 0 < found["transfer"]["efficientnet-lite1"]["probability"] <= 1


def test_another_network_whose_weights_are_not_there(cvtool, photo: Path, dialled: list, monkeypatch) -> None:
    monkeypatch.setenv("TORCH_HOME", "empty")
    done = cvtool("fool", "tabby.png", "--untargeted", "--method", "fgsm", "--transfer-to", "squeezenet1_1")
    assert (done.code, done.out) == (4, "")
    assert done.err.endswith("--transfer-to takes no file: leave it out, or fetch the weights once.\n")
    assert "--weights" not in done.err


def test_results_that_are_there_are_left(cvtool, photos: Path, here: Path) -> None:
    words = ("fool", "photos", "--untargeted", "--method", "fgsm", "-o", "out", "--skip-existing", "--json")
    (photos / "c.png").unlink()
    assert len(lines(cvtool(*words))) == 2
    (here / "out/a-fool-untargeted.png").unlink()
    (again,) = lines(cvtool(*words))
    assert again["input"].endswith("a.png")


def test_provenance_makes_the_same_again(cvtool, photo: Path, here: Path) -> None:
    words = ("--untargeted", "--method", "pgd", "--eps", "8/255", "--steps", 5, "--confidence", 0.01, "--seed", 3)
    cvtool("fool", "tabby.png", *words, "-o", "x.png")
    line = read_provenance(here / "x.png").command_line
    cvtool(*shlex.split(line)[1:], "-o", "again.png")
    assert (here / "x.png").read_bytes() == (here / "again.png").read_bytes()


def test_one_change_for_all_is_made_again_of_all(
    cvtool, photos: Path, here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One picture alone would get another change, and so would all in other batches."""
    words = ("--untargeted", "--method", "universal", "--eps", "8/255", "--steps", 2, "--batch", 1, "-o", "out", "-q")
    assert cvtool("fool", "photos", *words, "--view", "difference").code == 3  # one file is broken
    (here / "elsewhere").mkdir()
    monkeypatch.chdir("elsewhere")
    for name, other in ("ab", "ba"):
        file = here / f"out/{name}-fool-untargeted.png"
        made = read_provenance(file)
        assert [Path(each["path"]).stem for each in made.inputs] == [name, other]
        assert [each["sha256"] for each in made.inputs] == [sha256_of(each["path"]) for each in made.inputs]
        assert shlex.split(made.command_line)[-2:] == [str(photos / "a.png"), str(photos / "b.png")]
        assert cvtool(*shlex.split(made.command_line)[1:]).code in (0, 5)
        assert Path(file.name).read_bytes() == file.read_bytes()
        beside = read_provenance(file.with_stem(f"{file.stem}-difference"))
        assert beside.inputs == made.inputs


def test_stdout(photo: Path) -> None:
    words = ("fool", "-", "--untargeted", "--method", "fgsm", "--confidence", "0.01", "-o", "-")
    with photo.open("rb") as picture:
        done = subprocess.run([sys.executable, "-m", "cvtool", *words], stdin=picture, capture_output=True, check=False)
    assert done.stdout.startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ((), "--target CLASS, or --untargeted"),
        (("--all-targets", "--untargeted"), "--untargeted and --all-targets contradict each other. Choose one."),
        (("--target", "tabby", "--untargeted"), "--target and --untargeted contradict each other. Choose one."),
        (("--target", "espreso"), "Nearest: espresso"),
        (("--untargeted", "--method", "pgdd"), "Nearest: pgd"),
        (("--untargeted", "--eps", "0"), "--eps '0'"),
        (("--untargeted", "--eps", "8/0"), "--eps '8/0'"),
        (("--untargeted", "--eps", "8"), "Did you mean 8/255?"),
        (("--untargeted", "--method", "fmn", "--eps", "1.5"), "Did you mean 1.5/255?"),
        (("--untargeted", "--method", "ddn,pgd", "--eps", "300"), "Give one such as 8/255"),
        (("--untargeted", "--method", "jsma", "--eps", "8/255"), "less than a pixel"),
        (("--untargeted", "--confidence", "1"), "between 0 and 1"),
        (("--untargeted", "--method", "ddn", "--norm", "linf"), "ddn does not measure in linf"),
        (("--untargeted", "--method", "pgd", "--minimize"), "minimizes nothing"),
        (("--target", "tabby", "--method", "boundary"), "cannot aim"),
        (("--untargeted", "--survive", "flood:3"), "nothing to survive"),
        (("--untargeted", "--from-noise"), "--from-noise and none"),
        (("--untargeted", "-o", "x.webp"), "webp would wash"),
        (("--untargeted", "--table", "t.txt"), ".csv or .json"),
        (("--untargeted", "--plot", "t.bmp"), "Cannot tell the format of 't.bmp'"),
        (("--untargeted", "--plot", "tabby.png"), "Choose another --plot"),
        (("--untargeted", "-o", "x.png", "--plot", "x.png"), "--plot 'x.png' is already another output"),
        (
            ("--untargeted", "--view", "panel", "-o", "x.png", "--plot", "x-panel.png"),
            "'x-panel.png' is already another",
        ),
        (
            ("--untargeted", "-o", "x.json", "--format", "png", "--table", "x.json"),
            "--table 'x.json' is already another",
        ),
        (("--untargeted", "-o", "x.html", "--format", "png", "--report", "x.html"), "'x.html' is already another"),
        (
            ("--untargeted", "--patch-robust"),
            "--patch-robust has no effect with --method auto. Leave it out, or choose",
        ),
        (("--untargeted", "--patch-size", "0.5", "--method", "pgd"), "--patch-size has no effect with --method pgd"),
        (("--untargeted", "--method", "fgsm", "--steps", "9"), "--steps has no effect with --method fgsm"),
        (("--untargeted", "--method", "fgsm,ddn", "--restarts", "2"), "or choose of auto, pgd, apgd, square."),
        (("--untargeted", "--sticker", "--method", "jsma"), "about --method patch"),
        (("--untargeted", "--method", "patch", "--patch-robust", "--mask", "tabby.png"), "contradict"),
        (("--untargeted", "--method", "patch", "--sticker", "-o", "-"), "no place for"),
        (("--untargeted", "--transfer-to", "vgg18"), "No model 'vgg18'"),
        (("--all-targets", "--plot", "t.png"), "--plot does not go with --all-targets"),
        (("--all-targets", "--method", "pgd"), "--method does not go with --all-targets"),
        (("--all-targets", "--mask", "absent.png"), "--mask does not go with --all-targets"),
        (("--all-targets", "--confidence", "0.5"), "--confidence does not go with --all-targets"),
        (("--untargeted", "--model", "vgg19"), "vgg19"),
    ],
)
def test_wrong_usage(cvtool, photo: Path, here: Path, words, said) -> None:
    done = cvtool("fool", "tabby.png", *words)
    assert (done.code, done.out, done.err.count("\n")) == (2, "", 1)
    assert said in done.err
    assert [path.name for path in here.iterdir()] == ["tabby.png"]


@pytest.mark.parametrize(
    ("words", "lost"),
    [
        ("y-panel.png --view panel -o y.png", "y-panel.png"),
        ("y-difference.jpg --view difference -o y.jpg", "y-difference.jpg"),
        ("y-explain.png --explain -o y.png", "y-explain.png"),
        ("y-sticker.png --method patch --sticker -o y.jpg", "y-sticker.png"),
        ("cat.png --mask y-panel.png --view panel -o y.png", "y-panel.png"),
        ("cat.png cat-fool-untargeted-panel.png --view panel --batch 1", "cat-fool-untargeted-panel.png"),
    ],
)
def test_second_pictures_replace_no_input(cvtool, here: Path, words: str, lost: str) -> None:
    given = [word for word in words.split(" -o ")[0].split() if "." in word]
    for name in given:
        save(here / name)
    before = {path: path.read_bytes() for path in here.iterdir()}
    done = cvtool("fool", *words.split(), "--untargeted")
    assert (done.code, done.err) == (
        2,
        f"cvtool: error: '{lost}' is an input and would be overwritten. Choose another --output.\n",
    )
    assert {path: path.read_bytes() for path in here.iterdir()} == before


def test_what_all_targets_takes_has_an_effect_or_is_refused(cvtool, here: Path) -> None:
    """Every option of the command that is about pictures or the attack is one or the other."""
    heeded = {"steps", "step_size", "resize", "top_k", "batch", "model", "weights", "device", "precision", "seed"}
    chosen = {"images", "target", "untargeted", "all_targets", "files_from", "null", "recursive"}
    told = {"json", "quiet", "verbose", "debug"}
    parameters = set(inspect.signature(fool).parameters) - {"context"}
    assert parameters == heeded | chosen | told | set(NOT_WITH_ALL_TARGETS)


def test_bad_input(cvtool, here: Path) -> None:
    assert cvtool("fool", "absent.png", "--untargeted").code == 3
    (here / "text.png").write_text("no picture")
    assert cvtool("fool", "text.png", "--untargeted").code == 3
    assert cvtool("fool", "text.png", "--untargeted", "--mask", "absent.png").code == 3
    Image.new("L", (9, 9)).save(here / "black.png")
    done = cvtool("fool", "black.png", "--untargeted", "--mask", "black.png")
    assert (done.code, "white nowhere" in done.err) == (3, True)


@pytest.mark.parametrize("size", [(1, 1), (1, 300), (7, 5), (40, 33)])
def test_tiny_pictures(cvtool, here: Path, size) -> None:
    Image.new("RGB", size, (200, 60, 30)).save(here / "tiny.png")
    done = cvtool("fool", "tiny.png", "--untargeted", "--steps", 20, "--confidence", 0.02)
    assert done.code in (0, 5), done.err
    with Image.open(here / "tiny-fool-untargeted.png") as picture:
        assert picture.size == size
