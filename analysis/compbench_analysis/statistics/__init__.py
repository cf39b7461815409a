"""Numbers in, numbers out: intervals, paired tests, resampling."""
