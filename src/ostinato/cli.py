"""The command line: `ostinato demo | explain | bench | train | predict`.

Exit codes: 0 all is well; 1 the data, the files or the cell are wrong (one line on stderr says how); 2 the command itself is
(one line too); 130 interrupted.
"""

from __future__ import annotations

import argparse
import io
import os
import sys
import traceback
from collections.abc import Sequence
from typing import Any, NoReturn

from .errors import OptionError, OstinatoError

DESCRIPTION = """\
Recurrent neural networks from their equations: look at a cell, train a network on sequences, predict with it.

  ostinato demo                                    learn to read handwritten digits row by row, in about a minute
  ostinato explain lstm n_inputs=3 n_neurons=5     the equation, every shape, what runs where, and what it costs
  ostinato bench lstm n_inputs=64 n_neurons=64     how long it takes here, by each plan
  ostinato train data.csv --model model.safetensors
  ostinato predict model.safetensors new.csv

Each command explains itself: ostinato explain --help
"""

EXPLAIN = """\
Show what a cell computes: its equation, the shape of every symbol for one instance and for a batch, each product and what
it sums over, what runs once per sequence and what at every step, the cost, and what back-propagation keeps.

examples:
  ostinato explain recurrent n_inputs=3 n_neurons=5            a cell of the library
  ostinato explain recurrent n_inputs=3 n_neurons=5 phi=relu   with another activation
  ostinato explain my_cells.py:mine n_inputs=3 n_neurons=5     the cell `mine` of a file (the file is run)
  ostinato explain gru n_inputs=3 n_neurons=5 --program        what the compiler made of it, stage by stage
  ostinato explain gru n_inputs=3 n_neurons=5 --stop-after assembly   one stage alone, to the machine code of this CPU
  ostinato explain lstm n_inputs=64 n_neurons=256 -o lstm.html   a page with pictures, and numbers on their way through
  ostinato explain birds.safetensors                           what was saved: a layer, or each layer of a network

Or a product, without a cell: the shapes, what is summed over, how many multiplications, drawn to scale:

  ostinato explain "A[m,n] @ B[n,p]"
  ostinato explain "Q[n,d] @ K[m,d].T" --n 3 --m 5 --d 4       with sizes; n=3 is the same
  ostinato explain "[[1, 2], [3, 4]] @ [[5, 6], [7, 8]]"       with numbers: every dot product, and the result
"""

BENCH = """\
Measure a cell on this machine: native code by each of its plans (separate, fused, hoisted), forward, and forward and backward
together. Medians of whole calls on random inputs, the plans in turn; and which part of the machine's peak the fastest reaches.

examples:
  ostinato bench lstm n_inputs=64 n_neurons=64
  ostinato bench lstm n_inputs=64 n_neurons=64 --steps 100 --batch 1 8 32
  ostinato bench my_cells.py:mine n_inputs=3 n_neurons=5 -o mine.svg   the cell `mine` of a file (the file is run), and a plot
  ostinato bench gru n_inputs=64 n_neurons=256 --threads 2 --json
"""

TRAIN = """\
Train a network on sequences, and save it. What kind of network: a classifier where the answers are labels, a regressor where
they are numbers (or say so with --task).

data.npz   X (n_samples, n_steps, n_features), y (n_samples,): text or whole numbers are labels, other numbers targets;
           lengths (n_samples,) if the sequences are not all of the same length
data.csv   one line for one step of one sequence, with a header:

             sequence,step,speed,height,label
             a,1,0.5,1.2,bird
             a,2,0.7,1.1,bird
             b,1,0.1,0.0,plane

           `sequence` says which lines belong together; `step` orders them, and may be left out; `label` (text) or `target`
           (a number) is to be learned, the same on all lines of a sequence; every other column is a feature.

examples:
  ostinato train birds.csv --model birds.safetensors
  ostinato train birds.npz --model birds.safetensors --cell gru --neurons 32 --epochs 100 --seed 1
  ostinato train birds.csv --test more_birds.csv --model birds.safetensors
  ostinato train birds.csv --cell my_cells.py:mine --model birds.safetensors   the cell `mine` of a file (the file is run)
"""

