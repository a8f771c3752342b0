"""What must hold in this process before there is an event loop: stacks on a crash, no death by a closed pipe.

Apart from `signals` because that needs trio, and the daemon listens before it loads trio.
"""

from __future__ import annotations

import faulthandler
import signal


def prepare_process() -> None:
    """Write the stacks of all threads to standard error on a crash or SIGQUIT, and ignore SIGPIPE.

    After the stacks SIGQUIT does what it always does, which is to end the process, with a core file where
    that is allowed. Processes started later must get the default action of SIGPIPE back: an ignored signal
    stays ignored across exec.
    """
    faulthandler.enable(file=2)
    faulthandler.register(signal.SIGQUIT, file=2, all_threads=True, chain=True)
    signal.signal(signal.SIGPIPE, signal.SIG_IGN)
