"""Code for AArch64 run by an emulator: the engine lays out a run as ever, and each call of machine code goes to QEMU.

The object file is linked with the main function below. A call hands over the context and the memory that it points to, and
takes the memory back. In front of every piece of memory and behind it there are bytes that must not change.
"""

import ctypes
import shutil
import subprocess
from math import prod

import numpy as np
import pytest

from ostinato.ir.shapes import Varies
from ostinato.lower.context import Field, internal_buffers
from ostinato.lower.target import TARGETS
from ostinato.native import code
from ostinato.native import program as native_program
from ostinato.native.layout import ROW_PLACE

EMULATOR, COMPILER = "qemu-aarch64", "aarch64-linux-gnu-gcc"
MAIN = r"""
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#define GUARD 256
void ostinato_run(int64_t *), ostinato_prepare(int64_t *), ostinato_step(int64_t *);
#pragma weak ostinato_prepare
#pragma weak ostinato_step

int main(int n_arguments, char **arguments) {
    FILE *in = fopen(arguments[2], "rb"), *out = fopen(arguments[3], "wb");
    int64_t sizes[2];  /* of the context; how many pieces of memory */
    if (!in || !out || fread(sizes, 8, 2, in) != 2) return 2;
    int64_t n = sizes[0], m = sizes[1], *context = malloc(8 * n), *piece = malloc(8 * n), *bytes = malloc(8 * m);
    char **memory = malloc(m * sizeof(char *));
    if (fread(context, 8, n, in) != n || fread(piece, 8, n, in) != n || fread(bytes, 8, m, in) != m) return 2;
    for (int64_t i = 0; i < m; i++) {
        memory[i] = aligned_alloc(64, (bytes[i] + 2 * GUARD + 63) / 64 * 64);
        memset(memory[i], 0xA5, bytes[i] + 2 * GUARD);
        if (fread(memory[i] + GUARD, 1, bytes[i], in) != bytes[i]) return 2;
    }
    for (int64_t i = 0; i < n; i++)
        if (piece[i] >= 0) context[i] = (int64_t)(memory[piece[i]] + GUARD);
    if (strcmp(arguments[1], "run") == 0) ostinato_run(context);
    else if (strcmp(arguments[1], "step") == 0) ostinato_step(context);
    else ostinato_prepare(context);
    for (int64_t i = 0; i < m; i++) {
        for (int k = 0; k < GUARD; k++)
            if ((unsigned char)memory[i][k] != 0xA5 || (unsigned char)memory[i][GUARD + bytes[i] + k] != 0xA5) return 3;
        fwrite(memory[i] + GUARD, 1, bytes[i], out);
    }
    return fclose(out);
}
"""


def missing():
    """What is needed and not installed, in words, or ""."""
    absent = [name for name in (EMULATOR, COMPILER) if shutil.which(name) is None]
    return f"not installed: {' and '.join(absent)}" if absent else ""


