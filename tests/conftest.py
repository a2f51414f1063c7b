"""What every test may rely on."""

import os
import signal

# Small steps are parallel here, so that threads are tested without large arrays.
os.environ["FASTOPT_SERIAL_BELOW"] = "50000"

# A shell has what it runs in the background ignore Ctrl-C; the tests send it to themselves.
if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
