"""Asks the server of programs for one, and is a `python` for shell scripts that does.

    python -S -E tests/program_client.py FILE.py|-m MODULE|-c CODE …

starts in few milliseconds, gives the program its own streams, folder and environment, passes
signals on and ends as the program ends. PROGRAM_SERVER names the server's socket.
"""

import json
import os
import signal
import socket
import struct
import sys
from typing import Any

LENGTH = struct.Struct("!I")
ADDRESS = "PROGRAM_SERVER"


def send_request(
    connection: socket.socket, streams: list[int], argv: list[str], **more: Any
) -> None:
    """Asks for a program with these streams, arguments, folder (`cwd`) and environment (`env`)."""
    content = json.dumps({"argv": argv, **more}).encode()
    socket.send_fds(connection, [LENGTH.pack(len(content))], streams)
    connection.sendall(content)


def main() -> None:
    arguments = sys.argv[1:]
    if not arguments or not (arguments[0] in ("-m", "-c") or arguments[0].endswith(".py")):
        os.execv(sys.executable, [sys.executable, *arguments])
    connection = socket.socket(socket.AF_UNIX)
    connection.connect(os.environ[ADDRESS])
    send_request(connection, [0, 1, 2], arguments, cwd=os.getcwd(), env=dict(os.environ))  # noqa: PTH109
    answers = connection.makefile()
    pid = json.loads(answers.readline())["pid"]
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, lambda received, _: os.kill(pid, received))
    code = json.loads(answers.readline())["code"]
    if code < 0:
        signal.signal(-code, signal.SIG_DFL)
        os.kill(os.getpid(), -code)
    os._exit(code)


if __name__ == "__main__":
    main()
