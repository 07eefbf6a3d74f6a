"""Files: arrays and a JSON description in one safetensors file, replaced atomically.

Nothing in a file is ever executed. A cell is saved as the text of its graph, and read back by ir/parse.py.
"""

from __future__ import annotations

import contextlib
import json
import os
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from .errors import FileError, MissingExtraError, lay_out

Array = np.ndarray[Any, np.dtype[Any]]
FORMAT = 1
KEY = "ostinato"


def _safetensors() -> Any:
    try:
        import safetensors.numpy as library
    except ImportError:
        headline = "saving and loading need safetensors, which is installed with Ostinato and is gone: pip install safetensors"
        raise MissingExtraError(lay_out(headline)) from None
    return library


def path_of(path: Any) -> Path:
    """A path of what names one: text, bytes, a Path.

    Raises:
        FileError: it names none.
    """
    try:
        return Path(os.fsdecode(path))
    except TypeError:
        headline = f'a file is named by its path, as in "model.safetensors", not by this {type(path).__name__}'
        raise FileError(lay_out(headline)) from None


def write(path: str | os.PathLike[str], arrays: Mapping[str, Array], description: Mapping[str, Any]) -> None:
    """Write a file, whole or not at all.

    Raises:
        FileError: it can not be written; what stood there before is untouched.
        MissingExtraError: safetensors is not installed.
    """
    library = _safetensors()
    text = json.dumps({"format": FORMAT, **description}, indent=1, sort_keys=True)
    content = library.save({k: np.ascontiguousarray(a).reshape(a.shape) for k, a in arrays.items()}, metadata={KEY: text})
    write_atomically(path, content)


def write_atomically(path: str | os.PathLike[str], content: bytes) -> None:
    """Write a file of the user, whole or not at all.

    Raises:
        FileError: it can not be written; what stood there before is untouched.
    """
    try:
        replace_file(path_of(path), content)
    except OSError as error:
        if isinstance(error, FileError):
            raise
        raise FileError(lay_out(f"`{path}` can not be written: {error.strerror or error}")) from None


def replace_file(target: Path, content: bytes, *, cache: bool = False) -> None:
    """Write beside a file first, then move that over it: whoever reads it finds the old content or the new, never a part.

    Args:
        cache: a file that can be made again: only its owner reads it, a temporary file that a killed process has left is
            called `ostinato-*.tmp`, and nothing waits for the disk, since a cache sees what a power cut has left half.

    Raises:
        OSError: it cannot be written; what stood there before is untouched, and nothing is left lying about.
    """
    prefix, suffix = ("ostinato-", ".tmp") if cache else (f".{target.name}.", "")
    descriptor, temporary = tempfile.mkstemp(dir=target.parent, prefix=prefix, suffix=suffix)  # mode 0600
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            if not cache:
                file.flush()
                os.fsync(file.fileno())
        if not cache:
            umask = os.umask(0)
            os.umask(umask)
            Path(temporary).chmod(0o666 & ~umask)  # as a plain open() would have it
        Path(temporary).replace(target)
    except BaseException:  # an interrupt too
        with contextlib.suppress(OSError):
            Path(temporary).unlink()
        raise


def check_writable(path: str | os.PathLike[str]) -> None:
    """Whether a file can be written there, asked before the work that is to be kept in it.

    Raises:
        FileError: there is no such folder, it can not be written to, or a folder has this name.
    """
    target = Path(path)
    if target.is_dir():
        raise FileError(lay_out(f"`{path}` can not be written: it is a folder"))
    if not target.parent.is_dir():
        raise FileError(lay_out(f"`{path}` can not be written: there is no folder `{target.parent}`"))
    try:
        tempfile.TemporaryFile(dir=target.parent).close()
    except OSError as error:
        raise FileError(lay_out(f"`{path}` can not be written: {error.strerror or error}")) from None


def read(path: str | os.PathLike[str]) -> tuple[dict[str, Array], dict[str, Any]]:
    """The arrays and the description of a file.

    Raises:
        FileError: it can not be read, is damaged, or was not written by Ostinato.
        MissingExtraError: safetensors is not installed.
    """
    library, source = _safetensors(), path_of(path)
    try:
        content = source.read_bytes()
    except OSError as error:
        raise FileError(lay_out(f"`{path}` can not be read: {error.strerror or error}")) from None
    try:
        arrays: dict[str, Array] = library.load(content)
        length = int.from_bytes(content[:8], "little")
        header = json.loads(content[8 : 8 + length])
        description = json.loads(header["__metadata__"][KEY])
    except KeyError:
        raise FileError(lay_out(f"`{path}` is no file of Ostinato: it holds arrays, and no description")) from None
    except Exception as error:  # noqa: BLE001 - whatever the library says of a damaged file
        raise FileError(lay_out(f"`{path}` is no file of Ostinato, or it is damaged: {error}")) from None
    if not isinstance(description, dict) or description.get("format") != FORMAT:
        found = description.get("format") if isinstance(description, dict) else None
        headline = f"`{path}` has format {found!r}, and this version of Ostinato reads format {FORMAT}"
        raise FileError(lay_out(headline))
    return arrays, description


def field(description: Mapping[str, Any], key: str, kind: type) -> Any:
    """An entry of a description.

    Raises:
        FileError: it is missing or of another type.
    """
    value = description.get(key)
    if not isinstance(value, kind):
        raise FileError(lay_out(f"the description in the file has no `{key}` of type {kind.__name__}: {value!r}"))
    return value
