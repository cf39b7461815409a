"""How the files of a data set are read: folders, archives, Parquet tables, hub data sets."""
