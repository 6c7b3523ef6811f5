"""Shards by Ray: the bytes of the local engine, whatever dies; and one line for every fault that a user can fix."""

from __future__ import annotations

import importlib.machinery
import os
import signal
import subprocess
import sys
import time
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from cli_runs import Runner, everything_in
from engine_work import (
    apart_or_lost,
    decode_or_fail,
    decode_until_killed,
    die_at_two,
    fail_at_three,
    kill_parent_at_two,
    late_square,
    nap,
    negative,
    square,
    two_megabytes,
)
from numbered_videos import numbered
from range_server import serving

from videocompressa.clip import ClipSpec
from videocompressa.codecs import PixelCodec
from videocompressa.datasets import VideoSet, candidates, decode_split, encode_pass, find_videos
from videocompressa.engine import WorkerError, run_shards
from videocompressa.engine_ray import RayCluster
from videocompressa.errors import InputError, VideoError
from videocompressa.video import shards

CLIP = ClipSpec(4, 16, 16)
TESTS = Path(__file__).parent


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    """Two nodes with one core each, in this machine, to which this process is connected."""
    ray = pytest.importorskip("ray", reason="needs the extra ray")
    from ray.cluster_utils import Cluster

    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("PYTHONPATH", f"{TESTS.parent}:{TESTS}")
        environment.setenv("RAY_USAGE_STATS_ENABLED", "0")
        nodes = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
        nodes.add_node(num_cpus=1)
        ray.init(nodes.address, log_to_driver=False, logging_level="ERROR")
        yield nodes
        ray.shutdown()
        nodes.shutdown()


