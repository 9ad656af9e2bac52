"""Rows: open, check, version and read tables of Parquet, CSV and JSON lines."""

from workbench.tables.opening import open_table
from workbench.tables.table import File, Piece, Rows, Table

__all__ = ["File", "Piece", "Rows", "Table", "open_table"]
