"""Files that are missing, damaged, foreign or hostile: always a FileError, and nothing in them is ever run."""

import builtins
import json
import random
import string
import sys

import numpy as np
import pytest
from safetensors.numpy import save

from ostinato import FileError, Layer, MissingExtraError, cells, files
from ostinato.ir.parse import read_graph, read_program

from .helpers import Messages

case = Messages("errors_files.txt")
LAYER = Layer(cells.recurrent, n_inputs=3, n_neurons=5)
GRAPH = str(LAYER.graph)
PROGRAM = str(LAYER.program)


def load(path):
    arrays, description = files.read(path)
    return Layer.from_description(description, arrays)


def read_description(**changes):
    """The layer of a description with some entries changed; None removes one."""
    description = {**LAYER.description, **changes}
    kept = {key: value for key, value in description.items() if value is not None}
    return Layer.from_description(kept, dict(LAYER.weights))


def read_changed(old, new):
    """The layer whose graph has one piece of text replaced."""
    assert old in GRAPH
    return read_description(graph=GRAPH.replace(old, new))


# --- files -----------------------------------------------------------------------------------------------------------------


@case(FileError)
def file_missing(folder):
    load("missing.safetensors")


@case(FileError)
def file_in_no_folder(folder):
    LAYER.save("nowhere/elman.safetensors")


@case(FileError)
def file_that_is_a_folder(folder):
    folder.joinpath("elman").mkdir()
    load("elman")


@case(FileError)
def file_of_another_library(folder):
    folder.joinpath("other.safetensors").write_bytes(save({"w": np.ones(3)}))
    load("other.safetensors")


@case(FileError)
def file_of_another_format(folder):
    folder.joinpath("later.safetensors").write_bytes(save({"w": np.ones(3)}, metadata={"ostinato": '{"format": 7}'}))
    load("later.safetensors")


@case(FileError)
def file_without_a_format(folder):
    folder.joinpath("plain.safetensors").write_bytes(save({"w": np.ones(3)}, metadata={"ostinato": "[1, 2]"}))
    load("plain.safetensors")


# --- descriptions -----------------------------------------------------------------------------------------------------------


@case(FileError)
def description_without_a_graph(folder):
    read_description(graph=None)


@case(FileError)
def description_with_a_number_for_a_graph(folder):
    read_description(training_graph=12)


@case(FileError)
def description_with_a_word_for_truth(folder):
    read_description(reverse="yes")


@case(FileError)
def description_with_a_seed_below_zero(folder):
    read_description(seed=-4)


@case(FileError)
def description_with_truth_for_a_seed(folder):
    read_description(seed=True)


@case(FileError)
def description_of_another_training_graph(folder):
    other = Layer(cells.dense, n_inputs=3, n_outputs=5)
    read_description(training_graph=str(other.graph))


@case(FileError)
def weights_of_another_layer(folder):
    Layer.from_description(LAYER.description, {"W": np.zeros(3), "b": np.zeros(5)})


@case(FileError)
def weight_of_another_shape(folder):
    Layer.from_description(LAYER.description, {**LAYER.weights, "W_x": np.zeros((5, 3))})


@case(FileError)
def weight_of_complex_numbers(folder):
    Layer.from_description(LAYER.description, {**LAYER.weights, "b": np.zeros(5, complex)})


# --- graphs -----------------------------------------------------------------------------------------------------------------


@case(FileError)
def graph_of_nothing(folder):
    read_graph("")


@case(FileError)
def graph_that_is_a_program(folder):
    read_graph(PROGRAM)


@case(FileError)
def program_that_is_a_graph(folder):
    read_program(GRAPH)


@case(FileError)
def graph_with_a_size_in_words(folder):
    read_changed("n_inputs=3, n_neurons=5)", "n_inputs=three, n_neurons=5)")


@case(FileError)
def graph_with_a_size_of_zero(folder):
    read_graph(GRAPH.replace("n_inputs=3", "n_inputs=0"))


@case(FileError)
def graph_of_another_dtype(folder):
    read_graph(GRAPH.replace("f32", "f16"))


@case(FileError)
def graph_with_an_unknown_op(folder):
    read_changed("tanh(", "system(")


@case(FileError)
def graph_that_calls_python(folder):
    read_changed("x @ W_x", "__import__('os').system('true')")


@case(FileError)
def graph_that_reads_what_is_not_there(folder):
    read_changed("x @ W_x", "x @ W_z")


@case(FileError)
def graph_of_other_shapes(folder):
    read_changed("x @ W_x", "y @ W_x")


