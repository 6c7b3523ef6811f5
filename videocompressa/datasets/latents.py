"""Latents of the clips of a split: a clip is encoded when it is first read, and kept in a file of the cache.

The default method reads those of the videos that it keeps, 3 a class, so most clips are never encoded. Row n of the
file holds clip n behind a checksum, which starts from the hash of its video: what another video, a disk or a killed run
left there is encoded again. Runs that share the file write the same bytes, since a clip is always encoded alone.
"""

from __future__ import annotations

import errno
import os
import weakref
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any
from zlib import crc32

import torch
from torch import Tensor

from videocompressa.datasets.journal import writable
from videocompressa.errors import InputError
from videocompressa.run import Watch

if TYPE_CHECKING:
    from videocompressa.clip import DecodedSplit
    from videocompressa.codecs import Codec

_CHECKSUM_BYTES = 4


class EncodedOnDemand:
    """Scaled latents (N,T,C,h,w) float16 of the clips of a split; indexed as a tensor is.

    Clips that are encoded for it are reported by `watch("encode", done=, total=)`. Raises `InputError` for a codec
    whose latents are not those of its spec or not finite in float16, and where the file cannot be written.
    """

    dtype = torch.float16

    def __init__(self, decoded: DecodedSplit, codec: Codec, path: Path, watch: Watch) -> None:
        cells = codec.spec.latent_shape(*decoded.clip.size[1:])
        self.shape = torch.Size((len(decoded), decoded.clip.num_frames, *cells))
        self._decoded, self._codec, self._folder, self._watch = decoded, codec, path.parent, watch
        self._clip_bytes = self.shape[1:].numel() * self.dtype.itemsize
        with writable(self._folder):
            path.touch()
            self._file = path.open("r+b", buffering=0)  # held, so that the cache can be pruned meanwhile
        weakref.finalize(self, self._file.close)

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, index: Any) -> Tensor:
        """Return what an index picks of the tensor; only the clips that it picks are read, and encoded if need be."""
        first, *rest = index if isinstance(index, tuple) else (index,)
        rows, places = torch.unique(torch.arange(len(self))[first], return_inverse=True)
        clips, missing = torch.empty((len(rows), *self.shape[1:]), dtype=self.dtype), {}
        for place, row in enumerate(rows.tolist()):
            if (clip := self._stored(row)) is None:
                missing[row] = place
            else:
                clips[place] = clip
        for row, clip in self._encode(list(missing)):
            clips[missing[row]] = clip
        return clips[(slice(None) if isinstance(first, slice) else places, *rest)]

    def encode_all(self) -> None:
        """Encode the clips that are not, before many small reads."""
        for _ in self._encode([row for row in range(len(self)) if self._stored(row) is None]):
            pass

    def _encode(self, rows: Sequence[int]) -> Iterator[tuple[int, Tensor]]:
        """Encode some clips and yield each with its row."""
        for done, row in enumerate(rows, 1):
            clip = self._encoded(self._decoded.frames[row])
            data = clip.numpy().tobytes()
            record = self._checksum(row, data) + data
            with writable(self._folder):
                self._file.seek(row * len(record))
                if self._file.write(record) < len(record):
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            self._watch("encode", done=done, total=len(rows))
            yield row, clip

    def _encoded(self, frames: Tensor) -> Tensor:
        name = self._codec.spec.name
        with torch.no_grad():
            latents = self._codec.encode(frames).to("cpu", self.dtype).contiguous()
        if latents.shape != self.shape[1:]:
            raise InputError(
                f"codec {name!r} gives latents {tuple(latents.shape)}; its spec has {tuple(self.shape[1:])}"
            )
        if not bool(torch.isfinite(latents).all()):
            raise InputError(f"codec {name!r} gives latents that float16 cannot hold; check its scale constants")
        return latents

    def _stored(self, row: int) -> Tensor | None:
        """Return a clip of the file, or None where it holds none that is valid."""
        self._file.seek(row * (_CHECKSUM_BYTES + self._clip_bytes))
        checksum = self._file.read(_CHECKSUM_BYTES)
        data = bytearray(self._file.read(self._clip_bytes))
        if checksum != self._checksum(row, data):
            return None
        return torch.frombuffer(data, dtype=self.dtype).view(self.shape[1:])

    def _checksum(self, row: int, data: bytes | bytearray) -> bytes:
        start = crc32(self._decoded.video_hashes[row].encode())
        return crc32(data, start).to_bytes(_CHECKSUM_BYTES, "little")
