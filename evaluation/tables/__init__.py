"""Tables: records become cells, cells become Markdown, CSV or LaTeX."""
