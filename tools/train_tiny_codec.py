"""Train TinyCodec, and fit the default LinearCodec, on permissively licensed pictures only.

1. Pool: 64x64 crops of video frames, photographs and rendered pictures, each at a random scale (shrunk, so that crops
   hold as much detail as small videos do, or grown again, as small videos are when they are enlarged).
2. Start: principal components of the pool's 8x8 blocks (also written as the basis of `LinearCodec`).
3. Train: mean over pictures of 10 log10(squared error), with noise on the latents in place of 8-bit storage, Muon for
   the convolutions (Jordan et al. 2024), Adam for the rest, linear decay to zero, average of weights (EMA).
4. Write: float16 weights with the scaling constants measured on the pool.

    python tools/train_tiny_codec.py --data SHARED_DATA --film trailer_bbb.mp4 --photographs WALLPAPERS --work TMP

The command and figures of the weights in the package are in `videocompressa/codecs/weights/tiny_codec.md`.
"""

from __future__ import annotations

import argparse
import copy
import csv
import io
import math
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import av
import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image, ImageDraw, ImageFont
from safetensors.torch import save
from torch import Tensor, nn

from videocompressa.codecs.linear import BlockPCA
from videocompressa.codecs.tiny import TinyConfig, TinyNet
from videocompressa.files import write_bytes
from videocompressa.rng import Streams

CROP = 64
PHOTOGRAPHS = (".jpg", ".png", ".webp")
FILTERS = (Image.Resampling.BOX, Image.Resampling.BILINEAR, Image.Resampling.BICUBIC, Image.Resampling.LANCZOS)
GREY = torch.tensor([0.299, 0.587, 0.114]).view(3, 1, 1)
LATENT_NOISE = 0.005  # of one standard deviation: about what 8-bit storage with a scale for each item and channel does
ERROR_FLOOR = 2e-6  # 57 dB: near the rounding of 8-bit pixels (59 dB) a picture is good enough and no longer pulls


def video_pictures(path: Path, every: int) -> Iterator[Image.Image]:
    """Yield each `every`-th frame of a video."""
    with av.open(str(path)) as container:
        for number, frame in enumerate(container.decode(video=0)):
            if number % every == 0:
                yield Image.fromarray(frame.to_ndarray(format="rgb24"))


def split_videos(root: Path, split: str) -> list[Path]:
    """Return the videos of one split of a set with a `splits.csv`."""
    with (root / "splits.csv").open(newline="") as file:
        return [root / row["path"] for row in csv.DictReader(file) if row["split"] == split]


def rendered_picture(rng: np.random.Generator) -> Image.Image:
    """Render a picture of 256x256: gradient, then shapes, lines, letters and a stick figure."""
    side = 256

    def color() -> tuple[int, int, int]:
        red, green, blue = rng.integers(0, 256, 3).tolist()
        return red, green, blue

    slope = np.linspace(0, 1, side)[:, None, None]
    ramp = slope * np.array(color()) + slope.transpose(1, 0, 2) * np.array(color())
    image = Image.fromarray((ramp / max(1.0, float(ramp.max()) / 255)).astype(np.uint8))
    draw = ImageDraw.Draw(image)
    for _ in range(int(rng.integers(2, 25))):
        x, y = rng.integers(-40, side, 2).tolist()
        w, h = np.exp(rng.uniform(1, 5, 2)).astype(int).tolist()
        kind = int(rng.integers(0, 5))
        if kind == 0:
            draw.rectangle((x, y, x + w, y + h), fill=color())
        elif kind == 1:
            draw.ellipse((x, y, x + w, y + h), fill=color(), outline=color(), width=int(rng.integers(1, 5)))
        elif kind == 2:
            draw.polygon([tuple(point) for point in rng.integers(0, side, (3, 2)).tolist()], fill=color())
        elif kind == 3:
            draw.line((x, y, *rng.integers(0, side, 2).tolist()), fill=color(), width=int(rng.integers(1, 9)))
        else:
            letters = "".join(chr(code) for code in rng.integers(33, 127, 8).tolist())
            draw.text((x, y), letters, fill=color(), font=ImageFont.load_default(float(rng.integers(8, 40))))
    joints = np.cumsum(rng.normal(0, 25, (6, 2)), axis=0) + side / 2
    draw.line([tuple(joint) for joint in joints.tolist()], fill=color(), width=int(rng.integers(3, 14)), joint="curve")
    draw.ellipse((*(joints[0] - 12).tolist(), *(joints[0] + 12).tolist()), fill=color())
    return image


