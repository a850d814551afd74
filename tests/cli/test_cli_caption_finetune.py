"""``cvtool caption train --finetune``: the network's weights in the run, in its files, and where these are used."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors import safe_open
from safetensors.torch import load_file, save_file

import cvtool.cli.main as program
from cvtool.caption.checkpoint import extractor_of, read_checkpoint
from cvtool.caption.decoding import decode
from cvtool.caption.options import Decode, DecodeOptions
from cvtool.models.loader import load

COLORS = {"red": (220, 30, 30), "green": (30, 200, 40), "blue": (30, 40, 220)}
SIDE = 224  # the network's own, so that pictures reach it byte by byte
SHAPE = ("--hidden", 16, "--embedding", 8, "--dropout", 0.1, "--threshold", 1, "--max-length", 6)
ASKED = (*SHAPE, "--epochs", 2, "--batch", 3, "--rate", 0.02, "--warmup", 1, "--finetune", "--finetune-rate", 3e-4)


@pytest.fixture(scope="module")
def shelf(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data set and a fine-tuned captioner, also without its network's weights; nobody writes here."""
    folder = tmp_path_factory.mktemp("shelf")
    for split, count in {"train": 6, "dev": 2, "test": 2}.items():
        (folder / "set" / split).mkdir(parents=True)
        for number in range(count):
            color = list(COLORS)[number % 3]
            noise = np.random.default_rng(number).integers(-20, 20, (SIDE, SIDE, 3))
            pixels = np.clip(np.array(COLORS[color]) + noise, 0, 255).astype(np.uint8)
            Image.fromarray(pixels).save(folder / "set" / split / f"{number}.png")
            (folder / "set" / split / f"{number}.txt").write_text(f"a {color} picture .\nthis is {color} .\n")
    assert program.run([*map(str, training(folder, folder / "run")), "-q"]) == 0
    best = folder / "run/best.safetensors"
    with safe_open(best, "pt") as file:
        note = file.metadata()
    tensors = {name: value for name, value in load_file(best).items() if not name.startswith("network.")}
    save_file(tensors, folder / "plain.safetensors", note)
    return folder


def training(shelf: Path, run: Path | str, *more: object) -> tuple[object, ...]:
    return "caption", "train", "--data", f"folder:{shelf / 'set'}", "-o", run, *ASKED, *more


def result(outcome) -> dict:
    assert outcome.code == 0, outcome.err
    return json.loads(outcome.out.splitlines()[-1])


def says(outcome, code: int, *texts: str) -> None:
    """Nothing but one line of complaint."""
    assert outcome.code == code, outcome.err
    assert (outcome.out, outcome.err.count("\n")) == ("", 1)
    for text in texts:
        assert text in outcome.err


def assert_same_weights(one: Path, other: Path) -> None:
    first, second = load_file(one), load_file(other)
    assert first.keys() == second.keys()
    assert [name for name in first if not torch.equal(first[name], second[name])] == []


def lines(run: Path) -> list[dict]:
    found = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return [{key: line[key] for key in line if key not in ("seconds", "tokens_per_second")} for line in found]


def test_what_a_run_leaves(shelf: Path) -> None:
    (cache,) = (shelf / "run").glob("pictures-*.npy")
    files = {"best.safetensors", "last.safetensors", "config.json", "metrics.jsonl", "state.pt", cache.name,
             "samples", "report.html"}  # fmt: skip
    assert {path.name for path in (shelf / "run").iterdir()} - {"tensorboard"} == files
    assert sorted(path.name for path in (shelf / "run/samples").iterdir()) == ["epoch-001.png", "epoch-002.png"]
    assert np.load(cache, mmap_mode="r", allow_pickle=False).shape == (8, SIDE, SIDE, 3)
    options = json.loads((shelf / "run/config.json").read_text())["train_options"]
    assert (options["finetune"], options["finetune_rate"]) == (True, 3e-4)
    found, plain = read_checkpoint(shelf / "run/last.safetensors"), load("efficientnet-lite0").module
    parameters = {name for name, _ in plain.named_parameters() if not name.startswith("classifier")}
    assert found.network.keys() == parameters  # batch norms' statistics are not among them
    published = plain.state_dict()
    assert not any(torch.equal(found.network[name], published[name]) for name in found.network)
    assert found.model == "efficientnet-lite0"


