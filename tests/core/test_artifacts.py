"""What stands in a run directory, by what it is."""

from notus.core.artifacts import page_in, tables_in


def test_tables_are_files_and_folders_of_parts_and_no_lines_of_the_run_itself(tmp_path):
    for name in (
        "pairs.parquet",
        "rows.jsonl",
        "board.csv",
        "metrics.jsonl",
        "log.txt",
        ".rows.jsonl.part",
        "tally.json",
    ):
        (tmp_path / name).touch()
    (tmp_path / "large.parquet").mkdir()
    assert tables_in(tmp_path) == ["board.csv", "large.parquet", "pairs.parquet", "rows.jsonl"]


def test_the_page_of_a_run_is_its_report_before_its_health(tmp_path):
    assert page_in(tmp_path) is None
    for name in ("health.html", "report.html"):
        (tmp_path / name).touch()
        assert page_in(tmp_path) == tmp_path / name
