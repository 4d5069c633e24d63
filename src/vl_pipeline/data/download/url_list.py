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
    names. A CSV field in quotes may hold line breaks; TSV knows no quotes.

    Raises:
        ParameterError: If the file does not exist, is of another format or damaged, lacks one of
            the columns, or has a column without a single value, or of what is no text.
    """
    columns = {"url": url_column, "caption": caption_column}
    try:
        table = _read(path, list(columns.values()))
        texts = {
            name: table[column].cast(pa.string())
            for name, column in columns.items()
            if column in table.column_names
        }
    except (pa.ArrowException, OSError, KeyError) as error:
        raise ParameterError(
            f"download.url_list is '{path}', which cannot be read ({error}); accepted are "
            f"{', '.join(_SUFFIXES)}, the text formats also as .gz, in UTF-8, with texts in the "
            f"columns '{url_column}' and '{caption_column}'"
        ) from error
    absent = [name for name in columns if name not in texts]
    for name in absent or [name for name, text in texts.items() if _has_no_value(text)]:
        raise ParameterError(
            f"download.{name}_column is '{columns[name]}', but {path} has no value in such a "
            f"column; its columns are {', '.join(table.column_names)} "
            f"(conf/base/parameters_download.yml)"
        )
    return pa.table(texts)


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
                parse_options=csv.ParseOptions(delimiter="\t", quote_char=False),
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
