"""Checkpoints: what goes on from a file has the same bits as what never stopped, and only the same training goes on."""

import json
import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest

from ostinato import DataError, Input, Layer, OptionError, cell, cells, exp, files, load, log
from ostinato.errors import FileError
from ostinato.ir.ops import sum_
from ostinato.layers.network import Dropout, LastStep, Network
from ostinato.learn.checkpoint import _blocks, _meaning
from ostinato.learn.losses import Loss, cross_entropy, mean_squared_error
from ostinato.learn.optimisers import UpdateRule
from ostinato.learn.schedules import Cosine, OnPlateau, WarmUp
from ostinato.learn.training import Examples, train

from .helpers import Messages, assert_equal

case = Messages("errors_checkpoint.txt")
ROOT = Path(__file__).parent.parent


class Stopped(Exception):
    """What ends a training in the tests."""


def labelled(n_samples, seed, n_steps=5):
    rng = np.random.default_rng(seed)
    X = rng.standard_normal((n_steps, n_samples, 2)).astype(np.float32)
    lengths = rng.integers(1, n_steps + 1, n_samples)
    return Examples(X, (X[0, :, 0] > 0).astype(int), lengths)


def network(seed=0, **options):
    return Network(
        LastStep(Layer(cells.gru, n_inputs=2, n_neurons=6, seed=seed, **options)), Dropout(0.2),
        Layer(cells.dense, n_inputs=6, n_outputs=2, seed=seed + 1, **options),
    )  # fmt: skip


def settings(**options):
    usual = {
        "loss": cross_entropy, "update": UpdateRule("adam", learning_rate=0.02), "validation": labelled(30, 1),
        "batch_size": 16, "max_epochs": 9, "patience": 4, "schedule": OnPlateau(factor=0.5, patience=1), "rng": 3,
    }  # fmt: skip
    return {**usual, **options}


def stopping_after(number, error=Stopped):
    def callback(epoch):
        if epoch.number == number:
            raise error

    return callback


def everything(net, rule, history):
    """All that a training leaves, without how long it took. (The state of a rule has its weights only after a step.)"""
    columns = {name: column for name, column in history.to_dict().items() if name != "seconds"}
    return (
        {name: array.tobytes() for name, array in net.weights.items()},
        {name: array.tobytes() for name, array in rule.state.items() if name != "w"},
        rule.n_updates, dict(rule.description), repr(columns), history.best_epoch, history.stopped_early,
    )  # fmt: skip


def run(net, examples=None, **options):
    chosen = settings(**options)
    return net, chosen["update"], train(net, labelled(60, 0) if examples is None else examples, **chosen)


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"validation": None, "schedule": WarmUp(3).then(Cosine())},
        {"validation": 0.2, "update": "sgd", "learning_rate": 0.1, "schedule": None, "patience": None},
        {"update": "adamw", "schedule": lambda epoch: 0.05 / epoch, "score": lambda Y, examples: np.float32(Y.mean())},
    ],
    ids=["plateau", "cosine", "fraction", "function"],
)
def test_what_is_resumed_has_the_same_bits_as_what_never_stopped(options, tmp_path):
    def made():
        update = options.get("update", "adam")
        return {
            **options,
            "update": UpdateRule(update, learning_rate=options.get("learning_rate", 0.02)),
            "learning_rate": None,
        }

    whole = everything(*run(network(), **made()))
    rng = np.random.default_rng(5)
    for attempt in range(2):
        path = tmp_path / f"{attempt}.safetensors"
        stops = sorted(rng.choice(range(1, 6), 2, replace=False).tolist())
        for stop in stops:
            with pytest.raises(Stopped):
                run(network(), **made(), checkpoint=path, resume=True, callback=stopping_after(stop))
        net = network(seed=11)  # its own weights do not matter
        assert everything(*run(net, **made(), resume=path)) == whole


def test_the_same_objects_go_on_after_an_interrupt(tmp_path):
    """As in a notebook: the network, the rule and the generator of before, which have moved."""
    whole = everything(*run(network()))
    net, rule, path = network(), UpdateRule("adam", learning_rate=0.02), tmp_path / "run.safetensors"
    generator = np.random.default_rng(3)
    with pytest.raises(KeyboardInterrupt):
        run(net, update=rule, rng=generator, checkpoint=path, callback=stopping_after(3, KeyboardInterrupt))
    assert everything(*run(net, update=rule, rng=generator, resume=path)) == whole


