"""The test kit: what swapd is tested with, and what you can test your own set-up with.

- `python -m swapd.testing.upstream`: a fake model server with every fault worth rehearsing.
- `swapd.testing.fixtures`: pytest-trio fixtures; put `pytest_plugins = ["swapd.testing.fixtures"]`
  into your `conftest.py`.
- `swapd.testing.gguf`: writes tiny, valid GGUF models.
- `swapd.testing.llama`: llama.cpp's own server out of the wheel `xllamacpp`.

This package imports nothing by itself, so that the fake upstream, which tests start by the hundred, is
listening a few hundredths of a second after its exec.
"""
