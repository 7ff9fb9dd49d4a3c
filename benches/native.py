"""The native source beside `borg mount`: what each row of its goals asks for."""

import os
import random
import subprocess
import threading
import time
from pathlib import Path

MIB = 1 << 20
PAGE = 4096
# Reads that shall each meet a chunk that none met before are as far apart as most chunks are long.
APART = 6 * MIB
REGION = 256 * MIB
ROUND_TRIP_MS = 20

# How many times as good as `borg mount` each is to be.
GOALS = {
    "native: mount and first ls, s": 10,
    "native: the same again, s": 15,
    "native: find, s": 3,
    "native: first dd, s": 3,
    "native: second dd, s": 4,
    "native: 4 KiB of new chunks, 1 thread, ms": 2,
    "native: 4 KiB of new chunks, 8 threads, ms": 4,
    "native: 4 KiB of what was read, 1 thread, 1/s": 50,
    "native: 4 KiB of what was read, 8 threads, 1/s": 100,
    "native: losetup, mount, ls -lR, s": 4,
    "native: memory of the image, MiB": 1,
    "native: memory of many files, MiB": 1,
}


def measure(lab, table, drop_page_cache):
    for _ in range(lab.options.rounds):
        for way in ["native", "borg mount"]:
            measure_many(lab, table, way)
            measure_image(lab, table, way, drop_page_cache)
            measure_threads(lab, table, way, drop_page_cache)
            measure_loop(lab, table, way)


def add(table, what, way, value):
    table.add(f"native: {what}", "ours" if way == "native" else way, value)


def seconds(*command, **keywords):
    start = time.monotonic()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, **keywords)
    return time.monotonic() - start


def measure_many(lab, table, way):
    for again in [False, True]:
        lab.warm()
        start = time.monotonic()
        with lab.mounted(way, "many", fresh=not again) as memory:
            subprocess.run(["ls", "-l", lab.mnt, lab.mnt / "0000"], check=True, stdout=subprocess.DEVNULL)
            what = "the same again, s" if again else "mount and first ls, s"
            add(table, what, way, time.monotonic() - start)
            if again:
                # A size that none has, so that each is looked at.
                add(table, "find, s", way, seconds("find", lab.mnt, "-size", "+1000000"))
            time.sleep(0.2)
        add(table, "memory of many files, MiB", way, memory.peak)


def measure_image(lab, table, way, drop_page_cache):
    path = lab.mnt / "image"
    lab.warm()
    with lab.mounted(way, "files") as memory:
        for what in ["first dd, s", "second dd, s"]:
            add(table, what, way, seconds("dd", f"if={path}", "of=/dev/null", "bs=1M", "status=none"))
            drop_page_cache()
            lab.warm()
        for threads in [1, 8]:
            drop_page_cache()
            rate = rate_of_reads(path, threads, lab.options.random_seconds)
            add(table, f"4 KiB of what was read, {named(threads)}, 1/s", way, rate)
    add(table, "memory of the image, MiB", way, memory.peak)


def measure_threads(lab, table, way, drop_page_cache):
    for threads in [1, 8]:
        lab.warm()
        with lab.mounted(way, "files"):
            took = time_of_a_new_chunk(lab.mnt / "image", threads)
            add(table, f"4 KiB of new chunks, {named(threads)}, ms", way, took)


def measure_loop(lab, table, way):
    """As a person looks into the image of a volume."""
    lab.warm()
    inside = lab.work / "inside"
    inside.mkdir(exist_ok=True)
    with lab.mounted(way, "files"):
        start = time.monotonic()
        show = ["losetup", "--read-only", "--find", "--show", lab.mnt / "image"]
        device = subprocess.run(show, check=True, capture_output=True, text=True).stdout.strip()
        try:
            subprocess.run(["mount", "-o", "ro,noload", device, inside], check=True)
            subprocess.run(["ls", "-lR", inside], check=True, stdout=subprocess.DEVNULL)
            add(table, "losetup, mount, ls -lR, s", way, time.monotonic() - start)
            subprocess.run(["umount", inside], check=True)
        finally:
            subprocess.run(["losetup", "--detach", device], check=True)
            # The kernel lets go of the image a moment later.
            while subprocess.run(["losetup", "--associated", lab.mnt / "image"], capture_output=True).stdout:
                time.sleep(0.01)


def measure_remote(lab, table, drop_page_cache):
    """The same image from a server; without and with a round trip."""
    for _ in range(lab.options.rounds):
        for delay in [0, ROUND_TRIP_MS]:
            for way in ["native", "borg mount"]:
                with lab.served(delay), lab.mounted(way, "files"):
                    path = lab.mnt / "image"
                    took = time_of_a_new_chunk(path, 1)
                    add(table, f"ssh, {delay} ms: 4 KiB of new chunks, 1 thread, ms", way, took)
                with lab.served(delay), lab.mounted(way, "files"):
                    took = seconds("dd", f"if={path}", "of=/dev/null", "bs=1M", "status=none")
                    add(table, f"ssh, {delay} ms: first dd, s", way, took)


def named(threads):
    return "1 thread" if threads == 1 else f"{threads} threads"


def rate_of_reads(path, threads, seconds):
    """4 KiB reads a second, anywhere in what stands before REGION."""
    blocks = min(os.path.getsize(path), REGION) // PAGE
    done = [0] * threads

    def read(number):
        order = random.Random(number)
        fd = os.open(path, os.O_RDONLY)
        os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_RANDOM)
        while time.monotonic() < end:
            os.pread(fd, PAGE, order.randrange(blocks) * PAGE)
            done[number] += 1
        os.close(fd)

    start = time.monotonic()
    end = start + seconds
    run(threads, read)
    return sum(done) / (time.monotonic() - start)


def time_of_a_new_chunk(path, threads):
    """Milliseconds for each read, of all threads together."""
    places = list(range(0, os.path.getsize(path) - PAGE, APART))
    random.Random(1).shuffle(places)
    waiting = iter(places)
    lock = threading.Lock()
    fd = os.open(path, os.O_RDONLY)
    os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_RANDOM)

    def read(_):
        while True:
            with lock:
                place = next(waiting, None)
            if place is None:
                return
            os.pread(fd, PAGE, place)

    start = time.monotonic()
    run(threads, read)
    took = time.monotonic() - start
    os.close(fd)
    return took * 1000 / len(places)


def run(threads, work):
    all_of_them = [threading.Thread(target=work, args=[number]) for number in range(threads)]
    for thread in all_of_them:
        thread.start()
    for thread in all_of_them:
        thread.join()


def write_file_system(directory, mib):
    """An ext4 image full of what is in /usr."""
    tree = directory / "tree"
    left = mib * MIB * 2 // 3
    for above, _, names in os.walk("/usr"):
        for name in names:
            source = Path(above) / name
            if not source.is_file() or source.is_symlink():
                continue
            blocks = -(-source.stat().st_size // PAGE) * PAGE
            if blocks > left:
                continue
            left -= blocks
            target = tree / source.relative_to("/usr")
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(source.read_bytes())
    command = ["mke2fs", "-q", "-t", "ext4", "-N", "131072", "-d", tree, directory / "image", f"{mib}M"]
    subprocess.run(command, check=True, stdin=subprocess.DEVNULL)
    subprocess.run(["rm", "-r", tree], check=True)
