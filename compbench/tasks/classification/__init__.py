"""Zero-shot classification on the data sets of the paper and on folders of images."""
