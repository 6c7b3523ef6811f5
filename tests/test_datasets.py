"""Finding the videos of a set: every layout with generated lists, every error in a list, and splits by groups."""

from __future__ import annotations

import errno
import json
import os
import re
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from videocompressa.datasets import find_videos
from videocompressa.datasets.layouts import LAYOUTS
from videocompressa.datasets.videos import VideoEntry, VideoSet, carve_validation, keep_classes, sample_train
from videocompressa.errors import InputError


def touch(root: Path, *names: str) -> Path:
    """Make empty files: finding videos opens none of them."""
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return root


def listed(videos: VideoSet) -> dict[str, tuple[str, str]]:
    return {entry.video_id: (videos.classes[entry.label], entry.split) for entry in videos.entries}


class TestFolders:
    def test_class_folders(self, tmp_path: Path) -> None:
        touch(tmp_path, "walk/b.mp4", "walk/a.AVI", "jump/deep/c.webm", "jump/notes.txt", "jump/.d.mp4", ".git/e.mp4")
        videos = find_videos(tmp_path)
        assert videos.classes == ("jump", "walk")
        assert [entry.video_id for entry in videos.entries] == ["jump/deep/c.webm", "walk/a.AVI", "walk/b.mp4"]
        assert listed(videos)["jump/deep/c.webm"] == ("jump", "train")
        assert videos.name == tmp_path.name

    def test_links_are_followed_but_not_round_in_circles(self, tmp_path: Path) -> None:
        touch(tmp_path / "else", "a.mp4")
        touch(tmp_path / "set", "walk/b.mp4")
        os.symlink(tmp_path / "else", tmp_path / "set" / "jump")
        os.symlink(tmp_path / "set", tmp_path / "set" / "walk" / "up")
        assert set(listed(find_videos(tmp_path / "set"))) == {"jump/a.mp4", "walk/b.mp4"}

    def test_split_folders(self, tmp_path: Path) -> None:
        touch(tmp_path, "train/a/1.mp4", "train/b/2.mp4", "validation/a/3.mp4", "test/b/4.mp4")
        videos = listed(find_videos(tmp_path))
        assert videos["train/a/1.mp4"] == ("a", "train")
        assert videos["validation/a/3.mp4"] == ("a", "val")
        assert videos["test/b/4.mp4"] == ("b", "test")

    def test_split_folders_in_any_case(self, tmp_path: Path) -> None:
        touch(tmp_path, "Train/a/1.mp4", "TRAIN/b/2.mp4", "Test/b/4.mp4")
        assert set(listed(find_videos(tmp_path)).values()) == {("a", "train"), ("b", "train"), ("b", "test")}

    def test_splits_inside_class_folders(self, tmp_path: Path) -> None:
        touch(tmp_path, "a/train/1.mp4", "b/Train/2.mp4", "a/test/deep/3.mp4")
        videos = listed(find_videos(tmp_path))
        assert videos == {
            "a/train/1.mp4": ("a", "train"), "b/Train/2.mp4": ("b", "train"), "a/test/deep/3.mp4": ("a", "test"),
        }  # fmt: skip
        touch(tmp_path, "c/4.mp4")
        with pytest.raises(
            InputError, match=r"/c: is not a split; known: .* --layout folders.*are data sets, give one"
        ):
            find_videos(tmp_path)
        assert find_videos(tmp_path, layout="folders").classes == ("a", "b", "c")

    @pytest.mark.parametrize("extra", ["unused/x.mp4", "unused/a/x.mp4"])
    def test_a_folder_beside_splits_is_no_class(self, tmp_path: Path, extra: str) -> None:
        touch(tmp_path, "train/a/1.mp4", "train/b/2.mp4", "test/b/3.mp4", extra)
        with pytest.raises(
            InputError, match=r"/unused: is not a split; known: train.*; move it away, or give --layout folders"
        ):
            find_videos(tmp_path)

    def test_a_class_may_have_the_name_of_a_split(self, tmp_path: Path) -> None:
        touch(tmp_path, "train/1.mp4", "car/2.mp4")
        assert find_videos(tmp_path).classes == ("car", "train")

    def test_split_folders_without_classes(self, tmp_path: Path) -> None:
        touch(tmp_path, "train/1.mp4", "test/2.mp4")
        with pytest.raises(InputError, match=r"test/2\.mp4: is in no class folder; move it to test/CLASS/2\.mp4"):
            find_videos(tmp_path)

    def test_linked_class_folders_count_where_they_are_linked(self, tmp_path: Path) -> None:
        touch(tmp_path, "pool/a/1.mp4", "pool/b/2.mp4")
        for link in ("train/a", "train/b", "test/a"):
            (tmp_path / link).parent.mkdir(exist_ok=True)
            os.symlink(tmp_path / "pool" / link[-1], tmp_path / link)
        expected = {"train/a/1.mp4": ("a", "train"), "train/b/2.mp4": ("b", "train"), "test/a/1.mp4": ("a", "test")}
        assert listed(find_videos(tmp_path)) == expected

    def test_what_is_left_out_is_named(self, tmp_path: Path) -> None:
        touch(tmp_path, "walk/a.mp4", "jump/b.M2V", "jump/c.mpx", "jump/d.mpx", "walk/README", "walk/.hidden.mpx")
        os.symlink("nowhere", tmp_path / "run")
        videos = find_videos(tmp_path)
        assert set(listed(videos)) == {"walk/a.mp4", "jump/b.M2V"}
        assert videos.notes == (
            f"left out: {tmp_path / 'run'} is a link to what is not there",
            "left out: files that are no videos by their suffix (2 .mpx, 1 README)",
        )
        touch(tmp_path, *(f"walk/{number}.{suffix}" for number in range(2) for suffix in "pqrst"))
        kinds = "2 .mpx, 2 .p, 2 .q, 2 .r, 2 .s, and 2 more kinds"
        assert find_videos(tmp_path).notes[1] == f"left out: files that are no videos by their suffix ({kinds})"

    def test_a_folder_that_cannot_be_read_is_an_error(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        touch(tmp_path, "walk/a.mp4", "jump/b.mp4", "run/c.mp4")
        scan = os.scandir

        def refuse(path: Any) -> Any:
            if Path(path).name == "run":
                raise PermissionError(errno.EACCES, "Permission denied", path)
            return scan(path)

        monkeypatch.setattr(os, "scandir", refuse)
        with pytest.raises(InputError, match=r"run: cannot be read \(Permission denied\); make it readable"):
            find_videos(tmp_path)

    @pytest.mark.parametrize("split", ["", "train/"])
    def test_a_folder_one_level_too_high_is_noticed(self, tmp_path: Path, split: str) -> None:
        touch(tmp_path, *(f"ucf/{split}{name}" for name in ("run/1.mp4", "walk/2.mp4")))
        hint = f"class 'ucf' holds only folders \\(run, walk\\); if those are the classes, give {tmp_path}/ucf instead"
        with pytest.raises(InputError, match=f"lists only one class, 'ucf'; at least two classes are needed; {hint}"):
            find_videos(tmp_path)
        touch(tmp_path, *(f"own/{split}{name}" for name in ("sit/1.mp4", "jump/2.mp4")))
        (note,) = find_videos(tmp_path).notes
        assert re.fullmatch(hint.replace("ucf", "own").replace("run, walk", "jump, sit"), note)
        touch(tmp_path, f"own/{split}loose.mp4")
        assert find_videos(tmp_path).notes == ()

    def test_groups_in_ucf_names(self, tmp_path: Path) -> None:
        touch(tmp_path, "a/v_A_g01_c01.avi", "a/v_A_g01_c02.avi", "b/x.avi")
        assert [entry.group for entry in find_videos(tmp_path).entries] == ["v_A_g01", "v_A_g01", "b/x.avi"]

    def test_messages(self, tmp_path: Path) -> None:
        with pytest.raises(InputError, match="nowhere: there is no such folder; give a folder of labeled videos"):
            find_videos(tmp_path / "nowhere")
        with pytest.raises(InputError, match="holds no videos; put them in one folder a class: .*/CLASS/clip.mp4"):
            find_videos(tmp_path)
        touch(tmp_path, "only/a.mp4", "only/b.mp4")
        with pytest.raises(InputError, match="lists only one class, 'only'; at least two classes are needed"):
            find_videos(tmp_path)
        with pytest.raises(InputError, match="a.mp4: is a file; give a folder of labeled videos, or a .csv"):
            find_videos(tmp_path / "only" / "a.mp4")
        with pytest.raises(InputError, match="layout 'foldres' is not known; known: auto, folders, split-folders, "):
            find_videos(tmp_path, layout="foldres")
        with pytest.raises(InputError, match="only: is not a split; known: train"):
            find_videos(tmp_path, layout="split-folders")
        touch(tmp_path, "loose.mp4")
        with pytest.raises(InputError, match=r"loose.mp4: is in no class folder; move it to .*/CLASS/loose.mp4"):
            find_videos(tmp_path)

    def test_every_layout_names_what_it_lacks(self, tmp_path: Path) -> None:
        touch(tmp_path, "x.txt")
        for name in LAYOUTS:
            with pytest.raises(InputError):
                find_videos(tmp_path, layout=name)


class TestCsv:
    def make(self, root: Path, text: str, name: str = "splits.csv") -> Path:
        (root / name).write_bytes(text.encode())
        return root

    def test_is_recognized_with_columns_in_any_order(self, tmp_path: Path) -> None:
        self.make(tmp_path, "label,group,path,split\nb,g1,x/1.mp4,train\na,g1,x/2.mp4,test\na,,y.mp4,validation\n")
        videos = find_videos(tmp_path)
        assert listed(videos) == {"x/1.mp4": ("b", "train"), "x/2.mp4": ("a", "test"), "y.mp4": ("a", "val")}
        assert {entry.video_id: entry.group for entry in videos.entries}["y.mp4"] == "y.mp4"

    def test_split_and_group_may_be_left_out(self, tmp_path: Path) -> None:
        self.make(tmp_path, "\ufeffPath, Label\r\n1.mp4, a\r\n\r\n2.mp4, b\r\n", "mine.csv")
        expected = {"1.mp4": ("a", "train"), "2.mp4": ("b", "train")}
        assert listed(find_videos(tmp_path, csv=tmp_path / "mine.csv")) == expected
        assert listed(find_videos(tmp_path / "mine.csv")) == expected

    @pytest.mark.parametrize("delimiter", ["\t", ";"])
    def test_tabs_and_semicolons(self, tmp_path: Path, delimiter: str) -> None:
        rows = ["path", "label"], ["1.mp4", "a, b"], ["2.mp4", '"c"']
        self.make(tmp_path, "\r\n".join(delimiter.join(row) for row in rows))
        assert listed(find_videos(tmp_path)) == {"1.mp4": ("a, b", "train"), "2.mp4": ("c", "train")}

    def test_backslashes_of_windows(self, tmp_path: Path) -> None:
        touch(tmp_path, "walk/a.mp4", "run\\b.mp4")
        self.make(tmp_path, "path,label\nwalk\\a.mp4,walk\nrun\\b.mp4,run\ngone\\c.mp4,run\n")
        assert set(listed(find_videos(tmp_path))) == {"walk/a.mp4", "run\\b.mp4", "gone/c.mp4"}

    def test_only_line_feeds_end_lines(self, tmp_path: Path) -> None:
        separators = "\u2028\u0085\x0b\x0c\x1c"
        self.make(tmp_path, f'path,label\na{separators}.mp4,x\nb.mp4,"y{separators}\nz"\n')
        labels = {"x", f"y{separators}\nz"}
        assert {label for label, _ in listed(find_videos(tmp_path)).values()} == labels
        assert f"a{separators}.mp4" in listed(find_videos(tmp_path))

    def test_numbers_are_sorted_as_numbers(self, tmp_path: Path) -> None:
        self.make(tmp_path, "path,label\n1.mp4,10\n2.mp4,9\n3.mp4,100\n")
        videos = find_videos(tmp_path)
        assert videos.classes == ("9", "10", "100")
        assert keep_classes(videos, ["100", "9"]).classes == ("9", "100")
        self.make(tmp_path, f"path,label\na.mp4,{'9' * 5000}\nb.mp4,10\n")  # more digits than int() takes
        assert find_videos(tmp_path).classes == ("10", "9" * 5000)

    @pytest.mark.parametrize("path", ["../a.mp4", "x/../../a.mp4", "/elsewhere/a.mp4", "a\0.mp4"])
    def test_videos_elsewhere_are_refused(self, tmp_path: Path, path: str) -> None:
        self.make(tmp_path, f"path,label\nb.mp4,b\n{path},a\n")
        message = r"splits\.csv, line 3: '.*a.*' is no file below .*; give a folder that holds all videos as DATA, and"
        with pytest.raises(InputError, match=message):
            find_videos(tmp_path)

    def test_videos_that_no_line_names_are_counted(self, tmp_path: Path) -> None:
        touch(tmp_path, "a.mp4", "b.mp4", "x/c.mp4", "x/d.mp4")
        self.make(tmp_path, "path,label\na.mp4,a\nb.mp4,b\n")
        assert find_videos(tmp_path).notes == ("left out: 2 videos that no list names, such as x/c.mp4",)
        self.make(tmp_path, "path,label\na.mp4,a\nb.mp4,b\nx/c.mp4,b\nx/d.mp4,b\n")
        assert find_videos(tmp_path).notes == ()

    def test_lines_of_path_and_label(self, tmp_path: Path) -> None:
        self.make(tmp_path, "v/a b.mp4 0\n\nv/c.mp4\t1\n", "my_val_list.txt")
        expected = {"v/a b.mp4": ("0", "val"), "v/c.mp4": ("1", "val")}
        assert listed(find_videos(tmp_path / "my_val_list.txt")) == expected
        self.make(tmp_path, "path;label\nv/c.mp4;1\nd.mp4;2\n", "csv.txt")
        assert set(listed(find_videos(tmp_path, csv=tmp_path / "csv.txt"))) == {"v/c.mp4", "d.mp4"}
        self.make(tmp_path, "a.mp4 0\nb.mp4\n", "short.txt")
        with pytest.raises(
            InputError, match=r"short\.txt, line 2: 'b\.mp4' cannot be read; a line is PATH LABEL, such as"
        ):
            find_videos(tmp_path / "short.txt")

    def test_paths_are_relative_to_the_csv(self, tmp_path: Path) -> None:
        (tmp_path / "lists").mkdir()
        self.make(tmp_path, "path,label\n../v/1.mp4,a\n../v/2.mp4,b\n", "lists/l.csv")
        videos = find_videos(tmp_path, csv=tmp_path / "lists" / "l.csv")
        assert [entry.source for entry in videos.entries] == [tmp_path / "v" / "1.mp4", tmp_path / "v" / "2.mp4"]
        assert list(listed(videos)) == ["v/1.mp4", "v/2.mp4"]

    @pytest.mark.parametrize(
        ("text", "message"),
        [
            ("", "splits.csv: is empty; the first line must name path, label"),
            ("file,label\n", "line 1: the columns are file, label; path missing: the first line must name path, label"),
            ("path,label\n1.mp4,a\n2.mp4\n", r"line 3: has 1 values for 2 columns \(path, label\)"),
            ("path,label\n1.mp4,a\n2.mp4,\n", "line 3: the label is empty; fill it or remove the line"),
            ("path,label\n,a\n", "line 2: the path is empty; fill it or remove the line"),
            ("path,label,split\n1.mp4,a,trian\n", "line 2: split 'trian' is not known; known: train, training, val"),
            ("path,label\n1.mp4,a\n2.mp4,b\nx/../1.mp4,b\n", r"line 4: 1\.mp4 is listed twice; keep one of its lines"),
            ('path,label\n1.mp4,a\n"2.mp4,b\n', "line 3: cannot be read as csv: unexpected end of data"),
            ("path,label\n1.mp4,a\n", "lists only one class, 'a'; at least two classes are needed"),
        ],
    )
    def test_messages(self, tmp_path: Path, text: str, message: str) -> None:
        self.make(tmp_path, text)
        with pytest.raises(InputError, match=message):
            find_videos(tmp_path)

    def test_not_text(self, tmp_path: Path) -> None:
        (tmp_path / "splits.csv").write_bytes(b"path,label\n1.mp4,a\n\xff\xfe.mp4,b\n")
        with pytest.raises(InputError, match=r"splits\.csv, line 3: is not UTF-8 text; save the file as UTF-8"):
            find_videos(tmp_path)

    def test_csv_gone(self, tmp_path: Path) -> None:
        with pytest.raises(InputError, match=r"x\.csv: there is no such file; give a csv with the columns path and"):
            find_videos(tmp_path, csv=tmp_path / "x.csv")


class TestUcf101:
    def make(self, root: Path, lists: str) -> Path:
        folder = root / lists
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "classInd.txt").write_text("1 Yell\r\n2 Archery\r\n")
        (folder / "trainlist01.txt").write_text("Yell/v_Yell_g08_c01.avi 1\nArchery/v_Archery_g08_c01.avi 2\n")
        (folder / "testlist01.txt").write_text("Yell/v_Yell_g01_c01.avi\nArchery/v_Archery_g01_c01.avi\n")
        (folder / "trainlist02.txt").write_text("Yell/v_Yell_g01_c01.avi 1\n")
        (folder / "testlist02.txt").write_text("Archery/v_Archery_g08_c01.avi\n")
        return touch(root, "UCF-101/Yell/v_Yell_g08_c01.avi", "UCF-101/Archery/v_Archery_g01_c01.mp4")

    @pytest.mark.parametrize("lists", ["", "ucfTrainTestlist"])
    def test_official_lists(self, tmp_path: Path, lists: str) -> None:
        videos = find_videos(self.make(tmp_path, lists))
        assert videos.classes == ("Archery", "Yell")
        assert listed(videos) == {
            "UCF-101/Yell/v_Yell_g08_c01.avi": ("Yell", "train"),
            "UCF-101/Archery/v_Archery_g01_c01.mp4": ("Archery", "test"),  # Converted, located by its name.
            "Archery/v_Archery_g08_c01.avi": ("Archery", "train"),  # Not there: a bad video later, no error here.
            "Yell/v_Yell_g01_c01.avi": ("Yell", "test"),
        }
        assert {entry.group for entry in videos.entries if entry.label == 1} == {"v_Yell_g08", "v_Yell_g01"}
        second = find_videos(tmp_path, fold=2)
        assert Counter(entry.split for entry in second.entries) == {"train": 1, "test": 1}

    def test_files_are_found_in_any_case(self, tmp_path: Path) -> None:
        touch(tmp_path, "a/v_HandStand_g01_c01.mp4", "b/v_Walk_g01_c01.mp4", "c/v_walk_g01_c01.mp4")
        (tmp_path / "classInd.txt").write_text("1 Handstand\n2 Walk\n")
        (tmp_path / "testlist01.txt").write_text("Walk/v_Walk_g01_c01.avi\n")
        (tmp_path / "trainlist01.txt").write_text("Handstand/v_Handstand_g01_c01.avi 1\n")
        assert listed(find_videos(tmp_path)) == {
            "a/v_HandStand_g01_c01.mp4": ("Handstand", "train"),
            "b/v_Walk_g01_c01.mp4": ("Walk", "test"),
        }

    def test_messages(self, tmp_path: Path) -> None:
        self.make(tmp_path, "")
        with pytest.raises(InputError, match="there is no such file; choose --fold among 1, 2"):
            find_videos(tmp_path, fold=3)
        (tmp_path / "testlist01.txt").write_text("Yell/a.avi\nRowing/b.avi\n")
        with pytest.raises(InputError, match=r"testlist01.txt, line 2: class 'Rowing' is not in classInd.txt"):
            find_videos(tmp_path)
        with pytest.raises(InputError, match="holds no classInd.txt"):
            find_videos(touch(tmp_path / "other", "a"), layout="ucf101")