@pytest.fixture
def videos(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> VideoSet:
    """Ten videos of 3 to 12 frames, in shards of three."""
    monkeypatch.setattr(candidates, "SHARD_VIDEOS", 3)
    for n in range(10):
        numbered(tmp_path / "set" / "train" / "ab"[n % 2] / f"{n}.mp4", 3 + n, step=20)
    return find_videos(tmp_path / "set")


def files(cache: Path) -> dict[str, bytes]:
    return {name: (cache / name).read_bytes() for name in everything_in(cache)}


class TestMessages:
    """Before the cluster is there: this process would stay connected to it."""

    def test_no_ray(self, monkeypatch: pytest.MonkeyPatch) -> None:
        class Hidden:
            def find_spec(self, name: str, *_: object) -> importlib.machinery.ModuleSpec | None:
                return importlib.machinery.ModuleSpec(name, None) if name == "ray" else None

        monkeypatch.delitem(sys.modules, "ray", raising=False)
        monkeypatch.setattr(sys, "meta_path", [Hidden(), *sys.meta_path])
        with pytest.raises(InputError, match=r'^--engine ray needs ray; run: pip install "\.\[ray\]" in a clone of'):
            list(run_shards(square, [1], workers=RayCluster(1)))

    @pytest.mark.parametrize(
        ("address", "message"),
        [
            ("127.0.0.1:1", r"--ray-address 127.0.0.1:1: nobody answers there \(.*refused\); give HOST:PORT of a head"),
            ("ray://here:10001", "--ray-address is 'ray://here:10001'; give HOST:PORT of a head node that `ray start"),
            ("here", "--ray-address is 'here'; give HOST:PORT"),
            ("127.0.0.1:99999", "--ray-address 127.0.0.1:99999: nobody answers there"),
        ],
    )
    def test_wrong_addresses(self, address: str, message: str) -> None:
        pytest.importorskip("ray", reason="needs the extra ray")
        with pytest.raises(InputError, match=message):
            list(run_shards(square, [1], workers=RayCluster(1, address)))

    def test_options(self, run: Runner, tmp_path: Path) -> None:
        usual = ("keyframes", tmp_path, "-o", tmp_path / "out")
        assert "--ray-address auto needs --engine ray" in run(*usual, "--ray-address", "auto").error
        assert (
            "--workers is 0; --engine ray needs at least 1, only local takes 0"
            in run(*usual, "--engine", "ray", "--workers", 0).error
        )

    def test_nothing_to_do_needs_no_ray(self) -> None:
        assert list(run_shards(square, [], workers=RayCluster(1, "nowhere"))) == []


class TestSameAsLocal:
    pytestmark = pytest.mark.slow

    def test_bytes_whatever_the_workers_and_with_a_video_that_is_gone(
        self, cluster: Any, videos: VideoSet, tmp_path: Path
    ) -> None:
        (videos.root / "train" / "a" / "2.mp4").write_text("no video")
        kinds = {"local": 1, "one": RayCluster(1), "all": RayCluster()}
        for kind, workers in kinds.items():
            encode_pass(videos, "train", CLIP, PixelCodec(), cache=tmp_path / kind, workers=workers, max_bad=0.2)
        assert files(tmp_path / "local") == files(tmp_path / "one") == files(tmp_path / "all")

    def test_videos_of_a_store(self, cluster: Any, videos: VideoSet, tmp_path: Path) -> None:
        pytest.importorskip("aiohttp", reason="needs the extra hub")
        local = decode_split(videos, "train", CLIP, cache=tmp_path / "local", workers=1)
        with serving(videos.root) as store:
            stored = find_videos(store.url)
            remote = decode_split(stored, "train", CLIP, cache=tmp_path / "remote", workers=RayCluster(1))
            assert store.num_bytes >= sum(path.stat().st_size for path in videos.root.rglob("*.mp4"))
        assert (remote.bad, len(remote)) == ((), 10)
        assert torch.equal(remote.frames, local.frames)

    def test_the_command_with_ray_on_this_machine_alone_and_on_a_cluster(
        self, cluster: Any, videos: VideoSet, tmp_path: Path
    ) -> None:
        usual = [sys.executable, "-m", "videocompressa", "keyframes", "set", "--keyframes=2", "--frames=4", "--quiet"]
        environment = os.environ | {
            "PYTHONPATH": str(TESTS.parent),
            "HOME": str(tmp_path),
        }  # Ray keeps its token there.
        with_ray = ["--engine=ray", "--workers=2"]
        num_drivers = []
        for name, more in {
            "local": [],
            "ray": with_ray,
            "cluster": [*with_ray, "--ray-address", cluster.address],
        }.items():
            command = [*usual, "-o", name, *more]
            ran = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, check=False)
            assert (ran.returncode, ran.stderr) == (0, b"")
            num_drivers.append(len(cluster.global_state.job_table()))
        assert files(tmp_path / "local") == files(tmp_path / "ray") == files(tmp_path / "cluster")
        assert len(files(tmp_path / "ray")) == 2 + 10 * 2
        assert [number - num_drivers[0] for number in num_drivers] == [0, 0, 1]

    def test_the_plan_says_whose_time_it_gives(self, cluster: Any, run: Runner, videos: VideoSet) -> None:
        usual = ("plan", videos.root, "--size", 16, "--frames", 4, "--method", "random-real", "--vpc", 1,
                 "--keyframes", 1, "--labeler", "off", "--set", "labels=hard", "--json", "--quiet")  # fmt: skip
        note = "the time is that of one process; give --workers for that of the cluster"
        local, one, every = (
            run(*usual, *more).json for more in ((), ("--engine", "ray", "--workers", 1), ("--engine", "ray"))
        )
        assert (note in one["notes"], note in every["notes"]) == (False, True)
        assert local["splits"] == one["splits"] == every["splits"]
        assert local["splits"]["train"]["num_frames"] == sum(range(3, 13))

    def test_results_in_order_and_a_bounded_number_in_flight(self, cluster: Any) -> None:
        sent: list[int] = []

        class Shards(list[int]):
            def __getitem__(self, position: int) -> int:  # type: ignore[override]
                sent.append(position)
                return position

        results = run_shards(square, Shards(range(50)), workers=RayCluster(2))
        assert next(results) == 0
        assert max(sent) < 4
        assert list(results) == [n * n for n in range(1, 50)]
        answers = run_shards(two_megabytes, range(4), workers=RayCluster(1))
        assert [answer[-1] for answer in answers] == [0, 1, 2, 3]

    def test_errors_and_shards_that_die_or_take_too_long(self, cluster: Any) -> None:
        workers = RayCluster(2)
        with pytest.raises(VideoError, match="^three is bad$"):
            list(run_shards(fail_at_three, range(6), workers=workers))
        with pytest.raises(WorkerError, match=r"a worker died \(signal SIGKILL\) on shard 2"):
            list(run_shards(die_at_two, range(6), workers=workers, name=lambda number: f"shard {number}"))
        assert list(run_shards(die_at_two, range(5), workers=workers, lost=negative)) == [0, 1, -2, 3, 4]
        started = time.monotonic()
        assert list(run_shards(nap, range(2), workers=workers, max_seconds=0.5, lost=negative)) == [0, -1]
        assert time.monotonic() - started < 25

    def test_videos_at_fault_cost_only_themselves(
        self, cluster: Any, videos: VideoSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        for n, name in {3: "crash", 6: "hang"}.items():
            path = videos.root / "train" / "ab"[n % 2] / f"{n}.mp4"
            path.rename(path.with_stem(name))
        monkeypatch.setattr(shards, "decode_shard", decode_or_fail)
        monkeypatch.setattr(shards, "decode_apart", apart_or_lost)
        decoded = decode_split(
            find_videos(videos.root),
            "train",
            CLIP,
            cache=tmp_path / "c",
            workers=RayCluster(),
            max_bad=0.3,
            max_seconds=2,
        )
        assert {video.video_id: video.reason for video in decoded.bad} == {
            "train/a/hang.mp4": "took over 2 s",
            "train/b/crash.mp4": "the process that read it died (signal SIGKILL)",
        }
        assert len(decoded) == 8


class TestLosses:
    pytestmark = pytest.mark.slow

    def test_a_node_that_is_killed_loses_and_doubles_nothing(self, cluster: Any) -> None:
        third = cluster.add_node(num_cpus=1)
        process = third.all_processes["raylet"][0].process.pid
        answers = []
        for answer in run_shards(late_square, range(30), workers=RayCluster(6)):
            answers.append(answer)
            if len(answers) == 8:
                cluster.remove_node(third, allow_graceful=False)
        assert [result for result, _ in answers] == [n * n for n in range(30)]
        assert process in {node for _, node in answers[:8]}
        assert process not in {node for _, node in answers[-8:]}

    def test_decoding_goes_on_without_a_node_that_is_killed_in_the_middle(
        self, cluster: Any, videos: VideoSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(candidates, "SHARD_VIDEOS", 1)
        decode_split(videos, "train", CLIP, cache=tmp_path / "local", workers=1)
        node = cluster.add_node(num_cpus=1, env_vars={"NODE_TO_KILL": "1"})
        mark, done, ends = tmp_path / "in_the_middle", [], time.monotonic() + 60

        def watch(step: str, **numbers: float) -> None:
            done.append(numbers["done"])
            if done[-1] == 2:
                while not mark.exists():
                    assert time.monotonic() < ends
                    time.sleep(0.05)
                cluster.remove_node(node, allow_graceful=False)

        monkeypatch.setattr(shards, "decode_shard", decode_until_killed)
        decode_split(videos, "train", CLIP, cache=tmp_path / "ray", workers=RayCluster(), watch=watch)
        assert done == list(range(11))
        assert files(tmp_path / "ray") == files(tmp_path / "local")

    def test_a_shard_that_kills_every_ray_worker_is_lost_after_retries(self, cluster: Any) -> None:
        assert list(run_shards(kill_parent_at_two, range(5), workers=RayCluster(), lost=negative)) == [0, 1, -2, 3, 4]
        with pytest.raises(WorkerError, match="Ray gave up shard 2 after 3 retries .*; see the logs of its nodes"):
            list(run_shards(kill_parent_at_two, [2], workers=RayCluster(), name=lambda number: f"shard {number}"))

    def test_a_driver_that_is_killed_resumes(self, cluster: Any, videos: VideoSet, tmp_path: Path) -> None:
        code = (
            "import os, signal, sys; from pathlib import Path; from videocompressa.clip import ClipSpec\n"
            "from videocompressa.datasets import candidates, decode_split, find_videos\n"
            "from videocompressa.engine_ray import RayCluster\n"
            "candidates.SHARD_VIDEOS = 3\n"
            "def watch(step, **numbers): numbers['done'] == 6 and os.kill(os.getpid(), signal.SIGKILL)\n"
            "decode_split(find_videos(Path(sys.argv[1])), 'train', ClipSpec(4, 16, 16), cache=Path(sys.argv[2]),\n"
            "             workers=RayCluster(None, sys.argv[3]), watch=watch)"
        )
        command = [sys.executable, "-c", code, str(videos.root), str(tmp_path / "c"), cluster.address]
        killed = subprocess.run(command, cwd=TESTS.parent, check=False)
        assert killed.returncode == -signal.SIGKILL
        (journal,) = (tmp_path / "c").rglob("frames.jsonl")
        assert len(journal.read_text().splitlines()) == 2
        done: list[float] = []
        decode_split(
            videos, "train", CLIP, cache=tmp_path / "c", workers=RayCluster(),
            watch=lambda step, **numbers: done.append(numbers["done"]),
        )  # fmt: skip
        decode_split(videos, "train", CLIP, cache=tmp_path / "local", workers=0)
        assert done == [6, 9, 10]
        assert files(tmp_path / "c") == files(tmp_path / "local")

    def test_nodes_without_the_code(self, cluster: Any, monkeypatch: pytest.MonkeyPatch) -> None:
        module = types.ModuleType("only_here")
        exec("def double(number): return 2 * number", vars(module))
        monkeypatch.setitem(sys.modules, "only_here", module)
        message = r"a node cannot run the code \(.*No module named 'only_here'\); install the same version of videoc"
        with pytest.raises(InputError, match=message):
            list(run_shards(module.double, [1], workers=RayCluster(1)))


def test_ray_workers_do_without_torch() -> None:
    code = "import sys, videocompressa.engine_ray; sys.exit('torch' in sys.modules or 'ray' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=TESTS.parent, check=False).returncode == 0
