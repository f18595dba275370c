"""Runs as files: written, read again, refused if damaged; and disks that are full, read-only or gone."""

import json
import os
import re
import resource
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from harness.analysis.verdicts import objections
from harness.experiment.session import FAILED, GOOD, record
from harness.load.measure import LocalGenerators
from harness.load.workload import NullSubject
from harness.record.journal import (
    CUT_OFF,
    JOURNAL,
    RECORD,
    SPACE_BYTES,
    Journal,
    new_folder,
    read_run,
    write_run,
)
from harness.record.ledger import CannotKeep
from harness.record.run import FORMAT, SCHEMA, Result, Run, losses
from harness.report.formatting import as_object
from lab.bootstrap import ROOT
from lab.cli.commands import COMMANDS
from lab.errors import InvalidRequest
from tests import report
from tests.harness.runs import full_run, lossy, point, run_of, window

MAKE_SCHEMA = (
    '.venv/bin/python -c "import json; from harness.record.run import FORMAT; '
    'print(json.dumps(FORMAT.json_schema(), indent=1))" > docs/run.schema.json'
)


def refusal(path: Path) -> str:
    """Return what reading *path* is refused with: one line that names the file."""
    with pytest.raises(InvalidRequest) as caught:
        read_run(path)
    message = caught.value.message
    assert message.startswith(f"{path}: ")
    assert "\n" not in message
    return message


def changed(folder: Path, **changes: Any) -> Path:
    """Write a record in which *changes* were made; return the file."""
    path = write_run(full_run(), folder)
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))
    return path


@pytest.mark.parametrize("run", [full_run(), run_of()], ids=["full", "empty"])
def test_what_is_written_is_read_again(run: Run, tmp_path: Path) -> None:
    assert json.dumps(asdict(read_run(write_run(run, tmp_path)))) == json.dumps(asdict(run))


def test_points_with_losses_objections_and_no_percentiles_are_read_again(tmp_path: Path) -> None:
    measured = lossy(lost=3, failed={"OVERLOADED": 2}, response_ms={"p50": 1.0, "p99": None})
    run = run_of(point(measurement=measured, objections=["of 1,000 requests 3 lost"]), notes=["Gestört: ✓"])
    assert read_run(write_run(run, tmp_path)) == run


def test_what_stood_there_is_replaced_and_no_scratch_file_stays(tmp_path: Path) -> None:
    write_run(run_of(point()), tmp_path)
    write_run(run_of(), tmp_path)
    assert read_run(tmp_path / "run.json").points == []
    assert [path.name for path in tmp_path.iterdir()] == ["run.json"]


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    assert "cannot be read: No such file" in refusal(tmp_path / "run.json")


def test_a_folder_in_its_place_is_refused(tmp_path: Path) -> None:
    assert "cannot be read: Is a directory" in refusal(tmp_path)


