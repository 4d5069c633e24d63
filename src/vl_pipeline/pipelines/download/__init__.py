"""Download a URL list into shards."""
