"""The environment of all tests."""

import os
import signal

# Steps of moderate size are parallel, so that threads are tested without large arrays.
os.environ["FASTOPT_SERIAL_BELOW"] = "50000"

# A shell makes background jobs ignore Ctrl-C, which some tests send to themselves.
if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