@case(FileError)
def graph_of_another_result_type(folder):
    read_changed("y @ W_y    f32[n_steps, n_instances, n_neurons=5]", "y @ W_y    f32[n_steps, n_instances, n_inputs=3]")


@case(FileError)
def graph_that_makes_a_value_twice(folder):
    read_changed("t2    = y @ W_y", "t1    = y @ W_y")


@case(FileError)
def graph_without_a_new_state(folder):
    read_changed("  state    y = y_new\n", "")


@case(FileError)
def graph_without_an_output(folder):
    read_changed("  output   output = y_new", "")


@case(FileError)
def graph_with_a_line_of_prose(folder):
    read_changed("  bias ", "  import os\n  bias ")


@case(FileError)
def graph_with_a_port_that_comes_in_twice(folder):
    read_changed("  bias     b     f32[n_neurons=5]", "  bias     b     f32[n_neurons=5]\n  bias     b     f32[n_neurons=5]")


@case(FileError)
def graph_with_an_unknown_role(folder):
    read_changed("  bias     b", "  spice    b")


@case(FileError)
def graph_of_an_adjoint(folder):
    read_changed("bias     b ", "adjoint  b ")


@case(FileError)
def graph_with_an_input_that_never_varies(folder):
    read_graph("graph g (f32)\n  input x f32[3]\n  output output = x")
    read_description(graph="graph g (f32)\n  input x f32[3]\n  output output = x")


@case(FileError)
def graph_that_hands_out_a_gradient(folder):
    read_changed("  output   output = y_new", "  gradient output = y_new")


@case(FileError)
def graph_that_sums_over_steps(folder):
    text = "graph g (f32)\n  input x f32[n_steps, n_instances, 3]\n  s = total(x)  f32[3]\n  output output = s"
    read_description(graph=text)


@case(FileError)
def graph_with_two_outputs_of_one_name(folder):
    read_changed("  output   output = y_new", "  output   output = y_new\n  output   output = y")


@case(FileError)
def graph_with_a_mask_of_rate_two(folder):
    text = "graph g (f32)\n  input x f32[n_steps, n_instances, 3]\n  mask m f32[n_steps, n_instances, 3] rate=2.0\n"
    read_description(
        graph=LAYER.description["graph"], training_graph=text + "  y = x * m  f32[n_steps, n_instances, 3]\n  output output = y"
    )


@case(FileError)
def graph_of_two_dtypes(folder):
    read_changed("W_x   f32", "W_x   f64")


@case(FileError)
def program_with_a_block_of_a_number(folder):
    text = str(Layer(cells.lstm, n_inputs=2, n_neurons=3).program)
    assert "= W_g[0:n_inputs, 0:n_neurons]" in text
    read_program(text.replace("= W_g[0:n_inputs, 0:n_neurons]", "= 7[0:n_inputs, 0:n_neurons]"))


@case(FileError)
def graph_nested_too_deeply(folder):
    read_changed("x @ W_x", "(" * 5000 + "x" + ")" * 5000)


@case(FileError)
def graph_of_enormous_sizes(folder):
    read_graph(GRAPH.replace("n_neurons=5", "n_neurons=" + "9" * 5000))


@case(FileError)
def graph_with_a_null_character(folder):
    read_changed("x @ W_x", "x @ \0W_x")


