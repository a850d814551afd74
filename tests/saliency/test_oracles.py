"""Every method against an implementation by others: captum, torchcam, the authors' own XRAI."""

from __future__ import annotations

import copy
from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from cvtool.models.loader import load

captum = pytest.importorskip("captum.attr")

TARGETS = [1, 4, 2]
CLOSE = 1e-4


def relative(found, wanted):
    return float((found - wanted).norm() / wanted.norm())


@pytest.fixture(params=["small", "vit", "lite"])
def case(request, noise, cat_tensor):
    """(model, pictures, targets) for methods that take any network."""
    if request.param == "lite":
        # In float64: in float32 two ways of batching send some ReLUs of a deep network to different sides.
        model = request.getfixturevalue("lite").model
        model = replace(model, module=copy.deepcopy(model.module).double())
        return model, torch.cat([cat_tensor, cat_tensor.flip(3)]).double(), [281, 282]
    return request.getfixturevalue(request.param), noise(), TARGETS


def test_gradient(case, ask, in_pixels):
    model, x, targets = case
    wanted = captum.Saliency(in_pixels(model)).attribute(x.clone(), target=targets, abs=False)
    assert relative(ask("gradient", model, x, targets)[0], wanted) < CLOSE


def test_gradient_x_input(case, ask, in_pixels):
    model, x, targets = case
    wanted = captum.InputXGradient(in_pixels(model)).attribute(x.clone(), target=targets)
    assert relative(ask("gradient-x-input", model, x, targets)[0], wanted.detach()) < CLOSE


@pytest.mark.parametrize("baseline", ["black", "white", "mean"])
def test_integrated_gradients(case, ask, in_pixels, baseline):
    model, x, targets = case
    from cvtool.saliency.options import Baseline

    found, question = ask(
        "integrated-gradients",
        model,
        x,
        targets,
        steps=16,
        most_steps=16,
        crowding=1,
        baseline=Baseline(baseline),
        batch=8,
    )
    nothing = {
        "black": torch.zeros_like(x),
        "white": torch.ones_like(x),
        "mean": x.mean((2, 3), keepdim=True).expand_as(x),
    }
    wanted, delta = captum.IntegratedGradients(in_pixels(model)).attribute(
        x, nothing[baseline], targets, n_steps=16, method="riemann_middle", return_convergence_delta=True
    )
    assert relative(found, wanted) < CLOSE
    with torch.no_grad():
        difference = question.scores(x) - question.scores(nothing[baseline])
    assert question.notes["completeness_error"] == pytest.approx(
        (delta / difference).abs().tolist(), rel=0.02, abs=1e-4
    )


@pytest.mark.parametrize(
    ("method", "kind"), [("smoothgrad", "smoothgrad"), ("smoothgrad-squared", "smoothgrad_sq"), ("vargrad", "vargrad")]
)
def test_smoothgrad_family(small, ask, noise, in_pixels, method, kind):
    """The oracle draws noise of its own, so the two agree as far as 600 copies each let them."""
    x = noise(1)
    found, _ = ask(method, small, x, [1], samples=600, batch=64)
    torch.manual_seed(5)
    spread = 0.15 * float(x.max() - x.min())
    oracle = captum.NoiseTunnel(captum.Saliency(in_pixels(small)))
    wanted = oracle.attribute(
        x.clone(), nt_type=kind, nt_samples=600, nt_samples_batch_size=64, stdevs=spread, target=1, abs=False
    )
    assert np.corrcoef(found.flatten(), wanted.flatten())[0, 1] > 0.99
    assert relative(found, wanted) < 0.1