class TestHmdb51:
    def make(self, root: Path, lists: str = "testTrainMulti_7030_splits") -> Path:
        folder = root / lists
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "brush_hair_test_split1.txt").write_text("a name #1.avi 1 \nb.avi 2 \nc.avi 0 \n")
        (folder / "wave_test_split1.txt").write_text("d.avi 1 \ne.avi 2 \n")
        return touch(root, "brush_hair/a name #1.avi", "brush_hair/b.avi", "brush_hair/c.avi", "wave/d.avi")

    @pytest.mark.parametrize("lists", [".", "splits", "test_train_splits/testTrainMulti_7030_splits"])
    def test_unused_clips_are_left_out(self, tmp_path: Path, lists: str) -> None:
        assert listed(find_videos(self.make(tmp_path, lists))) == {
            "brush_hair/a name #1.avi": ("brush_hair", "train"),
            "brush_hair/b.avi": ("brush_hair", "test"),
            "wave/d.avi": ("wave", "train"),
            "wave/e.avi": ("wave", "test"),
        }

    def test_unused_clips_train_by_name(self, tmp_path: Path) -> None:
        videos = find_videos(self.make(tmp_path), layout="hmdb51-unused-train")
        assert listed(videos)["brush_hair/c.avi"] == ("brush_hair", "train")
        assert len(videos) == 5

    def test_messages(self, tmp_path: Path) -> None:
        self.make(tmp_path)
        with pytest.raises(InputError, match=r"holds no CLASS_test_split2\.txt; .* choose --fold among 1, 2, 3"):
            find_videos(tmp_path, layout="hmdb51", fold=2)
        (tmp_path / "testTrainMulti_7030_splits" / "wave_test_split1.txt").write_text("d.avi 3\n")
        with pytest.raises(InputError, match=r"line 1: 'd\.avi 3' cannot be read; a line is VIDEO\.avi and 0, 1 or 2"):
            find_videos(tmp_path)


