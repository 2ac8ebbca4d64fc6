"""Token shards at rest and the samples drawn from them."""
