"""Codecs: round trips, references, constants, identity of weights, and messages."""

from __future__ import annotations

import builtins
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file
from torch import Tensor

from videocompressa.codecs import CODECS, Codec, LinearCodec, PixelCodec, TinyCodec, build_codec, weights_sha256
from videocompressa.codecs import codec as codec_module
from videocompressa.codecs.codec import channel_constants
from videocompressa.codecs.diffusers import DiffusersCodec, fixed_pictures, stated_constants
from videocompressa.codecs.linear import BlockPCA
from videocompressa.codecs.pixels import YCbCrCodec
from videocompressa.codecs.tiny import TinyConfig, TinyNet
from videocompressa.errors import InputError
from videocompressa.rng import Streams

SMALL = TinyConfig(channels=5, width=16, fine_width=8, encoder_blocks=(1, 1), decoder_blocks=(1, 1))


def random_frames(count: int, size: int, seed: int = 0) -> Tensor:
    """Frames (M,3,size,size) uint8 of three discs and a bar with soft edges on a color ramp."""
    generator = Streams(seed).generator("frames")
    rows, columns = torch.meshgrid(torch.linspace(0, 1, size), torch.linspace(0, 1, size), indexing="ij")
    frames = []
    for _ in range(count):
        draws = torch.rand(8, 6, generator=generator)
        pixels = draws[0, :3, None, None] * rows + draws[1, :3, None, None] * columns
        for x, y, radius, *color in draws[2:5].tolist():
            inside = torch.sigmoid((0.05 + radius / 4 - ((columns - x) ** 2 + (rows - y) ** 2).sqrt()) * size)
            pixels = pixels * (1 - inside) + torch.tensor([*color, x]).view(-1, 1, 1)[:3] * inside
        bar = torch.sigmoid((0.04 - (rows - draws[5, 0] - 0.6 * (columns - draws[5, 1])).abs()) * size)
        pixels = pixels * (1 - bar) + draws[6, :3, None, None] * bar
        frames.append((pixels.clamp(0, 1) * 255).round().to(torch.uint8))
    return torch.stack(frames)


def decibels(codec: Codec, frames: Tensor) -> float:
    error = (codec.decode(codec.encode(frames)).clamp(0, 1) - frames.float() / 255).square().mean((1, 2, 3))
    return float(-10 * error.log10().mean())


def tiny_net(config: TinyConfig = SMALL) -> TinyNet:
    """A network with random weights everywhere, also in the last layers."""
    generator = Streams(0).generator("weights")
    net = TinyNet(config)
    with torch.no_grad():
        for weight in net.parameters():
            weight.copy_(torch.randn(weight.shape, generator=generator) * 0.05)
    net.set_constants(random_frames(4, 32).float() / 255)
    return net


@pytest.fixture(scope="module")
def frames() -> Tensor:
    return random_frames(24, 64)


@pytest.fixture(scope="module", params=["tiny", "linear", "pixel", "ycbcr", "random"])
def codec(request: pytest.FixtureRequest) -> Codec:
    return TinyCodec(tiny_net()) if request.param == "random" else build_codec(request.param)


