"""The cache on disk: what it returns is what was stored, bit for bit, and whatever goes wrong is passed over and noted."""

import hashlib
import json
import os
import stat
import struct
import subprocess
import sys
import threading

import llvmlite
import numpy as np
import pytest

import ostinato
from ostinato.lower.target import TARGETS
from ostinato.native import cache as cache_module
from ostinato.native.cache import MAGIC, VARIABLE, Cache, default_folder, file_name, pack, source_hash, unpack, version_key
from ostinato.native.targets import host

KEY = "everything that the code depends on: é, 𝄞\n and more"
OBJECT = np.random.default_rng(5).bytes(3000)
METADATA = {"symbols": ["forward", "backward"], "bytes": 640, "é": None}

posix = pytest.mark.skipif(os.name != "posix", reason="users and modes as POSIX has them")


@pytest.fixture
def cache(tmp_path):
    return Cache(tmp_path / "cache")


@pytest.fixture
def stored(cache):
    """The file of the one entry of `cache`."""
    cache.put(KEY, OBJECT, METADATA)
    (path,) = cache.folder.iterdir()
    return path


# --- storing and finding ------------------------------------------------------------------------------------------------------


def test_what_is_stored_is_found_by_another_cache_of_the_folder(cache, stored):
    assert cache.get(KEY) == (OBJECT, METADATA)
    other = Cache(cache.folder)
    assert other.get(KEY) == (OBJECT, METADATA)
    assert other.get(KEY + " ") is None
    assert cache.problem == other.problem == ""


def test_the_smallest_and_a_larger_entry(cache):
    for key, content, metadata in (("", b"", {}), ("k", b"\0" * 100_000, {"a": {"b": [1.5, True]}})):
        cache.put(key, content, metadata)
        assert cache.get(key) == (content, metadata)


def test_the_last_one_stored_stays(cache, stored):
    cache.put(KEY, b"another", {})
    assert cache.get(KEY) == (b"another", {})
    assert [path.name for path in cache.folder.iterdir()] == [hashlib.sha256(KEY.encode()).hexdigest() + ".code"]


def test_nothing_is_made_before_something_is_stored(cache):
    assert cache.get(KEY) is None
    assert cache.size() == 0
    cache.clear()
    assert not cache.folder.exists()
    assert cache.problem == ""


@posix
def test_the_folder_and_its_files_are_closed_to_others(tmp_path):
    cache = Cache(tmp_path / "a" / "b")
    old = os.umask(0)
    try:
        cache.put(KEY, OBJECT, METADATA)
    finally:
        os.umask(old)
    assert stat.S_IMODE(cache.folder.stat().st_mode) == 0o700
    assert [stat.S_IMODE(path.stat().st_mode) for path in cache.folder.iterdir()] == [0o600]


def test_clear_deletes_the_entries_and_nothing_else(cache, stored):
    cache.put("second", OBJECT, {})
    mine = cache.folder / "notes.code"
    mine.write_text("not an entry")
    left = cache.folder / "ostinato-abc.tmp"
    left.write_text("left by a process that is gone")
    assert cache.size() == sum(path.stat().st_size for path in cache.folder.iterdir() if len(path.name) > 60)
    cache.clear()
    assert list(cache.folder.iterdir()) == [mine]
    assert cache.size() == 0
    assert cache.get(KEY) is None


# --- nothing is believed ------------------------------------------------------------------------------------------------------


def is_refused(cache, path):
    """Whether the entry is treated as absent and deleted, and can be stored again."""
    cache.problem = ""
    absent = cache.get(KEY) is None
    noted = cache.problem == f"a damaged entry was deleted: {path}"
    gone = not path.exists()
    cache.put(KEY, OBJECT, METADATA)
    return absent and noted and gone and cache.get(KEY) == (OBJECT, METADATA)


