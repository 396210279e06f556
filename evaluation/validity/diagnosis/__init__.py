"""What tells a found variable from an artefact. This package imports without torch;
`evaluation.validity.diagnose_run` runs the model."""

from evaluation.records.diagnosis import (
    CellDiagnoses,
    Check,
    Diagnosis,
    Measure,
    PatchScore,
    Undiagnosed,
    read_cell_diagnoses,
    read_diagnosis,
    write_cell_diagnoses,
    write_diagnosis,
)

__all__ = [
    "CellDiagnoses",
    "Check",
    "Diagnosis",
    "Measure",
    "PatchScore",
    "Undiagnosed",
    "read_cell_diagnoses",
    "read_diagnosis",
    "write_cell_diagnoses",
    "write_diagnosis",
]