def crops(picture: Image.Image, count: int, largest: int, rng: np.random.Generator) -> Iterator[np.ndarray]:
    """Yield `count` crops (64,64,3) uint8, four to a scale; the short side becomes 64 to `largest` pixels."""
    picture = picture.convert("RGB")
    for start in range(0, count, 4):
        short = math.exp(rng.uniform(math.log(CROP), math.log(largest)))
        scaled = picture
        if rng.random() < 0.35:  # as if the video had been small and was enlarged
            scaled = _resized(scaled, short / rng.uniform(1, 2.2), rng)
        scaled = _resized(scaled, short, rng)
        for _ in range(min(4, count - start)):
            x, y = (int(rng.integers(0, side - CROP + 1)) for side in scaled.size)
            yield np.asarray(scaled.crop((x, y, x + CROP, y + CROP)))


def _resized(picture: Image.Image, short: float, rng: np.random.Generator) -> Image.Image:
    ratio = short / min(picture.size)
    size = tuple(max(math.ceil(short), round(side * ratio)) for side in picture.size)
    return picture.resize((size[0], size[1]), FILTERS[int(rng.integers(0, len(FILTERS)))], reducing_gap=3.0)


def make_pool(args: argparse.Namespace) -> tuple[Tensor, Tensor]:
    """Return training crops and held-out crops, (P,3,64,64) uint8 each."""
    rng = np.random.default_rng(args.seed)
    pool: list[np.ndarray] = []
    for name, every, count, largest in (("fluent16", 4, 3, 150), ("fights", 3, 3, 200)):
        for video in split_videos(args.data / name, "train"):
            for picture in video_pictures(video, every):
                pool.extend(crops(picture, count, largest, rng))
    for picture in video_pictures(args.film, 6):
        pool.extend(crops(picture, 40, 400, rng))
    for path in sorted(args.photographs.rglob("*.*")):
        if path.suffix not in PHOTOGRAPHS or path.is_symlink():
            continue
        image = Image.open(path)
        if min(image.size) >= 4 * CROP and "screenshot" not in path.name:
            pool.extend(crops(_resized(image.convert("RGB"), min(1080, min(image.size)), rng), 320, 700, rng))
    for _ in range(1500):
        pool.extend(crops(rendered_picture(rng), 4, 256, rng))
    held: list[np.ndarray] = []
    for name in ("fluent16", "fights"):
        for video in split_videos(args.data / name, "test")[::3]:
            held.extend(crops(next(video_pictures(video, 1)), 4, 140, rng))
    return _stack(pool), _stack(held)


def _stack(pictures: list[np.ndarray]) -> Tensor:
    return torch.from_numpy(np.stack(pictures)).permute(0, 3, 1, 2).contiguous()


