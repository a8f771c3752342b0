"""What the machine is doing: processor, memory, network, GPUs, and the part that models have in it."""

from swapd.observe.sampling.sampler import Sampler

__all__ = ["Sampler"]