class TestEveryCodec:
    def test_round_trip_has_the_shapes_of_the_spec(self, codec: Codec, frames: Tensor) -> None:
        latents = codec.encode(frames[:3, :, :48, :32])
        assert tuple(latents.shape) == (3, *codec.spec.latent_shape(48, 32))
        pixels = codec.decode(latents)
        assert tuple(pixels.shape) == (3, 3, 48, 32)
        assert latents.dtype == pixels.dtype == torch.float32

    def test_float_frames_give_the_latents_of_uint8_ones(self, codec: Codec, frames: Tensor) -> None:
        torch.testing.assert_close(codec.encode(frames[:2].double() / 255), codec.encode(frames[:2]))

    def test_scaled_latents_have_about_unit_variance(self, codec: Codec, frames: Tensor) -> None:
        latents = codec.encode(frames)
        assert 0.4 < float(latents.std()) < 2.0
        assert float(latents.mean().abs()) < 0.7

    def test_batch_size_does_not_matter(self, codec: Codec, frames: Tensor, monkeypatch: pytest.MonkeyPatch) -> None:
        full = codec.encode(frames[:7])
        monkeypatch.setattr(codec_module, "BATCH_PIXELS", 3 * 64 * 64)
        torch.testing.assert_close(codec.encode(frames[:7]), full, rtol=1e-4, atol=1e-4)
        monkeypatch.setattr(codec_module, "BATCH_PIXELS", 1)
        torch.testing.assert_close(codec.encode(frames[:7]), full, rtol=1e-4, atol=1e-4)

    def test_no_frames_give_no_latents(self, codec: Codec) -> None:
        latents = codec.encode(torch.zeros(0, 3, 16, 16, dtype=torch.uint8))
        assert tuple(latents.shape) == (0, *codec.spec.latent_shape(16, 16))

    def test_decode_has_a_gradient_and_weights_have_none(self, codec: Codec, frames: Tensor) -> None:
        latents = codec.encode(frames[:1]).requires_grad_()
        direction = torch.randn(latents.shape, generator=Streams(1).generator("direction"))
        loss = codec.decode(latents).square().mean()
        loss.backward()
        step = 2e-3
        with torch.no_grad():
            ends = [codec.decode(latents + sign * step * direction).square().mean() for sign in (1, -1)]
        slope = float((ends[0] - ends[1]) / (2 * step))
        assert float((latents.grad * direction).sum()) == pytest.approx(slope, rel=0.1, abs=2e-4)
        assert not any(weight.requires_grad for weight in codec.parameters())

    def test_encode_has_a_gradient_only_where_the_frames_ask(self, codec: Codec, frames: Tensor) -> None:
        pixels = frames[:1].float() / 255
        assert not codec.encode(pixels).requires_grad
        codec.encode(pixels.requires_grad_()).sum().backward()
        assert pixels.grad is not None
        assert float(pixels.grad.abs().sum()) > 0

    def test_same_weights_same_spec(self, codec: Codec) -> None:
        again = TinyCodec(tiny_net()) if codec.spec.channels == 5 else build_codec(codec.spec.name)
        assert again.spec == codec.spec
        assert codec.to("cpu") is codec

    def test_repr_names_the_codec(self, codec: Codec) -> None:
        assert repr(codec.spec.name) in repr(codec)

    def test_refuses_frames_of_another_shape_or_type(self, codec: Codec) -> None:
        for bad in (torch.zeros(2, 1, 16, 16), torch.zeros(3, 16, 16), torch.zeros(2, 3, 16, 16, dtype=torch.int64)):
            with pytest.raises(InputError, match=r"give \(M,3,H,W\) as uint8, or as float in \[0,1\]"):
                codec.encode(bad)

    def test_refuses_latents_of_another_codec(self, codec: Codec) -> None:
        for bad in (torch.zeros(1, codec.spec.channels + 1, 2, 2), torch.zeros(codec.spec.channels, 2, 2)):
            with pytest.raises(InputError, match="give latents of the same codec"):
                codec.decode(bad)


class TestPixel:
    def test_is_the_identity(self, frames: Tensor) -> None:
        codec = PixelCodec()
        assert torch.equal((codec.decode(codec.encode(frames)) * 255).round().to(torch.uint8), frames)
        assert codec.spec.latent_shape(31, 17) == (3, 31, 17)
        assert codec.spec.weights_sha256 == ""


class TestYCbCr:
    def test_gives_pixels_back_and_grey_ones_no_chroma(self, frames: Tensor) -> None:
        codec = YCbCrCodec()
        assert torch.equal((codec.decode(codec.encode(frames)) * 255).round().to(torch.uint8), frames)
        gray = codec.encode(frames[:, :1].expand(-1, 3, -1, -1))
        assert float(gray[:, 1:].abs().max()) < 1e-5
        assert float(codec.encode(frames)[:, 1:].abs().max()) > 0.1

    def test_is_what_pillow_calls_ycbcr(self, frames: Tensor) -> None:
        image = Image.fromarray(frames[0].permute(1, 2, 0).numpy()).convert("YCbCr")
        theirs = torch.from_numpy(np.array(image)).permute(2, 0, 1).float() / 255
        ours = YCbCrCodec().encode(frames[:1])[0] * 0.25 + torch.tensor([0.5, 0.5, 0.5]).view(3, 1, 1)
        assert float((ours - theirs).abs().max()) <= 1.01 / 255