def test_a_changed_bit_anywhere_is_seen(cache, stored):
    whole = stored.read_bytes()
    head = len(whole) - len(OBJECT)
    generator = np.random.default_rng(7)
    positions = [*range(head), *generator.integers(head, len(whole), 100).tolist(), len(whole) - 1]
    for position in positions:
        changed = bytearray(whole)
        changed[position] ^= 1 << int(generator.integers(8))
        assert unpack(bytes(changed), KEY) is None, position
    for position in positions[:: len(positions) // 20]:
        changed = bytearray(whole)
        changed[position] ^= 0x10
        stored.write_bytes(changed)
        assert is_refused(cache, stored), position


def test_a_file_cut_short_or_grown_is_seen(cache, stored):
    whole = stored.read_bytes()
    for length in range(len(whole)):
        assert unpack(whole[:length], KEY) is None, length
    for content in (b"", whole[:10], whole[:60], whole[:-1], whole + b"\0", whole + whole, b"\0" * len(whole)):
        stored.write_bytes(content)
        assert is_refused(cache, stored), len(content)


def forged(*, lengths=None, metadata=b"{}", magic=MAGIC):
    """An entry whose SHA-256 is right, and something else is not."""
    key = KEY.encode()
    rest = struct.pack("<QQQ", *(lengths or (len(key), len(metadata), 3))) + key + metadata + b"abc"
    return magic + hashlib.sha256(rest).digest() + rest


def test_an_entry_of_another_kind_is_seen(cache, stored):
    assert unpack(forged(), KEY) == (b"abc", {})
    lengths = ((0, 0, 0), (2**63, 2**63, 2**63), (len(KEY.encode()) + 1, 1, 3))
    contents = [forged(lengths=three) for three in lengths]
    contents += [forged(metadata=text) for text in (b"[1]", b"{", b"\xff\xfe")]
    contents += [forged(magic=MAGIC[:-1] + b"\x02"), pack("another key", OBJECT, METADATA)]
    for content in contents:
        stored.write_bytes(content)
        assert is_refused(cache, stored), content


def test_an_entry_larger_than_the_cache_is_not_stored_and_not_read(cache, stored):
    small = Cache(cache.folder, limit_bytes=100)
    small.put("j", b"x" * 100, {})
    assert small.problem == "an entry of 175 bytes is larger than the whole cache may be (100)"
    assert small.get("j") is None
    assert small.get(KEY) is None
    assert small.problem == f"a damaged entry was deleted: {stored}"


def test_an_entry_is_what_it_says(stored):
    key, metadata = KEY.encode(), json.dumps(METADATA, sort_keys=True).encode()
    rest = struct.pack("<QQQ", len(key), len(metadata), len(OBJECT)) + key + metadata + OBJECT
    assert stored.read_bytes() == b"OSTINATO CODE\0\0\1" + hashlib.sha256(rest).digest() + rest == pack(KEY, OBJECT, METADATA)


@posix
@pytest.mark.parametrize("mode", [0o777, 0o702, 0o720, 0o1777])
def test_a_folder_that_others_can_write_to_is_not_used(cache, stored, mode):
    cache.folder.chmod(mode)
    before = stored.stat()
    assert cache.get(KEY) is None
    cache.put("other", OBJECT, {})
    cache.clear()
    assert cache.size() == 0
    assert cache.problem == f"{cache.folder} can be written to by other users, so it is not used"
    cache.folder.chmod(0o755)
    assert list(cache.folder.iterdir()) == [stored]
    assert stored.stat() == before
    assert cache.get(KEY) == (OBJECT, METADATA)


@posix
def test_a_folder_or_a_file_of_another_user_is_not_used(cache, stored, monkeypatch):
    own = os.geteuid()
    with monkeypatch.context() as patch:
        patch.setattr(os, "geteuid", lambda: own + 1)
        assert cache.get(KEY) is None
        cache.put(KEY, b"", {})
        assert cache.problem == f"{cache.folder} belongs to another user, so it is not used"
        answers = iter((own, own + 1))  # the folder is ours, the file is not
        patch.setattr(os, "geteuid", lambda: next(answers))
        assert cache.get(KEY) is None
        assert cache.problem == f"{stored} belongs to another user, so it is not used"
    assert cache.get(KEY) == (OBJECT, METADATA)


@posix
def test_a_file_that_others_can_write_to_is_not_used(cache, stored):
    stored.chmod(0o666)
    assert cache.get(KEY) is None
    assert cache.problem == f"{stored} can be written to by other users, so it is not used"
    assert stored.exists()
    cache.put(KEY, b"ours again", {})
    assert cache.get(KEY) == (b"ours again", {})


@posix
def test_links_and_pipes_in_place_of_an_entry(cache, stored, tmp_path):
    elsewhere = tmp_path / "elsewhere"
    stored.rename(elsewhere)
    stored.symlink_to(elsewhere)
    assert cache.get(KEY) is None
    assert cache.problem.startswith(f"{cache.folder} can not be read: ")
    stored.unlink()
    os.mkfifo(stored, 0o600)
    assert cache.get(KEY) is None  # and does not wait for a writer
    assert cache.problem == f"{stored} is not a file, so it is not used"
    stored.unlink()
    stored.mkdir(mode=0o700)
    assert cache.get(KEY) is None
    assert cache.problem == f"{stored} is not a file, so it is not used"
    cache.put(KEY, OBJECT, METADATA)
    assert cache.problem.startswith(f"{cache.folder} can not be written to: ")
    assert list(cache.folder.iterdir()) == [stored]  # no temporary file stays


# --- a cache that can not be used ---------------------------------------------------------------------------------------------


def uses_nothing(cache):
    cache.put(KEY, OBJECT, METADATA)
    cache.clear()
    return cache.get(KEY) is None and cache.size() == 0


def test_a_file_in_place_of_the_folder(tmp_path):
    place = tmp_path / "cache"
    place.write_text("a file")
    cache = Cache(place)
    assert uses_nothing(cache)
    assert cache.problem == f"{place} is not a folder, so it is not used"
    below = Cache(place / "below")
    assert uses_nothing(below)
    assert below.problem.startswith(f"{place / 'below'} can not be ")
    assert place.read_text() == "a file"


@posix
@pytest.mark.skipif(hasattr(os, "geteuid") and os.geteuid() == 0, reason="root writes everywhere")
def test_a_folder_that_can_not_be_written_to(cache, stored):
    cache.folder.chmod(0o500)
    assert cache.get(KEY) == (OBJECT, METADATA)
    cache.put("other", OBJECT, {})
    assert cache.problem == f"{cache.folder} can not be written to: Permission denied"
    assert cache.get("other") is None
    cache.folder.chmod(0o700)


@posix
def test_a_full_disk(cache, stored):
    import resource  # POSIX alone has it

    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, hard))  # the system refuses more, as a full disk does
    try:
        cache.put("other", OBJECT, {})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert cache.problem == f"{cache.folder} can not be written to: File too large"
    assert list(cache.folder.iterdir()) == [stored]
    assert cache.get("other") is None
    assert cache.get(KEY) == (OBJECT, METADATA)


