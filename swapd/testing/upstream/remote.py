"""A fake upstream that runs as a process of its own, seen and steered through its `/control/` routes."""

from __future__ import annotations

from typing import Any

import httpx


class RemoteUpstream:
    """The test's end of `/control/`; `async with` it.

    Talks to the upstream's own port, so nothing of it passes the daemon under test. Waiting calls have no
    limit of their own: put a deadline around them.
    """

    def __init__(self, url: str) -> None:
        self.url = url
        self._client = httpx.AsyncClient(base_url=url, timeout=None, trust_env=False)

    async def __aenter__(self) -> RemoteUpstream:
        await self._client.__aenter__()
        return self

    async def __aexit__(self, *error: object) -> None:
        await self._client.aclose()

    async def received(self, at_least: int = 0) -> Any:
        """The model requests it has received, once there are so many (`state.Exchange.as_json`)."""
        return await self._get("requests", at_least)

    async def aborted(self, at_least: int = 0) -> Any:
        """The exchanges whose client left before the answer was complete, once there are so many."""
        return await self._get("aborts", at_least)

    async def state(self) -> Any:
        """Its pid, readiness and counts."""
        return self._value(await self._client.get("/control/state"))

    async def set(self, **knobs: object) -> None:
        """Turn knobs; they hold from the next request on."""
        self._value(await self._client.post("/control/settings", json=knobs))

    async def hold(self) -> None:
        """Keep model requests waiting from now on."""
        self._value(await self._client.post("/control/hold"))

    async def release(self, count: int | None = None) -> None:
        """Let the `count` oldest held requests go; without a count all, and hold no more."""
        query = {} if count is None else {"count": count}
        self._value(await self._client.post("/control/release", params=query))

    async def become_ready(self) -> None:
        """Let it have loaded its model now."""
        self._value(await self._client.post("/control/ready"))

    async def crash(self) -> None:
        """Let it end as its knobs `exit_code` and `exit_signal` say."""
        try:
            await self._client.post("/control/crash")
        except httpx.TransportError:
            return  # it had no time to answer

    async def _get(self, what: str, at_least: int) -> Any:
        return self._value(await self._client.get(f"/control/{what}", params={"at_least": at_least}))

    @staticmethod
    def _value(response: httpx.Response) -> Any:
        response.raise_for_status()
        return response.json()
