"""The embedded Mistral's process ends when it is told to, at whatever moment that is."""

import signal
import subprocess
import sys
from pathlib import Path

# Starts nothing, and is told to end while it begins to wait: at each line of Python's that it runs for that, or, where
# there is none, a moment later.
TOLD_WHILE_IT_BEGINS_TO_WAIT = """
import os, signal, sys, threading
from vimmon.embedded import mistral_process

def tell(frame, *_):
    if frame.f_code.co_filename == threading.__file__ and frame.f_code.co_name != "set":
        os.kill(os.getpid(), signal.SIGTERM)
        return tell

def start_services(_):
    threading.Timer(0.2, os.kill, (os.getpid(), signal.SIGTERM)).start()
    sys.settrace(tell)
    return []

mistral_process.start_services = start_services
mistral_process.main(sys.argv[1:])
"""


def test_a_signal_that_comes_while_it_begins_to_wait_ends_it(tmp_path: Path) -> None:
    command = [sys.executable, "-c", TOLD_WHILE_IT_BEGINS_TO_WAIT, str(tmp_path), "1"]
    with subprocess.Popen(command) as process:
        try:
            assert process.wait(20) == 0
        finally:
            process.send_signal(signal.SIGKILL)
