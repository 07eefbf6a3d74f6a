"""Builds the wheel and the sdist, installs each in an empty environment, and tries what a newcomer tries first.

    python tests/package.py       a plain script; what it makes lies in dist/

The environments have nothing but what the package asks for, and the trial runs in an empty folder: a module that is missing in
the wheel, or that imports what only tests install, fails here.
"""

import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parent.parent
TRIAL = """
import importlib.metadata, pathlib, pkgutil
import numpy as np
import ostinato
from ostinato import Bias, Input, Layer, State, Weight, cell, cells, tanh

folder = pathlib.Path(ostinato.__file__).parent
assert "site-packages" in folder.parts, folder
assert importlib.metadata.version("ostinato") == ostinato.__version__
assert (folder / "py.typed").exists()
for module in pkgutil.walk_packages(ostinato.__path__, "ostinato."):
    try:
        __import__(module.name)
    except ostinato.MissingExtraError as error:  # scikit-learn and rich are extras
        assert "pip install" in str(error)

layer = Layer(cells.lstm, n_inputs=3, n_neurons=5, seed=0)
X = np.random.default_rng(0).standard_normal((7, 2, 3)).astype(np.float32)
Y = layer(X)
assert layer.backend == "native" and Y.shape == (7, 2, 5) and np.isfinite(Y).all()
assert np.allclose(Y, Layer(cells.lstm, n_inputs=3, n_neurons=5, seed=0, backend="reference")(X), atol=1e-6)
layer.save("layer.safetensors")
assert ostinato.load("layer.safetensors")(X).tobytes() == Y.tobytes()
layer.explain().save("layer.html")
print("ostinato", ostinato.__version__, "from", folder)
"""


def run(*command: object, cwd: Path = ROOT) -> None:
    """A command that must succeed; what it prints is shown where it does not."""
    done = subprocess.run([str(part) for part in command], check=False, cwd=cwd, capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"{' '.join(map(str, command))}\n{done.stdout}\n{done.stderr}")


def environment(folder: Path, *packages: object) -> Path:
    """A new environment with these packages alone; its Python."""
    run(sys.executable, "-m", "venv", folder)
    run(folder / "bin" / "python", "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *packages)
    return folder / "bin"


def main() -> None:
    """Build both, and try both."""
    with tempfile.TemporaryDirectory() as scratch:
        here = Path(scratch)
        built = here / "dist"
        run(environment(here / "build", "build") / "python", "-m", "build", "--outdir", built, ROOT)
        made = sorted(built.iterdir())
        assert [path.name.partition("-")[0] for path in made] == ["ostinato", "ostinato"], made
        for path in made:
            commands = environment(here / path.name.replace(".", "_"), path)
            empty = here / f"trial of {path.suffix[1:]}"
            empty.mkdir()
            run(commands / "python", "-W", "error", "-c", TRIAL, cwd=empty)
            run(commands / "ostinato", "--version", cwd=empty)
            run(commands / "ostinato", "explain", "lstm", "n_inputs=3", "n_neurons=5", cwd=empty)
        target = ROOT / "dist"
        target.mkdir(exist_ok=True)
        for path in made:
            path.replace(target / path.name)
            print(f"dist/{path.name}: built, installed and tried")


if __name__ == "__main__":
    main()
