"""What of torch and numpy could change a number: versions, threads, libraries, switches and devices."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch


def describe_numerics() -> dict[str, Any]:
    """Return how torch and numpy compute in this process: equal as long as nothing could change a number."""
    return {
        "threads": torch.get_num_threads(),
        "interop_threads": torch.get_num_interop_threads(),
        "cpu_capability": torch.backends.cpu.get_cpu_capability(),
        "deterministic_algorithms": torch.are_deterministic_algorithms_enabled(),
        "default_dtype": str(torch.get_default_dtype()).removeprefix("torch."),
        "matmul_precision": torch.get_float32_matmul_precision(),
        "mkldnn": torch.backends.mkldnn.is_available() and torch.backends.mkldnn.enabled,
        "build": _without_flags(_lines(torch.__config__.show())),
        "parallel": _lines(torch.__config__.parallel_info()),
        "numpy": _numpy_libraries(),
        "cuda": _cuda(),
    }


def _lines(text: str) -> list[str]:
    return [line.strip(" \t-") for line in text.splitlines() if line.strip()]


def _without_flags(lines: list[str]) -> list[str]:
    """Leave out the compiler's warnings and paths, of which there are some hundred."""
    settings = "Build settings:"
    return [
        settings + ",".join(part for part in line.removeprefix(settings).split(",") if "FLAGS=" not in part)
        if line.startswith(settings)
        else line
        for line in lines
    ]


def _numpy_libraries() -> dict[str, str]:
    """Return the linear algebra that numpy was built with, and the vector instructions it found."""
    config: dict[str, Any] = np.show_config(mode="dicts")  # type: ignore[assignment]
    libraries = config.get("Build Dependencies", {})
    found = {
        name: " ".join(str(libraries.get(name, {}).get(key, "unknown")) for key in ("name", "version"))
        for name in ("blas", "lapack")
    }
    return {**found, "simd": " ".join(config.get("SIMD Extensions", {}).get("found", []))}


def _cuda() -> dict[str, Any] | None:
    """Return versions, switches and devices of CUDA; None where there is none."""
    if not torch.cuda.is_available():
        return None
    return {
        "version": torch.version.cuda,
        "cudnn": torch.backends.cudnn.version(),
        "cudnn_deterministic": torch.backends.cudnn.deterministic,
        "cudnn_benchmark": torch.backends.cudnn.benchmark,
        "tf32_matmul": torch.backends.cuda.matmul.allow_tf32,
        "tf32_cudnn": torch.backends.cudnn.allow_tf32,
        "reduced_precision_float16": torch.backends.cuda.matmul.allow_fp16_reduced_precision_reduction,
        "reduced_precision_bfloat16": torch.backends.cuda.matmul.allow_bf16_reduced_precision_reduction,
        "devices": [_device(index) for index in range(torch.cuda.device_count())],
    }


def _device(index: int) -> str:
    major, minor = torch.cuda.get_device_capability(index)
    return f"{torch.cuda.get_device_name(index)} (compute {major}.{minor})"
