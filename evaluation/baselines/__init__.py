"""Baselines, floors and ceilings, one file each, under the same Method contract."""
