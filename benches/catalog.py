"""Lists of files of any size beside `borg mount`: the first mount, another one, the archive of the next
day, `find`, a large image, and many archives.

The archives are made with borg's own classes and have no data, except for one chunk that all files
share. Run by root, since the kernel's page cache is dropped between the measurements. Nothing here passes
or fails.
"""

import argparse
import json
import os
import shutil
import signal
import subprocess
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path

from bench import Memory, Table, daemon_at, drop_page_cache, process_exists, say

ROOT = Path(__file__).resolve().parent.parent
PYTHON = ROOT / ".venv/bin/python"
BORG = ROOT / ".venv/bin/borg"


def main():
    options = parse()
    if os.geteuid() != 0:
        raise SystemExit("bench: only root can drop the page cache; nothing was measured")
    with tempfile.TemporaryDirectory(prefix="offsite-bench.", dir=options.dir) as work:
        lab = Lab(Path(work), options.binary)
        table = Table(others=("borg mount",))
        for files in options.files:
            measure_files(lab, table, options, files)
        for tib in options.image_tib:
            measure_image(lab, table, options, tib)
        if options.archives:
            measure_archives(lab, table, options)
        say(f"{os.cpu_count()} processors, medians of {options.rounds} rounds\n")
        table.show()


def parse():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--binary", required=True, type=Path, help="the program to be measured")
    parser.add_argument("--dir", default="/var/tmp", help="where the repositories are made")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--files", type=int, nargs="*", default=[200_000, 2_000_000])
    parser.add_argument("--per-directory", type=int, default=100)
    parser.add_argument("--image-tib", type=float, nargs="*", default=[1, 4])
    parser.add_argument("--archives", type=int, default=1500)
    parser.add_argument("--no-find", action="store_true")
    parser.add_argument("--no-peer", action="store_true", help="without `borg mount`")
    options = parser.parse_args()
    options.binary = options.binary.resolve()
    return options


class Lab:
    def __init__(self, work, binary):
        self.work = work
        self.binary = binary
        self.mnt = work / "mnt"
        self.home = work / "home"
        self.mnt.mkdir()
        self.home.mkdir()
        self.environment = {
            **{k: v for k, v in os.environ.items() if not k.startswith("BORG_")},
            "PATH": f"{BORG.parent}:{os.environ['PATH']}",
            "HOME": str(self.home),
            "XDG_CACHE_HOME": str(self.home / ".cache"),
            "BORG_PASSPHRASE": "",
        }

    def run(self, *command, **keywords):
        return subprocess.run(command, env=self.environment, check=True, **keywords)

    def make(self, what, *numbers):
        repository = self.work / "repository"
        shutil.rmtree(repository, ignore_errors=True)
        self.forget()
        self.run(BORG, "init", "--encryption", "repokey-blake2", repository, stderr=subprocess.DEVNULL)
        maker = [PYTHON, ROOT / "benches/make_archives.py", repository, what, *map(str, numbers)]
        self.run(*maker)
        (self.work / "conf").write_text(json.dumps({"backup_path": str(repository)}))
        return repository

    def forget(self):
        shutil.rmtree(self.home / ".cache/borg-offsite-backup", ignore_errors=True)

    @contextmanager
    def mounted(self, way, repository, archive=None):
        ours = [self.binary, "--quiet", "--config", self.work / "conf", "mount"]
        if way == "ours":
            command = [*ours, f"::{archive}", self.mnt] if archive else [*ours, self.mnt]
        else:
            command = [BORG, "mount", f"{repository}::{archive}" if archive else repository, self.mnt]
        # Its outputs are no pipes: the daemon of `borg mount` keeps them open.
        self.run(*command, stdout=subprocess.DEVNULL)
        memory = Memory(daemon_at(self.mnt))
        try:
            yield memory
        finally:
            memory.stop()
            self.run("umount", self.mnt)
            while process_exists(memory.pid):
                time.sleep(0.01)


def first_listing(lab, table, way, repository, archive, what):
    """Mounts the archive and lists two directories; the memory is that of the daemon up to then."""
    drop_page_cache()
    start = time.monotonic()
    with lab.mounted(way, repository, archive) as memory:
        subprocess.run(["ls", "-l", lab.mnt, lab.mnt / "d0000/d00/d00"], check=True, stdout=subprocess.DEVNULL)
        table.add(f"{what}, s", way, time.monotonic() - start)
        time.sleep(0.2)
        peak = highest(memory.pid)
    table.add(f"{what}: memory, MiB", way, peak)


def highest(pid):
    """The highest memory that the process ever had, in MiB."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) / 1024
    return 0


def ways(options):
    return ["ours"] if options.no_peer else ["ours", "borg mount"]


def measure_files(lab, table, options, files):
    say(f"making archives of {files:,} files")
    repository = lab.make("files", files, options.per_directory)
    for _ in range(options.rounds):
        for way in reversed(ways(options)):
            lab.forget()
            first_listing(lab, table, way, repository, "first", f"{files:,} files: first mount + ls")
        first_listing(lab, table, "ours", repository, "first", f"{files:,} files: again")
        cache = lab.home / ".cache/borg-offsite-backup"
        kept = lab.work / "kept"
        shutil.rmtree(kept, ignore_errors=True)
        shutil.copytree(cache, kept)
        size = sum(path.stat().st_size for path in cache.rglob("*") if path.is_file())
        table.add(f"{files:,} files: kept, MiB", "ours", size / (1 << 20))
        for archive in ["near", "scattered"]:
            shutil.rmtree(cache)
            shutil.copytree(kept, cache)
            what = f"{files:,} files: next day, 1 % changed, {archive}"
            first_listing(lab, table, "ours", repository, archive, what)
        if not options.no_find:
            shutil.rmtree(cache)
            shutil.copytree(kept, cache)
            for way in ways(options):
                drop_page_cache()
                with lab.mounted(way, repository, "first") as memory:
                    start = time.monotonic()
                    # A size that none has, so that each is looked at.
                    find = ["find", lab.mnt, "-size", "+1000000"]
                    subprocess.run(find, check=True, stdout=subprocess.DEVNULL)
                    table.add(f"{files:,} files: find, s", way, time.monotonic() - start)
                    table.add(f"{files:,} files: find: memory, MiB", way, highest(memory.pid))


def measure_image(lab, table, options, tib):
    say(f"making an image of {tib} TiB")
    repository = lab.make("image", int(tib * (1 << 19)))
    for _ in range(options.rounds):
        for way in ways(options):
            lab.forget()
            drop_page_cache()
            start = time.monotonic()
            with lab.mounted(way, repository, "image") as memory:
                with open(lab.mnt / "image", "rb") as image:
                    image.seek(int(tib * (1 << 40)) // 3)
                    image.read(4096)
                table.add(f"image of {tib} TiB: mount + first read, s", way, time.monotonic() - start)
                table.add(f"image of {tib} TiB: memory, MiB", way, highest(memory.pid))


def measure_archives(lab, table, options):
    say(f"making {options.archives} archives")
    repository = lab.make("archives", options.archives)
    for _ in range(options.rounds):
        lab.forget()
        drop_page_cache()
        with lab.mounted("ours", repository) as memory:
            start = time.monotonic()
            for archive in sorted(os.listdir(lab.mnt)):
                if archive != "latest":
                    (lab.mnt / archive / "d0000/d00/d00/f0000000").read_bytes()
            table.add(f"one file in each of {options.archives} archives, s", "ours", time.monotonic() - start)
            table.add(f"one file in each of {options.archives} archives: memory, MiB", "ours", highest(memory.pid))


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: exit(143))
    main()
