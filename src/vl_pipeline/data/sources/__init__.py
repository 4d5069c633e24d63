"""What pairs are read from: files of many shapes, in a folder on disk or behind a URL."""