class TestKinetics:
    HEADER = "label,youtube_id,time_start,time_end,split\n"

    def test_lists_and_names(self, tmp_path: Path) -> None:
        (tmp_path / "train.csv").write_text(self.HEADER + "waving,abc-_1,10,20,train\nhitting,def,0,10,train\n")
        (tmp_path / "val.csv").write_text(self.HEADER + '"a, b",ghi,5,15,validate\n')
        touch(tmp_path, "v/x/abc-_1_000010_000020.mp4", "v/def.mkv")
        videos = find_videos(tmp_path)
        assert listed(videos) == {
            "v/x/abc-_1_000010_000020.mp4": ("waving", "train"),
            "v/def.mkv": ("hitting", "train"),
            "ghi_000005_000015.mp4": ("a, b", "val"),
        }
        assert len(find_videos(tmp_path, csv=tmp_path / "train.csv")) == 2

    @pytest.mark.parametrize(
        ("row", "message"),
        [
            ("a,b,x,20,train", "line 2: time_start or time_end is not a number"),
            (",b,1,20,train", "line 2: the label is empty; fill it or remove the line"),
        ],
    )
    def test_messages(self, tmp_path: Path, row: str, message: str) -> None:
        (tmp_path / "train.csv").write_text(self.HEADER + row)
        with pytest.raises(InputError, match=message):
            find_videos(tmp_path)

    def test_no_csv(self, tmp_path: Path) -> None:
        with pytest.raises(InputError, match="holds no csv with the columns label, youtube_id, time_start, time_end"):
            find_videos(touch(tmp_path, "a.mp4"), layout="kinetics")