def test_smoothgrad_with_the_oracles_noise(small, noise, in_pixels, ask, monkeypatch):
    x, given = noise(1), iter(noise(40, seed=9) - 0.5)
    copies = [next(given) for _ in range(20)]
    drawn = iter(copies)
    monkeypatch.setattr("torch.randn", lambda *_, **__: next(drawn))
    found, _ = ask("smoothgrad", small, x, [1], samples=20)
    monkeypatch.undo()
    spread = 0.15 * (x.max() - x.min())
    oracle = captum.Saliency(in_pixels(small))
    wanted = torch.stack([oracle.attribute(x + spread * each, target=1, abs=False) for each in copies]).mean(0)
    assert relative(found, wanted) < CLOSE


@pytest.mark.parametrize(
    ("method", "oracle"), [("guided-backprop", captum.GuidedBackprop), ("deconvnet", captum.Deconvolution)]
)
def test_other_ways_through_relus(small, small_of_modules, ask, noise, in_pixels, method, oracle):
    """Ours takes a function and an in-place ReLU, too; the oracle needs the same network of modules."""
    x = noise()
    wanted = oracle(in_pixels(small_of_modules)).attribute(x.clone(), target=TARGETS)
    assert relative(ask(method, small, x, TARGETS)[0], wanted) < CLOSE
    assert relative(ask(method, small_of_modules, x, TARGETS)[0], wanted) < CLOSE


@pytest.mark.parametrize("method", ["guided-backprop", "deconvnet"])
def test_relu6_of_the_bundled_network_is_guided_too(lite, ask, cat_tensor, in_pixels, method):
    """captum knows no ReLU6, so here hooks do what its authors' papers say, module by module."""

    def backward(layer, gradient_in, gradient_out):
        if method == "guided-backprop":
            return (gradient_in[0].clamp_min(0),)
        return (gradient_out[0].clamp_min(0),)

    handles = [m.register_full_backward_hook(backward) for m in lite.model.module.modules() if isinstance(m, nn.ReLU6)]
    x = cat_tensor.clone().requires_grad_()
    in_pixels(lite.model)(x)[0, 281].backward()
    for handle in handles:
        handle.remove()
    assert len(handles) > 30
    assert relative(ask(method, lite.model, cat_tensor, [281])[0], x.grad) < CLOSE


@pytest.fixture(params=["small", "lite"])
def cam_case(request, noise, cat_tensor):
    """(model, pictures, targets, layer, the layer as a module)."""
    if request.param == "lite":
        model = request.getfixturevalue("lite").model
        return model, torch.cat([cat_tensor, cat_tensor.flip(3)]), [281, 282], "bn2"
    return request.getfixturevalue("small_of_modules"), noise(), TARGETS, "act2"


def test_grad_cam(cam_case, ask, in_pixels):
    model, x, targets, layer = cam_case
    oracle = captum.LayerGradCam(in_pixels(model), model.module.get_submodule(layer))
    wanted = F.relu(oracle.attribute(x, target=targets))
    wanted = F.interpolate(wanted, x.shape[2:], mode="bilinear", align_corners=False)[:, 0].detach()
    assert relative(ask("grad-cam", model, x, targets, layer=layer)[0], wanted) < CLOSE


@pytest.mark.parametrize(("method", "name"), [("grad-cam", "GradCAM"), ("layer-cam", "LayerCAM")])
def test_cams_against_torchcam(cam_case, ask, in_pixels, method, name):
    methods = pytest.importorskip("torchcam.methods")
    model, x, targets, layer = cam_case
    wrapped = in_pixels(model)
    with torch.enable_grad(), getattr(methods, name)(wrapped, f"inner.{layer}") as oracle:
        scores = wrapped(x.clone().requires_grad_())
        wanted = oracle(targets, scores, normalized=True)[0].detach()
    wanted = F.interpolate(wanted[:, None], x.shape[2:], mode="bilinear", align_corners=False)[:, 0]
    for one, other in zip(ask(method, model, x, targets, layer=layer)[0], wanted, strict=True):
        assert np.corrcoef(one.flatten(), other.flatten())[0, 1] > 1 - CLOSE  # theirs is brought to [0, 1]


