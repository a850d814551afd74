"""Published weights of torchvision and timm: from their caches, else over the network, else a quick and clear no."""

from __future__ import annotations

import logging
import re
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.error import HTTPError
from urllib.parse import urlsplit
from urllib.request import Request, urlopen

import torch

from cvtool.errors import GIVE_WEIGHTS, BadInputError, WeightsUnavailableError
from cvtool.files import sha256_of
from cvtool.models.sources.local_file import first_line

_TIMEOUT = 8.0  # seconds until a silent network counts as absent


def hub_file(url: str) -> Path:
    """Where PyTorch's hub keeps the file of `url`, whether it is there or not."""
    return Path(torch.hub.get_dir()) / "checkpoints" / Path(urlsplit(url).path).name


def from_url(url: str, model: str) -> Path:
    """The file of `url` in PyTorch's hub cache, fetched first if it is not there; the hash in its name is checked.

    Raises:
        WeightsUnavailableError: not there, and the network does not give it.
        BadInputError: the cached file is damaged.
    """
    file = hub_file(url)
    match = re.search(r"-([0-9a-f]{8,})\.", file.name)
    prefix = match.group(1) if match else ""
    if not file.is_file():
        try:
            file.parent.mkdir(parents=True, exist_ok=True)
            with _short_timeout():
                torch.hub.download_url_to_file(url, str(file), hash_prefix=prefix or None, progress=False)
        except (OSError, RuntimeError) as error:  # URLError and timeouts are OSErrors, a wrong hash is a RuntimeError
            raise _unavailable(model, str(file), url, error) from error
    elif not sha256_of(file).startswith(prefix):
        raise BadInputError(f"'{file}' is damaged (its SHA-256 does not start with {prefix}). Delete it and try again.")
    return file


_HUB_FILES = ("model.safetensors", "pytorch_model.bin")


def in_huggingface_cache(repository: str, file_name: str = "") -> Path | None:
    """The cached weights of a Hugging Face repository, None when they are not on this machine."""
    from huggingface_hub import try_to_load_from_cache

    for name in [file_name] if file_name else _HUB_FILES:
        found = try_to_load_from_cache(repository, name)
        if isinstance(found, str):
            return Path(found)
    return None


def from_huggingface(repository: str, model: str, file_name: str = "") -> Path:
    """The weights of a Hugging Face repository, from the cache or fetched into it.

    Raises:
        WeightsUnavailableError: not there, and the network does not give them.
    """
    from huggingface_hub import constants, hf_hub_download
    from huggingface_hub.errors import EntryNotFoundError, LocalEntryNotFoundError

    if cached := in_huggingface_cache(repository, file_name):
        return cached
    names = [file_name] if file_name else list(_HUB_FILES)
    wanted = f"{repository}/{names[0]} in {constants.HF_HUB_CACHE}"
    url = f"{constants.ENDPOINT}/{repository}/resolve/main/{names[0]}"
    last: Exception = FileNotFoundError("offline mode (HF_HUB_OFFLINE)")
    if constants.HF_HUB_OFFLINE:
        raise _unavailable(model, wanted, url, last)
    try:
        _require_answer(url)  # huggingface_hub itself would retry for half a minute
    except OSError as error:
        raise _unavailable(model, wanted, url, error) from error
    for name in names:
        try:
            with _quiet_hub():
                return Path(hf_hub_download(repository, name, etag_timeout=_TIMEOUT))
        except LocalEntryNotFoundError as error:  # also an EntryNotFoundError, but means that the network failed
            last = error
            break
        except EntryNotFoundError as error:
            last = error
        except Exception as error:  # its errors come from whichever HTTP library it uses
            last = error
            break
    raise _unavailable(model, wanted, url, last) from last


def _require_answer(url: str) -> None:
    """Return when a server answers at `url`, whatever it says; else an OSError after `_TIMEOUT` seconds at most."""
    try:
        with urlopen(Request(url, method="HEAD"), timeout=_TIMEOUT):
            pass
    except HTTPError:
        pass


def _unavailable(model: str, wanted: str, url: str, error: Exception) -> WeightsUnavailableError:
    reason = getattr(error, "reason", None) or first_line(error)
    return WeightsUnavailableError(
        f"The weights of '{model}' are not on this machine (looked for {wanted}) and could not be fetched from {url} "
        f"({reason}). {GIVE_WEIGHTS}"
    )


@contextmanager
def _short_timeout() -> Iterator[None]:
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(_TIMEOUT)
    try:
        yield
    finally:
        socket.setdefaulttimeout(before)


@contextmanager
def _quiet_hub() -> Iterator[None]:
    """No progress bars and no notes about retries: stderr belongs to the command line."""
    from huggingface_hub.utils.tqdm import are_progress_bars_disabled, disable_progress_bars, enable_progress_bars

    logger = logging.getLogger("huggingface_hub")
    level, bars = logger.level, not are_progress_bars_disabled()
    logger.setLevel(logging.ERROR)
    disable_progress_bars()
    try:
        yield
    finally:
        logger.setLevel(level)
        if bars:
            enable_progress_bars()
