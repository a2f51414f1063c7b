"""Small steps are parallel here, so that threads are tested without large arrays."""

import os

os.environ["FASTOPT_SERIAL_BELOW"] = "50000"