def with_louder_head(model, factor):
    """The same network with logits `factor` times as large."""
    module = copy.deepcopy(model.module)
    head = [layer for layer in module.modules() if isinstance(layer, nn.Linear)][-1]
    with torch.no_grad():
        head.weight.mul_(factor)
        head.bias.mul_(factor)
    return replace(model, module=module)


def test_grad_cam_plus_plus(cam_case, ask, in_pixels):
    """Of logits so large that the 1e-6 that they add to squared gradients is nothing beside them.

    torchcam reads equation 19 otherwise: it sums A · ∂³Y/∂A³ over places, where the paper sums A alone.
    """
    peers = pytest.importorskip("pytorch_grad_cam")
    targets_of = pytest.importorskip("pytorch_grad_cam.utils.model_targets")
    model, x, targets, layer = cam_case
    model = with_louder_head(model, 1000)
    oracle = peers.GradCAMPlusPlus(in_pixels(model), [model.module.get_submodule(layer)])
    wanted = oracle(x.clone().requires_grad_(), [targets_of.ClassifierOutputTarget(target) for target in targets])
    for one, other in zip(ask("grad-cam++", model, x, targets, layer=layer)[0], wanted, strict=True):
        assert np.corrcoef(one.flatten(), other.flatten())[0, 1] > 1 - CLOSE  # theirs is brought to [0, 1]


@pytest.mark.parametrize("factor", [1, 1e-3])
def test_grad_cam_plus_plus_by_hand(small_of_modules, ask, noise, factor):
    """Equations 5, 7 and 19 of the paper, place by place; also where the squares of the gradients are tiny."""
    model, x = with_louder_head(small_of_modules, factor), noise(1)
    module = model.module
    maps = module.act2(module.conv2(module.act(module.conv1(model.normalize(x))))).detach().requires_grad_()
    score = module.head(module.act3(module.conv3(maps)).mean((2, 3)))[0, 1]
    (gradient,) = torch.autograd.grad(score, maps)
    activation, gradient = maps.detach()[0].double().numpy(), gradient[0].double().numpy()
    wanted = np.zeros(activation.shape[1:])
    for a, g in zip(activation, gradient, strict=True):
        alpha = np.zeros_like(g)
        for place in np.ndindex(g.shape):
            if g[place] != 0:
                alpha[place] = g[place] ** 2 / (2 * g[place] ** 2 + a.sum() * g[place] ** 3)
        wanted += (alpha * np.maximum(g, 0)).sum() * a
    wanted = torch.from_numpy(np.maximum(wanted, 0)).float()[None, None]
    wanted = F.interpolate(wanted, x.shape[2:], mode="bilinear", align_corners=False)[:, 0]
    assert relative(ask("grad-cam++", model, x, [1], layer="act2")[0], wanted) < CLOSE


def test_grad_cam_plus_plus_of_fainter_logits_is_the_same_picture(lite, ask, cat_tensor):
    """Behind a mean over places the gradients are small, and Σ A · g is nothing beside 2: all shares are a half."""
    faint, fainter = (
        ask("grad-cam++", with_louder_head(lite.model, factor), cat_tensor, [281])[0] for factor in (1e-4, 1e-6)
    )
    assert relative(100 * fainter, faint) < 1e-3


def test_score_cam_against_its_definition(small_of_modules, ask, noise):
    """A loop as in the paper, channel by channel."""
    model, x = small_of_modules, noise(1)
    module = model.module
    normal = model.normalize(x)
    maps = module.act2(module.conv2(module.act(module.conv1(normal))))
    scores = []
    for channel in range(maps.shape[1]):
        one = F.interpolate(maps[:, channel : channel + 1], x.shape[2:], mode="bilinear", align_corners=False)
        one = (one - one.min()) / (one.max() - one.min())
        scores.append(module(normal * one)[0, 1])
    weights = torch.stack(scores).softmax(0)
    wanted = F.relu((weights.view(1, -1, 1, 1) * maps).sum(1, keepdim=True))
    wanted = F.interpolate(wanted, x.shape[2:], mode="bilinear", align_corners=False)[:, 0]
    assert relative(ask("score-cam", model, x, [1], layer="act2", batch=5)[0], wanted.detach()) < CLOSE