@pytest.mark.parametrize("kind", [np.random.MT19937, np.random.Philox, np.random.SFC64])
def test_every_generator_of_numpy_is_kept(kind, tmp_path):
    path = tmp_path / "run.safetensors"
    generators = [np.random.Generator(kind(7)) for _ in range(3)]
    whole = everything(*run(network(), rng=generators[0], max_epochs=3))
    with pytest.raises(Stopped):
        run(network(), rng=generators[1], max_epochs=3, checkpoint=path, callback=stopping_after(2))
    assert everything(*run(network(), rng=generators[2], max_epochs=3, resume=path)) == whole


SCRIPT = """
import sys
import numpy as np
sys.path.insert(0, {root!r})
from tests.test_checkpoint import everything, network, run
def callback(epoch):
    print(epoch.number, flush=True)
    if epoch.number == 3 and "wait" in sys.argv:
        sys.stdin.readline()
found = everything(*run(network(), checkpoint={path!r}, resume=True, callback=callback))
print(repr(found) == {whole!r}, flush=True)
"""


def test_a_killed_process_goes_on(tmp_path):
    whole = repr(everything(*run(network(), schedule=None)))
    path = str(tmp_path / "run.safetensors")
    text = SCRIPT.format(root=str(ROOT), path=path, whole=whole).replace(
        "network(), checkpoint", "network(), schedule=None, checkpoint"
    )
    script = tmp_path / "script.py"
    script.write_text(textwrap.dedent(text))
    environment = {**os.environ, "OSTINATO_BACKEND": "numpy"}
    with subprocess.Popen(
        [sys.executable, str(script), "wait"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
    ) as process:
        assert [process.stdout.readline().strip() for _ in range(3)] == ["1", "2", "3"]
        process.send_signal(signal.SIGKILL)
        process.wait()
    done = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, env=environment, check=True)
    assert done.stdout.split() == [*"3456789"[: len(done.stdout.split()) - 1], "True"]


def test_a_finished_training_returns_at_once_and_more_epochs_may_be_asked_for(tmp_path):
    path = tmp_path / "run.safetensors"
    options = {"schedule": None, "patience": None}
    short = everything(*run(network(), **options, max_epochs=4, checkpoint=path))
    written = path.read_bytes()

    def never(epoch):
        raise AssertionError("an epoch was made")

    assert everything(*run(network(seed=5), **options, max_epochs=4, resume=path, callback=never)) == short
    assert path.read_bytes() == written
    whole = everything(*run(network(), **options, max_epochs=9))
    assert everything(*run(network(), **options, max_epochs=9, resume=path)) == whole


def test_patience_is_over_when_it_was_over_and_a_callback_is_asked_again(tmp_path):
    path, other = tmp_path / "a.safetensors", tmp_path / "b.safetensors"
    rising = {"schedule": lambda epoch: 0.01 if epoch == 1 else 50.0, "patience": 2, "max_epochs": 30}
    net, rule, history = run(network(), **rising, checkpoint=path)
    assert history.stopped_early
    again = run(network(), **{**rising, "max_epochs": 60}, resume=path)
    assert everything(*again) == everything(net, rule, history)
    run(network(), checkpoint=other, callback=lambda epoch: epoch.number == 2)  # its time was over
    assert everything(*run(network(), resume=other)) == everything(*run(network()))


def test_a_checkpoint_may_be_written_elsewhere_and_loaded_as_the_network(tmp_path):
    first, second = tmp_path / "first.safetensors", tmp_path / "second.safetensors"
    with pytest.raises(Stopped):
        run(network(), checkpoint=first, callback=stopping_after(2))
    before = first.read_bytes()
    net, _, history = run(network(), resume=first, checkpoint=second)
    assert first.read_bytes() == before
    assert history.best_epoch > 0
    loaded = load(second)
    assert repr(loaded) == repr(net)
    for name, array in net.weights.items():
        assert_equal(loaded.weights[name], array)
    third = tmp_path / "third.safetensors"
    net, _, _ = run(network(), validation=None, checkpoint=third)
    for name, array in net.weights.items():
        assert_equal(load(third).weights[name], array)


