"""A list of URLs with their captions, from a file of any of the usual formats."""

from pathlib import Path

import pyarrow as pa
import pyarrow.csv as csv
import pyarrow.json as json
import pyarrow.parquet as pq

from vl_pipeline.errors import ParameterError

_SUFFIXES = (".parquet", ".csv", ".tsv", ".jsonl")


def read_url_list(path: Path, *, url_column: str, caption_column: str) -> pa.Table:
    """Read a list as the columns `url` and `caption`, both strings, in the order of the file.

    Text files are UTF-8 and may be gzipped (`.csv.gz`); CSV and TSV begin with a line of column
    names, and a CSV field in quotes may hold line breaks.

    Raises:
        ParameterError: If the file does not exist, is of another format or damaged, lacks one of
            the columns, or has a column without a single value.
    """
    columns = {"download.url_column": url_column, "download.caption_column": caption_column}
    try:
        table = _read(path, list(columns.values()))
    except (pa.ArrowException, OSError) as error:
        raise ParameterError(
            f"download.url_list is '{path}', which cannot be read ({error}); accepted are "
            f"{', '.join(_SUFFIXES)}, the text formats also as .gz, in UTF-8"
        ) from error
    absent = [name for name, column in columns.items() if column not in table.column_names]
    for parameter in absent or [n for n, c in columns.items() if _has_no_value(table[c])]:
        raise ParameterError(
            f"{parameter} is '{columns[parameter]}', but {path} has no value in such a column; its "
            f"columns are {', '.join(table.column_names)} (conf/base/parameters_download.yml)"
        )
    text = pa.string()
    return pa.table(
        {"url": table[url_column].cast(text), "caption": table[caption_column].cast(text)}
    )


def _has_no_value(column: pa.ChunkedArray) -> bool:
    return column.null_count == len(column)


def _read(path: Path, columns: list[str]) -> pa.Table:
    strings = {column: pa.string() for column in columns}
    match Path(path.name.removesuffix(".gz")).suffix:
        case ".parquet":
            schema = pq.read_schema(path)
            missing = set(columns) - set(schema.names)
            return schema.empty_table() if missing else pq.read_table(path, columns=columns)
        case ".csv":
            return csv.read_csv(
                path,
                parse_options=csv.ParseOptions(newlines_in_values=True),
                convert_options=csv.ConvertOptions(column_types=strings),
            )
        case ".tsv":
            return csv.read_csv(
                path,
                parse_options=csv.ParseOptions(delimiter="\t"),
                convert_options=csv.ConvertOptions(column_types=strings),
            )
        case ".jsonl":
            schema = pa.schema(list(strings.items()))
            with pa.input_stream(path) as stream:
                return json.read_json(
                    stream, parse_options=json.ParseOptions(explicit_schema=schema)
                )
        case suffix:
            raise OSError(f"its suffix is '{suffix}'")
