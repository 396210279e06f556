"""What processes beside the first one need: weights that all of them see, threads, an end with the first."""

from __future__ import annotations

import os
import resource
import shutil
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing import parent_process
from pathlib import Path
from typing import Any

import torch

# Registers how tensors in shared memory travel to another process.
import torch.multiprocessing
from threadpoolctl import threadpool_limits

from das.engine.base.protocol import Engine
from das.engine.engines.resume import ResumeEngine
from das.models.base import TargetModel
from das.models.instrument import Instrument
from das.models.load import target_from
from ravel.common.signals import stop_on_term

_SHARED_MEMORY = Path("/dev/shm")


def available_processors() -> int:
    """Return how many processors this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@dataclass(frozen=True, slots=True)
class SharedModel:
    """A model whose weights lie in memory that several processes see."""

    model: Any
    """The model."""
    tokenizer: Any
    """Its tokenizer."""
    name: str
    """As its user calls it."""
    instrument: Instrument
    """What it is; worked out once for all processes."""

    def target(self) -> TargetModel:
        """Return it as a target model."""
        return target_from(self.model, self.tokenizer, self.name, instrument=self.instrument)


def shared_model(target: TargetModel) -> SharedModel | None:
    """Move a model's weights to memory that other processes see, and return it in a form that can be sent;
    None where there is no room or the system allows too few open files: then each worker loads its own."""
    tensors = [*target.model.parameters(), *target.model.buffers()]
    size = sum(tensor.numel() * tensor.element_size() for tensor in tensors)
    if not _SHARED_MEMORY.is_dir() or shutil.disk_usage(_SHARED_MEMORY).free < 1.1 * size:
        return None
    files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if len(tensors) > files // 2:
        return None
    model: Any = target.model
    model.share_memory()
    return SharedModel(model, target.tokenizer, target.name, target.instrument)


def keeps_no_history(engine: Engine) -> bool:
    """Tell whether an engine gives the same bits whatever it did before: `resume` in float32 on a CPU."""
    target = engine.target
    return engine.name == ResumeEngine.name and target.device.type == "cpu" and target.dtype == torch.float32


def use_threads(threads: int | None) -> None:
    """Let this process use so many processor threads, in torch and in the libraries of linear algebra."""
    if threads is not None:
        # Limits reach only what is loaded, and scikit-learn brings SciPy's linear algebra later.
        import scipy.linalg  # noqa: F401

        torch.set_num_threads(threads)
        threadpool_limits(limits=threads)


@contextmanager
def script_left_out() -> Iterator[None]:
    """Within, a process that is started does not run the script of this one again, as it otherwise does, so
    that a script may start some without asking first whether it is the main one. What processes are sent here
    has its home in modules."""
    main = sys.modules["__main__"].__dict__
    held: dict[str, Any] = {name: main[name] for name in ("__file__", "__spec__") if name in main}
    main.update(dict.fromkeys(held))
    try:
        yield
    finally:
        main.update(held)


def begin_process(threads: int | None) -> None:
    """Begin the work of a process beside the first one, with so many threads: it stays when the first is told
    of Ctrl-C, stops when it is told to, and ends as soon as the first is gone."""
    # The first process ends the others, each after the write in hand.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    stop_on_term()
    _end_with_parent()
    use_threads(threads)


def _end_with_parent() -> None:
    """Let this process end as soon as the one that started it is gone, even by SIGKILL: nothing may go on
    writing into a run that another process has taken up."""
    parent = parent_process()

    def watch() -> None:
        if parent is not None:
            parent.join()
            os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