PREDICT = """\
Predict with a network that `ostinato train` saved. The data are as for training; labels and targets need not be there, and
are not looked at. The features must be the same; in a .csv file their order does not matter.

examples:
  ostinato predict birds.safetensors new.csv                 CSV: sequence,prediction,p_bird,p_plane
  ostinato predict birds.safetensors new.npz -o answers.csv  into a file (.csv or .npz), whole or not at all
  tail -f log.csv | ostinato predict birds.safetensors -     lines as they come, each answered at once

From the standard input comes CSV, the header first. Each line is answered at once: what is predicted for its sequence as far as
it has come (by a regressor of steps, for this step). Lines of several sequences may come in turn: a new name in `sequence`
begins a new one. Without that column all lines are of one sequence. A network that reads backwards too can not answer so.
"""

DEMO = """\
Train a recurrent network on the handwritten digits that come with scikit-learn (1,797 images of 8 x 8 pixels), reading each
image row by row: 8 steps of 8 numbers. Shows the layer, trains it, shows one digit going through the unrolled network, saves
the model, loads it back, and checks that the loaded one predicts the same.

examples:
  ostinato demo
  ostinato demo --seed 3 --model my_digits.safetensors
  ostinato demo --quick                                      a few seconds, and a worse reader
"""


class Parser(argparse.ArgumentParser):
    """A parser whose complaint is one line."""

    def error(self, message: str) -> NoReturn:
        if message.startswith("the following arguments are required: CELL"):
            from .commands.explaining import library_cells

            listing = ", ".join(f"`{name}`" for name in library_cells())
            command = self.prog.split()[-1]
            message = f"{command}: which cell? The cells of the library are {listing}"
            message += "; a product is written 'A[m,n] @ B[n,p]'" if command == "explain" else ""
        self.exit(2, f"{self.prog.split()[0]}: {message} (see {self.prog} --help)\n")


class Refused(OptionError, argparse.ArgumentTypeError):
    """An argument that is not what it should be; argparse tells it as a wrong command."""


def whole(text: str) -> int:
    """A whole number from 0 up."""
    value = int(text) if text.isdecimal() else -1
    if value < 0:
        raise Refused(f"`{text}` is no whole number from 0 up")
    return value


def positive(text: str) -> int:
    """A whole number from 1 up."""
    value = int(text) if text.isdecimal() else 0
    if value < 1:
        raise Refused(f"`{text}` is no whole number from 1 up")
    return value


def rate(text: str) -> float:
    """A finite number above 0."""
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value < float("inf"):
        raise Refused(f"`{text}` is no finite number above 0")
    return value


def fraction(text: str) -> float:
    """A number from 0 up to, not including, 1."""
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value < 1:
        raise Refused(f"`{text}` is no number from 0 up to, not including, 1")
    return value


def setting(text: str) -> tuple[str, str]:
    """`name=value`."""
    name, sign, value = text.partition("=")
    if not sign or not name or not value:
        raise Refused(f"`{text}`: a size or an option is written name=value, such as n_inputs=3")
    return name, value


