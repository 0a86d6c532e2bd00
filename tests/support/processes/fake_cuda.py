"""A CUDA device that is not there: tensors say that they lie on cuda:0, and hold true numbers in the host's memory.

    with fake_cuda.installed(guard) as gpu: ...     what torch runs on "cuda" in here, in any thread, runs on the CPU

It catches what a run on the CPU does not: tensors of two devices in one operation, numpy() of device memory, copies from the
device that are read before they were waited for (they hold garbage until then), use of a tensor on a stream that has not
waited for the one that wrote it, memory freed while another stream may still read it. Not modelled: time, the rounding of
GPU kernels, and the memory that kernels and the allocator take for themselves.

torch must not have used a device before, and ``torch.inference_mode`` is replaced (its tensors may not be mixed with ours)
where this module is imported, so import it first, in a process of its own.
"""

from __future__ import annotations

import concurrent.futures as futures
import ctypes
import os
import threading
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from fake_gpu import Event, Gpu, Stream
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten, tree_map

aten = torch.ops.aten
torch.inference_mode = lambda mode=True: torch.no_grad()  # type: ignore[assignment, misc]

# Operations whose result the host must know.
WAITING = {
    aten._local_scalar_dense.default, aten.nonzero.default, aten.equal.default, aten.is_nonzero.default,
    aten.masked_select.default, aten._unique2.default, aten.unique_consecutive.default, aten.unique_dim.default,
    aten.repeat_interleave.Tensor,
}  # fmt: skip
# Operations that start no kernel.
FREE = {
    "detach", "view", "t", "transpose", "permute", "unsqueeze", "squeeze", "expand", "slice", "select", "alias",
    "as_strided", "_unsafe_view", "split", "unbind", "_reshape_alias", "diagonal", "chunk", "split_with_sizes",
    "view_as", "lift_fresh", "empty", "empty_like", "empty_strided", "new_empty", "new_empty_strided", "unfold", "narrow",
}  # fmt: skip
NAME = "a GPU that is not there"
GARBAGE = 0xCD

state = SimpleNamespace(gpu=None)  # the device that is installed


class CudaTensor(torch.Tensor):
    """A tensor that says it lies on the device; ``numbers`` holds them."""

    numbers: torch.Tensor

    @staticmethod
    def __new__(cls, real: torch.Tensor) -> CudaTensor:
        made = torch.Tensor._make_wrapper_subclass(
            cls,
            real.size(),
            strides=real.stride(),
            storage_offset=real.storage_offset(),
            dtype=real.dtype,
            layout=real.layout,
            device=torch.device("cuda", 0),
            requires_grad=False,
        )
        made.numbers = real
        key = memory(made)
        if key:
            state.gpu.hold(key, real.untyped_storage().nbytes())
            weakref.finalize(made, state.gpu.drop, key).atexit = False
        return made

    __torch_function__ = torch._C._disabled_torch_function_impl

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return dispatch(func, args, kwargs or {})

    def record_stream(self, stream: Stream) -> None:
        """Memory is not given away before ``stream`` is done with it."""
        with state.gpu.lock:
            if memory(self) in state.gpu.blocks:
                state.gpu.blocks[memory(self)].recorded = True

    def __repr__(self, **_: Any) -> str:
        return f"CudaTensor({tuple(self.shape)}, {self.dtype})"


