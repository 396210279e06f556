"""The environment of a run, for its folder."""

from __future__ import annotations

import os
import platform
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from ravel import __version__
from ravel.common.registry.plugins import plugin_versions

_PACKAGES = (
    "torch",
    "transformers",
    "tokenizers",
    "accelerate",
    "numpy",
    "scipy",
    "safetensors",
    "pyvene",
    "scikit-learn",
    "concept-erasure",
    "matplotlib",
)
"""Packages that numbers can depend on."""
_VARIABLES = (
    "ATEN_CPU_CAPABILITY",
    "CUBLAS_WORKSPACE_CONFIG",
    "CUDA_VISIBLE_DEVICES",
    "DNNL_MAX_CPU_ISA",
    "KMP_AFFINITY",
    "NVIDIA_TF32_OVERRIDE",
    "ONEDNN_MAX_CPU_ISA",
    "PYTHONHASHSEED",
    "PYTORCH_CUDA_ALLOC_CONF",
)
_PREFIXES = ("MKL_", "OMP_", "OPENBLAS_", "TORCH_ALLOW_", "TORCH_BLAS_")
"""Variables, and beginnings of their names, whose values can change how numbers are computed."""


def describe_environment(
    *,
    device: str,
    dtype: str,
    engine: str,
    cache: str | None = None,
    numerics: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Return versions, machine, device, engine and variables: what may change numbers though it should not.

    Plugins stand among the packages, a file with the hash of its content for a version. `cache` says what an
    engine that keeps states does with those that do not fit into memory, `numerics` how the libraries compute
    (`das.environment.describe_numerics`). Nothing depends on the locale.
    """
    return {
        "ravel_bench": __version__,
        "python": platform.python_version(),
        "platform": platform.platform(),
        "machine": platform.machine(),
        "cpu": _cpu_model(),
        "variables": {
            name: value
            for name, value in sorted(os.environ.items())
            if name in _VARIABLES or name.startswith(_PREFIXES)
        },
        "packages": {name: version_of(name) or "absent" for name in _PACKAGES} | plugin_versions(),
        "device": device,
        "dtype": dtype,
        "engine": engine,
        **({} if cache is None else {"cache": cache}),
        **({} if numerics is None else {"numerics": dict(numerics)}),
    }


def _cpu_model() -> str:
    """Return the processor's name where the system tells it in a file, or else what Python knows."""
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:
        text = ""
    names = [line.partition(":")[2].strip() for line in text.splitlines() if line.startswith("model name")]
    return names[0] if names else platform.processor() or "unknown"


def version_of(package: str) -> str | None:
    """Return the version of an installed package; None where it is absent."""
    try:
        return version(package)
    except PackageNotFoundError:
        return None
