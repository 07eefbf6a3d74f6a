"""The machine: which cores and how many threads a run may use, and what is installed. Loads no numeric library."""

import os
import platform
from importlib import metadata
from pathlib import Path

PACKAGES = ("numpy", "llvmlite", "torch", "onnx", "onnxruntime", "openvino", "jax", "jaxlib")
CACHES = Path("/sys/devices/system/cpu/cpu0/cache")


def thread_variables(threads):
    """The environment variables that tell every library how many threads it may use. They are read when a library loads."""
    count = str(threads)
    # XLA does not obey OMP_NUM_THREADS; without these flags it takes a pool as large as the machine
    eigen = "false" if threads == 1 else "true"
    return {
        "OMP_NUM_THREADS": count,
        "OPENBLAS_NUM_THREADS": count,
        "MKL_NUM_THREADS": count,
        "NPROC": count,
        "XLA_FLAGS": f"--xla_cpu_multi_thread_eigen={eigen} intra_op_parallelism_threads={count}",
        "JAX_PLATFORMS": "cpu",
    }


def allowed_cores():
    """The cores this process may run on; taskset narrows them."""
    if hasattr(os, "sched_getaffinity"):
        return sorted(os.sched_getaffinity(0))
    return list(range(os.cpu_count() or 1))


def stay_on(cores):
    """Run on these cores alone, where the system lets a process choose."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, cores)


def pin(threads):
    """Pin this process to as many cores as it has threads, and tell the libraries. To be called before they are loaded.

    The last of the allowed cores are taken: the first one serves most of the interrupts. Returns the cores.
    """
    cores = allowed_cores()
    if threads > len(cores):
        raise SystemExit(f"{threads} threads need {threads} cores, and this process may use {len(cores)}: {cores}")
    cores = cores[-threads:]
    stay_on(cores)
    os.environ.update(thread_variables(threads))
    return cores


def processor_name():
    path = Path("/proc/cpuinfo")
    if path.exists():
        for line in path.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def cache_bytes():
    """Cache level -> bytes of one core's data cache there, such as {1: 32768, 2: 1048576, 3: 33554432}; {} where unknown."""
    found = {}
    for index in sorted(CACHES.glob("index*")):
        if (index / "type").read_text().strip() != "Instruction":
            size = (index / "size").read_text().strip()
            found[int((index / "level").read_text())] = int(size[:-1]) * {"K": 1 << 10, "M": 1 << 20}[size[-1]]
    return found


def versions():
    """Package -> version, of those that are installed."""
    found = {"python": platform.python_version()}
    for name in ("ostinato", *PACKAGES):
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


def description(cores):
    """What the figures of this run were measured on."""
    return {
        "processor": processor_name(),
        "architecture": platform.machine(),
        "system": f"{platform.system()} {platform.release()}",
        "cores": list(cores),
        "load_average": [round(x, 2) for x in os.getloadavg()] if hasattr(os, "getloadavg") else [],
        "cache_bytes": cache_bytes(),
        "versions": versions(),
    }
