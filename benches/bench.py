"""Our mount beside borg's own mount and extract, on the same repository, in one run.

The ways take turns in each round; the table shows medians, and how many times as fast as the other
way ours is. Memory is the highest sum over the daemon and all processes below it. Run by root, since
the kernel's page cache is dropped between the measurements. Nothing here passes or fails.

Rows that begin with `native:` are of `--source native`, with what the goal is; all others are of
streams.
"""

import argparse
import json
import os
import random
import shutil
import signal
import statistics
import subprocess
import tempfile
import threading
import time
from contextlib import contextmanager
from pathlib import Path

import native
import server

ROOT = Path(__file__).resolve().parent.parent
BORG = ROOT / ".venv/bin/borg"
MIB = 1 << 20
PAGE = 4096


def main():
    options = parse()
    if os.geteuid() != 0:
        raise SystemExit("bench: only root can drop the page cache; nothing was measured")
    with tempfile.TemporaryDirectory(prefix="offsite-bench.", dir=options.dir) as work:
        lab = Lab(Path(work), options)
        say("making the repository")
        lab.make_repository()
        table = Table()
        if options.only != "native":
            for image in ["mixed", "usr"]:
                measure_image(lab, table, image)
            measure_small_files(lab, table)
            measure_first_listing(lab, table)
        if options.only != "streams":
            say("measuring the native source")
            native.measure(lab, table, drop_page_cache)
            if options.remote:
                native.measure_remote(lab, table, drop_page_cache)
        say(f"{lab.borg_version()}, {os.cpu_count()} processors, medians of {options.rounds} rounds\n")
        table.show()


def parse():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--binary", required=True, type=Path, help="the program to be measured")
    parser.add_argument("--dir", default="/var/tmp", help="where the repository is made (about 4x --image-mib)")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--image-mib", type=int, default=1024)
    parser.add_argument("--small-files", type=int, default=200)
    parser.add_argument("--many-files", type=int, default=200_000)
    parser.add_argument("--random-seconds", type=float, default=5)
    parser.add_argument("--only", choices=["streams", "native"], help="leave the other one out")
    parser.add_argument("--remote", action="store_true", help="over an sshd on the loopback, too")
    options = parser.parse_args()
    options.binary = options.binary.resolve()
    return options


def say(text):
    print(text, flush=True)


def drop_page_cache():
    os.sync()
    Path("/proc/sys/vm/drop_caches").write_text("3")


