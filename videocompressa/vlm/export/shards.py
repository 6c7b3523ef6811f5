"""WebDataset shards: plain tar files of whole samples, each at most so many bytes, the same bytes each time."""

import io
import tarfile
from collections.abc import Iterable, Mapping
from contextlib import ExitStack
from pathlib import Path


def write_shards(folder: Path, samples: Iterable[Mapping[str, bytes]], shard_bytes: int) -> None:
    """Write samples, {name: content} of their files, as shard-000000.tar and so on; only one is in memory at a time.

    A shard is larger than `shard_bytes` only where its one sample is. Owner, mode and time of the files are fixed.
    """
    # A tar file ends with two empty blocks, and is filled up to complete records.
    most = shard_bytes // tarfile.RECORDSIZE * tarfile.RECORDSIZE - 2 * tarfile.BLOCKSIZE
    number, used = 0, most
    with ExitStack() as opened:
        for files in samples:
            size = sum(tarfile.BLOCKSIZE * (1 + -(-len(content) // tarfile.BLOCKSIZE)) for content in files.values())
            if not number or used + size > most:
                opened.close()
                path = folder / f"shard-{number:06d}.tar"
                shard = opened.enter_context(tarfile.open(path, "w", format=tarfile.USTAR_FORMAT))
                number, used = number + 1, 0
            used += size
            for name, content in files.items():
                entry = tarfile.TarInfo(name)
                entry.size, entry.mode = len(content), 0o644
                shard.addfile(entry, io.BytesIO(content))
            shard.getmembers().clear()  # It would remember every file of the shard.
