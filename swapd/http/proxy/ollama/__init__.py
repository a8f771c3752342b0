"""The Ollama-compatible API, on top of servers that speak OpenAI's."""

from swapd.http.proxy.ollama.api import OllamaApi

__all__ = ["OllamaApi"]
