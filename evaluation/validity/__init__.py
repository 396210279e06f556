"""Diagnosis of one subspace, and planted truth."""
