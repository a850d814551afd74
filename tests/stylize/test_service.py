"""Style transfer on the real default network, small and short: what it promises, on inputs whose answer is known."""

import itertools
from dataclasses import replace

import numpy as np
import pytest
import torch

from cvtool.colorspaces import oklab_from_srgb
from cvtool.errors import BadInputError, UnknownNameError, UsageError
from cvtool.images import resize
from cvtool.models.loader import load
from cvtool.stylize import StylizeOptions, color, stylize
from cvtool.stylize.options import Colors, Init, Optimizer, Recipe
from cvtool.stylize.recipes import RECIPES

RNG = np.random.default_rng(3)


def smooth(height, width, seed):
    """A picture with shapes: low frequencies in colour, a few hard edges."""
    rng = np.random.default_rng(seed)
    coarse = rng.random((6, 6, 3)).astype(np.float32)
    picture = resize(coarse, height, width)
    picture[height // 4 : height // 2, width // 4 : width // 2] = rng.random(3)
    return picture


def stripes(height, width, period=6):
    y, x = np.mgrid[:height, :width]
    wave = 0.5 + 0.5 * np.sin((x + 2 * y) * 2 * np.pi / period)
    return np.stack([wave, 0.3 * wave, 1 - wave], axis=2).astype(np.float32)


@pytest.fixture(scope="module")
def model():
    return load("efficientnet-lite0")


CONTENT, STYLE = smooth(48, 64, 0), stripes(64, 64)
QUICK = StylizeOptions(size=64, steps=(12,))


def painted(model, options=QUICK, content=CONTENT, styles=(STYLE,), **more):
    return stylize(content, list(styles), model, options, **more)


def test_result_has_the_size_asked_for_and_knows_how_it_came_to_be(model):
    result = painted(model)
    assert result.pixels.shape == (48, 64, 3)
    assert result.pixels.dtype == np.float32
    assert result.plan == ((48, 64, 12),)
    assert (result.steps, result.stopped_by) == (12, "steps")
    assert result.options.style_layers == model.card.style_layers
    assert result.options.style_weights == (1.0,)


def test_same_call_same_bytes_and_the_input_is_not_touched(model):
    before = CONTENT.copy()
    np.testing.assert_array_equal(painted(model).pixels, painted(model).pixels)
    np.testing.assert_array_equal(CONTENT, before)


def test_strength_0_gives_back_the_content(model):
    np.testing.assert_array_equal(painted(model, replace(QUICK, strength=0)).pixels, CONTENT)


def test_strength_is_monotone(model):
    """More strength: never nearer to the content, never farther from the style."""
    options = replace(QUICK, steps=(60,))
    results = [painted(model, replace(options, strength=s)) for s in (0.5, 5, 15, 30, 50, 75, 100)]
    away = [float(np.sqrt(np.mean((r.pixels - CONTENT) ** 2))) for r in results]
    assert away == sorted(away)
    assert away[0] < 0.02 < away[-1]
    style = [r.style_loss for r in results[2:]]
    assert all(stronger < weaker * 1.01 for weaker, stronger in itertools.pairwise(style))  # 60 steps: 1 %
    assert style[-1] < 0.6 * style[0]


def test_optimising_lowers_the_style_loss(model):
    losses = [painted(model, replace(QUICK, steps=(n,))).style_loss for n in (1, 10, 60)]
    assert losses[2] < losses[1] < losses[0]
    assert losses[2] < 0.7 * losses[0]


def test_no_frame_at_the_border(model):
    """Where content and style are the same everywhere, the border must look like the middle."""

    def ratio(result):
        deviation = np.abs(result.pixels - result.pixels.mean((0, 1))).mean(2)
        edge = np.concatenate([deviation[:3].ravel(), deviation[-3:].ravel(), deviation[:, :3].ravel()])
        return edge.mean() / deviation[16:-16, 16:-16].mean()

    blank = np.full((64, 64, 3), 0.5, np.float32)
    options = replace(QUICK, steps=(40,), strength=100)
    with_margin = ratio(painted(model, options, blank))
    assert 0.6 < with_margin < 1.6


@pytest.mark.parametrize("optimizer", [Optimizer.adam, Optimizer.lbfgs])
@pytest.mark.parametrize("at", [0, 1, 2])
def test_resume_equals_the_uninterrupted_run(model, optimizer, at):
    """Continued from any snapshot, bit for bit: in a scale, at its end, in the next one."""
    options = StylizeOptions(size=181, steps=(26, 3), optimizer=optimizer)
    snapshots = []
    whole = painted(model, options, keep=snapshots.append)
    assert [s.facts["done"] for s in snapshots] == [25, 26, 3]
    resumed = painted(model, options, resume=snapshots[at])
    np.testing.assert_array_equal(resumed.pixels, whole.pixels)
    assert resumed.plan == whole.plan
    assert resumed.style_loss == whole.style_loss


def test_resume_after_a_stop_anywhere(model):
    """Asked to stop before step 5, with a snapshot taken there."""
    kept, asked = [], iter(range(100))
    options = replace(QUICK, optimizer=Optimizer.adam)
    stopped = painted(model, options, stop=lambda: next(asked) >= 5, keep=kept.append)
    assert (stopped.stopped_by, stopped.steps) == ("interrupt", 5)
    np.testing.assert_array_equal(painted(model, options, resume=kept[-1]).pixels, painted(model, options).pixels)


def test_a_stop_at_a_small_scale_gives_the_full_size(model):
    stopped = painted(model, StylizeOptions(size=256, steps=(2, 2, 2)), stop=lambda: True)
    assert stopped.pixels.shape == (192, 256, 3)
    assert [steps for _, _, steps in stopped.plan] == [0, 0, 0]


def test_a_snapshot_of_another_run_is_refused(model):
    kept = []
    painted(model, replace(QUICK, steps=(2,)), keep=kept.append)
    with pytest.raises(BadInputError, match=r"another run: strength was 50\.0, now it is 60"):
        painted(model, replace(QUICK, steps=(2,), strength=60), resume=kept[0])
    with pytest.raises(BadInputError, match="content"):
        painted(model, replace(QUICK, steps=(2,)), content=CONTENT[::-1], resume=kept[0])
    for job in ("x", None, [1]):
        with pytest.raises(BadInputError, match="another run"):
            painted(model, replace(QUICK, steps=(2,)), resume=replace(kept[0], facts={**kept[0].facts, "job": job}))
    with pytest.raises(BadInputError, match="is broken"):
        painted(model, replace(QUICK, steps=(2,)), resume=replace(kept[0], facts={**kept[0].facts, "index": None}))
    told = painted(
        model, replace(QUICK, steps=(2,)), resume=replace(kept[0], facts={**kept[0].facts, "terms": {"a": 1}})
    )
    assert (told.content_loss, told.style_loss, told.tv_loss) == (0, 0, 0)  # nothing was left to do


def test_a_style_of_weight_0_does_not_count(model):
    other = smooth(40, 40, 9)
    both = painted(model, replace(QUICK, style_weights=(1.0, 0.0)), styles=(STYLE, other))
    np.testing.assert_array_equal(both.pixels, painted(model).pixels)
    mixed = painted(model, styles=(STYLE, other))
    assert np.abs(mixed.pixels - both.pixels).max() > 0.01


def test_weights_mean_proportions(model):
    styles = (STYLE, smooth(40, 40, 9))
    one = painted(model, replace(QUICK, style_weights=(1.0, 3.0)), styles=styles)
    two = painted(model, replace(QUICK, style_weights=(0.25, 0.75)), styles=styles)
    np.testing.assert_array_equal(one.pixels, two.pixels)


def test_a_larger_style_scale_paints_coarser(model):
    """On a plain content: the mean spatial frequency, weighted by power, in cycles per pixel."""

    def frequency(scale):
        options = replace(QUICK, steps=(30,), strength=100, style_scale=scale)
        grey = painted(model, options, np.full((64, 64, 3), 0.5, np.float32), (stripes(64, 64, 12),)).pixels.mean(2)
        power = np.abs(np.fft.fft2(grey - grey.mean())) ** 2
        across = np.fft.fftfreq(64)
        return (power * np.hypot(across[:, None], across)).sum() / power.sum()

    fine, plain, coarse = (frequency(scale) for scale in (0.5, 1, 2))
    assert coarse < plain < fine
    assert coarse < 0.85 * fine


def test_more_weight_of_smoothness_gives_a_smoother_picture(model):
    def variation(weight):
        pixels = painted(model, replace(QUICK, tv=weight)).pixels
        return np.abs(np.diff(pixels, axis=0)).mean() + np.abs(np.diff(pixels, axis=1)).mean()

    rough, some, much = (variation(weight) for weight in (0, 5, 50))
    assert much < some < rough
    assert much < 0.6 * rough


def test_luminance_keeps_the_content_chroma(model):
    result = painted(model, replace(QUICK, preserve_colors=Colors.luminance)).pixels

    def chroma(pixels):
        return oklab_from_srgb(pixels)[..., 1:]

    one, other = chroma(result), chroma(CONTENT)
    np.testing.assert_allclose(one[..., 0] * other[..., 1] - one[..., 1] * other[..., 0], 0, atol=1e-4)
    assert np.abs(color.luminance(result) - color.luminance(CONTENT)).max() > 0.02


def test_match_stays_nearer_to_the_content_colours(model):
    options = replace(QUICK, steps=(40,), strength=90)
    red = (1 - 0.9 * STYLE * [0.2, 1, 1]).astype(np.float32)
    plain, matched = (
        painted(model, replace(options, preserve_colors=c), styles=(red,)).pixels for c in (Colors.none, Colors.match)
    )
    mean = CONTENT.mean((0, 1))
    assert np.abs(matched.mean((0, 1)) - mean).sum() < 0.3 * np.abs(plain.mean((0, 1)) - mean).sum()


def test_the_instant_picture_saves_the_small_scales(model):
    """And the steps that were done say so, so that the command of the picture repeats it."""
    options = StylizeOptions(size=362)
    begun = {}
    for init in (Init.content, Init.instant):
        seen = []
        begun[init] = painted(model, replace(options, init=init), progress=seen.append, stop=lambda seen=seen: seen)
        assert seen[0].stage == ("128×96" if init is Init.content else "181×136")
    guessed = begun[Init.instant]
    steps = tuple(steps for _, _, steps in guessed.plan)
    assert (len(steps), steps[0], steps[2:]) == (4, 0, (0, 0))
    again = painted(model, replace(options, init=Init.instant, steps=steps))
    np.testing.assert_array_equal(again.pixels, guessed.pixels)


def test_the_instant_picture_is_what_it_begins_with(model):
    from cvtool.stylize.instant.service import load_painter, painter_on

    painter_on.cache_clear()
    begun, again = (
        stylize(CONTENT, [STYLE], model, StylizeOptions(size=64, init=Init.instant, steps=(0,))).pixels
        for _ in range(2)
    )
    assert painter_on.cache_info().misses == 1, "the painter is loaded once for all contents"
    np.testing.assert_array_equal(again, begun)
    np.testing.assert_allclose(begun, load_painter().paint(CONTENT, [STYLE], StylizeOptions(size=64)).pixels, atol=1e-4)


@pytest.mark.parametrize("init", [Init.noise, Init.style_stats])
def test_noise_starts_depend_on_the_seed_only(model, init):
    options = replace(QUICK, init=init, steps=(2,), strength=80)
    first, again, other = (painted(model, replace(options, seed=s)).pixels for s in (1, 1, 2))
    np.testing.assert_array_equal(first, again)
    assert np.abs(first - other).max() > 0.05


def test_style_stats_start_with_the_colours_of_the_style(model):
    start = painted(model, replace(QUICK, init=Init.style_stats, steps=(0,))).pixels
    assert start.mean((0, 1)) == pytest.approx(STYLE.mean((0, 1)), abs=0.05)


def test_a_picture_to_start_from(model):
    start = smooth(30, 30, 5)
    result = painted(model, replace(QUICK, steps=(0,)), init=start).pixels
    np.testing.assert_allclose(result, resize(start, 48, 64), atol=1e-6)


@pytest.mark.parametrize("recipe", [Recipe.gatys, Recipe.cs231n])
def test_published_recipes_lower_their_loss(model, recipe):
    def loss(steps):
        result = painted(model, replace(QUICK, recipe=recipe, steps=(steps,)))
        return result.style_loss + result.content_loss + result.tv_loss

    assert loss(40) < 0.7 * loss(2)


def test_cs231n_has_the_published_numbers():
    """Those of pixels are divided by .225 there: the deviation of what their network sees."""
    recipe = RECIPES[Recipe.cs231n]
    assert recipe.style_weights == (20000, 500, 12, 1)
    assert (recipe.content_weight, recipe.steps, recipe.late_from * 200) == (6e-2, (200, 200), 180)
    assert (recipe.rate / 0.225, recipe.late_rate / 0.225, recipe.tv * 0.225**2) == pytest.approx((3, 0.1, 5e-2))


def test_cs231n_goes_on_to_the_same_end_at_the_lower_rate(model):
    """Continued from before the last tenth."""
    options, snapshots = replace(QUICK, recipe=Recipe.cs231n, steps=(30,)), []
    whole = painted(model, options, keep=snapshots.append)
    assert [(s.facts["done"], s.facts["is_late"]) for s in snapshots] == [(25, False), (30, True)]
    np.testing.assert_array_equal(painted(model, options, resume=snapshots[0]).pixels, whole.pixels)


def test_vgg19_works_and_gatys_takes_its_layers():
    vgg = load("vgg19")
    result = painted(vgg, StylizeOptions(size=48, steps=(3,), recipe=Recipe.gatys))
    assert result.options.style_layers == ("relu1_1", "relu2_1", "relu3_1", "relu4_1", "relu5_1")
    assert result.options.optimizer is Optimizer.lbfgs
    assert np.isfinite(result.pixels).all()


BLACK, WHITE = np.zeros((48, 64, 3), np.float32), np.ones((48, 64, 3), np.float32)


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("efficientnet-lite0", CONTENT),
        ("efficientnet-lite0", BLACK),
        ("efficientnet-lite0", WHITE),
        ("vgg19", WHITE),  # the largest activations there are: its inputs go up to 255
    ],
)
def test_low_precision_never_gives_nan(name, content, precision):
    options = StylizeOptions(size=32, steps=(6,), precision=precision, strength=80)
    result = painted(load(name), options, content)
    assert np.isfinite(result.pixels).all()
    assert np.isfinite(result.style_loss)
    assert np.abs(result.pixels - resize(content, 24, 32)).max() > 0.01  # steps were taken, not all skipped


