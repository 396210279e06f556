"""To and from other places: hub, imports and exports, submissions packed and judged."""
