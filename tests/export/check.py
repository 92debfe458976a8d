"""Reads an export with pandas and Polars, and compares it with the study."""

import json
import pathlib
import sys

import pandas
import polars

METRICS = ["exact_match", "f1"]


def experiments(work):
    for path in sorted((work / "quickstart").glob("*/predictions.json")):
        yield path.parent.name, json.loads(path.read_text())


def check(name, rows, study):
    """`rows` are dicts; missing values are None."""
    by_key = {(row["experiment"], row["idx"]): row for row in rows}
    assert len(by_key) == len(rows) == sum(len(file["predictions"]) for _, file in study), name
    for experiment, file in study:
        for record in file["predictions"]:
            row = by_key[experiment, record["idx"]]
            for key in ["question", "prediction", "error", "tokens_in", "tokens_out", "latency_ms"]:
                assert row[key] == record[key], (name, experiment, key, row[key], record[key])
            assert json.loads(row["expected"]) == record["expected"], name
            for metric in METRICS:
                assert row[metric] == record["metrics"].get(metric), (name, experiment, metric)
            assert row["type"] == experiment.split("_")[0], name
            assert (row["top_k"] is None) == (row["type"] == "direct"), name


def plain(frame):
    """pandas has no missing integers in CSV, and calls everything missing NaN."""
    return [
        {key: None if pandas.isna(value) else value for key, value in row.items()}
        for row in frame.to_dict("records")
    ]


def main():
    work = pathlib.Path(sys.argv[1])
    study = list(experiments(work))
    assert study
    parquet, csv = work / "rows.parquet", work / "rows.csv"
    frames = {
        "pandas parquet": plain(pandas.read_parquet(parquet)),
        "pandas csv": plain(pandas.read_csv(csv, dtype={"prediction": str, "question": str})),
        "polars parquet": polars.read_parquet(parquet).to_dicts(),
        "polars csv": polars.read_csv(csv, infer_schema_length=None, schema_overrides={"prediction": polars.String}).to_dicts(),
    }
    for name, rows in frames.items():
        check(name, rows, study)
        print(f"{name}: {len(rows)} rows are equal")
    means = polars.read_parquet(parquet).group_by("type").agg(polars.col("f1").mean()).sort("type")
    print(means)
    types = polars.read_parquet_schema(parquet)
    assert types["f1"] == polars.Float64 and types["idx"] == polars.Int64 and types["question"] == polars.String


main()