class Lab:
    """The repository, and the ways to read it."""

    def __init__(self, work, options):
        self.work = work
        self.options = options
        self.repository = work / "repository"
        self.environment = {
            **{k: v for k, v in os.environ.items() if not k.startswith("BORG_")},
            "PATH": f"{BORG.parent}:{os.environ['PATH']}",
            "HOME": str(work / "home"),
            "XDG_CACHE_HOME": str(work / "home/.cache"),
            "BORG_PASSPHRASE": "",
            "BORG_KEY_FILE": str(work / "home/key"),
        }
        for name in ["home", "mnt"]:
            (work / name).mkdir()
        self.config = work / "bench.conf"
        self.configure()

    def run(self, *command, **keywords):
        return subprocess.run(command, env=self.environment, check=True, **keywords)

    def borg_version(self):
        return self.run(BORG, "--version", capture_output=True, text=True).stdout.strip()

    def make_repository(self):
        self.run(BORG, "init", "--encryption", "repokey-blake2", self.repository, stderr=subprocess.DEVNULL)
        archives = {"many": self.write_many}
        if self.options.only != "native":
            archives |= {"mixed": self.write_mixed, "usr": self.write_usr, "small": self.write_small}
        if self.options.only != "streams":
            archives["files"] = lambda directory: native.write_file_system(directory, self.options.image_mib)
        for name, write in archives.items():
            directory = self.work / "source"
            directory.mkdir()
            write(directory)
            archive = f"{self.repository}::{name}"
            self.run(BORG, "create", "--compression", "auto,zstd", "--files-cache", "disabled", archive, ".", cwd=directory)
            shutil.rmtree(directory)

    def write_mixed(self, directory):
        """A quarter each of noise, text, noise and zeros, in pieces of 16 MiB."""
        text = b"".join(b"%d bottles of beer on the wall\n" % n for n in range(1000))
        with open(directory / "image", "wb") as file:
            for piece in range(self.options.image_mib // 16):
                if piece % 4 == 1:
                    salt = b"%d " % piece
                    file.write(((salt + text) * (16 * MIB // len(text) + 1))[: 16 * MIB])
                elif piece % 4 == 3:
                    file.write(bytes(16 * MIB))
                else:
                    file.write(os.urandom(16 * MIB))

    def write_usr(self, directory):
        """As much of /usr as an image is long, as tar packs it."""
        tar = subprocess.Popen(["tar", "-cf", "-", "/usr"], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        with open(directory / "image", "wb") as file:
            left = self.options.image_mib * MIB
            while left and (data := tar.stdout.read(min(MIB, left))):
                file.write(data)
                left -= len(data)
        tar.kill()
        tar.communicate()

    def write_small(self, directory):
        (directory / "small").mkdir()
        for n in range(self.options.small_files):
            (directory / "small" / f"{n:05}").write_bytes(os.urandom(500 + 41 * n))

    def write_many(self, directory):
        for n in range(self.options.many_files):
            if n % 500 == 0:
                below = directory / f"{n // 500:04}"
                below.mkdir()
            (below / f"{n:07}").write_bytes(b"%d" % n)

    def warm(self):
        """The repository into the page cache, so that its disk is not what is measured."""
        for path in self.repository.rglob("*"):
            if path.is_file():
                with open(path, "rb") as file:
                    while file.read(MIB):
                        pass

    def mount_command(self, way, archive):
        if way == "borg mount":
            return [BORG, "mount", f"{self.place}::{archive}", self.mnt]
        source = "native" if way == "native" else "stream"
        ours = [self.options.binary, "--quiet", "--config", self.config, "mount", "--source", source]
        return [*ours, f"::{archive}", self.mnt]

    def configure(self, server=None):
        """From here on the repository is reached on `server`; without one in its directory."""
        self.place = f"ssh://root@{server}{self.repository}" if server else self.repository
        where = {"backup_path": str(self.repository)}
        if server:
            where |= {"backup_server": server, "backup_user": "root"}
        self.config.write_text(json.dumps(where))

    @contextmanager
    def served(self, delay, megabits=None):
        """The repository behind an sshd, with a round trip of `delay` milliseconds, and so many Mbit/s."""
        with server.sshd(self.work) as (port, rsh), server.relayed(port, delay, megabits) as near:
            self.environment |= {"BORG_RSH": f"{rsh} -p {near}", "BORG_REMOTE_PATH": str(BORG)}
            self.environment["BORG_RELOCATED_REPO_ACCESS_IS_OK"] = "yes"
            self.configure("127.0.0.1")
            try:
                yield
            finally:
                self.configure()

    @property
    def mnt(self):
        return self.work / "mnt"

    @contextmanager
    def mounted(self, way, archive, fresh=True):
        if fresh:
            shutil.rmtree(self.work / "home/.cache/borg-offsite-backup", ignore_errors=True)
        # Its outputs are no pipes: the daemon of `borg mount` keeps them open.
        self.run(*self.mount_command(way, archive), stdout=subprocess.DEVNULL)
        memory = Memory(daemon_at(self.mnt))
        try:
            yield memory
        finally:
            memory.stop()
            self.run("umount", self.mnt)
            while process_exists(memory.pid):
                time.sleep(0.01)


def daemon_at(mnt):
    """The process that serves it; one that forks at this moment may be missed by a look at all."""
    wanted = str(mnt).encode()
    for _ in range(50):
        for path in Path("/proc").glob("[0-9]*/cmdline"):
            try:
                if wanted in path.read_bytes().split(b"\0"):
                    return int(path.parent.name)
            except OSError:
                pass
        time.sleep(0.02)
    raise SystemExit(f"bench: no daemon serves {mnt}")


def process_exists(pid):
    return os.path.exists(f"/proc/{pid}")


class Memory:
    """The highest memory of a process and all below it, sampled; in MiB."""

    def __init__(self, pid):
        self.pid = pid
        self.peak = 0
        self.ended = threading.Event()
        self.thread = threading.Thread(target=self.watch)
        self.thread.start()

    def watch(self):
        while not self.ended.wait(0.05):
            self.peak = max(self.peak, sum(resident(pid) for pid in family(self.pid)))

    def stop(self):
        self.ended.set()
        self.thread.join()


def family(pid):
    yield pid
    for path in Path(f"/proc/{pid}/task").glob("*/children"):
        try:
            children = path.read_text().split()
        except OSError:
            continue
        for child in children:
            yield from family(int(child))


def resident(pid):
    try:
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * PAGE / MIB
    except (OSError, IndexError):
        return 0


def timed(work, *arguments):
    start = time.monotonic()
    work(*arguments)
    return time.monotonic() - start


def copy_image(path):
    subprocess.run(["dd", f"if={path}", "of=/dev/null", "bs=1M", "status=none"], check=True)


def random_reads(path, seconds):
    """4 KiB reads a second, each of a block that was not read before."""
    blocks = list(range(os.path.getsize(path) // PAGE))
    random.Random(1).shuffle(blocks)
    fd = os.open(path, os.O_RDONLY)
    os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_RANDOM)
    start = time.monotonic()
    done = 0
    for block in blocks:
        os.pread(fd, PAGE, block * PAGE)
        done += 1
        if time.monotonic() - start > seconds:
            break
    rate = done / (time.monotonic() - start)
    os.close(fd)
    return rate


def read_directory(directory):
    for entry in sorted(os.listdir(directory)):
        (directory / entry).read_bytes()


def measure_image(lab, table, image):
    say(f"measuring the image {image}")
    path = lab.mnt / "image"
    for _ in range(lab.options.rounds):
        lab.warm()
        table.add(f"{image}: first dd, s", "borg extract", extract(lab, table, image))
        table.add(f"{image}: extract to nobody, s", "borg extract", extract(lab, table, image, reader=False))
        for way in ["ours", "borg mount"]:
            lab.warm()
            with lab.mounted(way, image) as memory:
                table.add(f"{image}: first dd, s", way, timed(copy_image, path))
                drop_page_cache()
                table.add(f"{image}: second dd, s", way, timed(copy_image, path))
                drop_page_cache()
                rate = random_reads(path, lab.options.random_seconds)
                table.add(f"{image}: random 4 KiB, 1/s", way, rate)
            table.add(f"{image}: memory, MiB", way, memory.peak)


def extract(lab, table, image, reader=True):
    """`borg extract --stdout IMAGE | dd of=/dev/null`, as a person copies an image; without the reader
    borg writes to /dev/null itself, which spares it the pipe."""
    command = [BORG, "extract", "--stdout", f"{lab.repository}::{image}", "image"]
    start = time.monotonic()
    out = subprocess.PIPE if reader else subprocess.DEVNULL
    process = subprocess.Popen(command, env=lab.environment, stdout=out)
    memory = Memory(process.pid)
    if reader:
        dd = ["dd", "of=/dev/null", "bs=1M", "status=none"]
        subprocess.run(dd, stdin=process.stdout, check=True)
    if process.wait() != 0:
        raise SystemExit("bench: borg extract failed")
    elapsed = time.monotonic() - start
    memory.stop()
    table.add(f"{image}: memory, MiB", "borg extract", memory.peak)
    return elapsed


def measure_small_files(lab, table):
    say("measuring the directory of small files")
    for _ in range(lab.options.rounds):
        for way in ["ours", "borg mount"]:
            lab.warm()
            with lab.mounted(way, "small") as memory:
                table.add("small files: all read, s", way, timed(read_directory, lab.mnt / "small"))
            table.add("small files: memory, MiB", way, memory.peak)
    table.add("small files: extract processes", "ours", count_extracts(lab))


def count_extracts(lab):
    """Of a run of its own: the counting borg of the tests is slower to start."""
    log = lab.work / "fake"
    log.mkdir()
    environment = lab.environment
    lab.environment = {
        **environment,
        "PATH": f"{ROOT / 'tests/fakes'}:{environment['PATH']}",
        "FAKE_BORG_REAL": str(BORG),
        "FAKE_BORG_DIR": str(log),
    }
    with lab.mounted("ours", "small"):
        read_directory(lab.mnt / "small")
    lab.environment = environment
    calls = (log / "calls").read_bytes().splitlines() if (log / "calls").exists() else []
    return sum(call.split(b"\0")[0] == b"extract" for call in calls)


def measure_first_listing(lab, table):
    say("measuring the first listing of many files")
    for _ in range(lab.options.rounds):
        for way in ["ours", "borg mount"]:
            lab.warm()
            start = time.monotonic()
            with lab.mounted(way, "many") as memory:
                subprocess.run(["ls", "-l", lab.mnt, lab.mnt / "0000"], check=True, stdout=subprocess.DEVNULL)
                table.add("many files: mount and first ls, s", way, time.monotonic() - start)
                time.sleep(0.2)
            table.add("many files: memory, MiB", way, memory.peak)


class Table:
    """Measurements by what was measured and which way."""

    def __init__(self, others=("borg extract", "borg mount")):
        self.others = others
        self.rows = {}

    def add(self, what, way, value):
        self.rows.setdefault(what, {}).setdefault(way, []).append(value)

    def show(self):
        ratios = [f"x {way}" for way in self.others]
        say(f"| {' | '.join(['measured', 'ours', *self.others, *ratios, 'goal'])} |")
        say(f"|---|{'---:|' * (2 + 2 * len(self.others))}")
        for what, ways in self.rows.items():
            medians = {way: statistics.median(values) for way, values in ways.items()}
            cells = [number(medians.get(way)) for way in ["ours", *self.others]]
            cells += [self.ratio(what, medians, way) for way in self.others]
            cells.append(str(native.GOALS.get(what, "")))
            say(f"| {what} | {' | '.join(cells)} |")

    @staticmethod
    def ratio(what, medians, other):
        """How many times as good ours is: of a rate more is better, of all else less."""
        if other not in medians or not medians.get("ours"):
            return ""
        better = medians["ours"] / medians[other] if what.endswith("1/s") else medians[other] / medians["ours"]
        return f"{better:.2f}"


def number(value):
    if value is None:
        return ""
    return f"{value:,.0f}" if value >= 100 or value == int(value) else f"{value:.2f}"


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: exit(143))
    main()