def test_fp16_and_lbfgs_are_refused(model):
    with pytest.raises(UsageError, match="L-BFGS cannot"):
        painted(model, replace(QUICK, precision="fp16", optimizer=Optimizer.lbfgs))


@pytest.mark.parametrize("shape", [(1, 1), (1, 200), (300, 2), (33, 47)])
def test_odd_shapes(model, shape):
    result = painted(model, replace(QUICK, steps=(2,), size=0), content=smooth(*shape, 1), styles=(smooth(1, 3, 2),))
    assert result.pixels.shape == (*shape, 3)
    assert np.isfinite(result.pixels).all()


def test_any_convolutional_network_works_and_names_its_layers():
    resnet = load_random("resnet18")
    result = painted(resnet, replace(QUICK, steps=(2,)))
    assert len(result.options.style_layers) >= 3
    with pytest.raises(UnknownNameError, match=r"No layer 'layer9'\. Nearest: layer"):
        painted(resnet, replace(QUICK, style_layers=("layer9",)))


def load_random(name):
    """A torchvision network with random weights, as `load` would give it with trained ones."""
    import torchvision

    from cvtool.models.loader import Model

    module = torchvision.models.get_model(name, weights=None).eval().requires_grad_(False)
    card = replace(load("efficientnet-lite0").card, name=name, style_layers=(), content_layers=())
    return Model(module, card, torch.device("cpu"), "random")


