"""A server on this machine, and a line to it that takes its time."""

import shutil
import socket
import subprocess
import time
from contextlib import contextmanager
from pathlib import Path

HERE = Path(__file__).resolve().parent


@contextmanager
def sshd(work):
    """A real sshd on the loopback: its port, and how borg reaches it."""
    place = work / "ssh"
    if not place.exists():
        place.mkdir()
        Path("/run/sshd").mkdir(exist_ok=True)
        for key in ["host", "client"]:
            make = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", place / key]
            subprocess.run(make, check=True)
        shutil.copy(place / "client.pub", place / "authorized_keys")
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    settings = f"ListenAddress 127.0.0.1\nPort {port}\nHostKey {place}/host\nPidFile none\nStrictModes no\n"
    settings += f"AuthorizedKeysFile {place}/authorized_keys\nUsePAM no\nPermitRootLogin prohibit-password\n"
    (place / "sshd_config").write_text(settings)
    server = subprocess.Popen(["/usr/sbin/sshd", "-D", "-f", place / "sshd_config", "-E", place / "log"])
    options = ["BatchMode=yes", "IdentitiesOnly=yes", "StrictHostKeyChecking=no", "UserKnownHostsFile=/dev/null"]
    rsh = " ".join(["ssh -F none -q", *(f"-o {option}" for option in options), f"-i {place}/client"])
    try:
        while socket.socket().connect_ex(("127.0.0.1", port)) != 0:
            time.sleep(0.05)
        yield port, rsh
    finally:
        server.terminate()
        server.wait()


@contextmanager
def relayed(port, delay, megabits=None):
    """The port of a line to `port` with a round trip of `delay` milliseconds, as fast as so many Mbit/s."""
    command = ["/usr/bin/python3", HERE / "relay.py", str(port), str(delay), *([str(megabits)] if megabits else [])]
    relay = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        yield int(relay.stdout.readline())
    finally:
        relay.kill()
        relay.communicate()