def test_where_a_cell_stands_in_its_file_does_not_matter():
    description = {"seed": 3, "graph": "graph g\n  a = tanh(b)   # my_cells.py:14\n", "parts": [{"doc": "x", "how": "a # b"}]}
    assert _meaning(description) == {"graph": "graph g\n  a = tanh(b)\n", "parts": [{"how": "a # b"}]}


def test_what_a_training_is_does_not_depend_on_the_layout_in_memory():
    array = np.arange(600, dtype=np.float32).reshape(10, 12, 5)
    turned = np.asfortranarray(array)
    assert b"".join(map(bytes, _blocks(turned, 64))) == array.tobytes() == b"".join(map(bytes, _blocks(array)))
    assert b"".join(map(bytes, _blocks(np.array(3.0)))) == np.array(3.0).tobytes()


# --- what is refused, before anything is changed


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    path = tmp_path_factory.mktemp("checkpoints") / "run.safetensors"
    with pytest.raises(Stopped):
        run(network(), checkpoint=path, callback=stopping_after(3))
    return path


def refused(net=None, examples=None, **options):
    """Resume; nothing may be changed."""
    net = network() if net is None else net
    chosen = settings(**options)
    rule, before = chosen["update"], dict(net.weights)
    description = rule.description if isinstance(rule, UpdateRule) else None
    try:
        train(net, labelled(60, 0) if examples is None else examples, **chosen)
    finally:
        assert all(np.shares_memory(net.weights[name], array) for name, array in before.items())
        assert description is None or rule.description == description


def changed(path, target, change):
    """A copy of a checkpoint whose content was changed by somebody who knows how: the digest is right."""
    from ostinato.learn import checkpoint

    arrays, description = checkpoint.read(path)
    description.pop("format")
    change(arrays, description)
    description.pop("digest")
    files.write(target, arrays, {**description, "digest": checkpoint._digest(arrays, description)})
    return target


HERE = "run.safetensors"  # the folder of a test has another name each time, and messages are pinned


