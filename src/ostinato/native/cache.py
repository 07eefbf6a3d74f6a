"""Object files kept on disk, so that a layer is compiled once for a machine and not once for a process.

A cache is an optimisation: whatever goes wrong with it (no home, a full disk, a folder that others can write to), the layer is
compiled again and nothing fails; `Cache.problem` keeps the reason. And it holds code that will run, so nothing in it is
believed:

* the folder and every file must belong to this user, and nobody else may be able to write to them (on systems with users);
* every entry carries the SHA-256 of everything behind it, and its whole key; both are checked at every read;
* an entry that does not fit is deleted and rebuilt.

This guards against accidents and other users, not against the user: who can write our files can run any code already.

Where: the folder that the environment variable OSTINATO_CACHE names; else `ostinato` in $XDG_CACHE_HOME or ~/.cache, in
~/Library/Caches (macOS), in %LOCALAPPDATA% (Windows). OSTINATO_CACHE empty or 0: no cache.

An entry is one file, named after the SHA-256 of its key:

    magic, format        16 bytes
    SHA-256 of the rest  32 bytes
    three lengths        24 bytes
    key, metadata        UTF-8; JSON
    object file

Several processes and threads may use one folder: an entry is written beside its place and moved there whole. Of two writers
the last one stays, and both wrote the same.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import os
import re
import stat
import struct
import sys
import time
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import llvmlite
import llvmlite.binding as llvm

from ..files import replace_file
from ..lower.target import Target
from ..process import forking
from .targets import host

VARIABLE = "OSTINATO_CACHE"
LIMIT_BYTES = 256 * 2**20
MAGIC = b"OSTINATO CODE\x00\x00\x01"  # its last byte is the format
LENGTHS = struct.Struct("<QQQ")  # of the key, the metadata and the object file
DIGEST_BYTES = 32
ENTRY = re.compile(r"[0-9a-f]{64}\.code")
TEMPORARY = re.compile(r"ostinato-\w+\.tmp")
NO_LINK = getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)  # Windows has neither
BINARY = getattr(os, "O_BINARY", 0)  # and only Windows has this
STALE_SECONDS = 3600  # a temporary file this old was left by a process that is gone
# folders that no code depends on but for what its key says anyway
BESIDE = {"cells", "commands", "estimators", "explain", "layers", "learn", "__pycache__"}
KEPT = 0.9  # of the limit, after the least recently used were deleted: so that not every store has to look


class Cache:
    """Object files on disk. Nothing here raises because of the disk; all of it is safe from several threads and processes.

    Args:
        folder: default: as OSTINATO_CACHE says, or the cache folder of the system. Made when first written to.
        limit_bytes: the least recently used entries are deleted when all together are larger (default 256 MiB).

    Attributes:
        folder: where the entries are; None: no cache.
        problem: why the cache could not be used the last time that it could not, or "".
    """

    def __init__(self, folder: Path | None = None, limit_bytes: int = LIMIT_BYTES) -> None:
        self.limit_bytes = limit_bytes
        self.problem = ""
        self.folder = folder
        self._lock = forking.new_lock()
        self._total: int | None = None  # at least what is there, as far as this process knows; None: not looked yet
        if folder is None:
            self.folder, self.problem = default_folder()

    def get(self, key: str) -> tuple[bytes, dict[str, Any]] | None:
        """The object file and the metadata stored under a key, or None. The entry counts as used just now."""
        if self.folder is None or not self._is_safe(self.folder):
            return None
        path = self.folder / file_name(key)
        with self._noting("read"):
            content = self._read(path)
            if content is None:
                return None
            found = unpack(content, key)
            if found is None:
                self.problem = f"a damaged entry was deleted: {path}"
                path.unlink(missing_ok=True)
                return None
            with contextlib.suppress(OSError):  # deleted by another process a moment ago, or not allowed: it is only an order
                os.utime(path)
            return found
        return None

    def put(self, key: str, object_bytes: bytes, metadata: Mapping[str, Any]) -> None:
        """Store an object file with metadata of JSON's kinds, in place of what was there under this key."""
        content = pack(key, object_bytes, metadata)
        if self.folder is None:
            return
        if len(content) > self.limit_bytes:
            self.problem = f"an entry of {len(content)} bytes is larger than the whole cache may be ({self.limit_bytes})"
            return
        with self._noting("made"):
            self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        if not self._is_safe(self.folder):
            return
        with self._noting("written to"):
            replace_file(self.folder / file_name(key), content, cache=True)
            self._make_room(self.folder, len(content))

    def clear(self) -> None:
        """Delete every entry."""
        if self.folder is None or not self._is_safe(self.folder):
            return
        with self._noting("cleared"):
            for path, _ in _files(self.folder, ENTRY, TEMPORARY):
                Path(path).unlink(missing_ok=True)
            with self._lock:
                self._total = 0

    def size(self) -> int:
        """The bytes of all entries."""
        if self.folder is None or not self._is_safe(self.folder):
            return 0
        with self._noting("read"):
            return sum(status.st_size for _, status in _files(self.folder, ENTRY))
        return 0

    def _is_safe(self, folder: Path) -> bool:
        """Whether it is there, ours, and closed to others; a folder that is not there yet is no problem."""
        with self._noting("looked at"):
            try:
                status = folder.stat()
            except FileNotFoundError:
                return False
            reason = "is not a folder" if not stat.S_ISDIR(status.st_mode) else _unsafe(status)
            if reason:
                self.problem = f"{folder} {reason}, so it is not used"
            return not reason
        return False

    def _read(self, path: Path) -> bytes | None:
        """The content of a file of ours, b"" where it cannot be an entry; None: it is not there."""
        try:
            # a link could lead to a file of another user, or to a pipe that never ends
            descriptor = os.open(path, os.O_RDONLY | NO_LINK | BINARY)
        except FileNotFoundError:
            return None
        try:
            status = os.fstat(descriptor)
            reason = "is not a file" if not stat.S_ISREG(status.st_mode) else _unsafe(status)
            if reason:
                self.problem = f"{path} {reason}, so it is not used"
                return None
            if status.st_size > self.limit_bytes:
                return b""
            with os.fdopen(descriptor, "rb", buffering=0, closefd=False) as file:
                return file.read()
        finally:
            os.close(descriptor)

    def _make_room(self, folder: Path, added: int) -> None:
        """Delete the least recently used entries when there are too many bytes; looked at once, then counted."""
        with self._lock:
            if self._total is not None and self._total + added <= self.limit_bytes:
                self._total += added
                return
            entries = sorted(_files(folder, ENTRY), key=lambda entry: entry[1].st_mtime_ns)
            self._total = sum(status.st_size for _, status in entries)
            wanted = KEPT * self.limit_bytes if self._total > self.limit_bytes else self.limit_bytes
            for path, status in entries[:-1]:  # the newest is the one just written
                if self._total <= wanted:
                    break
                Path(path).unlink(missing_ok=True)
                self._total -= status.st_size
            for path, status in _files(folder, TEMPORARY):
                if time.time() - status.st_mtime > STALE_SECONDS:
                    Path(path).unlink(missing_ok=True)

    @contextlib.contextmanager
    def _noting(self, what: str) -> Iterator[None]:
        """Whatever the system refuses is noted, and passed over."""
        try:
            yield
        except OSError as problem:
            self.problem = f"{self.folder} can not be {what}: {problem.strerror or problem}"


