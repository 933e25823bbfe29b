"""The GPUs and cores of this machine as slots for workers, and the environment of a worker process."""

import importlib
import logging
import os
import platform
import re
from dataclasses import dataclass
from itertools import takewhile
from pathlib import Path
from typing import Any

import psutil

from hpo.devices.log_lines import without_log_lines
from hpo.errors import DeviceError

_WORKER_BYTES = 1_500_000_000  # memory of a worker with TensorFlow and a stock CNN, about
_CPU_QUOTA = Path("/sys/fs/cgroup/cpu.max")  # microseconds of processor time per period, or max
_MOST_WORKERS_PER_CORE = 16  # tasks that wait for something else may share a core; more is a typing error


@dataclass(frozen=True)
class Slot:
    """The place where one worker runs.

    Args:
        threads: for the worker's own computations on the CPU.
        gpu: its GPU as in ``CUDA_VISIBLE_DEVICES``, an index or a UUID; None for the CPU.
    """

    threads: int
    gpu: str | None = None

    @property
    def device(self) -> str:
        return "cpu" if self.gpu is None else f"gpu:{self.gpu}"

    @classmethod
    def from_environment(cls) -> "Slot":
        """The slot that the launcher gave this process; without a launcher, the first GPU or else all cores."""
        if "HPO_DEVICE" in os.environ:
            device = os.environ["HPO_DEVICE"]
            threads = int(os.environ.get("HPO_THREADS", usable_cores()))
            return cls(threads=threads, gpu=None if device == "cpu" else device[len("gpu:") :])
        return slots(workers=1, gpus="all", workers_per_gpu=1)[0]

    def environment(self) -> dict[str, str]:
        """The variables that a worker process needs before it imports its backend."""
        threads = str(self.threads)
        variables = {
            "HPO_DEVICE": self.device,
            "HPO_THREADS": threads,
            "CUDA_VISIBLE_DEVICES": self.gpu or "",
            # With this, index i means the same GPU for the driver and for every framework.
            "CUDA_DEVICE_ORDER": "PCI_BUS_ID",
            "TF_FORCE_GPU_ALLOW_GROWTH": "true",
            "XLA_PYTHON_CLIENT_PREALLOCATE": "false",
            "OMP_NUM_THREADS": threads,
            "TF_NUM_INTRAOP_THREADS": threads,
            "TF_NUM_INTEROP_THREADS": "1" if self.threads == 1 else "2",
            "TF_CPP_MIN_LOG_LEVEL": "2",
            "KERAS_BACKEND": os.environ.get("KERAS_BACKEND", "tensorflow"),
        }
        if self.gpu is None:
            variables["JAX_PLATFORMS"] = "cpu"
            if self.threads == 1 and "xla_cpu_multi_thread_eigen" not in os.environ.get("XLA_FLAGS", ""):
                variables["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} --xla_cpu_multi_thread_eigen=false".strip()
        return variables

    @property
    def precision(self) -> str:
        """The Keras dtype policy that trains fastest here without losing accuracy.

        That is bfloat16 if the hardware multiplies it: on a CPU with AVX512_BF16 an epoch of the stock CNN takes less
        time than in float32 (measured by tests/benchmarks/precision.py); on others it is emulated and slower.
        """
        if self.gpu is not None:
            return "mixed_bfloat16" if _compute_capability(self.gpu) >= (8, 0) else "float32"
        # This was measured with TensorFlow's oneDNN; on the CPU other backends use other libraries.
        is_tensorflow = os.environ.get("KERAS_BACKEND", "tensorflow") == "tensorflow"
        return "mixed_bfloat16" if is_tensorflow and "avx512_bf16" in _cpu_flags() else "float32"


def slots(*, workers: int | None, gpus: str, workers_per_gpu: int) -> list[Slot]:
    """The slots for workers: on the GPUs if there are any, otherwise on the CPU.

    Args:
        workers: how many; None for as many as the machine can run.
        gpus: "all", "none", or indices such as "0,1" among the GPUs that this process can see.
        workers_per_gpu: how many workers share a GPU.

    Raises:
        DeviceError: ``gpus`` is malformed or names a GPU that does not exist, or there are too many ``workers``.
    """
    chosen = _choose(gpus, visible_gpus())
    cores = usable_cores()
    if not chosen:
        if workers is not None and workers > _MOST_WORKERS_PER_CORE * cores:
            raise DeviceError(
                f"{workers} workers are too many for {cores} core(s). Use --workers auto, or at most "
                f"{_MOST_WORKERS_PER_CORE * cores}."
            )
        count = workers or max(1, min(cores, psutil.virtual_memory().available // _WORKER_BYTES))
        return [Slot(threads=max(1, cores // count)) for _ in range(count)]
    places = [gpu for _ in range(workers_per_gpu) for gpu in chosen]
    if workers is not None and workers > len(places):
        raise DeviceError(
            f"{workers} workers do not fit on {len(chosen)} GPU(s) with {workers_per_gpu} worker(s) each. "
            "Raise --workers-per-gpu, lower --workers, or use the CPU with --gpus none."
        )
    places = places[:workers]
    return [Slot(threads=max(1, cores // len(places)), gpu=gpu) for gpu in places]


def machine() -> str:
    """The processor, its usable cores, the memory and the system, but no name of the machine."""
    processor = platform.processor() or platform.machine()
    if (facts := Path("/proc/cpuinfo")).is_file() and (found := re.search(r"model name\s*: (.*)", facts.read_text())):
        processor = found.group(1)
    memory = psutil.virtual_memory().total / 2**30
    cores = "1 core" if usable_cores() == 1 else f"{usable_cores()} cores"
    return f"{processor}, {cores}, {memory:.0f} GiB, {platform.system()} {platform.release()}"


def usable_cores() -> int:
    """The number of cores that this process may use; a scheduler or a container can limit it."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    try:
        quota, period = _CPU_QUOTA.read_text().split()
    except (OSError, ValueError):
        return cores
    return cores if quota == "max" else max(1, min(cores, int(quota) // int(period)))


def import_backend() -> None:
    """Import Keras and its backend, which takes seconds.

    Raises:
        DeviceError: ``KERAS_BACKEND`` is no backend, or one that is not installed.
    """
    try:
        with without_log_lines():
            importlib.import_module("keras").ops.zeros(1)  # the first array makes the backend look for devices
    except Exception as error:
        backend = os.environ.get("KERAS_BACKEND", "tensorflow")
        raise DeviceError(
            f"Keras cannot be imported with KERAS_BACKEND={backend}: {error}. Use tensorflow or jax."
        ) from error
    for name in ("tensorflow", "absl"):
        logging.getLogger(name).setLevel(logging.ERROR)


def visible_gpus() -> list[str]:
    """The index or the whole UUID of each NVIDIA GPU that this process may use; none without a driver.

    Raises:
        DeviceError: ``CUDA_VISIBLE_DEVICES`` has the beginning of a UUID of no GPU or of several.
    """
    # On a shared machine this variable says which of them are ours.
    allowed = os.environ.get("CUDA_VISIBLE_DEVICES")
    with _Driver() as driver:
        there = 0 if driver is None else int(driver.nvmlDeviceGetCount())
        if not there or allowed is None:
            return [str(index) for index in range(there)]
        # As CUDA reads it, the first entry that is no GPU, such as -1, hides all after it.
        return list(takewhile(bool, (_resolved(name.strip(), driver) for name in allowed.split(","))))


def _resolved(name: str, driver: Any) -> str:
    """The GPU that ``name`` means, an index or the beginning of a UUID; "" if there is no such GPU."""
    there = driver.nvmlDeviceGetCount()
    if name.isdecimal():
        return name if int(name) < there else ""
    if not name.startswith("GPU-"):
        return name if name.startswith("MIG-") else ""
    uuids = [driver.nvmlDeviceGetUUID(driver.nvmlDeviceGetHandleByIndex(index)) for index in range(there)]
    meant = [uuid for uuid in uuids if uuid.startswith(name)]
    if len(meant) != 1:
        raise DeviceError(
            f"A UUID in CUDA_VISIBLE_DEVICES must be the beginning of exactly one GPU's, but {name!r} begins "
            f"{len(meant)} of them: {', '.join(uuids)}. Write more of it, or an index."
        )
    return str(meant[0])


def _choose(gpus: str, visible: list[str]) -> list[str]:
    if gpus == "none":
        return []
    if gpus == "all":
        return visible
    if not re.fullmatch(r"\d+(,\d+)*", gpus):
        raise DeviceError(f"--gpus must be all, none or indices such as 0,1, but got {gpus!r}.")
    chosen = list(dict.fromkeys(int(index) for index in gpus.split(",")))
    if missing := [index for index in chosen if index >= len(visible)]:
        raise DeviceError(
            f"--gpus names GPU {missing[0]}, but {len(visible)} can be used here. "
            "Use --gpus all, or --gpus none for the CPU."
        )
    return [visible[index] for index in chosen]


class _Driver:
    """NVIDIA's management library, for a block; None if there is no driver."""

    def __enter__(self) -> Any:
        import pynvml

        self._nvml: Any = None
        try:
            pynvml.nvmlInit()
        except pynvml.NVMLError:
            return None
        self._nvml = pynvml
        return pynvml

    def __exit__(self, *exception: object) -> None:
        if self._nvml is not None:
            self._nvml.nvmlShutdown()


def _compute_capability(gpu: str) -> tuple[int, int]:
    with _Driver() as driver:
        if driver is None:
            return (0, 0)
        by_name = driver.nvmlDeviceGetHandleByIndex if gpu.isdecimal() else driver.nvmlDeviceGetHandleByUUID
        try:
            major, minor = driver.nvmlDeviceGetCudaComputeCapability(by_name(int(gpu) if gpu.isdecimal() else gpu))
        except driver.NVMLError:  # a driver may not know it, for example for a part of a GPU
            return (0, 0)
        return (int(major), int(minor))


def _cpu_flags() -> set[str]:
    """The processor's features as Linux names them; empty on other systems."""
    try:
        flags = re.search(r"^flags\s*:(.*)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    except OSError:
        return set()
    return set(flags.group(1).split()) if flags else set()
