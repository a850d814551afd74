"""What every method must keep, whatever it computes, and what is known of their maps beforehand."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from cvtool.errors import UnknownNameError, UsageError
from cvtool.saliency.methods import METHODS
from cvtool.saliency.options import Baseline, Method, Reduce, SaliencyOptions
from cvtool.saliency.registry import Needs
from cvtool.saliency.service import explain

QUICK = {"samples": 6, "batch": 4, "steps": 8, "most_steps": 16}
CNN_METHODS = [method.value for method in Method if METHODS[method].needs is not Needs.attention]
TARGETS = [1, 4, 2]


def of_vit(method):
    return METHODS[Method(method)].needs not in (Needs.relu, Needs.convolution)


def test_names_and_functions_belong_together():
    assert set(METHODS) == set(Method)
    assert all(spec.explain.__doc__ and spec.paper for spec in METHODS.values())


BASE = {"samples": 2, "steps": 2, "most_steps": 6, "tolerance": 0.0, "batch": 4}
OTHERWISE = {
    "reduce": list(Reduce),
    "samples": [5],
    "noise": [0.5],
    "steps": [3],
    "most_steps": [2],
    "crowding": [1.0],
    "tolerance": [1e9],
    "baseline": [Baseline.white, Baseline.black],
    "patch": [0.5],
    "layer": ["conv1"],
}
"""Other values of all options that not every method looks at."""


@pytest.mark.parametrize("method", [method.value for method in Method])
def test_a_method_looks_at_the_options_that_it_says(method, small, vit, noise):
    """Another value of these, and of no other, makes another map."""
    model = some(method, small, vit)
    pixels = noise(1)[0].permute(1, 2, 0).numpy()

    def drawn(**changed):
        options = SaliencyOptions(method=Method(method), **BASE | changed)
        return explain([pixels], model, options, target=2)[0].map

    plain = drawn()
    found = {
        name
        for name, values in OTHERWISE.items()
        if any(not np.array_equal(plain, drawn(**{name: value})) for value in values)
    }
    assert found == METHODS[Method(method)].uses


def hooks_of(module):
    return [
        (name, len(layer._forward_hooks), len(layer._forward_pre_hooks), len(layer._backward_hooks), layer.training)
        for name, layer in module.named_modules()
    ]


def some(method, small, vit):
    return vit if method == "attention-rollout" else small


@pytest.mark.parametrize("method", [method.value for method in Method])
def test_the_network_is_handed_back_as_it_was(method, small, vit, ask, noise):
    model = some(method, small, vit)
    before = hooks_of(model.module)
    found, _ = ask(method, model, noise(), TARGETS, **QUICK)
    assert torch.isfinite(found).all()
    assert found.shape[0] == 3
    assert found.shape[-2:] == (32, 32)
    assert hooks_of(model.module) == before
    assert all(parameter.grad is None and not parameter.requires_grad for parameter in model.module.parameters())


class Broken(nn.Module):
    """Fails behind its last layer."""

    def __init__(self, inner):
        super().__init__()
        self.inner = inner

    def forward(self, x):
        self.inner(x)
        raise RuntimeError("lost")


@pytest.mark.parametrize("method", [method.value for method in Method])
def test_also_after_an_exception(method, small, vit, ask, noise):
    model = some(method, small, vit)
    broken = replace(model, module=Broken(model.module).eval())
    before, attention = hooks_of(broken.module), nn.functional.scaled_dot_product_attention
    with pytest.raises(RuntimeError, match="lost"):
        ask(method, broken, noise(), TARGETS, **QUICK)
    assert hooks_of(broken.module) == before
    assert nn.functional.scaled_dot_product_attention is attention
    assert torch.backends.mha.get_fastpath_enabled()


@pytest.mark.parametrize("method", [method.value for method in Method])
def test_neither_the_batch_nor_the_company_changes_a_map(method, small, vit, ask, noise):
    model, x = some(method, small, vit), noise()
    together, _ = ask(method, model, x, TARGETS, **QUICK)
    for number, target in enumerate(TARGETS):
        alone, _ = ask(method, model, x[number : number + 1], [target], **(QUICK | {"batch": 1}))
        torch.testing.assert_close(alone[0], together[number], rtol=1e-3, atol=1e-5 * float(alone.abs().max()) + 1e-9)


SAMPLED = [method.value for method in Method if METHODS[method].sampled]


@pytest.mark.parametrize("method", SAMPLED)
def test_seeds(method, small, ask, noise):
    first, again, other = (ask(method, small, noise(), TARGETS, seed=seed, **QUICK)[0] for seed in (3, 3, 4))
    assert torch.equal(first, again)
    assert not torch.allclose(first, other)


@pytest.mark.parametrize("method", [m for m in CNN_METHODS if not METHODS[Method(m)].sampled and m != "xrai"])
def test_flipping_the_picture_flips_the_map(method, ask, noise):
    """A network that is symmetric itself: its kernels are, and its strides meet the border alike on both sides."""
    torch.manual_seed(0)
    module = nn.Sequential(nn.Conv2d(3, 6, 3, padding=1), nn.ReLU(), nn.Conv2d(6, 4, 3, padding=1), nn.ReLU())
    for layer in module:
        if isinstance(layer, nn.Conv2d):
            layer.weight.data = (layer.weight.data + layer.weight.data.flip(3)) / 2
    module = nn.Sequential(module, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 5)).eval().requires_grad_(False)
    from cvtool.models.cards import CARDS
    from cvtool.models.loader import Model

    card = replace(CARDS["efficientnet-lite0"], input_size=30, classes=5)
    model, x = Model(module, card, torch.device("cpu"), ""), noise(2, 30)
    straight, _ = ask(method, model, x, [1, 2], patch=1 / 15, **QUICK)
    turned, _ = ask(method, model, x.flip(3), [1, 2], patch=1 / 15, **QUICK)
    torch.testing.assert_close(turned.flip(-1), straight, rtol=1e-3, atol=3e-4 * float(straight.abs().max()))


LINEAR = ["gradient", "gradient-x-input", "smoothgrad", "integrated-gradients"]


@pytest.mark.parametrize("method", LINEAR)
def test_a_contrast_is_the_difference_of_two_maps(method, small, ask, noise):
    fixed = QUICK | {"steps": 8, "most_steps": 8}
    both, _ = ask(method, small, noise(), TARGETS, [0, 0, 0], **fixed)
    one, _ = ask(method, small, noise(), TARGETS, **fixed)
    other, _ = ask(method, small, noise(), [0, 0, 0], **fixed)
    torch.testing.assert_close(both, one - other, rtol=1e-3, atol=1e-6)


def test_integration_takes_as_many_points_as_each_picture_needs(lite, ask, cat_tensor):
    x = torch.cat([cat_tensor, cat_tensor * 0.02])
    _, question = ask("integrated-gradients", lite.model, x, [281, 281], steps=4, most_steps=36, tolerance=0.02)
    assert all(error <= 0.02 or steps == 36 for error, steps in zip(*question.notes.values(), strict=True))
    assert question.notes["steps"][0] > 4
    found, _ = ask("integrated-gradients", lite.model, cat_tensor, [281], steps=4, most_steps=36, tolerance=0.02)
    together, _ = ask("integrated-gradients", lite.model, x, [281, 281], steps=4, most_steps=36, tolerance=0.02)
    torch.testing.assert_close(found[0], together[0], rtol=1e-3, atol=1e-5 * float(found.abs().max()))


class Power(nn.Module):
    """The score is the cube of the mean: its integrated gradients are known."""

    def forward(self, x):
        return torch.stack([x.mean((1, 2, 3)) ** 3, x.mean((1, 2, 3))], 1)


@pytest.mark.parametrize("crowding", [1.0, 2.0])
def test_tripled_points_give_the_same_as_as_many_at_once(small, ask, noise, crowding):
    model = replace(small, module=Power())
    options = {"crowding": crowding, "most_steps": 36}
    tripled, question = ask("integrated-gradients", model, noise(), [0, 0, 1], steps=4, tolerance=0.0, **options)
    assert question.notes["steps"] == [36, 36, 36]
    once, _ = ask("integrated-gradients", model, noise(), [0, 0, 1], steps=36, **options)
    torch.testing.assert_close(tripled, once, rtol=1e-4, atol=1e-9)
    x = model.normalize(noise())
    nothing = model.normalize(torch.zeros_like(noise()))
    difference = x.mean((1, 2, 3)) ** 3 - nothing.mean((1, 2, 3)) ** 3
    torch.testing.assert_close(once.sum((1, 2, 3))[:2], difference[:2], rtol=5e-3, atol=1e-5)


def test_a_score_that_is_no_number_ends_the_integration_of_its_picture_only(small, ask, noise):
    model = replace(small, module=Power())
    options = {"steps": 4, "most_steps": 36, "tolerance": 1e-3}
    x = noise()
    x[1] = torch.nan
    found, question = ask("integrated-gradients", model, x, [1, 1, 1], **options)  # a line: the first points are enough
    assert question.notes["steps"] == [4, 4, 4]
    assert [error < 1e-3 for error in question.notes["completeness_error"]] == [True, False, True]
    assert np.isnan(question.notes["completeness_error"][1])
    wanted = (model.normalize(x) - model.normalize(torch.zeros_like(x))) / x[0].numel()
    torch.testing.assert_close(found[[0, 2]], wanted[[0, 2]], rtol=1e-5, atol=1e-9)


class LooksAtOnePatch(nn.Module):
    """Its score is the brightness of the 8 × 8 pixels at row 16, column 8."""

    def forward(self, x):
        seen = x[:, :, 16:24, 8:16].mean((1, 2, 3))
        return torch.stack([seen, -seen], 1) * 10


@pytest.mark.parametrize("method", ["gradient", "smoothgrad", "integrated-gradients", "occlusion", "rise"])
def test_the_map_lies_where_the_network_looks(method, small, ask):
    from cvtool.saliency.boxes import strongest_box
    from cvtool.saliency.options import Baseline
    from cvtool.saliency.registry import reduced

    model = replace(small, module=LooksAtOnePatch())
    x = torch.full((1, 3, 32, 32), 0.15)  # its probability is not saturated
    options = {"samples": 600, "baseline": Baseline.black, "patch": 4 / 32}
    found, _ = ask(method, model, x, [0], **options)
    map = found if found.ndim == 3 else reduced(found, METHODS[Method(method)].reduce)
    x0, y0, x1, y1 = strongest_box(map[0].numpy())
    slack = 2 if method != "rise" else 5
    assert abs(x0 - 8) <= slack
    assert abs(y0 - 16) <= slack
    assert abs(x1 - 16) <= slack
    assert abs(y1 - 24) <= slack


def test_one_output(small, ask, noise):
    """A network that gives one number: explained is its logit, its probability is the logistic function."""
    module = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 1))
    for shape in (module, nn.Sequential(*module, nn.Flatten(0))):
        model = replace(small, module=shape.eval().requires_grad_(False), card=replace(small.card, classes=1))
        found, question = ask("gradient", model, noise(), [0, 0, 0])
        assert found.abs().sum() > 0
        chances = question.probabilities(noise())
        assert chances.shape == (3,)
        assert ((chances > 0) & (chances < 1)).all()


@pytest.mark.parametrize("method", ["guided-backprop", "guided-grad-cam", "full-grad"])
def test_what_does_not_fit_a_transformer_says_so(method, vit, ask, noise):
    with pytest.raises(UsageError, match="small"):
        ask(method, vit, noise(), TARGETS)


def test_what_does_not_fit_a_convolutional_network_says_so(small, ask, noise):
    with pytest.raises(UsageError, match="no attention"):
        ask("attention-rollout", small, noise(), TARGETS)


def test_no_maps_at_all(small, ask, noise):
    flat = nn.Sequential(nn.Flatten(), nn.Linear(3 * 32 * 32, 5)).eval().requires_grad_(False)
    with pytest.raises(UsageError, match="no layer with maps"):
        ask("grad-cam", replace(small, module=flat), noise(), TARGETS)


def test_layers_are_named_when_one_is_unknown(small, ask, noise):
    with pytest.raises(UnknownNameError, match="conv2"):
        ask("grad-cam", small, noise(), TARGETS, layer="conv9")
    with pytest.raises(UsageError, match="no places"):
        ask("grad-cam", small, noise(), TARGETS, layer="head")


@pytest.mark.parametrize("method", [m.value for m in Method if of_vit(m.value)])
def test_transformers(method, vit, ask, noise):
    found, question = ask(method, vit, noise(), TARGETS, **QUICK)
    assert found.abs().sum() > 0
    if METHODS[Method(method)].needs is Needs.maps:
        assert question.layers == ["encoder.layers.encoder_layer_2.ln_1"]


def test_out_of_memory_halves_the_batch(small, noise):
    pictures = [each.permute(1, 2, 0).numpy() for each in noise(5)]

    class Tight(nn.Module):
        largest = 0

        def __init__(self, inner):
            super().__init__()
            self.inner = inner

        def forward(self, x):
            if len(x) > 2:
                raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes.")
            Tight.largest = max(Tight.largest, len(x))
            return self.inner(x)

    from cvtool.saliency.service import Explainer

    options = SaliencyOptions(method=Method.smoothgrad, samples=6, batch=16)
    tight = Explainer(replace(small, module=Tight(small.module).eval()))
    roomy = Explainer(small)
    found, wanted = (explain(pictures, each, options) for each in (tight, roomy))
    assert Tight.largest == 2
    for one, other in zip(found, wanted, strict=True):
        np.testing.assert_allclose(one.map, other.map, rtol=1e-4, atol=1e-7)
