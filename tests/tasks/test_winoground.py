"""Small data in the hub's two layouts, read by the code of a user's run; captions invented, pictures drawn."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
import threading
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from compbench.core.errors import DataError
from compbench.tasks.matching.winoground import SOURCE, winoground
from winoground_files import ROWS, encoded, read, write_jsonl, write_parquet

pytestmark = pytest.mark.usefixtures("own_cache")


# the two layouts


def test_parquet_and_zip_hold_the_same_task(tmp_path: Path) -> None:
    parquet = read(write_parquet(tmp_path / "parquet"))
    older = read(write_jsonl(tmp_path / "older"))
    with_suffix = read(write_jsonl(tmp_path / "suffix", suffix=".png"))
    assert parquet.revision == older.revision == with_suffix.revision
    assert {example.id for example in parquet.examples} == {str(number) for number in range(7)}
    for example in older.examples:
        for side, image in enumerate(example.images):
            assert image.source() == encoded(int(example.id), side)


@pytest.mark.parametrize("inner", ["", "data", "data/test-00000-of-00001.parquet"])
def test_the_folder_its_data_folder_or_the_file_itself_may_be_given(tmp_path: Path, inner: str) -> None:
    write_parquet(tmp_path, n_files=1)
    assert len(read(tmp_path / inner).examples) == 7


@pytest.mark.parametrize("inner", ["", "data", "data/examples.jsonl"])
def test_the_older_layout_may_be_given_by_folder_or_file(tmp_path: Path, inner: str) -> None:
    write_jsonl(tmp_path)
    assert len(read(tmp_path / inner).examples) == 7


def test_the_folder_of_the_hub_cache_may_be_given(tmp_path: Path) -> None:
    write_parquet(tmp_path / "snapshots" / "abc")
    assert len(read(tmp_path).examples) == 7
    write_parquet(tmp_path / "snapshots" / "def")
    with pytest.raises(DataError, match=r"several copies.*name one of them"):
        read(tmp_path)


def test_an_unpacked_images_folder_is_read_like_the_archive(tmp_path: Path) -> None:
    revision = read(write_jsonl(tmp_path)).revision
    archive = tmp_path / "data" / "images.zip"
    with zipfile.ZipFile(archive) as file:
        file.extractall(tmp_path / "data")
    archive.unlink()
    assert read(tmp_path).revision == revision


def test_columns_of_plain_bytes_are_read_like_structs(tmp_path: Path) -> None:
    revision = read(write_parquet(tmp_path / "struct")).revision
    rows = [row | {f"image_{side}": encoded(row["id"], side) for side in (0, 1)} for row in ROWS]
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "plain.parquet")
    assert read(tmp_path / "plain.parquet").revision == revision


def test_the_revision_follows_captions_and_pictures(tmp_path: Path) -> None:
    plain = read(write_parquet(tmp_path / "plain")).revision
    again = read(write_parquet(tmp_path / "again", ROWS[::-1])).revision
    other_caption = [ROWS[0] | {"caption_1": "another caption"}, *ROWS[1:]]
    other_picture = [*ROWS[:-1], ROWS[-1] | {"id": 8}]
    assert again == plain  # the order of the rows is nothing
    assert read(write_parquet(tmp_path / "caption", other_caption)).revision != plain
    assert read(write_parquet(tmp_path / "picture", other_picture)).revision != plain


def test_a_second_start_reads_no_image(tmp_path: Path) -> None:
    read(write_jsonl(tmp_path))
    (cached,) = (tmp_path / "cache").rglob("images/*.json")
    remembered = dict.fromkeys(json.loads(cached.read_text()), "remembered")
    cached.write_text(json.dumps(remembered))
    assert {image.digest() for example in read(tmp_path).examples for image in example.images} == {"remembered"}
    os.utime(tmp_path / "data" / "images.zip", (1, 1))
    assert "remembered" not in {image.digest() for example in read(tmp_path).examples for image in example.images}


def test_pictures_are_decoded_in_any_order(tmp_path: Path) -> None:
    for example in reversed(read(write_parquet(tmp_path, n_files=1)).examples):
        assert [image.decode().format for image in example.images] == ["PNG", "JPEG"]
        assert example.images[0].decode().size == (64, 64)


# tags


def test_the_tags_are_those_of_the_columns(tmp_path: Path) -> None:
    tags = {example.id: example.tags for example in read(write_parquet(tmp_path)).examples}
    assert tags["0"] == {"tag": ("Object",), "visual": (), "fine": ("Noun",), "predicates": ("1 pred",)}
    assert tags["1"] == {
        "tag": ("Relation",),
        "visual": ("Symbolic",),
        "fine": ("Noun", "Scope"),
        "predicates": ("2 preds",),
    }
    assert tags["2"]["visual"] == ("Series", "Symbolic")


def test_the_task_is_gated_cited_and_explained(tmp_path: Path) -> None:
    task = read(write_parquet(tmp_path))
    assert task.is_gated
    assert "thrush2022winoground" in task.citation
    assert list(task.metrics) == ["text", "image", "group"]
    for column in task.examples[0].tags:
        assert column in task.description
    assert task.tag_order["tag"] == ("Object", "Relation", "Both")


# data that cannot be used


def test_a_folder_without_the_data_set_is_told_with_what_is_there(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"no file or folder .*nowhere.*expected a copy of facebook/winoground"):
        read(tmp_path / "nowhere")
    (tmp_path / "holiday.jpg").touch()
    (tmp_path / "notes").mkdir()
    with pytest.raises(DataError, match=r"found holiday.jpg, notes/; expected a copy .*images.zip.*hf download"):
        read(tmp_path)
    with pytest.raises(DataError, match=r"found a file of type '.jpg'"):
        read(tmp_path / "holiday.jpg")
    with pytest.raises(DataError, match="found an empty folder"):
        read(tmp_path / "notes")


@pytest.mark.parametrize("write", [write_parquet, write_jsonl])
def test_a_missing_column_is_named(tmp_path: Path, write: Any) -> None:
    rows = [{key: value for key, value in row.items() if key != "secondary_tag"} for row in ROWS]
    with pytest.raises(DataError, match=r"no column 'secondary_tag'; found .*caption_0.*; expected id"):
        read(write(tmp_path, rows))


def test_an_id_that_occurs_twice_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="holds id 3 more than once"):
        read(write_parquet(tmp_path, [*ROWS, ROWS[3]]))


@pytest.mark.parametrize("caption", ["", "  ", None])
def test_an_empty_caption_is_named(tmp_path: Path, caption: str | None) -> None:
    with pytest.raises(DataError, match="example 5 has an empty caption_1"):
        read(write_jsonl(tmp_path, [*ROWS[:5], ROWS[5] | {"caption_1": caption}]))


def test_an_empty_data_set_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="holds no example"):
        read(write_jsonl(tmp_path, []))


def test_a_lost_part_of_the_data_set_is_noticed(tmp_path: Path) -> None:
    write_parquet(tmp_path, n_files=2)
    (tmp_path / "data" / "test-00001-of-00002.parquet").unlink()
    with pytest.raises(DataError, match="found 1 of 2 Parquet files"):
        read(tmp_path)


@pytest.mark.parametrize(
    ("write", "name"),
    [(write_parquet, "test-00000-of-00002.parquet"), (write_jsonl, "images.zip"), (write_jsonl, "examples.jsonl")],
)
def test_a_damaged_file_is_named(tmp_path: Path, write: Any, name: str) -> None:
    path = write(tmp_path) / "data" / name
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2 + 5])
    with pytest.raises(DataError, match=f"{name}.*copy it again"):
        read(tmp_path)


def test_a_git_lfs_pointer_is_recognised(tmp_path: Path) -> None:
    path = write_parquet(tmp_path, n_files=1) / "data" / "test-00000-of-00001.parquet"
    path.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 1\n")
    with pytest.raises(DataError, match="git lfs pull"):
        read(tmp_path)


def test_an_image_that_is_not_in_the_archive_is_named(tmp_path: Path) -> None:
    write_jsonl(tmp_path, ROWS[:2])
    archive = (tmp_path / "data" / "images.zip").read_bytes()
    write_jsonl(tmp_path, ROWS)
    (tmp_path / "data" / "images.zip").write_bytes(archive)
    with pytest.raises(DataError, match="no image 'ex_2_img_0' in"):
        read(tmp_path)
    (tmp_path / "data" / "images.zip").unlink()
    with pytest.raises(DataError, match=r"expected images.zip \(or images/\) beside examples.jsonl"):
        read(tmp_path)


def test_a_row_without_image_bytes_is_named(tmp_path: Path) -> None:
    rows = [row | {f"image_{side}": {"bytes": None, "path": "a.png"} for side in (0, 1)} for row in ROWS]
    schema = pa.schema([*pa.Table.from_pylist(ROWS).schema, *(_image_field(side) for side in (0, 1))])
    pq.write_table(pa.Table.from_pylist(rows, schema), tmp_path / "paths.parquet")
    with pytest.raises(DataError, match="holds no image bytes in row 0"):
        read(tmp_path / "paths.parquet")


def _image_field(side: int) -> pa.Field:
    return pa.field(f"image_{side}", pa.struct([("bytes", pa.binary()), ("path", pa.string())]))


def test_a_truncated_picture_is_named_when_it_is_looked_at(tmp_path: Path) -> None:
    write_jsonl(tmp_path)
    with zipfile.ZipFile(tmp_path / "data" / "images.zip", "w") as archive:
        for row in ROWS:
            for side in (0, 1):
                whole = encoded(row["id"], side)
                archive.writestr(f"ex_{row['id']}_img_{side}.png", whole[: len(whole) // 2])
    with pytest.raises(DataError, match=r"image '0/image_0' (\(.*\) )?cannot be decoded"):
        read(tmp_path).examples[0].images[0].decode()


# the hub: a real server on this machine, and a process of its own that reads its environment


class Hub(BaseHTTPRequestHandler):
    """What huggingface_hub asks of a hub: the files of a data set, and each of them; or one refusal for all."""

    folder: Path
    refusal: tuple[int, str] | None

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        if self.refusal:
            status, code = self.refusal
            self.answer(b"{}", {"X-Error-Code": code, "X-Error-Message": "refused"}, status)
        elif "/tree/" in self.path:
            listed = [
                {"type": "file", "path": name, "size": size, "oid": "0" * 40} for name, size in self.files().items()
            ]
            self.answer(json.dumps(listed).encode())
        elif "/resolve/" in self.path:
            name = self.path.partition(f"/resolve/{SOURCE.revision}/")[2]
            etag = hashlib.sha256(name.encode()).hexdigest()
            self.answer((self.folder / name).read_bytes(), {"X-Repo-Commit": str(SOURCE.revision), "ETag": f'"{etag}"'})
        else:
            siblings = [{"rfilename": name} for name in self.files()]
            self.answer(json.dumps({"id": SOURCE.repo, "sha": SOURCE.revision, "siblings": siblings}).encode())

    def files(self) -> dict[str, int]:
        found = [file for file in self.folder.rglob("*") if file.is_file()]
        return {file.relative_to(self.folder).as_posix(): file.stat().st_size for file in found}

    def answer(self, content: bytes, headers: Mapping[str, str] | None = None, status: int = 200) -> None:
        self.send_response(status)
        for name, value in {"Content-Length": str(len(content)), **(headers or {})}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(content)

    def log_message(self, format: str, *args: object) -> None: ...


@contextmanager
def hub_server(folder: Path = Path(), refusal: tuple[int, str] | None = None) -> Iterator[str]:
    """The address of a hub that holds `folder` as the data set, or that refuses with a status and an error code."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("ThisHub", (Hub,), {"folder": folder, "refusal": refusal}))
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def run_from_hub(home: Path, address: str, *, is_offline: bool = False, token: str | None = None) -> str:
    """What a user is told: the revision, or the message of the DataError."""
    script = (
        "import sys\n"
        "from compbench import registry\n"
        "from compbench.core import DataError\n"
        "try:\n"
        f"    print(registry.task('winoground', is_offline={is_offline}).revision)\n"
        "except DataError as error:\n"
        "    print(error)\n"
    )
    kept = {
        name: value for name, value in os.environ.items() if not name.startswith("HF_") and "proxy" not in name.lower()
    }
    environment = kept | {
        "HOME": str(home),
        "HF_HOME": str(home / "hf"),
        "XDG_CACHE_HOME": str(home / "cache"),
        "HF_ENDPOINT": address,
        "HF_HUB_DISABLE_PROGRESS_BARS": "1",
        "HF_HUB_DISABLE_TELEMETRY": "1",
        **({"HF_HUB_OFFLINE": "1"} if is_offline else {}),
        **({"HF_TOKEN": token} if token else {}),
    }
    done = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_the_hub_copy_and_a_local_copy_are_the_same_task_and_the_cache_serves_offline(tmp_path: Path) -> None:
    folder = write_parquet(tmp_path / "copy")
    with hub_server(folder) as address:
        fetched = run_from_hub(tmp_path, address)
    assert fetched == winoground(data=folder).revision
    assert run_from_hub(tmp_path, address, is_offline=True) == fetched  # the server is gone