def test_a_transformer_is_refused_in_one_line():
    with pytest.raises(UsageError, match="convolutional network is needed"):
        painted(load_random("vit_b_32"))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (replace(QUICK, style_weights=(1.0, 2.0)), "2 style weights for 1 styles"),
        (replace(QUICK, size=20_000), "too large"),
        (replace(QUICK, strength=101), "strength of 101"),
        (replace(QUICK, style_scale=0), "style scale of 0"),
        (replace(QUICK, style_weights=(0.0,)), "above 0"),
        (replace(QUICK, precision="fp8"), "No precision 'fp8'"),
        (replace(QUICK, size=256, steps=(1, 2)), "2 numbers, but there are 3 scales"),
    ],
)
def test_options_that_do_not_fit(model, options, message):
    with pytest.raises(UsageError, match=message):
        painted(model, options)


def test_no_style_is_refused(model):
    with pytest.raises(UsageError, match="No style picture"):
        painted(model, styles=())


@pytest.mark.gpu
def test_cuda_paints_what_the_cpu_paints(model):
    cuda = load("efficientnet-lite0", device="cuda")
    for precision, tolerance in (("fp32", 0.02), ("bf16", 0.1)):
        options = replace(QUICK, precision=precision)
        with torch.backends.cudnn.flags(enabled=True, allow_tf32=False):  # as the command has it
            difference = np.abs(painted(cuda, options).pixels - painted(model).pixels).mean()
        assert difference < tolerance
