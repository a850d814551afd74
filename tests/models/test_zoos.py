"""torchvision's and timm's networks: caches, a missing network, a silent server, names that do not exist."""

from __future__ import annotations

import hashlib
import re
import socket
import threading
import time
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import torch
from helpers import save
from safetensors.torch import save_file

from cvtool.cli.main import run
from cvtool.errors import BadInputError, UnknownNameError, WeightsUnavailableError
from cvtool.models.loader import load
from cvtool.models.sources import fetching

SMALL = "timm:test_resnet.r160_in1k"


def random_state(module: torch.nn.Module) -> dict[str, torch.Tensor]:
    return {key: value.clone() for key, value in module.state_dict().items()}


@pytest.mark.usefixtures("no_network")
@pytest.mark.parametrize(
    ("name", "looked_for"),
    [("squeezenet1_1", "hub/checkpoints/squeezenet1_1-b8a52dc0.pth"), (SMALL, "model.safetensors")],
)
def test_without_network_the_answer_is_quick_and_names_file_and_option(
    caches: Path, name: str, looked_for: str
) -> None:
    import timm  # noqa: F401  (importing it is not what is timed)
    import torchvision  # noqa: F401

    started = time.perf_counter()
    with pytest.raises(WeightsUnavailableError) as caught:
        load(name)
    assert time.perf_counter() - started < 20
    message = str(caught.value)
    assert looked_for in message
    assert "--weights" in message
    assert str(caches) in message
    assert "\n" not in message
    assert caught.value.exit_code == 4


