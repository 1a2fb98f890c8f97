#!/usr/bin/env python3
"""The lab's stand-in for systemd: keeps a program's descriptors while it restarts.

usage: keeper.py PROGRAM ARG...

Runs PROGRAM in this network namespace with NOTIFY_SOCKET set, keeps what it sends with FDSTORE=1
(sd_notify(3)), starts it again about 50 ms after it dies and hands the descriptors back (sd_listen_fds(3)).
A program that says MAINPID= has left its place to that process, which is the program from then on.
SIGTERM or SIGINT ends the program, then the keeper, with the program's exit status. A program that fails
three times within a second of its start is not started again.
"""
import array
import ctypes
import os
import selectors
import signal
import socket
import sys
import tempfile
import time

RESTART_PAUSE_S = 0.05
EARLY_S = 1.0
MAX_EARLY_FAILURES = 3
FIRST_FD = 3  # SD_LISTEN_FDS_START
PR_SET_CHILD_SUBREAPER = 36


def parse(message: bytes) -> dict:
    lines = message.decode(errors="replace").splitlines()
    return dict(line.split("=", 1) for line in lines if "=" in line)


class FdStore:
    """Descriptors by name; several may share one, as in systemd."""

    def __init__(self):
        self.kept = []  # (name, fd)

    def handle(self, message: bytes, fds: list):
        fields = parse(message)
        name = fields.get("FDNAME", "stored")
        if fields.get("FDSTORE") == "1":
            self.kept += [(name, fd) for fd in fds]
            fds = []
        elif fields.get("FDSTOREREMOVE") == "1":
            for _, fd in [entry for entry in self.kept if entry[0] == name]:
                os.close(fd)
            self.kept = [entry for entry in self.kept if entry[0] != name]
        for fd in fds:
            os.close(fd)

    def names(self) -> str:
        return ":".join(name for name, _ in self.kept)


class Keeper:
    def __init__(self, argv):
        self.argv = argv
        self.store = FdStore()
        self.dir = tempfile.mkdtemp(prefix="keeper-")
        self.path = os.path.join(self.dir, "notify")
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
        self.socket.bind(self.path)
        self.socket.setblocking(False)
        self.child = None
        self.ending = False

    def start(self):
        kept = [fd for _, fd in self.store.kept]
        names = self.store.names()

        def hand_over():
            # In the child: move the descriptors to 3, 4, ... by way of numbers that are surely free.
            high = [os.dup2(fd, 200 + i) for i, fd in enumerate(kept)]
            for i, fd in enumerate(high):
                os.dup2(fd, FIRST_FD + i)
                os.close(fd)
            os.closerange(FIRST_FD + len(high), 256)
            os.environ.update(LISTEN_PID=str(os.getpid()), LISTEN_FDS=str(len(high)), LISTEN_FDNAMES=names)

        env = dict(os.environ, NOTIFY_SOCKET=self.path)
        # fork and exec by hand: LISTEN_PID must be the program's own.
        pid = os.fork()
        if pid == 0:
            try:
                os.environ.update(env)
                signal.pthread_sigmask(signal.SIG_SETMASK, set())
                hand_over()
                os.execv(self.argv[0], self.argv)
            except OSError as error:
                print(f"keeper: {self.argv[0]}: {error}", file=sys.stderr)
            os._exit(127)
        self.child = pid

    def receive(self):
        while True:
            fds = array.array("i")
            try:
                message, ancillary, _, _ = self.socket.recvmsg(4096, socket.CMSG_SPACE(16 * fds.itemsize), socket.MSG_CMSG_CLOEXEC)
            except BlockingIOError:
                return
            for level, kind, data in ancillary:
                if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
                    fds.frombytes(data[:len(data) - len(data) % fds.itemsize])
            if successor := parse(message).get("MAINPID"):
                self.child = int(successor)
            self.store.handle(message, list(fds))

    def wait_for_end(self, wake) -> int:
        """Serves the notify socket until the program ends; its exit status."""
        selector = selectors.DefaultSelector()
        selector.register(self.socket, selectors.EVENT_READ)
        selector.register(wake, selectors.EVENT_READ)
        while True:
            for key, _ in selector.select():
                if key.fileobj is wake:
                    os.read(wake, 4096)
                else:
                    self.receive()
            status = self.reap()
            if status is not None:
                self.child = None
                return os.waitstatus_to_exitcode(status)

    def reap(self):
        """The program's status if it has ended; whoever else has ended was the program once."""
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return None
            if not pid:
                return None
            self.receive()  # what it sent with its last breath
            if pid == self.child:
                return status

    def run(self) -> int:
        wake_read, wake_write = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        signal.set_wakeup_fd(wake_write, warn_on_full_buffer=False)

        def end(number, _frame):
            self.ending = True
            if self.child:
                os.kill(self.child, number)

        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.signal(signal.SIGTERM, end)
        signal.signal(signal.SIGINT, end)
        early = 0
        while True:
            started = time.monotonic()
            self.start()
            status = self.wait_for_end(wake_read)
            if self.ending:
                return max(status, 0)
            early = early + 1 if time.monotonic() - started < EARLY_S else 0
            print(f"keeper: {os.path.basename(self.argv[0])} ended ({status}), "
                  f"{len(self.store.kept)} descriptors kept", file=sys.stderr, flush=True)
            if early >= MAX_EARLY_FAILURES:
                return status if status > 0 else 1
            time.sleep(RESTART_PAUSE_S)
            if self.ending:
                return 0

    def close(self):
        self.socket.close()
        os.unlink(self.path)
        os.rmdir(self.dir)


def main() -> int:
    if len(sys.argv) < 2:
        print(__doc__, file=sys.stderr)
        return 2
    # A successor's parent is the process before it, which ends: it becomes a child of ours then.
    ctypes.CDLL(None, use_errno=True).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    keeper = Keeper(sys.argv[1:])
    try:
        return keeper.run()
    finally:
        keeper.close()


if __name__ == "__main__":
    sys.exit(main())
