"""Worker slots on a processor and, by a driver that this file plays, on GPUs."""

import os
import sys
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pytest

from hpo.devices.slots import Slot, _cpu_flags, slots, usable_cores, visible_gpus
from hpo.errors import DeviceError

# Of the GPUs of a machine, in the order of their indices.
UUIDS = ("GPU-8d5c3c9e-0a55-4bd1-9d77-6f1f2a3b4c5d", "GPU-1f0e9d8c-7b6a-5948-3726-15f4e3d2c1b0")

Machine = Callable[[Sequence[tuple[int, int]]], "_Driver"]


class _Driver:
    """What ``hpo.devices.slots`` asks of NVIDIA's library, with GPUs of these compute capabilities; none, no driver."""

    class NVMLError(Exception):
        pass

    def __init__(self, capabilities: Sequence[tuple[int, int]]) -> None:
        self._capabilities = capabilities
        self.open = 0

    def nvmlInit(self) -> None:
        if not self._capabilities:
            raise self.NVMLError("Driver Not Loaded")
        self.open += 1

    def nvmlShutdown(self) -> None:
        self.open -= 1

    def nvmlDeviceGetCount(self) -> int:
        assert self.open
        return len(self._capabilities)

    def nvmlDeviceGetHandleByIndex(self, index: int) -> Any:
        assert self.open
        assert isinstance(index, int)
        return index

    def nvmlDeviceGetHandleByUUID(self, uuid: str) -> Any:
        if uuid not in UUIDS:
            raise self.NVMLError("Not Found")
        return self.nvmlDeviceGetHandleByIndex(UUIDS.index(uuid))

    def nvmlDeviceGetUUID(self, handle: Any) -> str:
        return UUIDS[handle] if handle < len(UUIDS) else f"GPU-{handle}"

    def nvmlDeviceGetCudaComputeCapability(self, handle: Any) -> Any:
        return self._capabilities[handle]


@pytest.fixture(autouse=True)
def machine(monkeypatch: pytest.MonkeyPatch) -> Iterator[Machine]:
    """Sets the GPUs of this machine; it has none until then. The driver must be closed again after each use."""
    drivers = []

    def with_gpus(capabilities: Sequence[tuple[int, int]]) -> _Driver:
        drivers.append(_Driver(capabilities))
        monkeypatch.setitem(sys.modules, "pynvml", drivers[-1])
        return drivers[-1]

    for variable in ("HPO_DEVICE", "HPO_THREADS", "XLA_FLAGS", "KERAS_BACKEND", "CUDA_VISIBLE_DEVICES"):
        monkeypatch.delenv(variable, raising=False)
    with_gpus([])
    yield with_gpus
    assert [driver.open for driver in drivers] == [0] * len(drivers)


@pytest.fixture
def one_core() -> Iterator[None]:
    """This process may use one processor, as in a small container."""
    if not hasattr(os, "sched_setaffinity"):
        pytest.skip("needs Linux, which can bind a process to a processor")
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(before)})
    yield
    os.sched_setaffinity(0, before)


AMPERE, TURING = (8, 0), (7, 5)