def test_resume_after_a_kill(cvtool, shelf: Path, here: Path) -> None:
    code = """
import os, signal, sys
import cvtool.training
from cvtool.caption.training import Trainer
from cvtool.cli.main import run
plain, calls = Trainer._learn, []
def counted(*arguments, **named):
    calls.append(1)
    if len(calls) == 4:
        os.kill(os.getpid(), signal.SIGKILL)
    return plain(*arguments, **named)
Trainer._learn = counted
cvtool.training.SAVE_SECONDS = 0.0
sys.exit(run(sys.argv[1:]))
"""
    if os.name == "nt":
        pytest.skip("no SIGKILL")
    words = [str(word) for word in training(shelf, "run", "-q")]
    done = subprocess.run([sys.executable, "-c", code, *words], cwd=here, check=False)
    assert done.returncode == -signal.SIGKILL
    assert len(lines(Path("run"))) == 1
    state = Path("run/state.pt").read_bytes()
    without = [word for word in words if word != "--finetune"]
    says(cvtool(*without, "--resume"), 2, "these differ from it: finetune.")
    says(cvtool(*words, "--resume", "--finetune-rate", 1e-5), 2, "these differ from it: finetune_rate.")
    assert Path("run/state.pt").read_bytes() == state
    assert cvtool(*words, "--resume").code == 0
    assert lines(Path("run")) == lines(shelf / "run")
    for name in ("best.safetensors", "last.safetensors"):
        assert_same_weights(Path("run") / name, shelf / "run" / name)


def test_evaluate_sees_as_the_run_did(cvtool, shelf: Path) -> None:
    """Perplexity on the development split is what training measured; without the network's weights it is another."""
    words = (
        "caption",
        "evaluate",
        "--data",
        f"folder:{shelf / 'set'}",
        "--split",
        "dev",
        "--decode",
        "greedy",
        "--json",
    )
    facts = read_checkpoint(shelf / "run/best.safetensors").facts
    tuned = result(cvtool(*words, "--checkpoint", shelf / "run/best.safetensors"))
    assert tuned["perplexity"] == pytest.approx(facts["perplexity"], rel=1e-4)
    assert tuned["cider"] == pytest.approx(facts["cider"], rel=1e-4)
    plain = result(cvtool(*words, "--checkpoint", shelf / "plain.safetensors"))
    assert abs(plain["perplexity"] - tuned["perplexity"]) > 1e-2 * tuned["perplexity"]


def test_describe_sees_through_the_tuned_network(cvtool, shelf: Path) -> None:
    photo = shelf / "set/test/0.png"
    words = ("caption", "describe", photo, "--decode", "greedy", "--max-length", 6, "--json")
    tuned = result(cvtool(*words, "--checkpoint", shelf / "run/best.safetensors"))
    plain = result(cvtool(*words, "--checkpoint", shelf / "plain.safetensors"))
    checkpoint = read_checkpoint(shelf / "run/best.safetensors")
    model = load("efficientnet-lite0")  # by hand: the published network, its weights replaced one by one
    for name, parameter in model.module.named_parameters():
        parameter.copy_(checkpoint.network.get(name, parameter))
    with Image.open(photo) as picture:
        pixels = torch.from_numpy(np.array(picture)).permute(2, 0, 1)[None].float() / 255
    maps = []
    handle = model.module.bn2.register_forward_hook(lambda *found: maps.append(found[2]))
    model.module(model.normalize(pixels))
    handle.remove()
    features = maps[0].flatten(2).transpose(1, 2).half().float()
    captioner = checkpoint.captioner
    ((best,),) = decode(captioner, captioner.see_pictures(features), DecodeOptions(decode=Decode.greedy, longest=6))
    assert tuned["log_probability"] == pytest.approx(best.log_probability, rel=1e-3)
    assert tuned["caption"] == " ".join(checkpoint.vocabulary.words[word] for word in best.words)
    assert abs(plain["log_probability"] - tuned["log_probability"]) > 1e-2


def test_features_of_either_network(cvtool, shelf: Path, here: Path) -> None:
    data = ("--data", f"folder:{shelf / 'set'}")
    best, plain = shelf / "run/best.safetensors", shelf / "plain.safetensors"
    features = ("caption", "features", *data, "--no-flip", "--json")
    one = result(cvtool(*features, "-o", "tuned.h5", "--checkpoint", best))
    other = result(cvtool(*features, "-o", "plain.h5", "--checkpoint", plain))
    assert one["model"] == "efficientnet-lite0, fine-tuned"
    assert (
        one["fingerprint"]
        == read_checkpoint(best).features_fingerprint
        == extractor_of(read_checkpoint(best)).origin.fingerprint
    )
    assert other["fingerprint"] == read_checkpoint(plain).fingerprint == read_checkpoint(best).fingerprint
    says(
        cvtool(*features, "-o", "plain.h5", "--checkpoint", best), 3, "'plain.h5' has features of 'efficientnet-lite0'"
    )
    says(cvtool(*features, "-o", "x.h5", "--checkpoint", best, "--model", "vgg19"), 2, "brings its own network")

    evaluate = ("caption", "evaluate", *data, "--json")
    wrong = cvtool(*evaluate, "--checkpoint", best, "--features", "plain.h5")
    says(wrong, 3, "'plain.h5' has features of efficientnet-lite0 as published", "was fine-tuned", "--checkpoint")
    says(cvtool(*evaluate, "--checkpoint", plain, "--features", "tuned.h5"), 3, "'efficientnet-lite0, fine-tuned'")
    says(cvtool(*evaluate, "--checkpoint", best, "--checkpoint", plain), 3, "cannot speak as one")
    kept = result(cvtool(*evaluate, "--checkpoint", best, "--features", "tuned.h5"))
    computed = result(cvtool(*evaluate, "--checkpoint", best))
    assert kept["perplexity"] == pytest.approx(computed["perplexity"], rel=1e-4)