def test_the_user_turns_it_off(monkeypatch):
    for value in ("", "0"):
        monkeypatch.setenv(VARIABLE, value)
        cache = Cache()
        assert cache.folder is None
        assert uses_nothing(cache)
        assert cache.problem == ""


def test_where_it_is(monkeypatch, tmp_path):
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.delenv(VARIABLE, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setattr(sys, "platform", "linux")
    assert default_folder() == (tmp_path / ".cache" / "ostinato", "")
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")
    assert default_folder() == (tmp_path / ".cache" / "ostinato", "")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "x"))
    assert default_folder() == (tmp_path / "x" / "ostinato", "")
    monkeypatch.setattr(sys, "platform", "darwin")
    assert default_folder() == (tmp_path / "Library" / "Caches" / "ostinato", "")
    monkeypatch.setattr(sys, "platform", "win32")
    monkeypatch.setenv("LOCALAPPDATA", str(tmp_path / "local"))
    assert default_folder() == (tmp_path / "local" / "ostinato", "")
    monkeypatch.setenv(VARIABLE, "~/mine")
    assert default_folder() == (tmp_path / "mine", "")
    assert Cache(tmp_path / "given").folder == tmp_path / "given"


def test_there_is_no_home(monkeypatch):
    for name in (VARIABLE, "LOCALAPPDATA", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(os.path, "expanduser", lambda path: path)  # what it answers where there is none
    for platform in ("linux", "darwin", "win32"):
        monkeypatch.setattr(sys, "platform", platform)
        cache = Cache()
        assert uses_nothing(cache)
        assert cache.problem == "there is no home folder to keep a cache in; OSTINATO_CACHE can name a folder"


ENTRY_BYTES = len(pack("key 0", b"x" * 1000, {}))


def test_the_least_recently_used_go_first(tmp_path):
    cache = Cache(tmp_path / "cache", limit_bytes=5 * ENTRY_BYTES)
    for i in range(5):
        cache.put(f"key {i}", b"x" * 1000, {})
        os.utime(cache.folder / file_name(f"key {i}"), (1e9 + i, 1e9 + i))
    assert cache.size() == cache.limit_bytes
    assert cache.get("key 0") is not None  # the oldest, used again just now
    cache.put("key 5", b"x" * 1000, {})
    assert [i for i in range(6) if cache.get(f"key {i}")] == [0, 3, 4, 5]
    assert cache.size() <= 0.9 * cache.limit_bytes


def test_the_limit_holds_for_what_other_processes_wrote(tmp_path):
    first = Cache(tmp_path / "cache")
    for i in range(30):
        first.put(f"key {i}", b"x" * 1000, {})
    second = Cache(first.folder, limit_bytes=5 * ENTRY_BYTES)
    second.put("another", b"", {})
    assert 4 * ENTRY_BYTES < second.size() <= second.limit_bytes
    assert second.get("another") == (b"", {})


def test_what_a_dead_process_left_is_deleted(cache):
    cache.folder.mkdir(mode=0o700)
    old, new = cache.folder / "ostinato-abc.tmp", cache.folder / "ostinato-abd.tmp"
    for path in (old, new):
        path.write_text("half")
    os.utime(old, (1e9, 1e9))
    cache.put(KEY, OBJECT, METADATA)
    assert not old.exists()
    assert new.exists()


def test_threads_share_one_cache(tmp_path):
    cache = Cache(tmp_path / "cache", limit_bytes=40_000)
    wrong = []

    def work(own):
        for i in range(60):
            key = f"key {(i * (own + 1)) % 10}"
            content = key.encode() * 500
            found = cache.get(key)
            if found not in (None, (content, {"key": key})):
                wrong.append(found)
            cache.put(key, content, {"key": key})

    threads = [threading.Thread(target=work, args=(own,)) for own in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []
    assert cache.problem == ""
    assert sum(cache.get(f"key {i}") is not None for i in range(10)) >= 5


HAMMER = """
import pathlib, random, sys
from ostinato.native.cache import Cache
folder, own = pathlib.Path(sys.argv[1]), int(sys.argv[2])
cache = Cache(folder, limit_bytes=30_000)
generator, found = random.Random(own), 0
for i in range(150):
    key = f"key {generator.randrange(3 if i % 2 else 9)}"
    content = key.encode() * 1000
    got = cache.get(key)
    assert got in (None, (content, {"key": key})), got
    found += got is not None
    if i % 50 == 49:
        cache.clear()
    if i % 20 == 10:  # an accident
        for path in sorted(folder.glob("*.code"))[:1]:
            path.write_bytes(b"not an entry")
    cache.put(key, content, {"key": key})
print(found)
"""


def test_processes_share_one_folder(tmp_path):
    environment = {**os.environ, "OPENBLAS_NUM_THREADS": "1"}
    command = [sys.executable, "-c", HAMMER, str(tmp_path / "cache")]
    workers = [
        subprocess.Popen([*command, str(own)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment)
        for own in (1, 2, 3)
    ]
    results = [(worker.communicate(timeout=60), worker.returncode) for worker in workers]
    for (output, errors), status in results:
        assert status == 0, errors
        assert int(output) > 20  # found; about half of 150
    cache = Cache(tmp_path / "cache")
    assert not [path for path in cache.folder.iterdir() if path.suffix == ".tmp"]
    for i in range(9):
        assert cache.get(f"key {i}") in (None, (f"key {i}".encode() * 1000, {"key": f"key {i}"}))


# --- what all code depends on -------------------------------------------------------------------------------------------------


def test_the_key_names_everything_that_all_code_depends_on():
    key = version_key()
    assert key.startswith(f"ostinato {ostinato.__version__} {source_hash()}, llvmlite {llvmlite.__version__}, LLVM ")
    assert key.endswith(str(host()))
    assert len({version_key(target) for target in TARGETS.values()} | {key}) == len(TARGETS) + 1


def test_a_change_of_any_source_changes_the_key(tmp_path, monkeypatch):
    package = tmp_path / "package"
    (package / "native" / "__pycache__").mkdir(parents=True)
    (package / "a.py").write_text("x = 1")
    (package / "native" / "b.py").write_text("y = 1")
    monkeypatch.setattr(cache_module, "__file__", str(package / "native" / "cache.py"))

    def now():
        return source_hash.__wrapped__()

    seen = [now()]
    (package / "native" / "b.py").write_text("y = 2")
    seen.append(now())
    (package / "native" / "b.py").rename(package / "native" / "c.py")
    seen.append(now())
    (package / "native" / "c.py").rename(package / "c.py")
    seen.append(now())
    (package / "a.py").write_text("")
    seen.append(now())
    assert len(set(seen)) == 5
    (package / "native" / "__pycache__" / "b.pyc").write_text("compiled")
    (package / ".#a.py").symlink_to("nowhere")
    assert now() == seen[-1]
    (package / "d.py").symlink_to("nowhere")  # can not be read: nothing stored may be found by it
    assert len({now(), now(), *seen}) == 7
