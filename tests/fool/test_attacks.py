"""Every attack: against closed forms, against foolbox and torchattacks, and on what all have in common."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from cvtool.errors import UsageError
from cvtool.fool import FoolOptions, fool
from cvtool.fool.attacks import ATTACKS
from cvtool.fool.options import Method, Norm
from cvtool.fool.registry import Kind, Sees
from cvtool.fool.service import USUAL_EPS, check_options, judge
from cvtool.fool.survival import parse_wears
from cvtool.models.framing import classify

QUICK = {Method.square: 300, Method.boundary: 8, Method.cw: 300}
CASES = [(method, norm) for method, spec in ATTACKS.items() for norm in spec.norms]
SMALLEST = [
    (method, norm)
    for method, norm in CASES
    if ATTACKS[method].kind is Kind.minimal and method not in (Method.patch, Method.ascent, Method.boundary)
]
DUAL = {Norm.l2: 2.0, Norm.linf: 1.0, Norm.l1: float("inf")}


def test_names_and_functions_belong_together():
    assert set(ATTACKS) == set(Method)


def options(method: Method, **more) -> FoolOptions:
    return FoolOptions(**{"method": method, "steps": QUICK.get(method), **more})


@pytest.mark.parametrize(("method", "norm"), CASES)
def test_it_fools_and_keeps_its_word(bumpy, greys, method, norm):
    """Whatever it finds is a picture of 8 bits, no further away than eps, and what is told of it is true."""
    spec = ATTACKS[method]
    eps = {Norm.linf: 40 / 255, Norm.l2: 4.0, Norm.l1: 150.0}.get(norm) if spec.kind is Kind.bounded else None
    eps = 2 * eps if eps and method is Method.universal else eps
    sure = None if method is Method.fgsm else 0.6  # one step is not for certainty
    results = fool(greys(), bumpy, options(method, norm=norm, eps=eps, confidence=sure))
    for before, result in zip(greys(), results, strict=True):
        assert result.success
        assert result.adversarial.predictions[0].index != result.label
        assert result.adversarial.predictions[0].probability >= (sure or 0) - 1e-3
        np.testing.assert_allclose(result.pixels * 255, np.rint(result.pixels * 255), atol=1e-4)
        assert 0 <= result.pixels.min() <= result.pixels.max() <= 1
        change = result.pixels - before
        assert result.linf == pytest.approx(np.abs(change).max(), abs=1e-6)
        assert result.l2 == pytest.approx(np.sqrt((change**2).sum()), rel=1e-4)
        assert result.l0 == (np.abs(change) > 1e-6).any(2).sum()
        if eps is not None:
            assert {"linf": result.linf, "l2": result.l2, "l1": result.l1}[norm.value] <= eps * (1 + 1e-4)


TARGETED = [(method, norm) for method, norm in CASES if not ATTACKS[method].untargeted_only]


@pytest.mark.parametrize(("method", "norm"), TARGETED)
def test_it_hits_the_class_that_is_named(bumpy, greys, method, norm):
    eps = {Norm.linf: 60 / 255, Norm.l2: 6.0, Norm.l1: 300.0}.get(norm)
    eps = eps if ATTACKS[method].kind is Kind.bounded else None
    first = [result.label for result in fool(greys(), bumpy, options(Method.fgsm))]
    targets = [(label + 1) % 6 for label in first]
    more = {"eps": eps, "step_size": eps} if method is Method.fgsm else {"eps": eps}
    more |= {"steps": 1500} if method is Method.square else {}
    results = fool(
        greys(), bumpy, options(method, norm=norm, minimize=eps is None, confidence=0.2, **more), target=targets
    )
    reached = [
        result.adversarial.predictions[0].index == target for result, target in zip(results, targets, strict=True)
    ]
    assert sum(reached) >= (1 if method is Method.fgsm else 3)
    assert [result.success for result in results] == reached


def smallest_on(victim, pixels: np.ndarray, norm: Norm) -> float:
    """The closed form: the distance to the nearest of the planes where another logit is as large as the first."""
    module = victim.model.module
    x = torch.from_numpy(pixels).permute(2, 0, 1).flatten()
    logits = module.weight @ x + module.bias
    first = int(logits.argmax())
    distances = [
        (logits[first] - logits[other]) / (module.weight[first] - module.weight[other]).norm(p=DUAL[norm])
        for other in range(len(logits))
        if other != first
    ]
    return float(min(distances))


@pytest.mark.parametrize(("method", "norm"), [case for case in SMALLEST if case[1] in DUAL and case[1] is not Norm.l1])
def test_the_smallest_change_of_a_linear_network(linear, greys, method, norm):
    more = {"step_size": 0.001, "steps": 1500} if method is Method.cw else {}  # the nearest border is that near
    results = fool(greys(), linear, options(method, norm=norm, minimize=True, levels=None, **more))
    for pixels, result in zip(greys(), results, strict=True):
        wanted = smallest_on(linear, pixels, norm)
        size = result.l2 if norm is Norm.l2 else result.linf
        assert result.success
        assert wanted * 0.999 <= size <= wanted * 1.25


@pytest.mark.parametrize(("method", "norm"), SMALLEST)
def test_the_smallest_change_for_a_probability(bumpy, greys, method, norm):
    """8 bits are too coarse to tell a probability from the next."""
    first, sure = (
        fool(greys(), bumpy, options(method, norm=norm, minimize=True, levels=None, confidence=confidence))
        for confidence in (None, 0.9)
    )
    for small, large in zip(first, sure, strict=True):
        assert small.success
        assert large.success
        reached = [each.adversarial.predictions[0].probability for each in (small, large)]
        assert reached[0] < 0.9 - 1e-3 <= reached[1]


def test_auto_looks_for_the_smallest_change_also_within_a_limit(bumpy, greys):
    limited, smallest = (
        fool(greys(), bumpy, options(Method.auto, eps=40 / 255, minimize=minimize)) for minimize in (False, True)
    )
    for large, small in zip(limited, smallest, strict=True):
        assert small.success
        assert small.linf < large.linf


@pytest.mark.parametrize("method", [Method.alma, Method.apgd, Method.ddn, Method.fmn, Method.cw])
def test_what_must_survive_survives(bumpy, greys, method):
    """The picture alone is fooled with far less; that is no place to stop at."""
    wears = parse_wears("blur:0.8,resize:0.5")
    eps = 8 / 255 if method is Method.apgd else None
    for result in fool(greys(), bumpy, options(method, eps=eps, minimize=eps is None), wears=wears):
        assert result.survived == {"blur:0.8": True, "resize:0.5": True}
        assert result.success


def test_labels_alone_lead_near_the_border(linear, greys):
    results = fool(greys(1), linear, options(Method.boundary, steps=25, minimize=True, levels=None, batch=64))
    assert results[0].l2 <= 3 * smallest_on(linear, greys(1)[0], Norm.l2)


@pytest.mark.parametrize("method", [Method.ddn, Method.fmn, Method.pgd, Method.square])
def test_batches_do_not_change_a_picture(bumpy, greys, method):
    eps = 20 / 255 if ATTACKS[method].kind is Kind.bounded else None
    together = fool(greys(), bumpy, options(method, eps=eps))
    for one, pixels in zip(together, greys(), strict=True):
        (alone,) = fool([pixels], bumpy, options(method, eps=eps))
        assert np.abs(alone.pixels - one.pixels).mean() < 1e-3


def test_one_change_for_all(bumpy, greys):
    results = fool(greys(8), bumpy, options(Method.universal, eps=60 / 255, confidence=None))
    changes = [result.pixels - before for result, before in zip(results, greys(8), strict=True)]
    assert all(np.abs(change - changes[0]).max() < 1 / 255 for change in changes)
    assert sum(result.success for result in results) >= 5


def test_one_change_for_all_is_tried_also_where_it_fools_none(bumpy, greys):
    results = fool(greys(4), bumpy, options(Method.universal, eps=1 / 255, confidence=None))
    assert not any(result.success for result in results)
    assert [result.linf * 255 for result in results] == pytest.approx([1.0] * 4, abs=1e-3)


def test_the_same_seed_gives_the_same_bytes(bumpy, greys):
    one, again = (fool(greys(), bumpy, options(Method.pgd, eps=20 / 255)) for _ in range(2))
    other = fool(greys(), bumpy, options(Method.pgd, eps=20 / 255, seed=1))
    assert all(np.array_equal(a.pixels, b.pixels) for a, b in zip(one, again, strict=True))
    assert not all(np.array_equal(a.pixels, b.pixels) for a, b in zip(one, other, strict=True))


def test_scores_and_labels_attacks_take_no_gradient(bumpy, greys):
    for method, spec in ATTACKS.items():
        if spec.sees is not Sees.gradients:
            (result,) = fool(greys(1), bumpy, options(method))
            assert (result.backward, result.forward > 0) == (0, True)


@pytest.mark.parametrize("method", [Method.auto, Method.pgd, Method.jsma, Method.patch, Method.cw, Method.deepfool])
def test_nothing_changes_outside_the_mask(bumpy, greys, method):
    mask = np.zeros((24, 24), dtype=np.float32)
    mask[4:20, 6:24] = 1
    eps = 1.0 if ATTACKS[method].kind is Kind.bounded else None
    (result,) = fool(greys(1), bumpy, options(method, eps=eps, confidence=0.5), masks=[mask])
    change = np.abs(result.pixels - greys(1)[0]).sum(2)
    assert change[mask == 0].max() == 0
    assert result.success


@pytest.mark.parametrize("method", [method for method, norm in SMALLEST if norm is Norm.l2])
def test_a_picture_at_the_border_is_fooled_though_small_steps_round_to_nothing(undecided, greys, method):
    (pixels,) = greys(1)
    (result,) = fool([pixels], undecided(pixels), options(method, confidence=None, minimize=True))
    assert result.success
    assert result.l2 < 0.05


@pytest.mark.parametrize(("norm", "eps"), [(Norm.l1, 150.0), (Norm.l0, 60.0)])
def test_auto_keeps_within_what_its_best_attack_does_not_know(bumpy, greys, norm, eps):
    for result in fool(greys(), bumpy, options(Method.auto, norm=norm, eps=eps, confidence=None)):
        assert result.success
        assert 0 < {"l1": result.l1, "l0": result.l0}[norm.value] <= eps * (1 + 1e-4)


def test_a_limit_is_used_to_the_full(bumpy, greys):
    """4/255 is within 4/255, whatever float32 makes of the difference."""
    for result in fool(greys(), bumpy, options(Method.fgsm, eps=4 / 255)):
        assert result.linf == pytest.approx(4 / 255, abs=1e-6)


@pytest.mark.parametrize("size", [(24, 24), (61, 40)])
@pytest.mark.parametrize("method", [Method.fgsm, Method.pgd, Method.ddn, Method.jsma, Method.patch])
def test_what_is_said_is_what_the_loader_sees(bumpy, method, size):
    """The logits that the attack kept are those of its result, read and resampled as a file is."""
    random = np.random.default_rng(5)
    pixels = (np.rint(255 * random.random((*size, 3))) / 255).astype(np.float32)
    (result,) = fool([pixels], bumpy, options(method))
    again = judge(result, result.pixels, bumpy)
    assert result.adversarial.margin == pytest.approx(again.adversarial.margin, abs=1e-3)
    assert result.success == again.success
    before = classify(pixels, bumpy.model, result.options.resize, bumpy.any_size)
    assert result.label == int(before.argmax())
    assert result.original.predictions[0].probability == pytest.approx(float(before.softmax(0).max()), abs=1e-4)


@pytest.mark.parametrize(("method", "passes"), [(Method.fgsm, 2), (Method.ascent, 1)])
def test_no_picture_is_asked_twice(bumpy, greys, method, passes):
    """What the network says of the original also gives the first gradient, and what is judged was seen before."""
    asked = []
    handle = bumpy.model.module.register_forward_hook(lambda *inputs: asked.append(len(inputs[2])))
    try:
        fool(greys(), bumpy, options(method, steps=None if method is Method.fgsm else 1))
    finally:
        handle.remove()
    assert sum(asked) <= 3 * (passes + (method is Method.ascent))


# Against foolbox and torchattacks: as many pictures fooled at the same eps and gradients, and no larger changes.


@pytest.fixture(scope="module")
def many(bumpy, greys):
    """Sixteen pictures as a tensor, and what the network sees in them."""
    x = torch.stack([torch.from_numpy(pixels).permute(2, 0, 1) for pixels in greys(16, seed=8)])
    return x, bumpy.model.module(x).argmax(1)


def ours(bumpy, greys, method, **more):
    return fool(greys(16, seed=8), bumpy, options(method, confidence=None, levels=None, batch=16, **more))


@pytest.mark.parametrize(
    ("method", "name", "steps"),
    [
        (Method.fgsm, "LinfFastGradientAttack", 1),
        (Method.bim, "LinfBasicIterativeAttack", 10),
        (Method.pgd, "LinfPGD", 40),
        (Method.pgd, "L2PGD", 40),
        (Method.apgd, "LinfPGD", 40),
    ],
)
def test_foolbox_fools_no_more_within_the_same_eps(bumpy, greys, many, method, name, steps):
    import foolbox

    x, label = many
    norm = Norm.l2 if name.startswith("L2") else Norm.linf
    eps = 0.25 if norm is Norm.l2 else 2 / 255
    torch.manual_seed(0)
    model = foolbox.PyTorchModel(bumpy.model.module, bounds=(0, 1))
    arguments = {} if name == "LinfFastGradientAttack" else {"steps": steps}
    _, _, theirs = getattr(foolbox.attacks, name)(**arguments)(model, x, label, epsilons=eps)
    found = ours(bumpy, greys, method, norm=norm, eps=eps, steps=steps)
    assert sum(result.success for result in found) > 0
    assert sum(result.success for result in found) >= int(theirs.sum())


@pytest.mark.parametrize(
    ("method", "name", "arguments"),
    [
        (Method.ddn, "DDNAttack", {"steps": 100}),
        (Method.deepfool, "L2DeepFoolAttack", {"steps": 50}),
        (Method.cw, "L2CarliniWagnerAttack", {"binary_search_steps": 5, "steps": 60}),
        (Method.fmn, "L2FMNAttack", {"steps": 100}),
        (Method.alma, "DDNAttack", {"steps": 300}),
        (Method.auto, "DDNAttack", {"steps": 300}),
    ],
)
def test_foolbox_finds_no_smaller_change(bumpy, greys, many, method, name, arguments):
    import foolbox

    x, label = many
    model = foolbox.PyTorchModel(bumpy.model.module, bounds=(0, 1))
    _, clipped, theirs = getattr(foolbox.attacks, name)(**arguments)(model, x, label, epsilons=None)
    sizes = (clipped - x).flatten(1).norm(dim=1)[theirs]
    found = ours(bumpy, greys, method, minimize=True)
    assert all(result.success for result in found)
    assert np.median([result.l2 for result in found]) <= 1.05 * float(sizes.median())


@pytest.mark.parametrize(
    ("method", "name"), [(Method.mi_fgsm, "MIFGSM"), (Method.square, "Square"), (Method.apgd, "APGD")]
)
def test_torchattacks_fools_no_more_within_the_same_eps(bumpy, greys, many, method, name):
    torchattacks = pytest.importorskip("torchattacks")
    x, label = many
    steps = {"Square": {"n_queries": 300}, "APGD": {"steps": 100}, "MIFGSM": {"steps": 10}}[name]
    theirs = getattr(torchattacks, name)(bumpy.model.module, eps=2 / 255, **steps)(x, label)
    fooled = int((bumpy.model.module(theirs).argmax(1) != label).sum())
    found = ours(bumpy, greys, method, norm=Norm.linf, eps=2 / 255, steps=next(iter(steps.values())))
    assert sum(result.success for result in found) >= fooled


OTHERWISE = {"steps": 25, "step_size": 0.03, "restarts": 2, "patch": 0.5, "patch_robust": True}
"""Other values of all options that not every attack looks at."""
SITUATIONS = [{"confidence": 0.999}, {"minimize": True}, {"confidence": 0.999, "norm": Norm.linf, "eps": 0.01}]
"""The last one's goal cannot be reached, so that no attack ends early."""


