"""Outcomes become numbers: metrics, intervals, averages, selection, breakdowns. Loads without torch."""
