"""A fake model server: speaks the APIs of real ones, and fails in every way they do.

As a process, `python -m swapd.testing.upstream --port 5800 --load 2s --tps 30` (`--help` lists the knobs);
inside a trio program, `swapd.testing.upstream.local.serve_upstream`. Both run the same conversations:
`conversation.py` turns a request into a series of steps (bytes to send, pauses, holds, crashes) and owns
no socket; `loop.py` carries the steps out in a process of its own, `local.py` in a trio nursery.

Every request it gets is recorded and can be asked for, held and released under `/control/` (`control.py`).

The process uses the standard library alone, and as little of that as it can: it must listen well within
80 ms of its exec.
"""
