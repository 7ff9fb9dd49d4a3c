"""`restore` of files beside `borg extract` and `tar`, from the same repository onto the same file system, in one run.

Small files come in three sizes of tree, so that growth is seen; then a part of /usr. The floor is one `tar` that
unpacks the same files from memory onto the same disk. The ways take turns in each round; the table shows medians, and
how many times as fast as the other way ours is. The page cache is dropped before each, and each ends with `sync`. Run
by root. Nothing here passes or fails, unless a tree is wrong.
"""

import argparse
import json
import os
import shutil
import subprocess
import tempfile
import time
from pathlib import Path

from bench import BORG, MIB, Lab, Memory, Table, drop_page_cache, say

ROUND_TRIP_MS = 20


def main():
    options = parse()
    if os.geteuid() != 0:
        raise SystemExit("files: only root can drop the page cache; nothing was measured")
    with tempfile.TemporaryDirectory(prefix="offsite-bench.", dir=options.dir) as work:
        lab = Lab(Path(work), options)
        lab.run(BORG, "init", "--encryption", "repokey-blake2", lab.repository, stderr=subprocess.DEVNULL)
        table = Table(("borg extract", "tar"))
        sizes = [options.files // 16, options.files // 4, options.files]
        for size in sizes:
            make(lab, f"small{size}", lambda directory: write_small(directory, size))
        make(lab, "usr", lambda directory: write_usr(directory, options.usr_mib))
        for size in sizes:
            measure(lab, table, f"small{size}", f"{size} small files")
        measure(lab, table, "usr", f"{options.usr_mib} MiB of /usr")
        if options.remote:
            with lab.served(ROUND_TRIP_MS):
                for size in sizes[:2]:
                    what = f"{size} small files, round trip of {ROUND_TRIP_MS} ms"
                    measure(lab, table, f"small{size}", what, floor=False)
        say(f"{lab.borg_version()}, {os.cpu_count()} processors, medians of {options.rounds} rounds\n")
        table.show()


def parse():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--binary", required=True, type=Path, help="the program to be measured")
    parser.add_argument("--dir", default="/var/tmp", help="where all is made (about 4x --usr-mib)")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--files", type=int, default=200_000)
    parser.add_argument("--usr-mib", type=int, default=3072)
    parser.add_argument("--remote", action="store_true", help="over an sshd on the loopback, too")
    options = parser.parse_args()
    options.binary = options.binary.resolve()
    return options


def make(lab, name, write):
    say(f"making {name}")
    directory = lab.work / "source"
    directory.mkdir()
    write(directory)
    create = [BORG, "create", "--compression", "lz4", "--files-cache", "disabled", f"{lab.repository}::{name}", "."]
    lab.run(*create, cwd=directory)
    packed = Path(f"/dev/shm/offsite-bench-{os.getpid()}-{name}.tar")
    subprocess.run(["tar", "-cf", packed, "-C", directory, "."], check=True)
    shutil.rmtree(directory)


def write_small(directory, files):
    """Of 200 bytes to 8 KiB, so that no two are the same."""
    for n in range(files):
        if n % 200 == 0:
            below = directory / f"{n // 200:05}"
            below.mkdir()
        (below / f"{n:07}").write_bytes(os.urandom(200 + n * 37 % 8000))


def write_usr(directory, mib):
    """As much of /usr as fits, file by file."""
    left = mib * MIB
    for path in sorted(Path("/usr").rglob("*")):
        if path.is_file() and not path.is_symlink() and left > 0:
            to = directory / path.relative_to("/")
            to.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(path, to)
            left -= path.stat().st_size


def measure(lab, table, archive, what, floor=True):
    packed = Path(f"/dev/shm/offsite-bench-{os.getpid()}-{archive}.tar")
    ways = {"ours": ours, "borg extract": extract} | ({"tar": unpack} if floor else {})
    for _ in range(lab.options.rounds):
        for way, run in ways.items():
            to = lab.work / f"to-{way.replace(' ', '-')}"
            drop_page_cache()
            lab.warm()
            start = time.monotonic()
            child = run(lab, archive, to, packed)
            memory = Memory(child.pid)
            child.wait()
            memory.stop()
            os.sync()
            table.add(f"{what}, s", way, time.monotonic() - start)
            if way != "tar":
                table.add(f"{what}: memory, MiB", way, memory.peak)
            if child.returncode != 0:
                raise SystemExit(f"files: {way} exited with {child.returncode}")
        to = lab.work / "to-ours"
        subprocess.run(["diff", "-r", "--no-dereference", to, lab.work / "to-borg-extract"], check=True)
        for label, words in {"again": [], "again, --trust-times": ["--trust-times"]}.items():
            drop_page_cache()
            lab.warm()
            start = time.monotonic()
            ours(lab, archive, to, packed, *words).wait()
            table.add(f"{what}: {label}, s", "ours", time.monotonic() - start)
        for way in ways:
            shutil.rmtree(lab.work / f"to-{way.replace(' ', '-')}")


def ours(lab, archive, to, _packed, *words):
    command = [lab.options.binary, "--quiet", "--config", lab.config, "restore", f"::{archive}", "--to", to, *words]
    return subprocess.Popen(command, env=lab.environment)


def extract(lab, archive, to, _packed):
    to.mkdir()
    return subprocess.Popen([BORG, "extract", f"{lab.place}::{archive}"], env=lab.environment, cwd=to)


def unpack(_lab, _archive, to, packed):
    to.mkdir()
    return subprocess.Popen(["tar", "-xf", packed, "-C", to])


if __name__ == "__main__":
    try:
        main()
    finally:
        for left in Path("/dev/shm").glob(f"offsite-bench-{os.getpid()}-*.tar"):
            left.unlink()