# --- one entry ----------------------------------------------------------------------------------------------------------------


def file_name(key: str) -> str:
    return hashlib.sha256(key.encode()).hexdigest() + ".code"


def pack(key: str, object_bytes: bytes, metadata: Mapping[str, Any]) -> bytes:
    """The bytes of an entry."""
    texts = key.encode(), json.dumps(metadata, sort_keys=True).encode()
    rest = b"".join((LENGTHS.pack(len(texts[0]), len(texts[1]), len(object_bytes)), *texts, object_bytes))
    return MAGIC + hashlib.sha256(rest).digest() + rest


def unpack(content: bytes, key: str) -> tuple[bytes, dict[str, Any]] | None:
    """The object file and the metadata, or None where a single bit is not as it was stored under this key."""
    body = len(MAGIC) + DIGEST_BYTES
    start = body + LENGTHS.size
    if len(content) < start or not content.startswith(MAGIC):
        return None
    if hashlib.sha256(memoryview(content)[body:]).digest() != content[len(MAGIC) : body]:
        return None
    key_bytes, metadata_bytes, object_bytes = LENGTHS.unpack_from(content, body)
    if start + key_bytes + metadata_bytes + object_bytes != len(content):
        return None
    middle, end = start + key_bytes, start + key_bytes + metadata_bytes
    if content[start:middle] != key.encode():
        return None
    try:
        metadata = json.loads(content[middle:end])
    except ValueError:
        return None
    return (content[end:], metadata) if isinstance(metadata, dict) else None