@pytest.mark.parametrize("name", case.names)
def test_message(name, request, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    case.check(name, request, tmp_path)


def test_every_message_has_its_case():
    case.check_complete()


def test_what_is_saved_is_read_back(tmp_path):
    path = tmp_path / "elman.safetensors"
    LAYER.save(path)
    again = load(path)
    X = np.random.default_rng(3).standard_normal((6, 2, 3))
    np.testing.assert_array_equal(again(X), LAYER(X))
    assert again.graph == LAYER.graph


def test_every_cut_of_a_file_is_refused(tmp_path):
    path = tmp_path / "elman.safetensors"
    LAYER.save(path)
    content = path.read_bytes()
    for length in [*range(0, len(content), 97), len(content) - 1]:
        path.write_bytes(content[:length])
        with pytest.raises(FileError, match="is no file of Ostinato, or it is damaged"):
            load(path)


def test_a_file_with_bytes_changed_is_refused_or_whole(tmp_path):
    path = tmp_path / "elman.safetensors"
    LAYER.save(path)
    content = path.read_bytes()
    generator = random.Random(11)
    refused = 0
    for _ in range(400):
        changed = bytearray(content)
        for _ in range(generator.choice((1, 1, 3, 40))):
            changed[generator.randrange(len(changed))] = generator.randrange(256)
        path.write_bytes(bytes(changed))
        refused += not accepted(load, path)
    assert refused > 100


def accepted(action, *arguments):
    """Whether something is taken; whatever is not must be refused with a FileError."""
    try:
        action(*arguments)
    except FileError:
        return False
    return True


def mutated(text, generator):
    """A text with a few pieces removed, doubled, swapped or replaced."""
    words = [*string.printable,
        "n_neurons", "f32[", "]", "lambda: 0", "concat(x, y, axis=9)", "sum(x, axes=(0,))", "x[1:2, 3]", "x[::0]", "x[5:2]",
        "patches(x, size=(0,), stride=(0,), padding=((-1, 0),))", "reshape(x, n_inputs, 0)", "constant('a')", "constant(1e999)",
        "transpose(x, axes=(5,))", "{}", "1e308", "-1", "999999999999", "where(x, x, x)", "total(x)", "**", "not", "\n", "\x85",
        "pad(x, start=1, stop=2, step=3, dims=4)", "n_inputs*n_inputs*n_inputs", "mask m f32[n_steps] rate=x", "= W[0:1] of=",
    ]  # fmt: skip
    for _ in range(generator.choice((1, 1, 2, 5))):
        start = generator.randrange(len(text) or 1)
        stop = min(len(text), start + generator.choice((0, 1, 1, 3, 12)))
        piece = generator.choice((generator.choice(words), text[start:stop] * 2, ""))
        text = text[:start] + piece + text[stop:]
    return text


@pytest.mark.parametrize("seed", range(4))
def test_a_changed_graph_is_refused_or_understood(seed):
    generator = random.Random(seed)
    lstm, gru = (Layer(c, n_inputs=2, n_neurons=3) for c in (cells.lstm, cells.gru))
    texts = [GRAPH, str(lstm.graph), str(gru.program)]
    refused = 0
    for number in range(600):
        text = mutated(texts[number % 3], generator)
        refused += not accepted(read_program if number % 3 == 2 else read_graph, text)
    assert refused > 300


@pytest.mark.parametrize("seed", range(4))
def test_a_changed_description_is_refused_or_understood(seed):
    generator = random.Random(seed)
    values = [None, True, -1, 1.5, "", "graph", [], {}, [[1]], {"a": {}}, "\0", 10**30]
    for _ in range(60):
        description = json.loads(json.dumps(LAYER.description))
        for _ in range(generator.choice((1, 2))):
            key = generator.choice([*description, "more"])
            if generator.random() < 0.3:
                description.pop(key, None)
            elif generator.random() < 0.5 and isinstance(description.get(key), str) and description[key]:
                description[key] = mutated(description[key], generator)
            else:
                description[key] = generator.choice(values)
        accepted(Layer.from_description, description, dict(LAYER.weights))


def test_what_is_accepted_runs(tmp_path):
    """A graph that reading accepts can be compiled and run: no error waits for the first use."""
    generator = random.Random(5)
    taken = 0
    for _ in range(500):
        text = mutated(GRAPH, generator)
        description = {**LAYER.description, "graph": text, "training_graph": text}
        if accepted(Layer.from_description, description, dict(LAYER.weights)):
            layer = Layer.from_description(description, dict(LAYER.weights))
            taken += 1
            inputs = [np.ones((2, 1, *p.value.type.sizes)) for p in layer.graph.with_role("input")]
            contexts = [np.ones((1, *p.value.type.sizes)) for p in layer.graph.with_role("context")]
            layer(*inputs, *contexts)
    assert taken > 20


def test_saving_without_safetensors_says_what_to_install(monkeypatch, tmp_path):
    real = builtins.__import__

    def refusing(name, *rest):
        if name.startswith("safetensors"):
            raise ImportError(name)
        return real(name, *rest)

    monkeypatch.delitem(sys.modules, "safetensors.numpy", raising=False)
    monkeypatch.setattr(builtins, "__import__", refusing)
    with pytest.raises(MissingExtraError) as caught:
        LAYER.save(tmp_path / "elman.safetensors")
    headline = "saving and loading need safetensors, which is installed with Ostinato and is gone: pip install safetensors"
    assert str(caught.value) == headline


def test_a_file_that_can_not_be_written_leaves_the_old_one(tmp_path, monkeypatch):
    path = tmp_path / "elman.safetensors"
    LAYER.save(path)
    before = path.read_bytes()

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(files.os, "replace", full)
    with pytest.raises(FileError, match=r"elman\.safetensors` can not be written: No space left on device"):
        LAYER.save(path)
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["elman.safetensors"]
