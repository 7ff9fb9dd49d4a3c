"""`restore` onto a device that is nearly right, beside `borg extract --stdout | dd`.

A volume was archived; since then one percent of it changed, in pieces of 1 MiB. Both ways put it back onto
a loop device; bytes written are what the kernel counted on it. The goal is a tenth of the time: over a line of
100 Mbit/s with a round trip of 20 ms, unless --local. Run by root, since the page cache is dropped before each.
Nothing here passes or fails, unless the bytes are wrong.
"""

import argparse
import json
import os
import random
import shlex
import subprocess
import tempfile
import time
from pathlib import Path

from bench import BORG, MIB, Lab, Table, drop_page_cache, say

CHANGED = 0.01
PIECE = MIB
GOAL = 10
ROUND_TRIP_MS = 20
MEGABITS = 100
SECTOR = 512


def main():
    options = parse()
    if os.geteuid() != 0:
        raise SystemExit("restore: only root can make loop devices; nothing was measured")
    with tempfile.TemporaryDirectory(prefix="offsite-bench.", dir=options.dir) as work:
        lab = Lab(Path(work), options)
        say("making the repository")
        image = lab.work / "source/image"
        image.parent.mkdir()
        lab.write_mixed(image.parent)
        lab.run(BORG, "init", "--encryption", "repokey-blake2", lab.repository, stderr=subprocess.DEVNULL)
        create = [BORG, "create", "--json", "--compression", "auto,zstd", f"{lab.repository}::day", "image"]
        made = lab.run(*create, cwd=image.parent, capture_output=True, text=True)
        stored = json.loads(made.stdout)["archive"]["stats"]["compressed_size"]
        disk = lab.work / "disk"
        subprocess.run(["cp", image, disk], check=True)
        device = subprocess.run(["losetup", "--find", "--show", disk], check=True, capture_output=True, text=True)
        device = Path(device.stdout.strip())
        try:
            table = Table()
            if options.line:
                with lab.served(ROUND_TRIP_MS, MEGABITS):
                    # One round: the line is what takes the time, and it is always the same.
                    measure(lab, table, f"restore over {MEGABITS} Mbit/s", 1, device, image, stored)
            measure(lab, table, "restore", options.rounds, device, image, stored)
        finally:
            subprocess.run(["losetup", "--detach", device], check=True)
        say(f"{lab.borg_version()}, {os.cpu_count()} processors, medians of {options.rounds} rounds (over the line: 1)\n")
        table.show()
        say(f"\nthe goal is {GOAL} times as fast as borg extract")


def parse():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--binary", required=True, type=Path, help="the program to be measured")
    parser.add_argument("--dir", default="/var/tmp", help="where all is made (about 3x --image-mib)")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--image-mib", type=int, default=2048)
    parser.add_argument("--local", dest="line", action="store_false", help="only with the repository on this machine")
    options = parser.parse_args()
    options.binary = options.binary.resolve()
    return options


def measure(lab, table, what, rounds, device, image, stored):
    places = random.Random(1).sample(range(lab.options.image_mib * MIB // PIECE), int(lab.options.image_mib * CHANGED))
    for _ in range(rounds):
        for way in ["ours", "borg extract"]:
            change(device, places)
            drop_page_cache()
            lab.warm()
            before, start = written(device), time.monotonic()
            fetched = ours(lab, device) if way == "ours" else extract(lab, device, stored)
            table.add(f"{what}, s", way, time.monotonic() - start)
            table.add(f"{what}: fetched, kB", way, fetched / 1000)
            table.add(f"{what}: written, kB", way, (written(device) - before) / 1000)
            subprocess.run(["cmp", device, image], check=True)
        start = time.monotonic()
        ours(lab, device)
        table.add(f"{what}: again, s", "ours", time.monotonic() - start)


def change(device, places):
    with open(device, "r+b") as file:
        for place in places:
            file.seek(place * PIECE)
            file.write(os.urandom(PIECE))
        file.flush()
        os.fsync(file.fileno())


def written(device):
    """Bytes that were ever written to the device."""
    return int(Path(f"/sys/block/{device.name}/stat").read_text().split()[6]) * SECTOR


def ours(lab, device):
    command = [lab.options.binary, "--quiet", "--config", lab.config, "restore", "::day", "image", "--to", device]
    told = lab.run(*command, "--yes", "--json", capture_output=True, text=True)
    return json.loads(told.stdout)["restored"]["fetched"]


def extract(lab, device, stored):
    words = [BORG, "extract", "--stdout", f"{lab.place}::day", "image"]
    copy = f"of={device} bs=10M conv=fsync iflag=fullblock status=none"
    lab.run("sh", "-c", f"{shlex.join(map(str, words))} | dd {copy}")
    return stored


if __name__ == "__main__":
    main()