class TestSsv2:
    def make(self, root: Path, train: object, prefix: str = "") -> Path:
        root.mkdir(exist_ok=True)
        (root / f"{prefix}labels.json").write_text(json.dumps({"Holding something": "1", "Dropping something": "0"}))
        (root / f"{prefix}train.json").write_text(json.dumps(train))
        (root / f"{prefix}validation.json").write_text(json.dumps([{"id": "3", "template": "Holding [something]"}]))
        (root / f"{prefix}test.json").write_text(json.dumps([{"id": "4"}]))
        return touch(root, "20bn/1.webm")

    TRAIN = [  # noqa: RUF012
        {"id": "1", "label": "holding a cup", "template": "Holding [something]", "placeholders": ["a cup"]},
        {"id": 2, "template": "Dropping [something]"},
    ]

    @pytest.mark.parametrize("prefix", ["", "something-something-v2-"])
    def test_lists(self, tmp_path: Path, prefix: str) -> None:
        videos = find_videos(self.make(tmp_path, self.TRAIN, prefix))
        assert videos.classes == ("Dropping something", "Holding something")
        assert listed(videos) == {
            "20bn/1.webm": ("Holding something", "train"),
            "2.webm": ("Dropping something", "train"),
            "3.webm": ("Holding something", "val"),
        }

    @pytest.mark.parametrize(
        ("train", "message"),
        [
            ([{"template": "Holding [something]"}], r"train\.json, entry 1: has no id"),
            ([{"id": "1"}], r"train\.json, entry 1: has no template"),
            ([{"id": "1", "template": "Eating [it]"}], r"entry 1: template 'Eating it' is not in labels\.json"),
            ({"id": "1"}, r"train\.json: holds a dict; it must be a list"),
        ],
    )
    def test_messages(self, tmp_path: Path, train: object, message: str) -> None:
        with pytest.raises(InputError, match=message):
            find_videos(self.make(tmp_path, train))

    def test_torn_json(self, tmp_path: Path) -> None:
        self.make(tmp_path, self.TRAIN)
        (tmp_path / "train.json").write_text('[\n{"id": "1",\n')
        with pytest.raises(InputError, match=r"train\.json, line \d: cannot be read as json: "):
            find_videos(tmp_path)

    def test_no_labels(self, tmp_path: Path) -> None:
        with pytest.raises(InputError, match=r"holds no labels\.json"):
            find_videos(touch(tmp_path, "a.webm"), layout="ssv2")