def parser() -> Parser:
    """The parser of all commands."""
    from . import __version__

    raw = argparse.RawDescriptionHelpFormatter
    shared = Parser(add_help=False)
    shared.add_argument("--traceback", action="store_true", help="on an error, show all that is known of it")
    main_parser = Parser(prog="ostinato", description=DESCRIPTION, formatter_class=raw)
    main_parser.add_argument("--version", action="version", version=f"ostinato {__version__}")
    commands = main_parser.add_subparsers(dest="command", metavar="command", required=True)

    demo = commands.add_parser("demo", help="learn to read digits", description=DEMO, formatter_class=raw, parents=[shared])
    demo.add_argument("--model", default="digits.safetensors", metavar="FILE", help="where to save (digits.safetensors)")
    demo.add_argument("--seed", type=whole, default=0, metavar="N", help="of weights, batches and the choice of images (0)")
    demo.add_argument("--epochs", type=positive, default=None, metavar="N", help="how often to see every image")
    demo.add_argument("--quick", action="store_true", help="a small network, few epochs")

    one = commands.add_parser("explain", help="show a cell", description=EXPLAIN, formatter_class=raw, parents=[shared])
    one.add_argument(
        "cell", metavar="CELL", help="a cell of the library, path/file.py:name, a saved model, or a product 'A[m,n] @ B[n,p]'"
    )
    one.add_argument("settings", nargs="*", type=setting, metavar="name=value", help="sizes and options")
    one.add_argument("--program", action="store_true", help="print the stages of the forward program instead")
    one.add_argument("--backward", action="store_true", help="print the stages of the backward program instead")
    one.add_argument("--stop-after", default="", metavar="STAGE", help="print one stage instead: trace, ..., assembly")
    one.add_argument("-o", "--output", default="", metavar="FILE", help="write to a .html, .txt or .svg file")
    one.add_argument("--plain", action="store_true", help="no colour")

    _add_bench(commands, shared)
    _add_train(commands, shared)
    predict = commands.add_parser("predict", help="predict", description=PREDICT, formatter_class=raw, parents=[shared])
    predict.add_argument("model", metavar="MODEL", help="what `ostinato train` saved")
    predict.add_argument("data", metavar="DATA", help="a .npz or .csv file; - for lines of CSV from standard input")
    predict.add_argument("-o", "--output", default="", metavar="FILE", help="a .csv or .npz file instead of the screen")
    return main_parser


def _add_bench(commands: Any, shared: Parser) -> None:
    raw = argparse.RawDescriptionHelpFormatter
    bench = commands.add_parser("bench", help="measure a cell here", description=BENCH, formatter_class=raw, parents=[shared])
    bench.add_argument("cell", metavar="CELL", help="a cell of the library, or path/file.py:name")
    bench.add_argument("settings", nargs="*", type=setting, metavar="name=value", help="sizes and options")
    bench.add_argument("--steps", type=positive, default=100, metavar="N", help="of a sequence (100)")
    bench.add_argument("--batch", type=positive, nargs="+", default=[1, 8, 32], metavar="N", help="sequences at once (1 8 32)")
    bench.add_argument("--dtype", choices=("float32", "float64"), default="float32", help="(float32)")
    bench.add_argument("--seconds", type=rate, default=0.2, metavar="S", help="for each plan and row, about (0.2)")
    bench.add_argument("--threads", type=positive, default=1, metavar="N", help="that a call may use (1)")
    bench.add_argument("-o", "--output", default="", metavar="FILE", help="an .svg file for a plot")
    bench.add_argument("--json", action="store_true", help="JSON instead of a table")
    bench.add_argument("--plain", action="store_true", help="no colour")


def _add_train(commands: Any, shared: Parser) -> None:
    raw = argparse.RawDescriptionHelpFormatter
    train = commands.add_parser("train", help="train on sequences", description=TRAIN, formatter_class=raw, parents=[shared])
    train.add_argument("data", metavar="DATA", help="a .npz or .csv file")
    train.add_argument("--model", required=True, metavar="FILE", help="where to save, a .safetensors file")
    train.add_argument("--test", default="", metavar="DATA", help="data to measure on, not learned from")
    train.add_argument("--task", choices=("classification", "regression"), help="unless the data say it")
    train.add_argument("--cell", default="lstm", metavar="CELL", help="a cell of the library (lstm), or path/file.py:name")
    train.add_argument("--neurons", type=positive, default=64, metavar="N", help="in each layer (64)")
    train.add_argument("--layers", type=positive, default=1, metavar="N", help="one upon the other (1)")
    train.add_argument("--bidirectional", action="store_true", help="read forwards and backwards")
    train.add_argument("--dropout", type=fraction, default=0.0, metavar="RATE", help="0 up to 1 (0)")
    train.add_argument("--epochs", type=positive, default=50, metavar="N", help="at most (50)")
    train.add_argument("--patience", type=positive, default=10, metavar="N", help="epochs without progress (10)")
    train.add_argument("--batch-size", type=positive, default=32, metavar="N", help="sequences (32)")
    train.add_argument("--learning-rate", type=rate, default=None, metavar="RATE", help="of the update")
    train.add_argument("--seed", type=whole, default=0, metavar="N", help="of weights and batches (0)")
    train.add_argument("--quiet", action="store_true", help="print nothing while it trains")