@pytest.mark.usefixtures("no_network")
def test_the_command_line_ends_with_a_code_of_its_own(caches: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert run(["saliency", str(save(caches / "cat.png")), "--model", "squeezenet1_1"]) == 4
    out, err = capfd.readouterr()
    assert (out, err.count("\n")) == ("", 1)
    assert err.startswith("cvtool: error: ")
    assert str(caches / "hub" / "checkpoints" / "squeezenet1_1-b8a52dc0.pth") in err
    assert "--weights" in err


@pytest.mark.usefixtures("no_network")
def test_offline_mode_of_huggingface_is_respected(caches: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(WeightsUnavailableError, match="offline mode"):
        load(SMALL)


@pytest.mark.usefixtures("no_network")
def test_torchvision_weights_in_the_hubs_cache_are_used(caches: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from torchvision.models import SqueezeNet1_1_Weights, squeezenet1_1

    state = random_state(squeezenet1_1(weights=None))
    file = caches / "hub" / "checkpoints" / "squeezenet1_1-b8a52dc0.pth"
    torch.save(state, file)
    with pytest.raises(BadInputError, match=r"is damaged.*Delete it"):
        load("squeezenet1_1")  # the hash in the name is that of the published file
    monkeypatch.setattr(fetching, "sha256_of", lambda _: "b8a52dc0" + "0" * 56)
    model = load("squeezenet1_1")
    colour = torch.rand(1, 3, 1, 1).expand(1, 3, 224, 224)  # theirs resamples too, which leaves one colour as it is
    theirs = SqueezeNet1_1_Weights.DEFAULT.transforms()
    torch.testing.assert_close(model.normalize(colour), theirs(colour))
    assert (model.card.input_size, model.card.classes, model.card.source) == (224, 1000, "torchvision")
    assert torch.equal(model.module.state_dict()["features.0.weight"], state["features.0.weight"])


def hugging_face_file(cache: Path, repository: str) -> Path:
    """Where huggingface_hub keeps `repository`'s weights (the layout that its documentation describes)."""
    folder = cache / f"models--{repository.replace('/', '--')}"
    (folder / "refs").mkdir(parents=True)
    (folder / "refs" / "main").write_text("abc")
    (folder / "snapshots" / "abc").mkdir(parents=True)
    return folder / "snapshots" / "abc" / "model.safetensors"


@pytest.mark.usefixtures("no_network")
def test_timm_weights_in_huggingfaces_cache_are_used(caches: Path) -> None:
    import timm

    oracle = timm.create_model("test_resnet", pretrained=False).eval()
    save_file(random_state(oracle), hugging_face_file(caches / "hf", "timm/test_resnet.r160_in1k"))
    model = load(SMALL)
    x = torch.rand(1, 3, 160, 160)
    with torch.no_grad():
        torch.testing.assert_close(model.module(x), oracle(x))
    config = timm.data.resolve_data_config(model=oracle)
    assert (model.card.mean, model.card.std) == (tuple(config["mean"]), tuple(config["std"]))
    assert model.card.input_size == config["input_size"][-1] == 160
    assert model.card.crop == config["crop_pct"]


def convnext_authors_name(key: str) -> str:
    """timm's tensor name → the one in the ConvNeXt authors' code (facebookresearch/ConvNeXt)."""
    key = re.sub(r"stages\.(\d)\.downsample\.", r"downsample_layers.\1.", key).replace("stem.", "downsample_layers.0.")
    key = key.replace(".blocks.", ".").replace("conv_dw", "dwconv").replace("mlp.fc", "pwconv")
    return key.replace("head.norm.", "norm.").replace("head.fc.", "head.")


def test_timm_converts_the_original_authors_names(tmp_path: Path) -> None:
    import timm

    state = random_state(timm.create_model("convnext_atto", pretrained=False))
    file = tmp_path / "original.pth"
    original = {convnext_authors_name(key): value for key, value in state.items()}
    assert not state.keys() & original.keys() - {"head.weight"}
    torch.save({"model": original}, file)
    loaded = load("timm:convnext_atto", weights=file).module.state_dict()
    assert loaded.keys() == state.keys()
    assert all(torch.equal(loaded[key].flatten(), state[key].flatten()) for key in state)


def test_weights_of_another_timm_network_are_refused(tmp_path: Path) -> None:
    import timm

    file = tmp_path / "other.pth"
    torch.save(random_state(timm.create_model("test_resnet", pretrained=False)), file)
    with pytest.raises(
        BadInputError, match=r"does not fit 'timm:convnext_atto': stem\.0\.weight is missing.*differences"
    ):
        load("timm:convnext_atto", weights=file)


def test_googlenet_file_with_auxiliary_heads(tmp_path: Path) -> None:
    from torchvision.models import googlenet

    state = random_state(googlenet(weights=None, init_weights=False, aux_logits=True))
    file = tmp_path / "googlenet.pth"
    torch.save(state, file)
    model = load("googlenet", weights=file)
    assert model.module.transform_input  # the published weights expect inputs scaled to [-1, 1]
    assert model.module(torch.rand(1, 3, 224, 224)).shape == (1, 1000)


@pytest.mark.parametrize(
    ("name", "nearest"),
    [
        ("efficientnet-lite", "efficientnet-lite0"),
        ("resnet5O", "resnet50"),
        ("timm:tf_eficientnet_lite0", "timm:tf_efficientnet_lite0"),
        ("timm:resnet50.no_such_tag", "timm:resnet50"),
        ("timm:hf-hub:someone/something", ""),
        ("../../etc/passwd", ""),
        ("", ""),
    ],
)
def test_unknown_names_are_answered_with_the_nearest(name: str, nearest: str) -> None:
    with pytest.raises(UnknownNameError, match="'cvtool models' lists them") as caught:
        load(name)
    assert nearest in str(caught.value)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[tuple[str, Path]]:
    """A local web server → (its address, the folder it serves)."""
    folder = tmp_path / "served"
    folder.mkdir()

    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, *_: object) -> None: ...

    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(folder))) as httpd:
        threading.Thread(target=httpd.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{httpd.server_port}", folder
        httpd.shutdown()


def test_a_fetched_file_lands_in_the_cache_only_if_its_hash_is_right(caches: Path, server: tuple[str, Path]) -> None:
    address, folder = server
    content = b"weights" * 1000
    right = f"net-{hashlib.sha256(content).hexdigest()[:8]}.pth"
    for name in (right, "net-00000000.pth"):
        (folder / name).write_bytes(content)
    fetched = fetching.from_url(f"{address}/{right}", "net")
    assert fetched == caches / "hub" / "checkpoints" / right
    assert fetched.read_bytes() == content
    with pytest.raises(WeightsUnavailableError, match="invalid hash"):
        fetching.from_url(f"{address}/net-00000000.pth", "net")
    with pytest.raises(WeightsUnavailableError, match="File not found"):
        fetching.from_url(f"{address}/absent-00000000.pth", "net")
    assert [file.name for file in fetched.parent.iterdir()] == [right]


def test_a_silent_server_does_not_hold_us_up(caches: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from huggingface_hub import constants

    monkeypatch.setattr(fetching, "_TIMEOUT", 0.3)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = f"http://127.0.0.1:{silent.getsockname()[1]}"
        monkeypatch.setattr(constants, "ENDPOINT", address)
        started = time.perf_counter()
        with pytest.raises(WeightsUnavailableError):
            fetching.from_url(f"{address}/net-00000000.pth", "net")
        with pytest.raises(WeightsUnavailableError):
            fetching.from_huggingface("timm/x", "timm:x")
        assert time.perf_counter() - started < 9
    assert socket.getdefaulttimeout() is None