class TestLinear:
    def test_equals_numpy_singular_value_decomposition(self, frames: Tensor) -> None:
        pixels = frames.numpy().astype(np.float64) / 255
        blocks = pixels.reshape(24, 3, 8, 8, 8, 8).transpose(0, 2, 4, 1, 3, 5).reshape(-1, 192)
        mean = blocks.mean(0)
        left, values, right = np.linalg.svd(blocks - mean, full_matrices=False)
        best = (left[:, :6] * values[:6]) @ right[:6] + mean
        expected = best.reshape(24, 8, 8, 3, 8, 8).transpose(0, 3, 1, 4, 2, 5).reshape(24, 3, 64, 64)
        codec = LinearCodec(BlockPCA.fit(frames, channels=6))
        latents = codec.encode(frames)
        np.testing.assert_allclose(codec.decode(latents).numpy(), expected, atol=2e-4)
        np.testing.assert_allclose(latents.std((0, 2, 3), correction=0).numpy(), 1, rtol=1e-3)
        np.testing.assert_allclose(latents.mean((0, 2, 3)).numpy(), 0, atol=1e-3)

    def test_all_components_lose_nothing(self, frames: Tensor) -> None:
        assert decibels(LinearCodec(BlockPCA.fit(frames, channels=192)), frames) > 70

    def test_hash_follows_the_frames(self, frames: Tensor) -> None:
        first, again = LinearCodec(BlockPCA.fit(frames[:8])), LinearCodec(BlockPCA.fit(frames[:8]))
        assert first.spec == again.spec
        assert first.spec.weights_sha256 != LinearCodec(BlockPCA.fit(frames[8:])).spec.weights_sha256

    def test_flat_frames_do_not_divide_by_zero(self) -> None:
        flat = torch.full((2, 3, 16, 16), 100, dtype=torch.uint8)
        codec = LinearCodec(BlockPCA.fit(flat))
        assert bool(torch.isfinite(codec.encode(flat)).all())
        torch.testing.assert_close(codec.decode(codec.encode(flat)), flat / 255, atol=1e-3, rtol=0)

    @pytest.mark.parametrize("channels", [0, 193])
    def test_refuses_impossible_channels(self, frames: Tensor, channels: int) -> None:
        with pytest.raises(InputError, match=f"has 1 to 192 channels, got {channels}"):
            LinearCodec(BlockPCA.fit(frames, channels))

    @pytest.mark.parametrize("shape", [(0, 3, 8, 8), (2, 3, 12, 8), (2, 1, 8, 8), (3, 8, 8)])
    def test_refuses_frames_without_whole_blocks(self, shape: tuple[int, ...]) -> None:
        with pytest.raises(InputError, match="sides in multiples of 8, got"):
            BlockPCA.fit(torch.zeros(shape))


class TestTiny:
    def test_beats_the_linear_codec_fitted_on_the_same_pictures(self, frames: Tensor) -> None:
        tiny, linear = decibels(build_codec("tiny"), frames), decibels(LinearCodec(BlockPCA.fit(frames)), frames)
        assert tiny > linear + 2
        assert tiny > 28

    def test_starts_as_the_principal_components(self, frames: Tensor) -> None:
        pca = BlockPCA.fit(frames, 5)
        net = TinyNet(SMALL)
        net.start_from(pca.mean - 0.5, pca.basis, pca.std)
        # The first layers are random and the last ones zero: what remains is linear.
        torch.testing.assert_close(
            TinyCodec(net).encode(frames[:4]), LinearCodec(pca).encode(frames[:4]), atol=1e-3, rtol=1e-3
        )
        assert decibels(TinyCodec(net), frames) == pytest.approx(decibels(LinearCodec(pca), frames), abs=0.01)

    def test_embedded_weights_are_small_and_known(self) -> None:
        spec = build_codec("tiny").spec
        assert (spec.channels, spec.downscale) == (8, 8)
        assert spec.num_bytes < 3_000_000
        card = (Path(codec_module.__file__).parents[1] / "codecs/weights" / "tiny_codec.md").read_text()
        assert spec.weights_sha256 in card
        assert build_codec("linear").spec.weights_sha256 in card

    def test_eight_bit_latents_cost_little(self, frames: Tensor) -> None:
        codec = build_codec("tiny")
        latents = codec.encode(frames)
        step = latents.abs().amax((2, 3), keepdim=True) / 127
        error = (codec.decode((latents / step).round() * step).clamp(0, 1) - frames / 255).square().mean((1, 2, 3))
        assert float(-10 * error.log10().mean()) > decibels(codec, frames) - 0.3

    def test_file_round_trip(self, tmp_path: Path, frames: Tensor) -> None:
        net = tiny_net()
        path = tmp_path / "five.safetensors"
        path.write_bytes(net.to_bytes())
        assert path.read_bytes() == net.to_bytes()
        name = f"tiny:{path}"
        codec = build_codec(name)
        assert codec.spec.name == name
        assert codec.spec.channels == 5
        assert codec.spec.num_bytes == path.stat().st_size
        torch.testing.assert_close(codec.encode(frames[:2]), TinyCodec(net).encode(frames[:2]), atol=0.02, rtol=0.02)

    def test_constants_follow_the_latents(self) -> None:
        values = torch.randn(50, 3, 8, 8, generator=Streams(0).generator("raw"))
        shift, scale = channel_constants(values * torch.tensor([0.01, 1, 300]).view(3, 1, 1) + 7)
        assert shift == pytest.approx((7, 7, 7), abs=20)
        assert shift[0] == pytest.approx(7, abs=0.001)
        assert scale == pytest.approx((0.01, 1, 300), rel=0.1)
        assert channel_constants(torch.zeros(2, 1, 4, 4)) == ((0.0,), (1e-6,))

    def test_refuses_other_files(self, tmp_path: Path) -> None:
        path = tmp_path / "x.safetensors"
        with pytest.raises(InputError, match="is no TinyCodec file"):
            TinyCodec.load(path)
        path.write_bytes(b"nonsense")
        with pytest.raises(InputError, match="is no TinyCodec file"):
            TinyCodec.load(path)
        save_file({"a": torch.zeros(2)}, path)
        with pytest.raises(InputError, match="has no metadata key 'tiny_codec'"):
            TinyCodec.load(path)
        save_file({"a": torch.zeros(2)}, path, metadata={"tiny_codec": json.dumps({"color": 3})})
        with pytest.raises(InputError, match="does not fit its sizes"):
            TinyCodec.load(path)

    def test_refuses_impossible_sizes(self) -> None:
        with pytest.raises(InputError, match=r"TinyConfig.channels is 0; it must be at least 1"):
            TinyConfig(channels=0)


