"""The command line, one module a command.

A command's module has `run(argv) -> int`, which returns the exit code and may raise `CliError`. What a
command needs is imported when it runs: `swapd --version` must not load a web server.
"""