def test_the_older_layout_is_fetched_from_a_hub_that_has_only_that(tmp_path: Path) -> None:
    folder = write_jsonl(tmp_path / "copy")
    with hub_server(folder) as address:
        assert run_from_hub(tmp_path, address) == winoground(data=folder).revision


def test_no_token_is_told(tmp_path: Path) -> None:
    with hub_server(refusal=(401, "GatedRepo")) as address:
        told = run_from_hub(tmp_path, address)
    assert "gated and no Hugging Face token was found" in told
    assert "hf auth login" in told


def test_terms_that_were_not_accepted_are_told(tmp_path: Path) -> None:
    with hub_server(refusal=(403, "GatedRepo")) as address:
        told = run_from_hub(tmp_path, address, token="hf_invented")
    assert "your account has not been given access" in told
    assert "https://huggingface.co/datasets/facebook/winoground" in told


def test_a_hub_without_the_data_set_is_told(tmp_path: Path) -> None:
    with hub_server(refusal=(404, "RepoNotFound")) as address:
        assert "was not found on the hub" in run_from_hub(tmp_path, address)


def test_no_network_is_told(tmp_path: Path) -> None:
    with hub_server() as address:
        pass  # the port is closed again
    told = run_from_hub(tmp_path, address)
    assert "no network" in told
    assert "--data PATH" in told


def test_offline_without_a_copy_is_told(tmp_path: Path) -> None:
    told = run_from_hub(tmp_path, "http://127.0.0.1:9", is_offline=True)
    assert "is not in the local cache and --offline" in told
    assert "--data PATH" in told


def test_an_interrupted_download_is_not_taken_for_the_data_set(tmp_path: Path) -> None:
    folder = write_parquet(tmp_path / "copy")
    with hub_server(folder) as address:
        run_from_hub(tmp_path, address)
    (lost,) = (tmp_path / "hf").rglob("snapshots/*/data/test-00001-of-00002.parquet")
    lost.unlink()
    shutil.rmtree(tmp_path / "cache")
    told = run_from_hub(tmp_path, address, is_offline=True)
    assert "only partly in the local cache (1 file is missing)" in told or "found 1 of 2" in told
