"""A load test of a running swapd: what `swapd bench` asks, measures and makes of it."""