def _files(folder: Path, *patterns: re.Pattern[str]) -> Iterator[tuple[str, os.stat_result]]:
    """The files of a cache with their state. What another process deletes meanwhile is left out."""
    with os.scandir(folder) as listing:
        for item in listing:
            if any(pattern.fullmatch(item.name) for pattern in patterns):
                with contextlib.suppress(FileNotFoundError):
                    status = item.stat(follow_symlinks=False)
                    if stat.S_ISREG(status.st_mode):
                        yield item.path, status


# --- where it is, and whose ---------------------------------------------------------------------------------------------------


def default_folder() -> tuple[Path | None, str]:
    """The folder of the cache and ""; or None and why there is none ("" where the user turned it off)."""
    chosen = os.environ.get(VARIABLE)
    if chosen in ("", "0"):
        return None, ""
    try:
        if chosen is not None:
            return Path(chosen).expanduser(), ""
        if sys.platform == "win32":
            return Path(os.environ["LOCALAPPDATA"]) / "ostinato", ""
        if sys.platform == "darwin":
            return Path.home() / "Library" / "Caches" / "ostinato", ""
        named = Path(os.environ.get("XDG_CACHE_HOME", ""))  # the XDG specification ignores a path that is not absolute
        return (named if named.is_absolute() else Path.home() / ".cache") / "ostinato", ""
    except (RuntimeError, KeyError):  # what pathlib and os.environ say where there is no home
        return None, f"there is no home folder to keep a cache in; {VARIABLE} can name a folder"


def _unsafe(status: os.stat_result) -> str:
    """Why a file or folder could hold what another user wrote, or ""."""
    if not hasattr(os, "geteuid"):  # Windows: %LOCALAPPDATA% is closed to other users by its access list
        return ""
    if status.st_uid != os.geteuid():
        return "belongs to another user"
    return "can be written to by other users" if status.st_mode & (stat.S_IWGRP | stat.S_IWOTH) else ""


# --- what all code depends on -------------------------------------------------------------------------------------------------


def version_key(target: Target | None = None) -> str:
    """The part of every key that is not the layer: Ostinato and its own sources, llvmlite, LLVM, the target.

    Args:
        target: default: that of this machine.

    Raises:
        OptionError: as `host` does.
    """
    own = sys.modules[__name__.partition(".")[0]].__version__  # it imports us in the end, so we do not import it
    llvm_version = ".".join(str(part) for part in llvm.llvm_version_info)
    return f"ostinato {own} {source_hash()}, llvmlite {llvmlite.__version__}, LLVM {llvm_version}, {target or host()}"


@cache
def source_hash() -> str:
    """The SHA-256 of the source files of Ostinato, names and contents: a change of the compiler makes old code unreachable.

    Those BESIDE are left out: cells, for instance, are in every key as programs. 1 ms, once in a process. Sources changed while
    a process runs are not seen by it: a developer who reloads modules in place sets OSTINATO_CACHE=0. A package without sources
    (in a zip file) has its version alone.
    """
    package = str(Path(__file__).parent.parent)
    digest = hashlib.sha256()
    for folder, folders, names in os.walk(package):
        folders[:] = sorted(set(folders) - BESIDE)
        for name in sorted(names):
            if name.endswith(".py") and not name.startswith("."):  # some editors leave links that lead nowhere, with a dot
                path = f"{folder}{os.sep}{name}"
                try:
                    with io.FileIO(path) as file:
                        content = file.read()
                except OSError:
                    content = os.urandom(16)  # what cannot be read is like nothing that was stored
                digest.update(f"{path[len(package) :]}\0{len(content)}\0".encode())
                digest.update(content)
    return digest.hexdigest()
