"""LinearCodec: principal components of 8x8 RGB blocks, the reference without training.

1. Cut pixels into blocks b (192 numbers); mean m and covariance over all blocks of the fitting frames.
2. Rows of V are the C eigenvectors of largest eigenvalue: no linear code of C numbers a block has a smaller squared
   error on those frames (Eckart and Young 1936).
3. raw = V (b - m), x' = V^T raw + m.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Self

import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from torch import Tensor, nn

from videocompressa.clip import CodecSpec
from videocompressa.codecs.codec import Codec, as_pixels, batches, weights_sha256
from videocompressa.errors import InputError

BLOCK = 8
"""Pixels a latent cell spans on each side."""

WEIGHTS = Path(__file__).parent / "weights" / "linear_codec.safetensors"
"""The embedded default basis: the components of TinyCodec's training pictures."""


@dataclass(frozen=True, eq=False)
class BlockPCA:
    """Principal components of 8x8 RGB blocks, pixels in [0,1]."""

    mean: Tensor
    """(192,) float32, ordered channel, row, column."""
    basis: Tensor
    """(C,192) float32, orthonormal rows, largest variance first."""
    std: Tensor
    """(C,) float32, standard deviation of each component over the fitting blocks."""

    @classmethod
    def fit(cls, frames: Tensor, channels: int = 8) -> Self:
        """Fit on frames (M,3,H,W), uint8 or float in [0,1], sides in multiples of 8; in batches, double precision."""
        size = 3 * BLOCK**2
        if not 1 <= channels <= size:
            raise InputError(f"a linear codec has 1 to {size} channels, got {channels}")
        fits = frames.ndim == 4 and frames.shape[1] == 3 and not any(side % BLOCK for side in frames.shape[2:])
        if not fits or not len(frames):
            raise InputError(
                f"a linear codec is fitted on at least one frame (M,3,H,W) with sides in multiples of {BLOCK}, "
                f"got {tuple(frames.shape)}"
            )
        total, second, count = torch.zeros(size, dtype=torch.float64), torch.zeros(size, size, dtype=torch.float64), 0
        for rows in batches(frames):
            cells = F.pixel_unshuffle(as_pixels(frames[rows]), BLOCK)
            blocks = cells.transpose(0, 1).flatten(1).double()
            total += blocks.sum(1)
            second += blocks @ blocks.T
            count += blocks.shape[1]
        mean = total / count
        values, vectors = torch.linalg.eigh(second / count - mean.outer(mean))
        basis = vectors.flip(1)[:, :channels].T
        # An eigenvector's sign is arbitrary: fix it, so that machines agree on what a latent means.
        largest = basis.abs().argmax(1, keepdim=True)
        basis = basis * basis.gather(1, largest).sign()
        std = values.flip(0)[:channels].clamp(min=1e-12).sqrt()
        return cls(mean.float(), basis.float().contiguous(), std.float())


class LinearCodec(Codec):
    """PCA codec of 8x8 RGB blocks; "linear" is the embedded basis, `BlockPCA.fit` fits one to given frames.

    `num_bytes` is the size of the basis on disk; None takes that of its tensors.
    """

    def __init__(self, pca: BlockPCA, name: str = "linear:fitted", num_bytes: int | None = None) -> None:
        channels = len(pca.basis)
        spec = CodecSpec(
            name=name,
            weights_sha256=weights_sha256(vars(pca)),
            channels=channels,
            downscale=BLOCK,
            shift=(0.0,) * channels,
            scale=tuple(max(value, 1e-6) for value in pca.std.tolist()),
            num_bytes=sum(tensor.nbytes for tensor in vars(pca).values()) if num_bytes is None else num_bytes,
        )
        weights = nn.ParameterDict({"mean": pca.mean[:, None, None], "basis": pca.basis[:, :, None, None]})
        super().__init__(spec, weights)

    @classmethod
    def load(cls) -> Self:
        """Read the embedded basis."""
        return cls(BlockPCA(**load_file(WEIGHTS)), "linear", WEIGHTS.stat().st_size)

    def encode_raw(self, pixels: Tensor) -> Tensor:
        """Encode float32 pixels (B,3,H,W) in [0,1] to components (B,C,h,w)."""
        return F.conv2d(F.pixel_unshuffle(pixels, BLOCK) - self.network["mean"], self.network["basis"])

    def decode_raw(self, latents: Tensor) -> Tensor:
        """Decode components (B,C,h,w) to pixels (B,3,H,W)."""
        cells = F.conv2d(latents, self.network["basis"].transpose(0, 1)) + self.network["mean"]
        return F.pixel_shuffle(cells, BLOCK)
