"""A compbench plugin: the model `greenness` and the task `colours`."""
