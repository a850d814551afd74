"""The options of ``cvtool stylize``, as Typer is told of them."""

from __future__ import annotations

from enum import Enum
from pathlib import Path
from typing import Annotated

import typer

from cvtool.cli import options as shared
from cvtool.stylize.options import Colors, DraftOptions, Optimizer, Recipe, StylizeOptions
from cvtool.stylize.recipes import RECIPES

DEFAULTS = StylizeOptions()
DRAFTS = DraftOptions()
BY_RECIPE = "the recipe's"
BY_MODEL = "the recipe's for this model"
PARTS, LARGE, SHEETS = "Parts of the picture", "Large pictures and colours", "Sheets of drafts"
ONE_PASS, CLIPS, WORK = "In one pass", "Clips", "While it works"
"""Where ``--help`` lists options; the others come first."""


class Bits(str, Enum):
    """Bits per channel of the written picture."""

    auto = "auto"
    eight = "8"
    sixteen = "16"


def _models_of_recipes() -> str:
    usual = RECIPES[DEFAULTS.recipe].model
    others = [f"{spec.model} for {name.value}" for name, spec in RECIPES.items() if spec.model != usual]
    return ", ".join([usual, *others])


Content = Annotated[
    str | None,
    typer.Argument(
        metavar="CONTENT",
        show_default=False,
        help="The picture to paint, or a folder of them. Not for --save-style alone.",
    ),
]

More = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="STYLE",
        show_default=False,
        help="The style: a picture or a style file, several, or folders of pictures. With --style: further contents.",
    ),
]

Style = Annotated[
    list[str] | None,
    typer.Option(
        "--style",
        metavar="FILE",
        show_default="the arguments after CONTENT",
        help="A style picture, a folder of them, or a style file; repeatable. All arguments are contents then.",
    ),
]

StyleWeight = Annotated[
    list[float] | None,
    typer.Option(
        "--style-weight",
        metavar="W",
        show_default="all alike",
        help="Weight of a style; repeat it once per style, in the same order. Below 0 takes the style away.",
    ),
]

Strength = Annotated[
    float,
    typer.Option(
        "--strength",
        metavar="PERCENT",
        min=0,
        max=100,
        help="From 0 % (the content) to 100 % (pure style).",
    ),
]

Size = Annotated[
    int,
    typer.Option("--size", metavar="PX", min=0, help="Longer side of the result in pixels; 0: the content's own."),
]

Steps = Annotated[
    str | None,
    typer.Option(
        "--steps",
        metavar="N",
        show_default=BY_RECIPE,
        help="Optimisation steps, spread over the scales; N,N,… gives each scale its own, coarse to fine.",
    ),
]

OptimizerOption = Annotated[
    Optimizer | None,
    typer.Option("--optimizer", show_default=BY_RECIPE, help="How the picture follows its gradient."),
]

InitOption = Annotated[
    str | None,
    typer.Option(
        "--init",
        metavar="content|noise|style-stats|instant|FILE",
        show_default=BY_RECIPE,
        help="The start: the content, noise, noise with the style's colours, what --instant paints, or a file.",
    ),
]

PreserveColors = Annotated[
    Colors,
    typer.Option(
        "--preserve-colors",
        help="Keep the content's colours: 'luminance' paints light and dark only, 'match' recolours the style.",
    ),
]

StyleScale = Annotated[
    float,
    typer.Option("--style-scale", metavar="S", help="Size of the strokes, a factor: 1 as in the style, 2 twice that."),
]

Tv = Annotated[
    float | None,
    typer.Option(
        "--tv", metavar="W", min=0, show_default=BY_RECIPE, help="Weight of smoothness (total variation), from 0."
    ),
]

Budget = Annotated[
    str | None,
    typer.Option(
        "--budget",
        metavar="TIME",
        show_default="no limit",
        help="Time to spend on one picture, e.g. 60s, 2m or 1.5m; a bare number is seconds.",
    ),
]

RecipeOption = Annotated[
    Recipe, typer.Option("--recipe", help="Which published recipe is run; 'default' is cvtool's own.")
]

StyleLayers = Annotated[
    str | None,
    typer.Option("--style-layers", metavar="NAME,…", show_default=BY_MODEL, help="Layers that compare styles."),
]

ContentLayers = Annotated[
    str | None,
    typer.Option("--content-layers", metavar="NAME,…", show_default=BY_MODEL, help="Layers that compare contents."),
]

BitsOption = Annotated[
    Bits,
    typer.Option(
        "--bits", rich_help_panel=LARGE, help="Bits per channel; 16 for png and tiff only; auto: as the content."
    ),
]

KeepProfile = Annotated[
    bool,
    typer.Option(
        "--keep-profile",
        rich_help_panel=LARGE,
        show_default="off: sRGB",
        help="Work in the colours of the content's ICC profile (Display P3, Adobe RGB, …) and embed it in the result.",
    ),
]

Sheet = Annotated[
    str | None,
    typer.Option(
        "--sheet",
        rich_help_panel=SHEETS,
        metavar="FILE",
        show_default="none",
        help="Instead of pictures, make a sheet of drafts: a row for each style, a column for each of --strengths; "
        "the commands that finish them go to stdout. With several contents: a folder of sheets.",
    ),
]