@pytest.mark.parametrize("gpus", ["all", "none"])
def test_without_gpus_the_cores_are_shared(gpus: str) -> None:
    """Each worker computes with its part of the processor, and with one core at least."""
    cores = usable_cores()
    assert slots(workers=1, gpus=gpus, workers_per_gpu=1) == [Slot(threads=cores)]
    assert slots(workers=2, gpus=gpus, workers_per_gpu=1) == [Slot(threads=max(1, cores // 2))] * 2
    assert slots(workers=cores + 1, gpus=gpus, workers_per_gpu=3) == [Slot(threads=1)] * (cores + 1)


def test_more_workers_than_the_cores_can_carry_is_an_error() -> None:
    """Sixteen may share a core where they wait for something else; more is a typing error."""
    most = 16 * usable_cores()
    assert len(slots(workers=most, gpus="none", workers_per_gpu=1)) == most
    message = (
        rf"{most + 1} workers are too many for {usable_cores()} core\(s\)\. Use --workers auto, or at most {most}\."
    )
    with pytest.raises(DeviceError, match=message):
        slots(workers=most + 1, gpus="none", workers_per_gpu=1)


def test_without_a_number_as_many_workers_as_the_machine_carries() -> None:
    """Not more than cores, fewer where the memory is short, one at least."""
    chosen = slots(workers=None, gpus="none", workers_per_gpu=1)
    assert 1 <= len(chosen) <= usable_cores()
    assert sum(slot.threads for slot in chosen) <= usable_cores()


@pytest.mark.usefixtures("one_core")
def test_only_the_cores_that_this_process_may_use_count() -> None:
    """A scheduler or a container may allow fewer than the machine has."""
    assert usable_cores() == 1
    assert slots(workers=None, gpus="all", workers_per_gpu=1) == [Slot(threads=1)]


@pytest.mark.parametrize(
    ("gpus", "workers", "workers_per_gpu", "places"),
    [
        pytest.param("all", None, 1, ["0", "1", "2"], id="all"),
        pytest.param("1", None, 1, ["1"], id="one"),
        pytest.param("2,0", None, 1, ["2", "0"], id="in-the-order-given"),
        pytest.param("1,1", None, 1, ["1"], id="named-twice"),
        pytest.param("all", 2, 1, ["0", "1"], id="fewer-workers-than-gpus"),
        pytest.param("0,2", None, 2, ["0", "2", "0", "2"], id="two-on-each"),
        pytest.param("all", 4, 2, ["0", "1", "2", "0"], id="spread-before-shared"),
        pytest.param("none", 2, 2, [None, None], id="none"),
    ],
)
def test_workers_are_placed_on_gpus(
    gpus: str, workers: int | None, workers_per_gpu: int, places: list[str | None], machine: Machine
) -> None:
    """One for each GPU unless asked otherwise; the processor's cores are shared among them."""
    machine([AMPERE] * 3)
    chosen = slots(workers=workers, gpus=gpus, workers_per_gpu=workers_per_gpu)
    assert [slot.gpu for slot in chosen] == places
    assert {slot.threads for slot in chosen} == {max(1, usable_cores() // len(places))}


@pytest.mark.parametrize("gpus", ["", "x", "gpu:0", "0,", ",0", "0;1", "-1", "1.5", " 0", "0 1", "ALL"])
def test_gpus_that_are_no_list_are_refused(gpus: str, machine: Machine) -> None:
    """The error shows what was given and what could be."""
    machine([AMPERE])
    with pytest.raises(DeviceError, match=rf"--gpus must be all, none or indices such as 0,1, but got {gpus!r}\."):
        slots(workers=None, gpus=gpus, workers_per_gpu=1)


@pytest.mark.parametrize(
    ("there", "gpus", "missing"), [(2, "2", 2), (2, "0,5,7", 5), (0, "0", 0)], ids=["next", "second-named", "no-gpus"]
)
def test_more_gpus_than_there_are_is_an_error(there: int, gpus: str, missing: int, machine: Machine) -> None:
    """An index counts from 0; a GPU that was asked for is never replaced by the processor."""
    machine([AMPERE] * there)
    with pytest.raises(DeviceError, match=rf"GPU {missing}, but {there} can be used here\. Use .* --gpus none for"):
        slots(workers=None, gpus=gpus, workers_per_gpu=1)


def test_more_workers_than_fit_on_the_gpus_is_an_error(machine: Machine) -> None:
    """The error gives the three ways out."""
    machine([AMPERE] * 2)
    assert len(slots(workers=4, gpus="all", workers_per_gpu=2)) == 4
    with pytest.raises(DeviceError, match=r"5 workers do not fit on 2 GPU\(s\) with 2 .*Raise --workers-per-gpu, lo"):
        slots(workers=5, gpus="all", workers_per_gpu=2)


@pytest.mark.parametrize(
    ("allowed", "visible"),
    [
        pytest.param(None, ["0", "1"], id="all"),
        pytest.param("1", ["1"], id="one"),
        pytest.param("1,0", ["1", "0"], id="in-another-order"),
        pytest.param("0, 1", ["0", "1"], id="with-a-space"),
        pytest.param(UUIDS[1], [UUIDS[1]], id="by-uuid"),
        pytest.param(f"{UUIDS[1][:8]},0", [UUIDS[1], "0"], id="by-the-beginning-of-a-uuid"),
        pytest.param("MIG-5f2a", ["MIG-5f2a"], id="part-of-one"),
        pytest.param("", [], id="none"),
        pytest.param("-1", [], id="minus-one"),
        pytest.param("0,-1,1", ["0"], id="minus-one-hides-the-rest"),
        pytest.param("1,2,0", ["1"], id="one-that-is-not-there-hides-the-rest"),
        pytest.param("NoDevFiles", [], id="as-slurm-says-none"),
    ],
)
def test_gpus_hidden_from_this_process_stay_hidden(
    allowed: str | None, visible: list[str], machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a shared machine CUDA_VISIBLE_DEVICES says whose GPUs they are; it is read as CUDA reads it."""
    machine([AMPERE] * 2)
    if allowed is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", allowed)
    assert visible_gpus() == visible
    chosen = slots(workers=None, gpus="all", workers_per_gpu=1)
    assert [slot.gpu for slot in chosen if slot.gpu is not None] == visible
    assert len({slot.device for slot in chosen}) == max(1, len(visible))


@pytest.mark.parametrize(
    ("allowed", "count"), [pytest.param("GPU-9", 0, id="of-none"), pytest.param("0,GPU-", 2, id="of-two")]
)
def test_the_beginning_of_a_uuid_must_be_that_of_one_gpu(
    allowed: str, count: int, machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else nobody can tell which one is meant."""
    machine([AMPERE] * 2)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", allowed)
    with pytest.raises(DeviceError, match=rf"'GPU-9?' begins {count} of them: {', '.join(UUIDS)}\. Write more of it"):
        slots(workers=None, gpus="all", workers_per_gpu=1)


def test_a_gpu_that_the_driver_does_not_know_computes_in_float32(machine: Machine) -> None:
    """Such as a part of one, of an old driver."""
    machine([AMPERE])
    assert Slot(threads=1, gpu="MIG-5f2a").precision == "float32"


def test_without_a_driver_no_gpu_is_visible(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever a variable says that was set for another machine."""
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")
    assert visible_gpus() == []


def test_gpus_are_chosen_among_those_that_are_visible(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    """Index 0 is the first that this process may use, as it is to every framework."""
    machine([AMPERE] * 4)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3,1")
    assert [slot.gpu for slot in slots(workers=None, gpus="1,0", workers_per_gpu=1)] == ["1", "3"]
    with pytest.raises(DeviceError, match=r"--gpus names GPU 2, but 2 can be used here\."):
        slots(workers=None, gpus="2", workers_per_gpu=1)


def test_a_worker_on_the_processor_sees_no_gpu() -> None:
    """And no framework starts more threads than its slot has."""
    environment = Slot(threads=3).environment()
    assert environment["CUDA_VISIBLE_DEVICES"] == ""
    assert environment["JAX_PLATFORMS"] == "cpu"
    assert environment["OMP_NUM_THREADS"] == environment["TF_NUM_INTRAOP_THREADS"] == environment["HPO_THREADS"] == "3"
    assert environment["TF_NUM_INTEROP_THREADS"] == "2"
    assert "XLA_FLAGS" not in environment


def test_a_worker_with_one_core_computes_in_one_thread() -> None:
    """In TensorFlow and in XLA."""
    environment = Slot(threads=1).environment()
    assert environment["TF_NUM_INTRAOP_THREADS"] == environment["TF_NUM_INTEROP_THREADS"] == "1"
    assert environment["XLA_FLAGS"] == "--xla_cpu_multi_thread_eigen=false"


def test_a_worker_on_a_gpu_sees_only_its_own() -> None:
    """By the name that the driver gives it, with no memory taken before it is needed."""
    environment = Slot(threads=4, gpu="2").environment()
    assert environment["CUDA_VISIBLE_DEVICES"] == "2"
    assert Slot(threads=4, gpu=UUIDS[0]).environment()["CUDA_VISIBLE_DEVICES"] == UUIDS[0]
    assert environment["CUDA_DEVICE_ORDER"] == "PCI_BUS_ID"
    assert environment["TF_FORCE_GPU_ALLOW_GROWTH"] == "true"
    assert environment["XLA_PYTHON_CLIENT_PREALLOCATE"] == "false"
    assert environment["OMP_NUM_THREADS"] == "4"
    assert "JAX_PLATFORMS" not in environment
    assert "XLA_FLAGS" not in environment


def test_what_the_user_set_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    """The backend is theirs to choose, and their flags of XLA stay beside ours."""
    assert Slot(threads=1).environment()["KERAS_BACKEND"] == "tensorflow"
    monkeypatch.setenv("KERAS_BACKEND", "jax")
    monkeypatch.setenv("XLA_FLAGS", "--xla_dump_to=here")
    environment = Slot(threads=1).environment()
    assert environment["KERAS_BACKEND"] == "jax"
    assert environment["XLA_FLAGS"] == "--xla_dump_to=here --xla_cpu_multi_thread_eigen=false"


@pytest.mark.parametrize(
    "slot",
    [Slot(threads=2), Slot(threads=8, gpu="0"), Slot(threads=1, gpu="11"), Slot(threads=1, gpu=UUIDS[0])],
    ids=str,
)
def test_a_worker_finds_its_slot_in_its_environment(slot: Slot, monkeypatch: pytest.MonkeyPatch) -> None:
    """The launcher's and the worker's idea of it are one."""
    for name, value in slot.environment().items():
        monkeypatch.setenv(name, value)
    assert Slot.from_environment() == slot


def test_a_worker_without_a_launcher_takes_the_first_gpu_or_all_cores(machine: Machine) -> None:
    """As somebody who joins from another shell expects."""
    assert Slot.from_environment() == Slot(threads=usable_cores())
    machine([AMPERE] * 2)
    assert Slot.from_environment() == Slot(threads=usable_cores(), gpu="0")


@pytest.mark.parametrize(
    ("slot", "name"), [(Slot(threads=2), "cpu"), (Slot(threads=2, gpu="3"), "gpu:3")], ids=["cpu", "gpu"]
)
def test_a_device_has_a_name(slot: Slot, name: str) -> None:
    """Under which trials record it."""
    assert slot.device == slot.environment()["HPO_DEVICE"] == name


@pytest.mark.parametrize(
    ("capability", "precision"),
    [
        pytest.param((9, 0), "mixed_bfloat16", id="hopper"),
        pytest.param(AMPERE, "mixed_bfloat16", id="ampere"),
        pytest.param(TURING, "float32", id="turing"),
    ],
)
def test_precision_follows_the_gpu_of_the_slot(capability: tuple[int, int], precision: str, machine: Machine) -> None:
    """bfloat16 where the hardware multiplies it, from Ampere on; another GPU beside it does not matter."""
    machine([TURING if precision == "mixed_bfloat16" else AMPERE, capability])
    assert Slot(threads=1, gpu="1").precision == Slot(threads=1, gpu=UUIDS[1]).precision == precision


@pytest.mark.parametrize(
    ("flags", "precision"),
    [
        pytest.param({"fpu", "avx512f", "avx512_bf16"}, "mixed_bfloat16", id="with-avx512-bf16"),
        pytest.param({"fpu", "avx512f"}, "float32", id="without"),
        pytest.param(set(), "float32", id="unknown"),
    ],
)
def test_precision_follows_the_processor(
    flags: set[str], precision: str, machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the slot is on one, whatever GPUs there are; this machine has only one kind of processor to try."""
    machine([AMPERE])
    monkeypatch.setattr("hpo.devices.slots._cpu_flags", lambda: flags)
    assert Slot(threads=1).precision == precision


@pytest.mark.skipif(sys.platform != "linux" or os.uname().machine != "x86_64", reason="reads what Linux says of x86")
def test_the_features_of_this_processor_are_read() -> None:
    """Each is a word of its own; every x86 with 64 bits has these two."""
    assert {"fpu", "sse2"} <= _cpu_flags()
