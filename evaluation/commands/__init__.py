"""The subcommands of `ravel`, one file per group: read flags, call one library function, print its summary.

Functions here import what needs torch (das, and most of evaluation) inside their bodies: `ravel --help`,
`ravel data` and `ravel table` must start at once, and torch takes seconds. It is the only place where that is
done for speed alone.
"""
