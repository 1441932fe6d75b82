"""What kept rollouts take on disk: a Parquet file of `hgpo train` beside the same columns as JSON lines.

python benchmarks/rollout_files.py FILE.parquet
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import pyarrow.parquet

from hgpo.rollout_files import read_rollouts, write_rollouts


def column_bytes(path: Path) -> dict[str, int]:
    """Bytes on disk of each column."""
    metadata = pyarrow.parquet.read_metadata(path)
    sizes: dict[str, int] = {}
    for group in range(metadata.num_row_groups):
        for number in range(metadata.num_columns):
            column = metadata.row_group(group).column(number)
            name = column.path_in_schema.partition(".")[0]
            sizes[name] = sizes.get(name, 0) + column.total_compressed_size
    return sizes


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("file", type=Path)
    path: Path = parser.parse_args().file
    rollouts = read_rollouts(path)
    with tempfile.TemporaryDirectory() as folder:
        lines = Path(folder) / "rollouts.jsonl"
        write_rollouts(lines, rollouts.steps, {k: v.tolist() for k, v in rollouts.state_keys.items()})
        ratio = lines.stat().st_size / path.stat().st_size
    rows, columns = len(rollouts.steps), column_bytes(path)
    share = columns.get("response_logprobs", 0) / sum(columns.values())
    print(
        f"{rows:,} rows: {path.stat().st_size / rows:.1f} bytes per row, {ratio:.0f} times less than as JSON "
        f"lines; the log-probabilities are {share:.0%} of it"
    )


if __name__ == "__main__":
    main()