def video_set(groups: list[list[int]]) -> VideoSet:
    """Make a set from groups of labels, all in train."""
    entries = [
        VideoEntry(Path(f"{g}-{i}.mp4"), f"{g}-{i}.mp4", label, "train", f"g{g}")
        for g, labels in enumerate(groups)
        for i, label in enumerate(labels)
    ]
    return VideoSet("random", Path(), tuple(str(i) for i in range(5)), tuple(entries))


class TestVideoSet:
    def test_some_classes_are_kept(self) -> None:
        videos = video_set([[0, 1], [2, 3, 4]])
        kept = keep_classes(videos, ["3", "1"])
        assert kept.classes == ("1", "3")
        assert [(entry.video_id, entry.label) for entry in kept.entries] == [("0-1.mp4", 0), ("1-1.mp4", 1)]
        wrong = "random: the classes to keep are {}; name two or more, once"
        more = replace(videos, classes=tuple("012345"))
        for of, names, message in (
            (videos, [], wrong.format("none")),
            (videos, ["1"], wrong.format("1")),
            (videos, ["1", "2", "1"], wrong.format("1, 2, 1")),
            (videos, ["8", "1", "7"], r"random: has no class 7, 8 \(2 of the 3 to keep\); it has 0, 1, 2, 3, 4"),
            (more, ["8", "1"], r"random: has no class 8 \(1 of the 2 to keep\); it has 0, 1, 2, 3, 4, \.\.\."),
        ):
            with pytest.raises(InputError, match=f"^{message}$"):
                keep_classes(of, names)

    def test_select_keeps_the_classes(self, tmp_path: Path) -> None:
        touch(tmp_path, "train/a/1.mp4", "train/b/2.mp4", "test/b/3.mp4")
        test = find_videos(tmp_path).select("test")
        assert test.classes == ("a", "b")
        assert [entry.label for entry in test.entries] == [1]

    def test_hash_knows_ids_labels_and_classes_and_nothing_else(self, tmp_path: Path) -> None:
        one = find_videos(touch(tmp_path / "one", "a/1.mp4", "b/2.mp4"))
        two = find_videos(touch(tmp_path / "two", "a/1.mp4", "b/2.mp4"))
        other = find_videos(touch(tmp_path / "three", "a/1.mp4", "c/2.mp4"))
        assert one.split_hash == two.split_hash != other.split_hash
        assert len(one.split_hash) == 64

    def test_messages(self) -> None:
        entry = VideoEntry(Path("a"), "a", 0, "train", "a")
        with pytest.raises(InputError, match="a video is listed twice: a"):
            VideoSet("s", Path(), ("x", "y"), (entry, entry))
        with pytest.raises(InputError, match="split 'tset' is not known; known: train, val, test"):
            VideoSet("s", Path(), ("x", "y"), (VideoEntry(Path("a"), "a", 0, "tset", "a"),))
        with pytest.raises(InputError, match=r"label 2 leaves \[0,2\)"):
            VideoSet("s", Path(), ("x", "y"), (VideoEntry(Path("a"), "a", 2, "train", "a"),))
        with pytest.raises(InputError, match="split 'dev' is not known"):
            video_set([[0]]).select("dev")