@pytest.fixture
def at_home(written, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path(HERE).write_bytes(written.read_bytes())


@case(FileError)
def a_file_that_is_there_already():
    refused(checkpoint=HERE)


@case(FileError)
def nothing_to_go_on_from():
    refused(resume="morning.safetensors")


@case(FileError)
def another_file_that_is_there_already():
    Path("other.safetensors").write_bytes(b"of somebody else")
    refused(resume=HERE, checkpoint="other.safetensors")


@case(FileError)
def no_folder():
    refused(checkpoint="runs/run.safetensors")


@case(OptionError)
def a_number_for_a_path():
    refused(checkpoint=3)


@case(OptionError)
def to_resume_from_nothing():
    refused(resume=True)


@case(FileError)
def another_network():
    net = Network(
        LastStep(Layer(cells.gru, n_inputs=2, n_neurons=7)), Dropout(0.2), Layer(cells.dense, n_inputs=7, n_outputs=2)
    )
    refused(net, resume=HERE)


@case(FileError)
def another_rule():
    refused(update=UpdateRule("sgd", learning_rate=0.02), resume=HERE)


@case(FileError)
def another_learning_rate():
    refused(update=UpdateRule("adam", learning_rate=0.01), resume=HERE)


@case(FileError)
def other_settings():
    refused(batch_size=8, clip_norm=None, rng=4, schedule=Cosine(), resume=HERE)


@case(FileError)
def another_loss():
    @cell
    def smoothed(logits=Input("n_classes"), target=Input("n_classes")):
        return log(sum_(exp(logits))) - sum_((0.9 * target + 0.05) * logits)

    refused(loss=Loss(smoothed, labels=True), resume=HERE)


@case(FileError)
def no_validation_any_more():
    refused(validation=None, resume=HERE)


@case(FileError)
def fewer_epochs_than_there_are():
    refused(max_epochs=1, resume=HERE)


@case(FileError)
def another_kind_of_generator():
    train_once = settings(rng=np.random.default_rng(3), max_epochs=1, checkpoint="new.safetensors")
    train(network(), labelled(60, 0), **train_once)
    refused(rng=np.random.Generator(np.random.MT19937(3)), max_epochs=1, resume="new.safetensors")


@case(FileError)
def the_file_of_a_network():
    network().save("network.safetensors")
    refused(resume="network.safetensors")


@case(FileError)
def other_weights_than_described():
    changed(HERE, "new.safetensors", lambda arrays, _: arrays.pop("network.2.b"))
    refused(resume="new.safetensors")


@case(FileError)
def a_generator_of_nonsense():
    changed(HERE, "new.safetensors", lambda _, d: d["generator"].update(state="none"))
    refused(resume="new.safetensors")


def test_other_data_are_refused_by_name(at_home):
    examples = labelled(60, 0)
    X = examples.X.copy()
    X[2, 3, 1] = np.nextafter(X[2, 3, 1], 9)  # one bit
    others = {
        "examples.X": {"examples": Examples(X, examples.target, examples.lengths)},
        "examples.target": {"examples": Examples(examples.X, 1 - examples.target, examples.lengths)},
        "examples.lengths": {"examples": Examples(examples.X, examples.target)},
        "validation.X": {"validation": labelled(29, 1)},
    }
    for name, options in others.items():
        with pytest.raises(FileError, match="is of another training; what differs: ") as caught:
            refused(**options, resume=HERE)
        assert name in str(caught.value)
    assert everything(*run(network(), resume=HERE)) == everything(*run(network()))


def test_a_file_damaged_anywhere_is_refused_in_words(at_home):
    content = Path(HERE).read_bytes()
    rng = np.random.default_rng(0)
    damaged = [content[: len(content) // 2], b"", b"no file at all"]
    for _ in range(40):
        place, bit = int(rng.integers(len(content))), int(rng.integers(8))
        damaged.append(content[:place] + bytes([content[place] ^ (1 << bit)]) + content[place + 1 :])
    for bytes_ in damaged:
        Path("damaged.safetensors").write_bytes(bytes_)
        with pytest.raises(FileError):
            refused(resume="damaged.safetensors")


def test_nothing_is_changed_when_the_rule_in_the_file_is_wrong(at_home):
    changed(HERE, "new.safetensors", lambda arrays, _: arrays.pop("rule.m.2.b"))
    with pytest.raises(FileError):
        refused(resume="new.safetensors")
    changed(HERE, "other.safetensors", lambda _, d: d.update(history={"epochs": 3}))
    with pytest.raises(FileError):
        refused(resume="other.safetensors")


def test_a_checkpoint_that_can_not_be_written_is_told_before_training(tmp_path):
    path = tmp_path / "folder"
    path.mkdir()
    seen = []
    with pytest.raises(FileError):
        run(network(), checkpoint=path / "x" / "run.safetensors", callback=seen.append)
    assert not seen


def test_a_file_without_an_epoch_does_not_stay_in_the_way(tmp_path, monkeypatch):
    path = tmp_path / "run.safetensors"
    rule = UpdateRule("adam", learning_rate=0.02)

    def interrupted(*arguments, **options):
        assert path.exists()  # that it can be written is known before the first step
        raise KeyboardInterrupt

    monkeypatch.setattr(rule, "step", interrupted)
    with pytest.raises(KeyboardInterrupt):
        run(network(), update=rule, checkpoint=path)
    assert not path.exists()
    assert list(tmp_path.iterdir()) == []


def test_a_checkpoint_is_json_and_arrays_and_holds_the_numbers_exactly(written):
    arrays, description = files.read(written)
    json.dumps(description)
    assert description["kind"] == "training"
    assert [epoch["number"] for epoch in description["history"]["epochs"]] == [1, 2]  # the third was not finished
    assert {name.split(".")[0] for name in arrays} <= {"network", "rule", "best", "best_rule"}


def test_a_loss_that_diverges_leaves_the_last_good_epoch_in_the_file(tmp_path):
    path = tmp_path / "run.safetensors"
    targets = Examples(labelled(40, 0).X, np.ones((40, 2)))
    options = {"loss": mean_squared_error, "clip_norm": None, "validation": None}
    with pytest.raises(DataError, match="epoch 3") as caught:
        run(network(), targets, **options, schedule=lambda epoch: 0.01 if epoch < 3 else 1e30, checkpoint=path)
    assert any('resume="' in note for note in caught.value.__notes__)
    with pytest.raises(DataError, match="epoch 3"):
        run(network(), targets, **options, schedule=lambda epoch: 0.01 if epoch < 3 else 1e30, resume=path)


@pytest.mark.parametrize("name", case.names)
def test_message(name, request, at_home):
    case.check(name, request)


def test_every_message_has_its_case():
    case.check_complete()