def sizes_as_settings(argv: Sequence[str]) -> list[str]:
    """`explain ... --n 3` as `explain ... n=3`: a dimension is no option of the command, and may be written like one."""
    if list(argv[:1]) != ["explain"]:
        return list(argv)
    settings, others, i = [], [], 0
    while i < len(argv):
        name, sign, value = argv[i].removeprefix("--").partition("=")
        size = value if sign else argv[i + 1] if i + 1 < len(argv) else ""
        if argv[i].startswith("--") and name.isidentifier() and size.isdecimal():
            settings.append(f"{name}={size}")
            i += 1 if sign else 2
        elif sign and name.isidentifier() and not argv[i].startswith("-") and argv[i - 1] not in ("-o", "--output"):
            settings.append(argv[i])  # wherever it stands among the options
            i += 1
        else:
            others.append(argv[i])
            i += 1
    place = next((j for j, text in enumerate(others) if j and not text.startswith("-")), len(others) - 1) + 1
    return [*others[:place], *settings, *others[place:]]


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command.

    Args:
        argv: the arguments; those of the process unless given.

    Returns:
        the exit code.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper) and stream.encoding.lower() != "utf-8":
            stream.reconfigure(errors="replace")  # a `?` for an arrow that the terminal does not have
    try:
        arguments = parser().parse_args(sizes_as_settings(sys.argv[1:] if argv is None else argv))
    except SystemExit as stop:  # argparse leaves in this way, after help too
        return stop.code if isinstance(stop.code, int) else 0
    try:
        code = run(arguments)
        sys.stdout.flush()
    except OstinatoError as error:
        if arguments.traceback:
            traceback.print_exc()
        else:
            sys.stderr.write(f"ostinato: {str(error).splitlines()[0]}\n")
        return 1
    except BrokenPipeError:  # the reader of a pipe has seen enough: `| head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except KeyboardInterrupt:
        sys.stderr.write("ostinato: interrupted\n")
        return 130
    except Exception as error:  # noqa: BLE001 - a bug of ours is told in one line as well
        if arguments.traceback:
            traceback.print_exc()
        else:
            sys.stderr.write(f"ostinato: a bug of Ostinato; --traceback shows where, please report it: {error!r:.200}\n")
        return 1
    return code


def run(arguments: argparse.Namespace) -> int:
    """Call the command that the arguments name; its modules are imported only now."""
    match arguments.command:
        case "explain":
            from .commands.explaining import asked_stages, explain_command

            stages = asked_stages(program=arguments.program, backward=arguments.backward, stop_after=arguments.stop_after)
            return explain_command(
                arguments.cell, arguments.settings, stages=stages, output=arguments.output, plain=arguments.plain
            )  # fmt: skip
        case "bench":
            from .commands.bench import bench_command

            return bench_command(
                arguments.cell, arguments.settings, steps=arguments.steps, batches=arguments.batch, dtype=arguments.dtype,
                seconds=arguments.seconds, n_threads=arguments.threads, output=arguments.output, as_json=arguments.json,
                plain_text=arguments.plain,
            )  # fmt: skip
        case "train":
            from .commands.training import train_command

            return train_command(arguments)
        case "predict" if arguments.data == "-":
            from .commands.streaming import stream_command

            return stream_command(arguments.model, arguments.output)
        case "predict":
            from .commands.training import predict_command

            return predict_command(arguments.model, arguments.data, arguments.output)
        case _:
            from .commands.demo import demo_command

            return demo_command(arguments.model, seed=arguments.seed, epochs=arguments.epochs, quick=arguments.quick)


if __name__ == "__main__":
    sys.exit(main())
