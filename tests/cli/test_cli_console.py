"""What a command says, and where: JSON lines, levels, progress, closed streams, memory."""

from __future__ import annotations

import json
import os
import re
import warnings
from contextlib import suppress
from pathlib import Path

import pytest

from cvtool.cli.console import Console, OutputClosed, replay, taped
from cvtool.cli.measure import peak_memory_mb
from cvtool.progress import Step


def test_json_lines_have_the_common_keys_and_only_finite_numbers(capsys: pytest.CaptureFixture[str]) -> None:
    Console(json=True).result("x", input="ä\udcff.png", seconds=float("inf"), losses=(1.0, float("nan")))
    out, err = capsys.readouterr()
    assert err == ""
    assert out.isascii()
    assert out.count("\n") == 1
    record = json.loads(out)
    assert list(record) == [*["command", "input", "output", "model", "device", "seed", "seconds", "version"], "losses"]
    assert (record["seconds"], record["losses"], record["input"]) == (None, [1.0, None], "ä\udcff.png")


def test_without_json_results_are_silent(capsys: pytest.CaptureFixture[str]) -> None:
    Console().result("x")
    assert capsys.readouterr() == ("", "")


def test_levels(capsys: pytest.CaptureFixture[str]) -> None:
    def heard(console: Console) -> list[str]:
        console.say("say")
        console.detail("detail")
        console.warn("warn")
        console.error("error")
        out, err = capsys.readouterr()
        assert out == ""
        return [line.split()[-1] for line in err.splitlines()]

    assert heard(Console()) == ["say", "warn", "error"]
    assert heard(Console(verbose=True)) == ["say", "detail", "warn", "error"]
    with warnings.catch_warnings():
        assert heard(Console(quiet=True, verbose=True)) == ["error"]


def test_no_progress_bar_where_nobody_looks(capsys: pytest.CaptureFixture[str]) -> None:
    with Console().progress() as progress:
        progress(Step("256 px", 1, 2, {"loss": 0.5}))
    assert capsys.readouterr() == ("", "")


