"""The subcommands of `ravel`, one file per command or group: read flags, call a function of `evaluation.api`,
print its result.

What needs torch is reached through `evaluation.api`, which imports it when it is called: `ravel --help`,
`ravel data` and `ravel table` start at once.
"""