class TestTable:
    def test_unknown_names_list_the_known(self) -> None:
        for name in ("vae", "", "diffusers:", "tiny:", "Tiny"):
            with pytest.raises(
                InputError, match=r"unknown codec .*known: tiny, linear, pixel, ycbcr, diffusers:HUB_OR_FOLDER"
            ):
                build_codec(name)

    def test_every_name_builds_its_codec(self) -> None:
        for name in CODECS:
            assert build_codec(name).spec.name == name

    def test_sides_must_be_whole_cells(self) -> None:
        with pytest.raises(InputError, match=r"codec 'tiny' needs sides in multiples of 8 pixels, got 60x64"):
            build_codec("tiny").encode(torch.zeros(1, 3, 60, 64))

    def test_hash_is_of_bytes_in_order_of_names(self) -> None:
        first, second = torch.arange(3.0), torch.ones(2, dtype=torch.int8)
        assert weights_sha256({"a": first, "b": second}) == weights_sha256({"b": second, "a": first})
        assert weights_sha256({"a": first, "b": second}) != weights_sha256({"b": first, "a": second})
        # sha256 of the empty text is a public constant.
        assert weights_sha256({}) == "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"


def test_without_diffusers_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    real_import = builtins.__import__

    def without(name: str, *args: object, **kwargs: object) -> object:
        if name == "diffusers":
            raise ImportError(name)
        return real_import(name, *args, **kwargs)  # type: ignore[arg-type]

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(InputError, match=r'pip install "\.\[diffusers\]"'):
        build_codec("diffusers:anything")


@pytest.fixture(scope="module")
def diffusers() -> object:
    return pytest.importorskip("diffusers", reason="needs the extra 'diffusers'")


def random_autoencoder(diffusers: object, kind: str) -> object:
    torch.manual_seed(0)
    if kind == "AutoencoderTiny":
        return diffusers.AutoencoderTiny(  # type: ignore[attr-defined]
            encoder_block_out_channels=(8,) * 4, decoder_block_out_channels=(8,) * 4, latent_channels=6
        )
    if kind == "AutoencoderKL":
        return diffusers.AutoencoderKL(  # type: ignore[attr-defined]
            block_out_channels=(8, 8),
            down_block_types=("DownEncoderBlock2D",) * 2,
            up_block_types=("UpDecoderBlock2D",) * 2,
            norm_num_groups=4,
            latent_channels=4,
            scaling_factor=0.5,
            shift_factor=0.25,
        )
    return diffusers.AutoencoderDC(  # type: ignore[attr-defined]
        latent_channels=4,
        attention_head_dim=8,
        encoder_block_types="ResBlock",
        decoder_block_types="ResBlock",
        encoder_block_out_channels=(8, 8, 16),
        decoder_block_out_channels=(8, 8, 16),
        encoder_layers_per_block=(1, 1, 1),
        decoder_layers_per_block=(1, 1, 1),
        encoder_qkv_multiscales=((), (), ()),
        decoder_qkv_multiscales=((), (), ()),
        scaling_factor=1.0,
    )