@given(st.lists(st.integers(1, 12), min_size=5, max_size=5), st.integers(5, 60), st.integers(0, 100))
def test_a_sample_has_as_many_of_each_class_as_there_are(sizes: list[int], count: int, seed: int) -> None:
    videos = video_set([[label] for label, size in enumerate(sizes) for _ in range(size)])
    sample = sample_train(videos, count, torch.Generator().manual_seed(seed))
    assert len(sample) == min(count, len(videos))
    kept = [Counter(entry.label for entry in sample.entries)[label] for label in range(len(sizes))]
    most = max(kept)
    assert all(number >= most - 1 or number == size for number, size in zip(kept, sizes, strict=True))
    assert set(sample.entries) <= set(videos.entries)
    assert [e for e in videos.entries if e in set(sample.entries)] == list(sample.entries)
    assert sample == sample_train(videos, count, torch.Generator().manual_seed(seed))


class TestCarveValidation:
    @given(
        st.lists(st.lists(st.integers(0, 4), min_size=1, max_size=4), min_size=1, max_size=20),
        st.floats(0.05, 0.6),
        st.integers(0, 100),
    )
    def test_groups_never_cross_and_classes_keep_one(self, groups: list[list[int]], share: float, seed: int) -> None:
        videos = video_set(groups)
        carved = carve_validation(videos, share, torch.Generator().manual_seed(seed))
        splits: dict[str, set[str]] = {}
        for entry in carved.entries:
            splits.setdefault(entry.group, set()).add(entry.split)
        assert all(len(names) == 1 for names in splits.values())
        assert {e.label for e in carved.entries if e.split == "train"} == {e.label for e in videos.entries}
        again = carve_validation(videos, share, torch.Generator().manual_seed(seed))
        assert again == carved

    @given(st.lists(st.integers(2, 12), min_size=5, max_size=5), st.floats(0.1, 0.5), st.integers(0, 100))
    def test_stratified_where_each_video_is_its_own_group(self, sizes: list[int], share: float, seed: int) -> None:
        videos = video_set([[label] for label, size in enumerate(sizes) for _ in range(size)])
        carved = carve_validation(videos, share, torch.Generator().manual_seed(seed))
        num_val = Counter(entry.label for entry in carved.entries if entry.split == "val")
        for label, size in enumerate(sizes):
            assert 1 <= num_val[label] < size
            assert abs(num_val[label] - share * size) <= 1

    def test_test_videos_stay(self, tmp_path: Path) -> None:
        touch(tmp_path, *(f"{split}/{name}/{i}.mp4" for split in ("train", "test") for name in "ab" for i in range(9)))
        videos = find_videos(tmp_path)
        carved = carve_validation(videos, 0.3, torch.Generator().manual_seed(0))
        assert carved.select("test") == videos.select("test")
        assert len(carved.select("val")) == 6

    @pytest.mark.parametrize("fraction", [0.0, 1.0, -1.0])
    def test_message(self, fraction: float) -> None:
        with pytest.raises(InputError, match="the validation fraction is .*; it must be between 0 and 1"):
            carve_validation(video_set([[0], [1]]), fraction, torch.Generator())
