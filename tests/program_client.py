"""Asks the server of programs for one, and is a `python` for shell scripts that does.

    python -S -E tests/program_client.py FILE.py|-m MODULE|-c CODE …

starts in few milliseconds, gives the program its own open files, folder and environment, passes
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
    connection: socket.socket,
    files: list[int],
    argv: list[str],
    numbers: list[int] | None = None,
    **more: Any,
) -> None:
    """Asks for a program with these arguments, folder (`cwd`) and environment (`env`).

    It finds the open `files` under `numbers`; without any, they are its three streams.
    """
    known_as = list(range(len(files))) if numbers is None else numbers
    content = json.dumps({"argv": argv, "numbers": known_as, **more}).encode()
    socket.send_fds(connection, [LENGTH.pack(len(content))], files)
    connection.sendall(content)


def open_files() -> list[int]:
    """The files that were handed to this process, as `multiprocessing` does with its pipes."""
    numbers = sorted(map(int, os.listdir("/proc/self/fd")))  # noqa: PTH208
    return [number for number in numbers if os.path.exists(f"/proc/self/fd/{number}")]  # noqa: PTH110


def main() -> None:
    arguments = sys.argv[1:]
    while arguments and arguments[0] in ("-u", "-B"):  # which make no other program of it
        del arguments[0]
    if not arguments or not (arguments[0] in ("-m", "-c") or arguments[0].endswith(".py")):
        os.execv(sys.executable, [sys.executable, *arguments])
    files = open_files()
    connection = socket.socket(socket.AF_UNIX)
    connection.connect(os.environ[ADDRESS])
    send_request(connection, files, arguments, files, cwd=os.getcwd(), env=dict(os.environ))  # noqa: PTH109
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