class Mode(TorchDispatchMode):
    """Sends every operation of a thread through ``dispatch``."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return dispatch(func, args, kwargs or {}, self)


def memory(tensor: CudaTensor) -> int:
    """What identifies the memory that a tensor lies in."""
    return tensor.numbers.untyped_storage().data_ptr()


def real(value: Any) -> Any:
    """The numbers of a tensor of ours; anything else as it is."""
    return value.numbers if isinstance(value, CudaTensor) else value


def is_cuda(value: Any) -> bool:
    """Whether it is the device that is not there."""
    return isinstance(value, torch.device) and value.type == "cuda"


def composite(func: Any) -> bool:
    """Whether an operation consists of others."""
    found = torch._C._dispatch_has_kernel_for_dispatch_key(func.name(), "CompositeImplicitAutograd")
    return found and "scaled_dot_product" not in func.name()


def dispatch(func: Any, args: Any, kwargs: dict[str, Any], mode: Mode | None = None) -> Any:
    """Do an operation: on the CPU, after checking what a GPU would check."""
    gpu = state.gpu
    flat, _ = tree_flatten((args, kwargs))
    ours = [each for each in flat if isinstance(each, CudaTensor)]
    name = func._schema.name.split("::")[1]
    if func is aten.empty.memory_format and kwargs.get("pin_memory"):
        made = func(*args, **(kwargs | {"pin_memory": False}))
        with gpu.lock:
            if made.nbytes > gpu.pinnable:
                raise RuntimeError("CUDA error: out of memory")
            gpu.pinnable -= made.nbytes
        gpu.pinned.add(made.untyped_storage().data_ptr())
        return made
    devices = [each for each in flat if is_cuda(each)]
    if not ours and not devices:
        return func(*args, **kwargs)
    if any((each.index or 0) >= torch.cuda.device_count() for each in devices):
        raise RuntimeError("CUDA error: invalid device ordinal")
    if composite(func):
        with mode or Mode():
            try:
                return func.decompose(*args, **kwargs)
            except NotImplementedError:
                pass
    if name == "record_stream":
        return args[0].record_stream(None)
    if name == "is_pinned":
        return False
    if func is aten._to_copy.default:
        return converted(args[0], kwargs)
    if func is aten.copy_.default and isinstance(args[0], CudaTensor) != isinstance(args[1], CudaTensor):
        later = bool(args[2] if len(args) > 2 else kwargs.get("non_blocking"))
        return copied(args[0], args[1], later)
    check_devices(name, args, flat, bool(ours))
    indices = args[1] if name == "index" else ()
    if func in WAITING or any(isinstance(each, torch.Tensor) and each.dtype == torch.bool for each in indices):
        gpu.wait(gpu.stream(), "result")
    return computed(func, name, args, kwargs, ours)


def check_devices(name: str, args: Any, flat: list[Any], ours: bool) -> None:
    """Raise as torch does where an operation mixes devices."""
    for each in flat:
        if not ours or not isinstance(each, torch.Tensor) or isinstance(each, CudaTensor) or each.dim() == 0:
            continue
        integers = each.dtype in (torch.int64, torch.bool, torch.int32)
        if name in ("index", "index_put", "index_put_", "_index_put_impl_") and integers and each is not args[0]:
            state.gpu.wait(state.gpu.stream(), "index")  # copied to the device
            continue
        state.gpu.problem(f"{name}: tensors on cuda and on cpu")
        raise RuntimeError(f"Expected all tensors to be on the same device, but found cuda:0 and cpu! ({name})")


def by_the_cpu(func: Any, args: Any, kwargs: dict[str, Any]) -> Any:
    """``func`` on the CPU's tensors, also where only a GPU has a kernel for their dtypes."""
    if func is aten._softmax.default and args[2]:  # from half to float in one
        return func(args[0].float(), args[1], False)
    if func is aten.histc.default and not args[0].is_floating_point():
        return func(args[0].float(), *args[1:], **kwargs).to(args[0].dtype)
    return func(*args, **kwargs)