def test_start_with_a_checkpoint(cvtool, shelf: Path, here: Path) -> None:
    """With rates of 0 all weights stay what they were, the network's too; also where only the captioner is trained."""
    best = shelf / "run/best.safetensors"
    still = ("--init", best, "--epochs", 1, "--rate", 0, "--finetune-rate", 0, "-q")
    assert cvtool(*training(shelf, "a", *still)).code == 0
    assert_same_weights(Path("a/last.safetensors"), best)
    words = [word for word in training(shelf, "b", *still) if word != "--finetune"]
    assert cvtool(*words).code == 0
    assert_same_weights(Path("b/last.safetensors"), best)
    assert lines(Path("b"))[0]["perplexity"] == pytest.approx(lines(Path("a"))[0]["perplexity"], rel=1e-4)
    assert cvtool(*training(shelf, "c", *still, "--init", shelf / "plain.safetensors")).code == 0
    network = read_checkpoint(Path("c/last.safetensors")).network
    published = load("efficientnet-lite0").module.state_dict()
    assert all(torch.equal(value, published[name]) for name, value in network.items())
    other = cvtool(*training(shelf, "d", *still, "--model", "efficientnet-lite1"))
    says(other, 3, "reads other features than these. Use --model efficientnet-lite0")


def test_refusals(cvtool, shelf: Path, here: Path) -> None:
    says(cvtool(*training(shelf, "run", "--features", "f.h5")), 2, "--finetune", "Leave out --features")
    says(
        cvtool(*training(shelf, "run", "--engine", "numpy")), 2, "without --scheduled, --scst, --average and --finetune"
    )
    assert not Path("run").exists()
    shutil.copytree(shelf / "run", "run")
    (cache,) = Path("run").glob("pictures-*.npy")
    cache.write_bytes(cache.read_bytes()[:-1])
    says(cvtool(*training(shelf, "run", "--resume", "-q")), 3, f"'{cache}' is broken")
    cache.unlink()
    assert cvtool(*training(shelf, "run", "--resume", "-q")).code == 0  # there is nothing left to do
    assert cache.exists()


def test_a_run_of_an_earlier_version_goes_on(cvtool, shelf: Path, here: Path) -> None:
    words = [word for word in training(shelf, "run", "-q") if word not in ("--finetune", "--finetune-rate", 3e-4)]
    assert cvtool(*words).code == 0
    config = json.loads(Path("run/config.json").read_text())
    for name in ("finetune", "finetune_rate"):
        del config["train_options"][name]
    Path("run/config.json").write_text(json.dumps(config))
    assert cvtool(*words, "--resume").code == 0
    says(cvtool(*words, "--resume", "--finetune"), 2, "these differ from it: finetune.")


def test_only_the_end_of_the_network(cvtool, shelf: Path, here: Path) -> None:
    """What was tuned before and is now held stays in the checkpoint; a file of maps is kept instead of pictures."""
    start = shelf / "run/best.safetensors"
    words = training(shelf, "run", "--finetune-from", "blocks.6", "--init", start, "-q")
    assert cvtool(*words).code == 0
    assert [path.name.split("-")[0] for path in Path("run").glob("*.npy")] == ["maps"]
    options = json.loads(Path("run/config.json").read_text())["train_options"]
    assert (options["finetune"], options["finetune_from"]) == (True, "blocks.6")
    before, after = (read_checkpoint(path).network for path in (start, Path("run/last.safetensors")))
    assert before.keys() == after.keys()
    moved = {".".join(name.split(".")[:2]) for name in before if not torch.equal(before[name], after[name])}
    assert moved == {"blocks.6", "conv_head.weight", "bn2.weight", "bn2.bias"}
    says(cvtool(*words[:-1], "--overwrite", "--finetune-from", "blocks.7"), 2, "No layer 'blocks.7'")
    facts = read_checkpoint(Path("run/best.safetensors")).facts
    evaluate = ("caption", "evaluate", "--data", f"folder:{shelf / 'set'}", "--split", "dev", "--decode", "greedy")
    found = result(cvtool(*evaluate, "--json", "--checkpoint", "run/best.safetensors"))
    assert found["perplexity"] == pytest.approx(facts["perplexity"], rel=1e-2)  # maps are kept in float16