def test_guided_grad_cam(small_of_modules, ask, noise, in_pixels):
    x = noise()
    layer = small_of_modules.module.act3
    oracle = captum.GuidedGradCam(in_pixels(small_of_modules), layer)
    wanted = oracle.attribute(x.clone(), target=TARGETS, interpolate_mode="bilinear").detach()
    assert relative(ask("guided-grad-cam", small_of_modules, x, TARGETS, layer="act3")[0], wanted) < CLOSE


@pytest.mark.parametrize("name", ["small", "vit"])
@pytest.mark.parametrize("patch", [4 / 32, 5 / 32])
def test_occlusion(request, ask, noise, in_pixels, name, patch):
    model, x = request.getfixturevalue(name), noise()
    side = round(patch * 32)
    oracle = captum.Occlusion(in_pixels(model))
    wanted = oracle.attribute(
        x, (3, side, side), (3, side // 2, side // 2), x.mean((2, 3), keepdim=True).expand_as(x), TARGETS
    )
    found, _ = ask("occlusion", model, x, TARGETS, patch=patch, batch=12)
    assert relative(found, wanted[:, 0]) < CLOSE


def test_rise_against_its_definition(small, ask, noise):
    """Equation 6 of the paper for each picture by itself, mask after mask, over the masks' real sum."""
    from cvtool.saliency.methods.covering import random_mask
    from cvtool.tensors import seeded

    x, generator = noise(), seeded(0)
    masks = [random_mask(32, 32, generator) for _ in range(20)]
    wanted = []
    for picture, target in zip(x, TARGETS, strict=True):
        mean = picture.mean((1, 2), keepdim=True)
        weighed = torch.zeros(32, 32)
        for mask in masks:
            seen = mean * (1 - mask) + picture * mask
            weighed += small.module(small.normalize(seen[None])).softmax(1)[0, target] * mask
        wanted.append(weighed / sum(masks))
    assert relative(ask("rise", small, x, TARGETS, samples=20, batch=7)[0], torch.stack(wanted)) < CLOSE


def test_xrai_collects_as_the_authors_do():
    """Their code, given the same attribution and the same segments."""
    theirs = pytest.importorskip("saliency.core.xrai")
    generator = np.random.default_rng(0)
    attribution = generator.normal(size=(40, 50)).astype(np.float32)
    masks = []
    for _ in range(25):
        mask = np.zeros((40, 50), dtype=bool)
        top, left = generator.integers(0, 30, 2)
        mask[top : top + generator.integers(8, 20), left : left + generator.integers(8, 20)] = True
        masks.append(mask)
    from cvtool.saliency.methods.regions import collect

    wanted, _ = theirs.XRAI()._xrai(attr=attribution, segs=masks)
    np.testing.assert_allclose(collect(attribution, masks), wanted, rtol=1e-5, atol=1e-6)


def test_xrai_segments_are_the_authors(cat):
    theirs = pytest.importorskip("saliency.core.xrai")
    from cvtool.images import resize
    from cvtool.saliency.methods.regions import segments

    picture = resize(cat, 64, 96)
    wanted = theirs._get_segments_felzenszwalb(im=picture, resize_image=False)
    found = segments(picture)
    assert len(found) == len(wanted)
    assert all(any((mask == other).all() for other in wanted) for mask in found)


def test_attention_rollout_against_its_definition(vit, ask, noise):
    """Abnar and Zuidema's product, from the weights that torch's own attention returns."""
    x = noise()
    module = vit.module
    tokens = module._process_input(vit.normalize(x))
    tokens = torch.cat([module.class_token.expand(len(x), -1, -1), tokens], 1) + module.encoder.pos_embedding
    rolled = torch.eye(17).repeat(len(x), 1, 1)
    for block in module.encoder.layers:
        normal = block.ln_1(tokens)
        _, weights = block.self_attention(normal, normal, normal, need_weights=True, average_attn_weights=True)
        rolled = (0.5 * weights + 0.5 * torch.eye(17)) @ rolled
        tokens = block(tokens)
    wanted = F.interpolate(rolled[:, 0, 1:].reshape(-1, 1, 4, 4), (32, 32), mode="bilinear", align_corners=False)[:, 0]
    assert relative(ask("attention-rollout", vit, x, TARGETS)[0], wanted.detach()) < CLOSE


def test_full_grad_is_complete_and_as_its_definition(small_of_modules, ask, noise):
    """The terms of the paper's equation for this very network, written out."""
    x = noise()
    model, module = small_of_modules, small_of_modules.module
    found, question = ask("full-grad", model, x, TARGETS)
    assert max(question.notes["completeness_error"]) < CLOSE
    normal = model.normalize(x).detach().requires_grad_()
    before = [module.conv1(normal)]
    before.append(module.conv2(module.act(before[0])))
    before.append(module.conv3(module.act2(before[1])))
    score = module.head(module.act3(before[2]).mean((2, 3)))[range(3), TARGETS].sum()
    gradients = torch.autograd.grad(score, [normal, *before])
    terms = [normal * gradients[0]]
    terms += [
        g * c.bias.view(1, -1, 1, 1)
        for g, c in zip(gradients[1:], (module.conv1, module.conv2, module.conv3), strict=True)
    ]
    wanted = 0
    for term in terms:
        size = term.abs()
        low, high = size.amin((1, 2, 3), keepdim=True), size.amax((1, 2, 3), keepdim=True)
        wanted = wanted + F.interpolate((size - low) / (high - low), (32, 32), mode="bilinear").sum(1)
    assert relative(found, wanted.detach()) < CLOSE


def test_full_grad_is_complete_on_the_bundled_network(lite, ask, cat_tensor):
    """Where a ReLU6 is full, its ceiling counts as a bias: only then do the terms sum to the score."""
    _, question = ask("full-grad", lite.model, cat_tensor, [281])
    assert question.notes["completeness_error"][0] < 1e-3


def test_full_grad_counts_what_batch_norms_add_before_the_activation_inside_them(lite, ask, cat_tensor):
    """As of a network whose batch norms could not be folded."""
    folded, _ = ask("full-grad", lite.model, cat_tensor, [281])
    plain, question = ask("full-grad", load("efficientnet-lite0"), cat_tensor, [281])
    assert question.notes["completeness_error"][0] < 1e-3
    assert np.corrcoef(folded.ravel(), plain.ravel())[0, 1] > 0.999


@pytest.mark.parametrize("activation", [nn.SiLU, nn.Hardswish, nn.Mish, nn.ELU, nn.ReLU6])
def test_full_grad_takes_the_tangent_where_an_activation_in_place_was_entered(small, ask, noise, activation):
    """Not where it led: then the terms miss the score, and the map is another than that of a copying activation."""
    found = []
    for in_place in (True, False):
        torch.manual_seed(0)
        layers = [nn.Conv2d(3, 8, 3, 2), activation(inplace=in_place), nn.Conv2d(8, 6, 3), nn.AdaptiveAvgPool2d(1)]
        module = nn.Sequential(*layers, nn.Flatten(), nn.Linear(6, 5)).eval().requires_grad_(False)
        each, question = ask("full-grad", replace(small, module=module), noise(), TARGETS)
        assert max(question.notes["completeness_error"]) < CLOSE
        found.append(each)
    assert relative(*found) < CLOSE
