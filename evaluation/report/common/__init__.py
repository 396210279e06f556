"""What tables, plots, the page and cards have in common; it knows none of them."""