class Emulated:
    """In place of `jit.Code`: an object file, and functions that run in the emulator."""

    current = None  # the program that runs, where the code does not belong to one alone
    placed = frozenset()  # its buffers that lie in the user's order in this run, as `NativeProgram.run` is told
    folder = None
    count = 0

    def __init__(self, object_bytes):
        Emulated.count += 1
        self.native = None
        self.files = self.folder / str(Emulated.count)
        self.files.mkdir()
        (self.files / "code.o").write_bytes(object_bytes)
        (self.files / "main.c").write_text(MAIN)
        command = [COMPILER, "-O1", "-static", "-o", "program", "main.c", "code.o"]
        subprocess.run(command, cwd=self.files, check=True, capture_output=True)

    def address(self, symbol):
        return lambda context: self.call(symbol.removeprefix("ostinato_"), context)

    def call(self, what, context):
        native = self.native or Emulated.current
        place = context if isinstance(context, int) else ctypes.addressof(context)
        fields = np.ctypeslib.as_array((ctypes.c_int64 * native.layout.n_fields).from_address(place))
        pieces, sizes, which = {}, [], np.full(len(fields), -1, np.int64)
        for field, n_bytes in memory_of(native, fields).items():
            address = int(fields[field])
            if address:
                which[field] = pieces.setdefault(address, len(pieces))
                sizes = [*sizes, 0] if which[field] == len(sizes) else sizes
                sizes[which[field]] = max(sizes[which[field]], n_bytes)
        parts = [np.array([len(fields), len(sizes)], np.int64), fields, which, np.array(sizes, np.int64)]
        content = b"".join(
            [part.tobytes() for part in parts] + [ctypes.string_at(a, n) for a, n in zip(pieces, sizes, strict=True)]
        )
        (self.files / "in").write_bytes(content)
        done = subprocess.run([EMULATOR, "program", what, "in", "out"], cwd=self.files, check=False, capture_output=True)
        assert done.returncode == 0, "written outside of a buffer" if done.returncode == 3 else done
        back, at = (self.files / "out").read_bytes(), 0
        for address, n_bytes in zip(pieces, sizes, strict=True):
            ctypes.memmove(address, back[at : at + n_bytes], n_bytes)
            at += n_bytes


def memory_of(native, fields):
    """Field of the context -> the bytes that it points to; internal buffers lie in the arena, and a run finds their places."""
    n_steps, n_instances, n_rows = (int(fields[i]) for i in (Field.N_STEPS, Field.N_INSTANCES, Field.N_ROWS))
    layout = native.layout
    per, room = layout.internal_bytes, layout.internal_room
    arena = per[Varies.NEVER] + per[Varies.INSTANCE] * n_instances + (per[Varies.STEP] + ROW_PLACE) * n_rows + room
    found = {
        Field.COUNTS: 8 * n_steps, Field.OFFSETS: 8 * (n_steps + 1), Field.RESET: n_rows, Field.ARENA: arena,
        Field.ORDER: 8 * n_instances, Field.LENGTHS: 8 * n_instances,
    }  # fmt: skip
    internal = set(internal_buffers(native.plan))
    for name, buffer in native.plan.buffers.items():
        rows = {Varies.NEVER: 1, Varies.INSTANCE: n_instances}.get(buffer.space, n_rows)
        if buffer.space == Varies.STEP and name in layout.users | Emulated.placed:
            rows = n_steps * n_instances
        elements = layout.panels.get(name, buffer.size)
        item = layout.dtype.itemsize if name in layout.panels else buffer.item_bytes
        if name not in internal:
            found[layout.fields[name]] = prod((rows, elements, item))
    return found


@pytest.fixture
def on_arm(tmp_path, monkeypatch):
    """Native layers that are compiled in this test run in the emulator."""
    make, prepared, run = (getattr(native_program.NativeProgram, name) for name in ("__init__", "prepared", "run"))

    def owning(native, *arguments):
        make(native, *arguments)
        native.functions.code.native = native

    def preparing(native, weights):
        Emulated.current = native
        return prepared(native, weights)

    def running(native, timeline, values, weights, reset=None, placed=frozenset()):
        Emulated.current, Emulated.placed = native, {native.plan.ports[name] for name in placed}
        return run(native, timeline, values, weights, reset, placed)

    monkeypatch.setattr(Emulated, "folder", tmp_path)
    monkeypatch.setattr(code, "load", Emulated)
    for module in (code, native_program):
        monkeypatch.setattr(module, "FUNCTION", lambda function: function)
    monkeypatch.setattr(native_program, "host", lambda: TARGETS["aarch64"])
    monkeypatch.setattr(native_program.NativeProgram, "__init__", owning)
    monkeypatch.setattr(native_program.NativeProgram, "prepared", preparing)
    monkeypatch.setattr(native_program.NativeProgram, "run", running)
    before = Emulated.count
    yield
    assert Emulated.count > before, "nothing ran in the emulator"
