"""Runs as files: what is written is read again, and what is something else is one clear error."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from harness.analysis.verdicts import objections
from harness.record.journal import new_folder, read_run, write_run
from harness.record.run import FORMAT, SCHEMA, Run, losses
from lab.bootstrap import ROOT
from lab.errors import InvalidRequest
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
