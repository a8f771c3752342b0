"""Looking at a machine for what keeps swapd or its models from working: what `swapd doctor` knows.

Everything here only looks. It starts nothing, makes no file and takes no lock.
"""
