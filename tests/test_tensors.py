"""Pictures to tensors and back, devices, precision, seeds."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from cvtool.errors import UsageError
from cvtool.tensors import autocast, choose_device, choose_dtype, seeded, to_pixels, to_tensor


def test_pixels_keep_their_place_and_value() -> None:
    pixels = np.random.default_rng(0).random((4, 5, 3), dtype=np.float32)
    tensor = to_tensor(pixels)
    assert tensor.shape == (1, 3, 4, 5)
    assert tensor.dtype == torch.float32
    for y, x, c in [(0, 0, 0), (3, 4, 2), (1, 2, 1)]:
        assert tensor[0, c, y, x].item() == pixels[y, x, c]
    assert np.array_equal(to_pixels(tensor), pixels)


@pytest.mark.parametrize("shape", [(4, 5, 3), (1, 1, 3), (3, 1, 3), (1, 7, 3)])
def test_tensor_has_memory_of_its_own(shape: tuple[int, int, int]) -> None:
    pixels = np.zeros(shape, dtype=np.float32)
    tensor = to_tensor(pixels)
    tensor += 1
    assert pixels.max() == 0


def test_strided_and_double_pictures_work() -> None:
    pixels = np.random.default_rng(1).random((6, 8, 3))
    flipped = pixels[::-1, ::2]
    assert np.allclose(to_pixels(to_tensor(flipped)), flipped, atol=1e-7)


def test_to_pixels_clips_and_detaches() -> None:
    tensor = torch.tensor([-0.5, 0.25, 1.5]).view(1, 3, 1, 1).requires_grad_()
    assert to_pixels(tensor).tolist() == [[[0.0, 0.25, 1.0]]]
    assert to_pixels(tensor.to(torch.bfloat16)).dtype == np.float32
    assert to_pixels(tensor[0]).shape == (1, 1, 3)


def test_other_shapes_are_refused() -> None:
    for pixels in (np.zeros((4, 5), np.float32), np.zeros((4, 5, 4), np.float32)):
        with pytest.raises(ValueError, match="expected a picture"):
            to_tensor(pixels)
    for shape in ((2, 3, 4, 5), (1, 1, 4, 5), (4, 5)):
        with pytest.raises(ValueError, match="expected a tensor"):
            to_pixels(torch.zeros(shape))


def test_cpu_and_auto_are_there() -> None:
    assert choose_device("cpu") == torch.device("cpu")
    assert choose_device("auto").type in ("cpu", "cuda", "mps")


@pytest.mark.parametrize("name", ["", "gpu", "CPU ", "cuda:", "cuda:x", "cuda:-1", "cpu:0", "mps:0", "cuda:0:1", "xpu"])
def test_malformed_devices_are_refused(name: str) -> None:
    with pytest.raises(UsageError, match=r"No device .* Use auto, cpu, cuda, cuda:N or mps"):
        choose_device(name)


def test_devices_that_are_not_there_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    assert choose_device("auto") == torch.device("cpu")
    with pytest.raises(UsageError, match="PyTorch sees no CUDA device"):
        choose_device("cuda")
    with pytest.raises(UsageError, match="mps"):
        choose_device("mps")
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    assert choose_device("auto") == choose_device("mps") == torch.device("mps")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert choose_device("auto") == torch.device("cuda")
    assert choose_device("cuda:1") == torch.device("cuda", 1)
    with pytest.raises(UsageError, match="'cuda:2' is not there: PyTorch sees 2 CUDA devices, counted from 0"):
        choose_device("cuda:2")


def test_precision_of_a_product() -> None:
    a = torch.rand(4, 4)
    expected = {"auto": torch.float32, "fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
    for precision, dtype in expected.items():
        with autocast("cpu", precision):
            assert (a @ a).dtype == dtype
    with pytest.raises(UsageError, match="No precision 'fp8'"):
        autocast("cpu", "fp8")


@pytest.mark.parametrize(("capability", "dtype"), [((7, 5), torch.float32), ((8, 0), torch.bfloat16)])
def test_auto_precision_on_cuda_asks_the_device(
    monkeypatch: pytest.MonkeyPatch, capability: tuple[int, int], dtype: torch.dtype
) -> None:
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _: capability)
    assert choose_dtype(torch.device("cuda")) == dtype


def test_seeded_generators_repeat_and_stay_apart_from_the_global_one() -> None:
    state = torch.get_rng_state()
    first = torch.rand(3, generator=seeded(7))
    assert torch.equal(first, torch.rand(3, generator=seeded(7)))
    assert not torch.equal(first, torch.rand(3, generator=seeded(8)))
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.gpu
def test_round_trip_on_cuda() -> None:
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    pixels = np.random.default_rng(0).random((4, 5, 3), dtype=np.float32)
    assert np.array_equal(to_pixels(to_tensor(pixels, choose_device("cuda"))), pixels)