def batches(pool: Tensor, size: int, generator: torch.Generator) -> Iterator[Tensor]:
    """Yield batches (size,3,64,64) float in [0,1]: mirrored, exposure and tint varied, some gray, a quarter blurred."""
    while True:
        rows = torch.randint(len(pool), (size,), generator=generator)
        pixels = pool[rows].float() / 255
        turn = torch.rand(3, generator=generator) < 0.5
        if turn[0]:
            pixels = pixels.flip(3)
        if turn[1]:
            pixels = pixels.flip(2)
        if turn[2]:
            pixels = pixels.transpose(2, 3)
        draws = torch.rand(size, 6, 1, 1, generator=generator)
        tint = 0.9 + 0.2 * draws[:, :3]
        pixels = (pixels * (0.6 + 0.6 * draws[:, 3:4]) * tint + 0.2 * draws[:, 4:5] - 0.1).clamp(0, 1)
        pixels = torch.where(draws[:, 5:] < 0.35, (pixels * GREY).sum(1, keepdim=True), pixels)
        side = round(CROP / math.exp(1.7 * float(torch.rand((), generator=generator))))
        blurred = F.interpolate(pixels[: size // 4], side, mode="bicubic", antialias=True)
        pixels[: size // 4] = F.interpolate(blurred, CROP, mode="bicubic").clamp(0, 1)
        yield ((pixels * 255).round() / 255).contiguous(memory_format=torch.channels_last)


class Muon(torch.optim.Optimizer):
    """Momentum whose matrices are orthogonalized by Newton-Schulz steps (Jordan et al. 2024)."""

    def __init__(self, params: list[nn.Parameter], lr: float) -> None:
        super().__init__(params, {"lr": lr})

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        """Take one step."""
        for group in self.param_groups:
            for weight in group["params"]:
                momentum = self.state[weight].setdefault("momentum", torch.zeros_like(weight))
                momentum.lerp_(weight.grad, 0.05)
                matrix = weight.grad.lerp(momentum, 0.95).flatten(1)
                update = orthogonalized(matrix).view_as(weight)
                weight.add_(update, alpha=-group["lr"] * max(1.0, matrix.shape[0] / matrix.shape[1]) ** 0.5)


def orthogonalized(matrix: Tensor) -> Tensor:
    """Return about U V^T of the singular value decomposition U S V^T, by five steps of a quintic iteration."""
    wide = matrix if matrix.shape[0] <= matrix.shape[1] else matrix.T
    x = wide / (wide.norm() + 1e-7)
    for _ in range(5):
        gram = x @ x.T
        x = 3.4445 * x + (-4.7750 * gram + 2.0315 * gram @ gram) @ x
    result: Tensor = x if wide is matrix else x.T
    return result


def loss_of(net: TinyNet, pixels: Tensor, generator: torch.Generator) -> Tensor:
    """Return minus the mean PSNR in dB of a batch behind noisy latents, plus a penalty on latents beyond +-4.5."""
    with torch.autocast("cpu", torch.bfloat16):
        latents = net.encoder(pixels - 0.5).float()
        noise = LATENT_NOISE * torch.randn(latents.shape, generator=generator)
        restored = net.decoder(latents + noise).float()
    error = (restored + 0.5 - pixels).square().mean((1, 2, 3))
    beyond = (latents.abs() - 4.5).clamp(min=0).square().mean()
    loss: Tensor = 10 * torch.log10(error + ERROR_FLOOR).mean() + 10 * beyond
    return loss


@torch.no_grad()
def decibels(net: TinyNet, frames: Tensor) -> float:
    """Return the mean PSNR in dB over frames (M,3,64,64) uint8."""
    total = 0.0
    for part in torch.split(frames, 64):
        pixels = part.float() / 255
        restored = (net.decoder(net.encoder(pixels - 0.5)) + 0.5).clamp(0, 1)
        total += float((-10 * torch.log10((restored - pixels).square().mean((1, 2, 3)) + 1e-10)).sum())
    return total / len(frames)


def train(net: TinyNet, pool: Tensor, held: Tensor, args: argparse.Namespace, log: Callable[[str], None]) -> TinyNet:
    """Train and return the averaged network; writes a checkpoint of everything every `--every` steps."""
    inner = [p for name, p in net.named_parameters() if p.ndim == 4 and "linear" not in name]
    outer = [p for name, p in net.named_parameters() if p.ndim != 4 or "linear" in name]
    optimizers = [Muon(inner, lr=args.lr), torch.optim.Adam(outer, lr=args.lr / 20, betas=(0.9, 0.99))]
    average, first, state_path = copy.deepcopy(net), 0, args.work / "state.pt"
    if args.resume and state_path.exists():
        state = torch.load(state_path, weights_only=True)
        net.load_state_dict(state["net"])
        average.load_state_dict(state["average"])
        for optimizer, saved in zip(optimizers, state["optimizers"], strict=True):
            optimizer.load_state_dict(saved)
        first = state["step"]
    rates = [optimizer.param_groups[0]["lr"] for optimizer in optimizers] if not first else [args.lr, args.lr / 20]
    streams = Streams(args.seed, f"step{first}")
    source, noise = batches(pool, args.batch, streams.generator("batches")), streams.generator("noise")
    started = time.time()
    for step in range(first, min(args.steps, args.stop)):
        factor = min(1.0, (step + 1) / 100) * min(1.0, 1.25 * (1 - step / args.steps))  # warm up, hold, decay to zero
        for optimizer, rate in zip(optimizers, rates, strict=True):
            optimizer.param_groups[0]["lr"] = rate * factor
            optimizer.zero_grad()
        loss = loss_of(net, next(source), noise)
        torch.autograd.backward(loss)
        for optimizer in optimizers:
            optimizer.step()
        decay = min(0.998, step / (step + 20))
        with torch.no_grad():
            for mean, value in zip(average.parameters(), net.parameters(), strict=True):
                mean.lerp_(value, 1 - decay)
        if (step + 1) % args.every == 0 or step + 1 == args.steps:
            rate = (step + 1 - first) / (time.time() - started)
            log(f"step {step + 1} loss {loss.item():.2f} held-out {decibels(average, held):.3f} dB, {rate:.1f} steps/s")
            average.set_constants(pool[:: max(1, len(pool) // 1000)].float() / 255)
            write_bytes(args.work / "tiny_codec.safetensors", average.to_bytes())
            state = {"net": net.state_dict(), "average": average.state_dict(), "step": step + 1}
            buffer = io.BytesIO()
            torch.save({**state, "optimizers": [o.state_dict() for o in optimizers]}, buffer)
            write_bytes(state_path, buffer.getvalue())
    return average


def main() -> None:
    """Read the options, make the pool (kept in --work), start from principal components, train."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder with fluent16 and fights")
    parser.add_argument("--film", type=Path, required=True, help="Big Buck Bunny trailer")
    parser.add_argument("--photographs", type=Path, required=True, help="folder of unpacked wallpaper packages")
    parser.add_argument("--work", type=Path, required=True, help="folder for the pool, checkpoints and results")
    parser.add_argument("--steps", type=int, default=20000)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--stop", type=int, default=10**9, help="stop after this step, to continue by --resume")
    parser.add_argument("--lr", type=float, default=0.005)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--every", type=int, default=250, help="steps between checkpoints")
    parser.add_argument("--resume", action="store_true", help="resume from the last checkpoint in --work")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    args.work.mkdir(parents=True, exist_ok=True)
    pool_path = args.work / "pool.npz"
    if not pool_path.exists():
        pool, held = make_pool(args)
        np.savez(pool_path, pool=pool.numpy(), held=held.numpy())
    with np.load(pool_path) as file:
        pool, held = torch.from_numpy(file["pool"]), torch.from_numpy(file["held"])
    print(f"{len(pool)} training crops, {len(held)} held out", flush=True)
    pca = BlockPCA.fit(pool)
    write_bytes(args.work / "linear_codec.safetensors", save(vars(pca)))
    torch.manual_seed(args.seed)  # initial weights of the convolutions
    net = TinyNet(TinyConfig())
    net.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # torch's stubs leave it out
    net.start_from(pca.mean - 0.5, pca.basis, pca.std)
    print(f"{sum(p.numel() for p in net.parameters())} weights, start {decibels(net, held):.3f} dB", flush=True)
    train(net, pool, held, args, lambda text: print(text, flush=True))


if __name__ == "__main__":
    main()
