"""Featurizers in the files of other tools, to and fro. No file is read in a way that could run its code.
`das.interop.pyvene_export` is imported by that name, for it takes pyvene along, which takes seconds."""

from das.interop.foreign import Imported, StatedPlace, check_place, first_columns
from das.interop.loreft import read_loreft
from das.interop.mib import export_mib, read_mib
from das.interop.pyvene_import import read_pyvene
from das.interop.ravel_reference import read_ravel_reference
from das.interop.rotations import Orientation

__all__ = [
    "Imported",
    "Orientation",
    "StatedPlace",
    "check_place",
    "export_mib",
    "first_columns",
    "read_loreft",
    "read_mib",
    "read_pyvene",
    "read_ravel_reference",
]