class TestDiffusers:
    @pytest.mark.parametrize(
        ("kind", "channels", "downscale"), [("AutoencoderTiny", 6, 8), ("AutoencoderKL", 4, 2), ("AutoencoderDC", 4, 4)]
    )
    @pytest.mark.parametrize("inside", ["", "vae"])
    def test_a_saved_folder_is_a_codec(
        self, diffusers: object, tmp_path: Path, kind: str, channels: int, downscale: int, inside: str
    ) -> None:
        network = random_autoencoder(diffusers, kind)
        network.save_pretrained(tmp_path / inside)  # type: ignore[attr-defined]
        codec = build_codec(f"diffusers:{tmp_path}")
        assert (codec.spec.channels, codec.spec.downscale) == (channels, downscale)
        assert codec.spec.weights_sha256 == weights_sha256(network.state_dict())  # type: ignore[attr-defined]
        assert codec.spec.num_bytes == sum(t.nbytes for t in network.state_dict().values())  # type: ignore[attr-defined]
        assert build_codec(f"diffusers:{tmp_path}").spec == codec.spec
        latents = codec.encode(random_frames(2, 32))
        assert tuple(latents.shape) == (2, channels, 32 // downscale, 32 // downscale)
        assert tuple(codec.decode(latents).shape) == (2, 3, 32, 32)
        latents.requires_grad_()
        codec.decode(latents).sum().backward()
        assert latents.grad is not None
        assert float(latents.grad.abs().sum()) > 0
        if kind == "AutoencoderKL":
            assert codec.spec.scale == (2.0,) * 4
            assert codec.spec.shift == (0.25,) * 4
        else:
            assert float(codec.encode(fixed_pictures()).std()) == pytest.approx(1, abs=0.1)

    def test_refuses_what_is_no_autoencoder(self, diffusers: object, tmp_path: Path) -> None:
        with pytest.raises(InputError, match="no autoencoder at .*; of a hub name, check it and the network"):
            build_codec(f"diffusers:{tmp_path}")
        (tmp_path / "config.json").write_text(json.dumps({"_class_name": "UNet2DModel"}))
        with pytest.raises(InputError, match="an autoencoder UNet2DModel; known: AutoencoderTiny, AutoencoderKL"):
            build_codec(f"diffusers:{tmp_path}")
        path = tmp_path / "w.safetensors"
        path.write_bytes(b"nonsense")
        with pytest.raises(InputError, match="is no safetensors file"):
            build_codec(f"diffusers:{path}")
        save_file({"a": torch.zeros(2)}, path)
        with pytest.raises(InputError, match=r"has no encoder.layers.N.weight"):
            build_codec(f"diffusers:{path}")
        save_file({f"{p}.layers.0.weight": torch.zeros(4, 3, 3, 3) for p in ("encoder", "decoder")}, path)
        with pytest.raises(InputError, match="does not fit AutoencoderTiny"):
            build_codec(f"diffusers:{path}")

    def test_constants_that_a_configuration_states(self) -> None:
        assert stated_constants({"latents_mean": [1, 2], "latents_std": [3, 4]}, 2) == ((1.0, 2.0), (3.0, 4.0))
        assert stated_constants({"scaling_factor": 0.5, "shift_factor": None}, 1) == ((0.0,), (2.0,))
        assert stated_constants({"scaling_factor": 1.0, "shift_factor": 0.0}, 1) is None

    @pytest.mark.slow
    @pytest.mark.parametrize(("file", "channels", "least"), [("taesd.embd", 4, 23.5), ("taesd_3.embd", 16, 29)])
    def test_real_taesd_weights(
        self, diffusers: object, shared_models: Path, shared_data: Path, file: str, channels: int, least: float
    ) -> None:
        from videocompressa.video import read_frames

        video = shared_data / "odd" / "decord-flipping_a_pancake.mkv"
        frames = torch.from_numpy(read_frames(video, 3, 128, 128).frames)
        codec = DiffusersCodec(str(shared_models / file))
        assert (codec.spec.channels, codec.spec.downscale) == (channels, 8)
        assert decibels(codec, frames) > least
        if channels == 4:
            assert decibels(build_codec("tiny"), frames) > decibels(codec, frames) + 2
