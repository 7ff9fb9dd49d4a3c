"""Makes archives of any size with borg's own classes, without data. Run by the Python of a borg.

    make_archives.py REPOSITORY files FILES PER_DIRECTORY [ARCHIVES]
    make_archives.py REPOSITORY image CHUNKS
    make_archives.py REPOSITORY archives ARCHIVES
"""

import os
import stat
import sys
from datetime import datetime, timedelta, timezone

os.environ.setdefault("BORG_PASSPHRASE", "")

from borg.archive import Archive  # noqa: E402
from borg.cache import Cache, ChunkListEntry  # noqa: E402
from borg.helpers import Manifest  # noqa: E402
from borg.item import Item  # noqa: E402
from borg.logger import setup_logging  # noqa: E402
from borg.repository import Repository  # noqa: E402

DAY = 86_400_000_000_000
START = 1_700_000_000_000_000_000


def main():
    setup_logging()
    path, what, *numbers = sys.argv[1:]
    numbers = [int(number) for number in numbers]
    with Repository(path, exclusive=True, lock_wait=1) as repository:
        manifest, key = Manifest.load(repository, Manifest.NO_OPERATION_CHECK)
        with Cache(repository, key, manifest, lock_wait=1) as cache:
            maker = Maker(repository, key, manifest, cache)
            {"files": maker.files, "image": maker.image, "archives": maker.archives}[what](*numbers)


class Maker:
    def __init__(self, *parts):
        self.repository, self.key, self.manifest, self.cache = parts
        self.days = 0

    def archive(self, name, items):
        self.days += 1
        made = datetime(2026, 1, 1, tzinfo=timezone.utc).replace(tzinfo=None) + timedelta(days=self.days)
        when = {"start": made, "start_monotonic": 0, "end": made}
        archive = Archive(self.repository, self.key, self.manifest, name, cache=self.cache, create=True, **when)
        for item in items:
            archive.items_buffer.add(item)
        archive.save()

    def chunk(self, data):
        chunk_id = self.key.id_hash(data)
        return self.cache.add_chunk(chunk_id, data, archive_stats())

    def files(self, files, per_directory, archives=3):
        shared = self.chunk(b"the contents of every file\n")
        self.archive("first", tree(files, per_directory, shared, lambda directory, n: 0))
        directories = files // per_directory
        near = lambda directory, n: 1 if directory % directories < directories // 100 else 0  # noqa: E731
        if archives > 1:
            self.archive("near", tree(files, per_directory, shared, near))
        if archives > 2:
            self.archive("scattered", tree(files, per_directory, shared, lambda directory, n: 1 if n == 0 else 0))

    def image(self, chunks):
        size = 1 << 21
        known = [self.chunk(os.urandom(64) + bytes(size - 64)) for _ in range(8)]
        item = file("image", START)
        # Ids that nobody has, but for a few: nothing reads them.
        item.chunks = [
            known[n % 8] if n % 1000 < 8 or abs(n - chunks // 3) < 8 else ChunkListEntry(os.urandom(32), size, 100_000)
            for n in range(chunks)
        ]
        self.archive("image", [item])

    def archives(self, archives):
        shared = self.chunk(b"the contents of every file\n")
        for n in range(archives):
            changed = lambda directory, file, day=n: day if file == 0 and directory == day % 20 else 0  # noqa: E731
            self.archive(f"day-{n:04}", tree(2000, 100, shared, changed))


def archive_stats():
    from borg.archive import Statistics

    return Statistics()


def file(path, mtime):
    item = Item(path=path, mode=stat.S_IFREG | 0o644, uid=1000, gid=1000, user="someone", group="someone")
    item.mtime = mtime
    item.ctime = mtime
    return item


def tree(files, per_directory, chunk, changed):
    """Directories of so many files, a hundred in each above them; `changed` says how many days later a file
    was changed."""
    above = set()
    for directory in range(-(-files // per_directory)):
        path = ""
        for name in [f"d{directory // 10_000:04}", f"d{directory // 100 % 100:02}", f"d{directory % 100:02}"]:
            path = f"{path}{name}"
            if path not in above:
                above.add(path)
                item = Item(path=path, mode=stat.S_IFDIR | 0o755, uid=1000, gid=1000, user="someone", group="someone")
                item.mtime = item.ctime = START
                yield item
            path += "/"
        for n in range(min(per_directory, files - directory * per_directory)):
            number = directory * per_directory + n
            item = file(f"{path}f{number:07}", START + number * 1_000_003 + changed(directory, n) * DAY)
            item.chunks = [chunk]
            yield item


main()
