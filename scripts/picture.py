"""picture.py PROGRAM FILE.svg: runs the program in a pseudo-terminal and draws what the terminal shows.

It needs root and a mount namespace of its own (`unshare --mount`), in which it makes a machine with a repository.
"""

import os
import pty
import subprocess
import sys
from html import escape
from pathlib import Path

import pyte

COLUMNS, ROWS = 104, 400
CHARACTER, LINE, MARGIN, BAR = 8.43, 18, 16, 34
IMAGE = "/srv/vm/work.img"

SET_UP = f"""
mount --make-rprivate /
# Nothing of this machine's own configuration is seen or changed.
mount -t tmpfs none /var/tmp
mkdir /var/tmp/etc /var/tmp/work
mount -t overlay none -o lowerdir=/etc,upperdir=/var/tmp/etc,workdir=/var/tmp/work /etc
rm -rf /etc/credstore
for dir in /root /home /srv /mnt /run /var/cache; do mount -t tmpfs none $dir; done
mkdir -p /home/me/letters /srv/vm /mnt/restore /mnt/disk /run/files
cp -r /usr/share/perl /usr/share/doc /home/me/
echo 'Dear reader' > /home/me/letters/first
mkdir /run/files/invoices /run/files/photos
cp -r /usr/share/doc /run/files/invoices/
truncate -s 1G {IMAGE}
mke2fs -q -t ext4 -d /run/files {IMAGE}
printf '%s' '{{"backup_path": "/srv/backup", "filesystems_to_backup": ["/home/me", "/srv/vm"]}}' > /etc/borg-offsite-backup.conf
borg-offsite-backup init -e repokey-blake2
"""

SHOWN = [
    "borg-offsite-backup create",
    "borg-offsite-backup mount ::latest /mnt/restore",
    "ls /mnt/restore/home/me/letters",
    f"borg-offsite-backup attach ::latest {IMAGE} --mount /mnt/disk",
    "ls /mnt/disk",
    "borg-offsite-backup detach /mnt/disk && borg-offsite-backup umount /mnt/restore",
    f"borg-offsite-backup restore ::latest {IMAGE} --to {IMAGE} --dry-run",
]
# Something to restore: two ranges differ.
BEFORE_LAST = f"for at in 100 700; do head -c 3000000 /dev/urandom | dd of={IMAGE} bs=1M seek=$at conv=notrunc status=none; done"


def main():
    program, picture = Path(sys.argv[1]).resolve(), Path(sys.argv[2]).resolve()
    bin_dir = Path("/tmp/picture-bin")
    bin_dir.mkdir(exist_ok=True)
    link = bin_dir / "borg-offsite-backup"
    link.unlink(missing_ok=True)
    link.symlink_to(program)
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("BORG_", "XDG_"))}
    environment = {**kept, "PATH": f"{bin_dir}:{os.environ['PATH']}:/usr/sbin:/sbin", "HOME": "/root", "TERM": "xterm",
                   "BORG_PASSPHRASE": "", "PS1": ""}
    subprocess.run(["sh", "-euc", SET_UP], env=environment, check=True)
    screen = pyte.Screen(COLUMNS, ROWS)
    stream = pyte.ByteStream(screen)
    for command in SHOWN:
        if command is SHOWN[-1]:
            subprocess.run(["sh", "-euc", BEFORE_LAST], env=environment, check=True)
        stream.feed(f"\x1b[1m$ {command}\x1b[0m\r\n".encode())
        run(command, environment, stream)
    picture.write_text(draw(screen))


def run(command, environment, stream):
    """Gives what `command` writes to its terminal to `stream`."""
    child, terminal = pty.fork()
    if child == 0:
        os.execvpe("sh", ["sh", "-c", f"stty cols {COLUMNS} rows 50; {command}"], environment)
    while True:
        try:
            written = os.read(terminal, 65536)
        except OSError:
            break
        if not written:
            break
        stream.feed(written)
    _, status = os.waitpid(child, 0)
    if status != 0:
        raise SystemExit(f"picture: `{command}` ended with {os.waitstatus_to_exitcode(status)}")


def draw(screen):
    last = max((row for row in range(ROWS) if screen.display[row].strip()), default=0)
    width = COLUMNS * CHARACTER + 2 * MARGIN
    height = BAR + (last + 1) * LINE + MARGIN
    drawn = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:.0f} {height}" role="img" aria-label="A terminal">',
        f'<rect width="100%" height="100%" rx="8" fill="#1d2127"/>',
        *(f'<circle cx="{20 + 18 * n}" cy="17" r="5.5" fill="{colour}"/>' for n, colour in enumerate(["#ee6a5f", "#f5bd4f", "#61c554"])),
        '<g font-family="ui-monospace,SFMono-Regular,Menlo,Consolas,monospace" font-size="14" fill="#d6dae0" xml:space="preserve">',
    ]
    for row in range(last + 1):
        text = screen.display[row].rstrip()
        if not text:
            continue
        bold = screen.buffer[row][0].bold
        style = ' font-weight="bold" fill="#ffffff"' if bold else ""
        drawn.append(f'<text x="{MARGIN}" y="{BAR + row * LINE + 12}"{style}>{escape(text)}</text>')
    return "\n".join([*drawn, "</g>", "</svg>", ""])


if __name__ == "__main__":
    main()