Strengths = Annotated[
    str | None,
    typer.Option(
        "--strengths",
        rich_help_panel=SHEETS,
        metavar="PERCENT,…",
        show_default=",".join(f"{strength:g}" for strength in DRAFTS.strengths) + ", or --strength where it is given",
        help="The strengths of the drafts on a --sheet, from 0 to 100 %.",
    ),
]

SheetSize = Annotated[
    int,
    typer.Option(
        "--sheet-size",
        rich_help_panel=SHEETS,
        metavar="PX",
        min=16,
        max=2048,
        help="Longer side of a draft on a --sheet in pixels.",
    ),
]

Watch = Annotated[
    str | None,
    typer.Option(
        "--watch",
        rich_help_panel=shared.INPUTS,
        metavar="FOLDER",
        show_default="none",
        help="Paint what is in FOLDER and whatever appears in it, looking every second, until Ctrl-C. "
        "The arguments or --style are styles then; --output is another folder.",
    ),
]

InstantOption = Annotated[
    bool,
    typer.Option(
        "--instant",
        rich_help_panel=ONE_PASS,
        show_default="off",
        help="Paint in one pass of a trained network: quicker, and not as good.",
    ),
]

PainterOption = Annotated[
    Path | None,
    typer.Option(
        "--painter",
        rich_help_panel=ONE_PASS,
        metavar="FILE",
        show_default="the bundled one",
        help="The network of --instant: a checkpoint of 'cvtool stylize train-instant'.",
    ),
]

Video = Annotated[
    bool,
    typer.Option(
        "--video",
        rich_help_panel=CLIPS,
        show_default="off",
        help="CONTENT is a clip: a video, an animated GIF, or a folder of frames.",
    ),
]

FrameSteps = Annotated[
    int,
    typer.Option(
        "--frame-steps",
        rich_help_panel=CLIPS,
        metavar="N",
        min=1,
        help="Steps of a frame that follows another, with --video; the first of each shot takes --steps.",
    ),
]

Steadiness = Annotated[
    float,
    typer.Option(
        "--steadiness",
        rich_help_panel=CLIPS,
        metavar="W",
        min=0,
        help="How firmly a frame is held to the one before, with --video: weight of the squared error.",
    ),
]

Fps = Annotated[
    str | None,
    typer.Option(
        "--fps",
        rich_help_panel=CLIPS,
        metavar="RATE",
        show_default="24",
        help="Frames per second of a folder of frames, with --video, e.g. 30 or 30000/1001.",
    ),
]

Jobs = Annotated[
    int,
    typer.Option(
        "--jobs",
        rich_help_panel=CLIPS,
        metavar="N",
        min=1,
        help="Processes that paint shots side by side, with --video; the result is the same.",
    ),
]

Animate = Annotated[
    Path | None,
    typer.Option(
        "--animate",
        rich_help_panel=WORK,
        metavar="FILE",
        show_default="none",
        help="Also write how the picture came to be: .gif, .mp4, .webp.",
    ),
]

Preview = Annotated[
    Path | None,
    typer.Option(
        "--preview",
        rich_help_panel=WORK,
        metavar="FILE",
        show_default="none",
        help="Keep the picture so far in FILE, about once a second.",
    ),
]

Checkpoint = Annotated[
    Path | None,
    typer.Option(
        "--checkpoint",
        rich_help_panel=WORK,
        metavar="FILE",
        show_default="none",
        help="Save the state of the work, to go on with --resume.",
    ),
]

Resume = Annotated[
    Path | None,
    typer.Option(
        "--resume",
        rich_help_panel=WORK,
        metavar="FILE",
        show_default="none",
        help="Go on from a checkpoint, with the same inputs.",
    ),
]

Mask = Annotated[
    list[str] | None,
    typer.Option(
        "--mask",
        rich_help_panel=PARTS,
        metavar="CONTENT_MASK=STYLE_MASK",
        show_default="the whole picture",
        help="Paint where the first picture is white with what the second shows of the style ('all': all of it); "
        "repeatable: with several styles, once per style in their order. What is black in all masks stays untouched.",
    ),
]

ContentMaskFromAlpha = Annotated[
    bool,
    typer.Option(
        "--content-mask-from-alpha",
        rich_help_panel=PARTS,
        show_default="off",
        help="Paint only what is not transparent in the content.",
    ),
]

Tile = Annotated[
    str,
    typer.Option(
        "--tile",
        rich_help_panel=LARGE,
        metavar="auto|PX|off",
        help="Work on tiles of so many pixels, one at a time: less memory, the same picture. 'auto': as needed.",
    ),
]

MaxMemory = Annotated[
    str | None,
    typer.Option(
        "--max-memory",
        rich_help_panel=LARGE,
        metavar="SIZE",
        show_default="80 % of what is free",
        help="Memory that may be used, e.g. 4GB.",
    ),
]

SaveStyle = Annotated[
    Path | None,
    typer.Option(
        "--save-style",
        metavar="FILE.safetensors",
        show_default="none",
        help="Keep the mixture of the styles in a file that can be given as a style, alone or with a content.",
    ),
]

ModelOption = Annotated[str | None, shared.model_option(show_default=_models_of_recipes())]
