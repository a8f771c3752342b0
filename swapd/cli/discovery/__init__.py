"""Finding models on a disk and deciding how they are best served: what `swapd init` knows."""