@pytest.mark.parametrize(
    "content", [b"", b"not json", b"[]", b"3", b"null", b"{}", b"\xff\xfe", b'{"schema":']
)
def test_what_is_no_record_is_refused(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "run.json"
    path.write_bytes(content)
    assert "is not the record of a run" in refusal(path)


@pytest.mark.parametrize("schema", [SCHEMA - 1, SCHEMA + 1, str(SCHEMA), None])
def test_another_schema_is_refused_and_both_are_named(schema: object, tmp_path: Path) -> None:
    message = refusal(changed(tmp_path, schema=schema))
    assert f"has schema {schema!r}, and this lab reads {SCHEMA}" in message


@pytest.mark.parametrize(
    ("changes", "place"),
    [
        ({"points": 3}, "points"),
        ({"points": [{"experiment": "requests"}]}, "points.0.middleware"),
        ({"configuration": None}, "configuration"),
        ({"capacities": [[]]}, "capacities.0"),
        ({"notes": [1]}, "notes.0"),
    ],
)
def test_a_damaged_record_is_refused_with_the_place(
    changes: dict[str, Any], place: str, tmp_path: Path
) -> None:
    message = refusal(changed(tmp_path, **changes))
    assert "is damaged" in message
    assert f"the first at {place}:" in message


@pytest.mark.parametrize(("known", "unknown"), [("pyro4", "pyro5"), ("one-node", "no-node")])
def test_a_name_that_this_lab_does_not_have_is_refused(known: str, unknown: str, tmp_path: Path) -> None:
    path = write_run(full_run(), tmp_path)
    path.write_text(path.read_text().replace(f'"{known}"', f'"{unknown}"'))
    assert refusal(path).endswith(f"names what this lab does not have: {unknown}")


def test_runs_of_one_second_get_folders_of_their_own_and_latest_is_the_newest(tmp_path: Path) -> None:
    folders = []
    for _ in range(5):  # at least two of them begin in one second
        folders.append(new_folder("run", tmp_path / "results"))
        assert (tmp_path / "results" / "latest").resolve() == folders[-1].resolve()
    assert len(set(folders)) == 5
    assert sum(folder.name.endswith("-run") for folder in folders) < 5
    assert len(list((tmp_path / "results").iterdir())) == 6


def test_results_that_cannot_be_kept_are_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(InvalidRequest, match="file: cannot hold results"):
        new_folder("run", tmp_path / "file")


def test_the_documented_schema_is_that_of_the_record() -> None:
    documented = json.loads((ROOT / "docs" / "run.schema.json").read_text(encoding="utf-8"))
    assert documented == FORMAT.json_schema(), f"make it again: {MAKE_SCHEMA}"


@pytest.mark.parametrize(
    ("loss", "said"),
    [
        ({"lost": 3}, "of 1,000 requests 3 lost"),
        ({"wrong": 2}, "of 1,000 requests 2 answered wrongly"),
        ({"duplicates": 1}, "of 1,000 requests 1 answered twice"),
        ({"failed": {"OVERLOADED": 4}}, "of 1,000 requests 4 refused with OVERLOADED"),
        (
            {"lost": 1, "wrong": 2, "duplicates": 3, "failed": {"UNAVAILABLE": 4, "OVERLOADED": 5}},
            "of 1,000 requests 1 lost, 2 answered wrongly, 3 answered twice, "
            "4 refused with UNAVAILABLE, 5 refused with OVERLOADED",
        ),
    ],
)
def test_every_kind_of_loss_is_said_with_who_lost_it(loss: dict[str, Any], said: str) -> None:
    measured = lossy(**loss)
    found = losses(run_of(point(), point(measurement=measured, objections=objections(measured, processes=2))))
    assert found == [f"xmlrpc one-node, 1 node(s), 4 clients x 1: {said}"]


def test_what_is_only_invalid_has_lost_nothing() -> None:
    assert losses(run_of(point(measurement=window(seconds=0.1), objections=["too short"]))) == []


as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can mount a small file system")
MANY = 100
ROOM_KIB = SPACE_BYTES // 1000 + 10_000
"""Enough for a start."""
EVERY_EXPERIMENT = {
    "run": [],
    "stress": ["xmlrpc"],
    "speedup": ["xmlrpc"],
    "compare": ["xmlrpc", "xmlrpc:in_flight=2"],
    "bench": ["--only", "censor"],
    "settings": ["--only", "xmlrpc:keep-alive"],
    "growth": ["--only", "clients"],
    "anatomy": [],
    "dynamic": [],
    "faults": [],
}
NEEDED = re.compile(r"about [\d,]+ MB are needed and \d+ [kM]B are free; make room there, or name another")


@contextmanager
def small_disk(folder: Path, kib: int = ROOM_KIB) -> Iterator[Path]:
    """A file system of *kib* at *folder*."""
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={kib}k", "tmpfs", folder], check=True)
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", folder], check=True)


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A file system with room for a run, and little more."""
    with small_disk(tmp_path / "disk") as folder:
        yield folder


@pytest.fixture
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where temporary files go in this test."""
    folder = tmp_path / "elsewhere"
    folder.mkdir()
    monkeypatch.setenv("TMPDIR", str(folder))
    monkeypatch.setattr("tempfile.tempdir", None)
    return folder


def fill(folder: Path) -> None:
    """Leave no room in *folder*."""
    with (folder / "filler").open("wb", buffering=0) as file:
        try:
            while file.write(bytes(65_536)) == 65_536:
                pass
        except OSError:
            pass


def read_only(folder: Path) -> None:
    """Let nothing be written in *folder* any more."""
    subprocess.run(["mount", "-o", "remount,ro", folder], check=True)


def deleted(folder: Path) -> None:
    """Delete every run in *folder*."""
    for one in folder.iterdir():
        one.unlink() if one.is_symlink() else shutil.rmtree(one)


def measured_until(spoil: Callable[[], None]) -> Callable[[Journal], int]:
    """Return a measurement of many windows; after the first *spoil* is called."""

    def measure(journal: Journal) -> int:
        journal.keep(point(throughput=1.0))
        spoil()
        for number in range(2, MANY):  # a file may have some room left in its last block
            journal.keep(point(throughput=float(number)))
        return GOOD

    return measure


def kept_elsewhere(folder: Path) -> Run:
    """Return the run that was written to a new folder in *folder*, whole, with its report."""
    [place] = folder.glob("lab-results-*")
    assert "STOPPED" in (place / "report.html").read_text(encoding="utf-8")
    return read_run(place / RECORD)


@as_root
@pytest.mark.parametrize("spoil", [fill, read_only, deleted])
def test_what_was_measured_survives_a_disk_that_is_full_read_only_or_gone(
    spoil: Callable[[Path], None], disk: Path, elsewhere: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = run_of()
    assert record(run, disk, measured_until(lambda: spoil(disk))) == FAILED
    kept = [one.throughput for one in kept_elsewhere(elsewhere).points]
    assert kept == [float(number) for number in range(1, len(run.points) + 1)]
    assert 2 <= len(kept) < MANY - 1
    said = capsys.readouterr().err.splitlines()
    [stopped] = [line for line in said if "STOPPED" in line]
    assert re.search(
        rf"STOPPED: {disk}/\S+: cannot be written: .*; what was measured until then is kept", stopped
    )
    assert any(line.startswith(f"data:   {elsewhere}") for line in said), said


def test_where_nothing_at_all_can_be_written_the_record_is_printed(
    tmp_path: Path, elsewhere: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = resource.getrlimit(resource.RLIMIT_FSIZE)

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (10, before[1]))  # no file may be longer, on any disk

    try:
        assert record(run_of(), tmp_path, measured_until(limit)) == FAILED
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    printed = capsys.readouterr().out.splitlines()[-1]
    (tmp_path / RECORD).write_text(printed, encoding="utf-8")
    assert [one.throughput for one in read_run(tmp_path / RECORD).points] == [1.0, 2.0]


@as_root
def test_a_record_that_finds_no_room_leaves_the_old_one_and_no_scratch_file(disk: Path) -> None:
    write_run(run_of(point()), disk)
    fill(disk)
    with pytest.raises(CannotKeep, match="No space left"):
        write_run(full_run(), disk)
    assert read_run(disk / RECORD).points == [point()]
    assert not list(disk.glob("*.new"))


@as_root
def test_a_load_generator_without_room_for_its_times_says_so_in_one_error(
    disk: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    with LocalGenerators(NullSubject(), 2, raw=disk) as load:
        assert load.closed(0.1).done > 0
        fill(disk)
        with pytest.raises(CannotKeep, match=f"{disk}: cannot be written: No space left on device"):
            load.closed(0.5)
    assert "Traceback" not in capfd.readouterr().err


def test_results_with_too_little_room_are_refused_with_what_is_needed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shutil.disk_usage", lambda path: shutil._ntuple_diskusage(10**9, 10**9, 65_536))
    with pytest.raises(InvalidRequest, match="about 20 MB are needed and 66 kB are free"):
        record(run_of(), tmp_path, lambda journal: GOOD)
    assert not list(tmp_path.iterdir())


def test_a_journal_is_read_as_the_run_that_it_holds_up_to_its_last_whole_line(tmp_path: Path) -> None:
    whole = full_run()
    journal = Journal(run_of(), tmp_path)
    results: list[Result] = [*whole.points, *whole.capacities, *whole.scalings, *whole.profiles]
    for result in [*results, *whole.findings, *whole.libraries]:
        journal.keep(result)
    journal.run.environment["cores"] = 64
    journal.run.notes.append("a note")
    journal.update()
    with (journal.folder / JOURNAL).open("a", encoding="utf-8") as file:
        file.write('{"points": [{"experi')
    assert not (journal.folder / RECORD).exists()
    found_again = read_run(journal.folder / RECORD)
    assert found_again.notes == ["a note", CUT_OFF]
    found_again.notes.clear()
    whole.environment["cores"] = 64
    assert json.dumps(as_object(found_again)) == json.dumps(as_object(whole))


def test_a_run_that_was_cut_off_has_a_report(tmp_path: Path) -> None:
    journal = Journal(run_of(), tmp_path)
    journal.keep(point())
    assert report.main([str(journal.folder)]) == 0
    assert CUT_OFF in (journal.folder / "report.html").read_text(encoding="utf-8")
    assert read_run(journal.folder / RECORD).points == [point()]
    assert not (journal.folder / JOURNAL).exists()


@as_root
def test_every_experiment_asks_for_room_before_it_starts(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", 64) as folder:
        for command, options in EVERY_EXPERIMENT.items():
            with pytest.raises(InvalidRequest, match=NEEDED):
                COMMANDS[command].run([*options, "--results", str(folder)])
