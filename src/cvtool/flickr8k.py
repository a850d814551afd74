"""Where Flickr8k's parts lie, in the folders that it and Flickr30k are unpacked to."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from cvtool.files import folder_of_pictures

TEXT_FOLDERS = (".", "Flickr8k_text")
PICTURE_FOLDERS = (
    *("images", "Images", "Flicker8k_Dataset", "Flickr8k_Dataset", "Flickr8k_Dataset/Flicker8k_Dataset"),
    *("flickr30k-images", "flickr30k_images", "."),
)
SPLIT_FILE = "Flickr_8k.{}Images.txt"
"""With the names of the pictures of ``train``, ``dev`` or ``test``, one a line."""


def text_file(folder: Path, names: Sequence[str]) -> Path | None:
    """The first of these files that a data set has, wherever it keeps its texts."""
    files = (folder / place / name for name in names for place in TEXT_FOLDERS)
    return next((file for file in files if file.is_file()), None)


def picture_folder(folder: Path, text: Path, names: Sequence[str]) -> Path:
    """The folder of the pictures `names` of a data set.

    Args:
        folder: of the data set, or of its texts.
        text: one of its files, that `text_file` found.
        names: of pictures.

    Raises:
        BadInputError: no folder can be read.
    """
    root = folder.parent if folder.name == TEXT_FOLDERS[1] else folder
    places = [base / name for base in dict.fromkeys((root, folder, text.parent)) for name in PICTURE_FOLDERS]
    return folder_of_pictures(places, names)