def computed(func: Any, name: str, args: Any, kwargs: dict[str, Any], ours: list[CudaTensor]) -> Any:
    """An operation on the device's tensors, by the CPU."""
    gpu = state.gpu
    on_cuda = bool(ours) or is_cuda(kwargs.get("device"))
    cpu = torch.device("cpu")
    plain_args, plain = tree_map(lambda each: cpu if is_cuda(each) else real(each), (args, kwargs))
    if plain.get("pin_memory"):
        plain["pin_memory"] = False
    back = {id(each.numbers): each for each in ours}

    def wrap(value: Any) -> Any:
        if not on_cuda or not isinstance(value, torch.Tensor):
            return value
        return back[id(value)] if id(value) in back else CudaTensor(value)

    made = tree_map(wrap, by_the_cpu(func, plain_args, plain))
    if name in FREE:
        return made
    gpu.kernels += 1
    written = set()
    for index, argument in enumerate(func._schema.arguments):
        value = args[index] if index < len(args) else kwargs.get(argument.name)
        if argument.alias_info is not None and argument.alias_info.is_write and isinstance(value, CudaTensor):
            written.add(memory(value))
    results = {memory(each) for each in tree_flatten(made)[0] if isinstance(each, CudaTensor)}
    read = {memory(each) for each in ours}
    with gpu.lock:
        gpu.use(gpu.stream(), read - written, written | (results - read))
    return made


def converted(source: torch.Tensor, kwargs: dict[str, Any]) -> Any:
    """``source.to(...)``: another device, dtype or both."""
    gpu, device = state.gpu, kwargs.get("device")
    later = bool(kwargs.get("non_blocking"))
    options = {key: value for key, value in kwargs.items() if key not in ("device", "pin_memory", "non_blocking")}
    made = aten._to_copy.default(real(source), **options)
    if not (is_cuda(device) if device is not None else isinstance(source, CudaTensor)):
        return to_host(source, made, later)
    result = CudaTensor(made)
    if isinstance(source, CudaTensor):
        gpu.kernels += 1
    else:
        to_device(source, later)
    with gpu.lock:
        gpu.use(gpu.stream(), {memory(source)} if isinstance(source, CudaTensor) else set(), {memory(result)})
    return result


def copied(target: torch.Tensor, source: torch.Tensor, later: bool) -> Any:
    """``target.copy_(source)`` between the host and the device."""
    gpu = state.gpu
    if not isinstance(target, CudaTensor):
        return to_host(source, real(source).to(target.dtype).expand_as(target), later, target)
    if source.dim():
        to_device(source, later)
    target.numbers.copy_(source)
    with gpu.lock:
        gpu.use(gpu.stream(), set(), {memory(target)})
    return target


def to_device(source: torch.Tensor, later: bool) -> None:
    """A copy to the device is queued. One that is not ``later`` is waited for; others from pageable memory are staged."""
    gpu = state.gpu
    pinned = source.untyped_storage().data_ptr() in gpu.pinned
    gpu.to_device["pinned" if pinned else "pageable"] += source.nbytes
    if not later:
        gpu.wait(gpu.stream(), "copy to the device")


def to_host(source: Any, made: torch.Tensor, later: bool, into: torch.Tensor | None = None) -> torch.Tensor:
    """A copy to the host. To pinned memory, it arrives when it was waited for, and is garbage before."""
    gpu = state.gpu
    out = torch.empty_like(made, device="cpu") if into is None else into
    pinned = into is not None and into.untyped_storage().data_ptr() in gpu.pinned
    gpu.to_host["pinned" if pinned else "pageable"] += made.nbytes
    stream = gpu.stream()
    with gpu.lock:
        gpu.use(stream, {memory(source)}, set())
    if not later or not pinned:
        out.copy_(made)
        gpu.wait(stream, "copy to the host")
        return out
    snapshot = made.clone()
    out.view(-1).view(torch.uint8).fill_(GARBAGE)
    with gpu.lock:
        stream.pending.append((stream.clock, lambda: out.copy_(snapshot)))
    return out


ATTENTION = torch.nn.functional.scaled_dot_product_attention


