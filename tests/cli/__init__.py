"""The client commands as people run them: real processes, on a terminal and piped, against a real daemon."""
