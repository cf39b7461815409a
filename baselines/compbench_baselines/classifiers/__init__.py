"""Classifiers of images: torchvision networks and those trained here."""