def attend(q: Any, k: Any, v: Any, attn_mask: Any = None, *args: Any, **kwargs: Any) -> Any:
    """torch's attention, one kernel on the device."""
    if not isinstance(q, CudaTensor):
        return ATTENTION(q, k, v, attn_mask, *args, **kwargs)
    check_devices("attention", (), [q, k, v, attn_mask], ours=True)
    if q.dtype == torch.float32 and kwargs.get("enable_gqa"):
        state.gpu.problem("attention in float32 with shared keys holds all T x T scores")
    made = CudaTensor(ATTENTION(real(q), real(k), real(v), real(attn_mask), *args, **kwargs))
    with state.gpu.lock:
        state.gpu.use(state.gpu.stream(), {memory(each) for each in (q, k, v)}, {memory(made)})
    return made


SUBMIT, RESULT = futures.ThreadPoolExecutor.submit, futures.Future.result


def submitted(self: futures.ThreadPoolExecutor, work: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
    """ThreadPoolExecutor.submit: the thread sees the device too, and knows what the submitting one has waited for."""
    before, after = dict(state.gpu.seen()), {}

    def run(*args: Any, **kwargs: Any) -> Any:
        state.gpu.learn(before)
        try:
            with Mode():
                return work(*args, **kwargs)
        finally:
            after.update(state.gpu.seen())

    future = SUBMIT(self, run, *args, **kwargs)
    future.after = after  # type: ignore[attr-defined]
    return future


def joined(self: futures.Future[Any], timeout: float | None = None) -> Any:
    """Future.result: the waiting thread knows what the other one has waited for."""
    try:
        return RESULT(self, timeout)
    finally:
        state.gpu.learn(getattr(self, "after", {}))


@contextmanager
def installed(guard: Path, total: int = 80 << 30) -> Iterator[Gpu]:
    """Make "cuda" mean the device that is not there, with ``total`` bytes of memory."""
    os.environ.setdefault("FAKE_GPUS", "1")
    library = ctypes.CDLL(str(guard))
    gpu = state.gpu = Gpu(total)
    saved: list[tuple[Any, str, Any]] = []

    def patch(home: Any, **values: Any) -> None:
        for name, value in values.items():
            saved.append((home, name, getattr(home, name)))
            setattr(home, name, value)

    patch(
        torch.cuda,
        _lazy_init=lambda: None,
        is_available=lambda: True,
        is_initialized=lambda: True,
        device_count=lambda: int(os.environ["FAKE_GPUS"]),
        current_device=lambda: library.current_device(),
        set_device=lambda device: library.set_device(torch.device(device).index or 0),
        mem_get_info=lambda device=None: (total - gpu.bytes, total),
        memory_allocated=lambda device=None: gpu.bytes,
        memory_reserved=lambda device=None: gpu.bytes,
        max_memory_allocated=lambda device=None: gpu.peak,
        empty_cache=lambda: None,
        synchronize=lambda device=None: [gpu.wait(each, "device") for each in list(gpu.streams.values())],
        get_device_capability=lambda device=None: (9, 0),
        get_device_name=lambda device=None: NAME,
        is_bf16_supported=lambda *_, **__: True,
        Stream=lambda device=None, priority=0: Stream(gpu, priority),
        Event=lambda *_, **__: Event(gpu),
        current_stream=lambda device=None: gpu.stream(),
        default_stream=lambda device=None: gpu.default,
        stream=lambda stream: stream,
    )
    patch(torch.nn.functional, scaled_dot_product_attention=attend)
    patch(futures.ThreadPoolExecutor, submit=submitted)
    patch(futures.Future, result=joined)
    torch.__future__.set_overwrite_module_params_on_conversion(True)
    torch._C._set_only_lift_cpu_tensors(True)  # torch.tensor(list, device="cuda") makes a CPU tensor and copies it
    try:
        with Mode():
            yield gpu
    finally:
        torch.__future__.set_overwrite_module_params_on_conversion(False)
        torch._C._set_only_lift_cpu_tensors(False)
        for home, name, value in reversed(saved):
            setattr(home, name, value)
        assert threading.current_thread() is threading.main_thread()
