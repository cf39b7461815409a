"""Readers of a data set's files: folders, archives, Parquet tables, hub data sets."""
