"""Write a method's set of pairs as shards."""
