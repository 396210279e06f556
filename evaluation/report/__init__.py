"""Records become tables, plots, the page, cards. Loads without torch."""