def test_a_log_sees_life(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """At every half minute of silence, also over several pieces of work; whatever else is said breaks the silence."""
    now = 0.0
    monkeypatch.setattr("cvtool.cli.console.time.monotonic", lambda: now)
    console, silent = Console(), Console(quiet=True)
    for done in range(1, 101):
        now += 1.0
        for each in (console, silent):
            with each.progress() as progress:
                progress(Step("features", done, 100 if done < 60 else 0))
        if done == 70:
            console.say("hello")
    assert capsys.readouterr().err.splitlines() == [
        "features: 30/100, about 70 s left",
        "features: 60",
        "hello",
        "features: 100",
    ]
    with taped() as said, console.progress() as progress:
        now += 100.0
        progress(Step("features", 1, 2))
    assert said == []


def test_a_log_is_told_how_long_a_stage_goes_on(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """By the pace of that stage in this process: others, and steps of an earlier process, say nothing of it."""
    now = 0.0
    monkeypatch.setattr("cvtool.cli.console.time.monotonic", lambda: now)
    console = Console()
    with console.progress() as progress:
        for stage, steps, pace in (("old", range(9), 1.0), ("new", range(500, 509), 20.0), ("new", range(1, 4), 40.0)):
            for done in steps:
                now += pace
                progress(Step(stage, done, 510))
    assert capsys.readouterr().err.splitlines() == [
        "new: 501/510, about 3.0 min left",
        "new: 503/510, about 2.3 min left",
        "new: 505/510, about 1.7 min left",
        "new: 507/510, about 60 s left",
        "new: 1/510",
        "new: 2/510, about 5.6 h left",
        "new: 3/510, about 5.6 h left",
    ]


def test_verbose_tells_what_each_stage_took(capsys: pytest.CaptureFixture[str]) -> None:
    with Console(verbose=True).progress() as progress:
        for stage in ("256 px", "512 px"):
            for done in (1, 2, 3):
                progress(Step(stage, done, 3))
    lines = capsys.readouterr().err.splitlines()
    assert [line.rsplit(" in ", 1)[0] for line in lines] == ["256 px: 3 steps", "512 px: 3 steps"]


def test_closed_streams_are_no_failure() -> None:
    """As in ``cvtool … <&- >&- 2>&-``."""
    import subprocess
    import sys

    program = """
import sys
sys.stdin = sys.stdout = sys.stderr = None
from cvtool.cli.console import Console
from cvtool.cli.main import run
with Console().progress() as progress:
    pass
Console(json=True).result("x")
picture = run(["saliency", "x.png", "-o", "-"])
sys.exit(10 * (run(["assets"]) != 0) + 20 * (run(["stylize", "-", "x.png"]) != 2) + 40 * (picture != 2))
"""
    assert subprocess.run([sys.executable, "-c", program]).returncode == 0


def test_a_terminal_sees_stage_steps_and_loss() -> None:
    pty = pytest.importorskip("pty")
    import subprocess
    import sys

    program = """
import time
from cvtool.cli.console import Console
from cvtool.progress import Step
with Console().progress() as progress:
    for done in range(1, 4):
        progress(Step("256 px [x]", done, 7, {"loss": 0.125}))
        time.sleep(0.15)
print("data")
"""
    ours, theirs = pty.openpty()
    environment = {**os.environ, "TERM": "xterm", "COLUMNS": "120"}
    child = subprocess.Popen([sys.executable, "-c", program], stderr=theirs, stdout=subprocess.PIPE, env=environment)
    os.close(theirs)
    said = b""
    with suppress(OSError):  # how Linux says that nobody writes to the terminal any more
        while part := os.read(ours, 1 << 16):
            said += part
    os.close(ours)
    shown = said.decode()
    assert child.communicate() == (b"data\n", None)
    assert "256 px [x]" in shown
    assert "3/7" in shown
    assert "loss 0.125" in shown
    assert "steps/s" in shown


def test_a_table_is_aligned(capsys: pytest.CaptureFixture[str]) -> None:
    Console().table([("a", "1"), ("long", "")], header=("N", "X"))
    assert capsys.readouterr().out == "N     X\na     1\nlong\n"


def test_what_strangers_wrote_steers_no_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    steering = "\x1b]0;owned\x07\r\nforged\x7f\x9b2J\u202e\u2028"
    escaped = r"\x1b]0;owned\x07\r\nforged\x7f\x9b2J\u202e\u2028"
    console = Console(verbose=True)
    console.table([(steering, "b")], header=("A", "B"))
    console.line(steering)
    console.say(steering)
    console.detail(steering)
    with taped() as said:
        console.line(steering)
        console.say(steering)
    replay(said)
    replay([("out", steering), ("err", steering)])  # as another process has noted it
    out, err = capsys.readouterr()
    assert out.splitlines() == [f"A{chr(32) * len(escaped)} B", f"{escaped}  b", *[escaped] * 3]
    assert err.splitlines() == [escaped] * 4
    Console(json=True).result("x", input=steering)
    out, _ = capsys.readouterr()
    assert json.loads(out)["input"] == steering
    assert out[:-1].isprintable()


@pytest.mark.parametrize(
    "text",
    [
        "Füße 猫の写真 \N{CAT FACE}",
        "👩\u200d🚀 🐈\u200d⬛ ❤\ufe0f",
        "3.45\u202fPM 10\u00a0km",
        "שלום مرحبا می\u200cخواهم",
        "a.png\ta cat",
        r"C:\x1b",
    ],
)
def test_ordinary_text_stays_as_it_is(text: str, capsys: pytest.CaptureFixture[str]) -> None:
    Console().line(text)
    Console().table([(text, "b")])
    Console().say(text)
    assert capsys.readouterr() == (f"{text}\n{text}  b\n", f"{text}\n")


def test_a_closed_stdout_is_told_apart_from_other_errors(monkeypatch: pytest.MonkeyPatch) -> None:
    class Closed:
        def write(self, text: str) -> None:
            raise BrokenPipeError

    monkeypatch.setattr("sys.stdout", Closed())
    with pytest.raises(OutputClosed):
        Console(json=True).result("x")


COSTLY = {
    "stylize": "stylize cat.png asset:mosaic --size 32 --steps 1 -o x.png",
    "saliency": "saliency cat.png --method gradient -o x.png",
    "fool": "fool cat.png --untargeted --method fgsm --confidence 0.001 -o x.png",
    "visualize-class": "visualize-class tabby --size 32 --steps 1 --views 1 --model efficientnet-lite0 -o x.png",
    "caption describe": "caption describe cat.png --decode greedy",
    "gan sample": "gan sample -n 2 -o x.png",
    "gan interpolate": "gan interpolate --seeds 1,2 --frames 3 -o x.png",
    "classes": "classes tabby",
}
AT_THE_END = re.compile(r"\d+\.\d s in all, peak memory [1-9]\d+ MB")


@pytest.mark.usefixtures("cat")
@pytest.mark.parametrize("command", COSTLY)
def test_verbose_ends_with_time_and_memory(cvtool, command: str) -> None:
    plain, verbose = cvtool(*COSTLY[command].split()), cvtool(*COSTLY[command].split(), "-v")
    assert plain.code == verbose.code
    assert plain.code in (0, 5)
    assert "peak memory" not in plain.err
    told = verbose.err.splitlines()
    assert [line for line in told if "peak memory" in line] == [told[-1 if plain.code == 0 else -2]]
    assert AT_THE_END.fullmatch(told[-1 if plain.code == 0 else -2])
    assert "peak memory" not in cvtool(*COSTLY[command].split(), "-v", "-q").err


def test_the_cost_of_a_failure_is_told_before_it(cvtool) -> None:
    cost, error = cvtool("saliency", "nowhere.png", "-v").err.splitlines()
    assert AT_THE_END.fullmatch(cost)
    assert error.startswith("cvtool: error: ")


def test_peak_memory_is_what_the_kernel_says() -> None:
    status = Path("/proc/self/status")
    if not status.exists():
        pytest.skip("no /proc")
    kilobytes = int(next(line for line in status.read_text().splitlines() if line.startswith("VmHWM")).split()[1])
    assert peak_memory_mb() == pytest.approx(kilobytes * 1024 / 1e6, rel=0.05)