@pytest.mark.parametrize("method", list(Method))
def test_an_attack_looks_at_the_options_that_it_says(bumpy, greys, method):
    """Another value of these, and of no other, makes another picture in some situation."""
    spec = ATTACKS[method]

    def drawn(situation, **changed):
        steps = 10 if method is Method.cw else 1  # which begins anew with every fifth of them
        more = {"steps": steps, "levels": None} | situation | changed
        return np.stack([result.pixels for result in fool(greys(), bumpy, FoolOptions(method=method, **more))])

    found = set()
    for situation in SITUATIONS:
        if ("minimize" in situation and spec.kind is Kind.bounded) or situation.get(
            "norm", spec.norms[0]
        ) not in spec.norms:
            continue
        plain = drawn(situation)
        changed = {name: drawn(situation, **{name: value}) for name, value in OTHERWISE.items()}
        found |= {name for name, pixels in changed.items() if not np.array_equal(plain, pixels)}
    assert found == ATTACKS[method].uses


@pytest.mark.parametrize(("norm", "eps"), [(Norm.l2, 8.0), (Norm.l1, 1.0), (Norm.l1, 300.0), (Norm.l0, 1.0)])
def test_limits_above_1_are_usual_in_other_norms_than_linf(norm, eps):
    assert check_options(FoolOptions(norm=norm, eps=eps), targeted=False).method is Method.auto


def test_usual_limits_are_those_of_imagenet():
    assert USUAL_EPS[Norm.linf] == 8 / 255


def test_one_class_and_one_mask_for_each_picture(bumpy, greys):
    pictures = greys()
    mask = np.ones(pictures[0].shape[:2], np.float32)
    for count in (1, len(pictures) - 1, len(pictures) + 1):
        told = f"{count} {{}} do not match {len(pictures)} pictures"
        with pytest.raises(UsageError, match=told.format("classes")):
            fool(pictures, bumpy, options(Method.fgsm), target=[1] * count)
        with pytest.raises(UsageError, match=told.format("masks")):
            fool(pictures, bumpy, options(Method.fgsm), masks=[mask] * count)
