"""Getting a request served: a lease on its model, the exchange with the instance, the answer to the client.

Whatever happens, exactly one of these ends a request: the upstream's response, complete; an error of ours, if
nothing had been sent to the client; or a broken connection, if something had. The last is done by returning
early: the server breaks a connection whose response was begun and not ended, so nobody takes a part for the
whole.

When the client leaves, the server cancels us. The connection to the upstream is then closed and the lease
given back without waiting for anything.
"""

from __future__ import annotations

import enum
from collections.abc import Callable
from math import inf

import trio
from msgspec import Struct

from swapd.config import ModelConfig
from swapd.http.errors import ErrorAnswer, Rejected, from_refusal, header
from swapd.http.proxy.instances import Instances
from swapd.http.proxy.loading import Loading, LoadingRelay
from swapd.http.proxy.relay import Relay
from swapd.http.server.asgi import ClientGone, Headers, Scope, Send
from swapd.http.upstream import (
    BodyFailed,
    ConnectFailed,
    ConnectionLost,
    HeadTimedOut,
    StreamedBody,
    UnsupportedURL,
    UpstreamError,
    UpstreamPool,
)
from swapd.http.upstream.pool import SMALL_BODY
from swapd.nursery.events import RefusalCode, Revocation
from swapd.nursery.lease import Lease, Refused
from swapd.nursery.manager import Manager
from swapd.observe.logger import Logger


class Outgoing(Struct, eq=False):
    """A request as it is to leave for a local model."""

    model: ModelConfig
    method: bytes
    path: bytes
    """Escaped; the base path of the model's server is put in front of it."""
    query: bytes
    headers: Headers
    """Without framing; `Host`, if there is one, comes first."""
    body: bytes | StreamedBody
    ready_only: str = ""
    """Why this request may not start its model, for the client to read; empty if it may."""
    loading: Loading | None = None
    """What to tell the client while the model is being loaded; None: nothing."""


_CANCELLED = ErrorAnswer("request_cancelled", "the request was cancelled")


class _AskAgain(enum.Enum):
    """What an attempt returns when its instance was gone before anything had been sent to it.

    Its lease has then not been released.
    """

    YES = enum.auto()


class Dispatcher:
    """Serves requests for local models. Holds no state of its own."""

    def __init__(self, manager: Manager, instances: Instances, log: Logger) -> None:
        self._manager = manager
        self._instances = instances
        self._log = log

    async def serve(self, outgoing: Outgoing, scope: Scope, send: Send) -> None:
        """Serve one request.

        Raises `Rejected` if there is an error to answer with; nothing has been sent to the client then.
        Cancelling it closes the connection to the upstream at once, and gives the lease back.
        """
        lease = self.lease_at_once(outgoing)
        if lease is None:
            if outgoing.loading is not None:
                await self._serve_aloud(outgoing, outgoing.loading, scope, send)
                return
            lease = await self.acquire(outgoing, scope)
        await self.serve_with(lease, outgoing, Relay(scope, send))

    async def _serve_aloud(self, outgoing: Outgoing, loading: Loading, scope: Scope, send: Send) -> None:
        """Serve a request whose client is told how the loading of its model goes."""
        relay = LoadingRelay(scope, send, outgoing.model.id, loading)
        end_news = self._manager.subscribe(relay.on_event)
        try:
            lease = await relay.acquire(lambda on_waiting: self.acquire(outgoing, scope, on_waiting))
        except Rejected as rejected:
            await relay.fail(rejected.answer)
            return
        finally:
            end_news()
        if relay.begun:
            # What the upstream sends goes on in our response, where nothing says that it is compressed.
            kept = [pair for pair in outgoing.headers if pair[0] != b"accept-encoding"]
            outgoing.headers = [*kept, (b"accept-encoding", b"identity")]
        try:
            await self.serve_with(lease, outgoing, relay)
        except Rejected as rejected:
            await relay.fail(rejected.answer)

    async def serve_with(self, lease: Lease, outgoing: Outgoing, relay: Relay) -> None:
        """Serve a request that has its lease, which is given back. Raises and is cancelled as `serve`."""
        relay.granted()
        failure = await self._attempt(lease, outgoing, relay)
        if failure is _AskAgain.YES:
            lease = await self._acquire_again(lease, relay)
            failure = await self._attempt(lease, outgoing, relay)
        if failure is _AskAgain.YES:
            lease.release()
            failure = ErrorAnswer("process_not_ready", f"[{outgoing.model.id}] process is not ready")
        if failure is not None:
            await relay.fail(failure)

    # -- leases ----------------------------------------------------------------------------------------------

    def lease_at_once(self, outgoing: Outgoing) -> Lease | None:
        """A lease for a request whose model is ready, if nobody waits for it."""
        return self._manager.try_acquire(outgoing.model.id)

    async def acquire(
        self, outgoing: Outgoing, scope: Scope, on_waiting: Callable[[Lease], None] | None = None
    ) -> Lease:
        """A lease for a request, in its turn. Raises `Rejected`; cancelling it takes the ticket out.

        `on_waiting` is called with the ticket if the request is admitted and has to wait.
        """
        try:
            return await self._manager.acquire(
                outgoing.model.id,
                ready_only=bool(outgoing.ready_only),
                queue_timeout_s=_queue_timeout(scope),
                on_waiting=on_waiting,
            )
        except Refused as refused:
            answer = from_refusal(refused.refusal)
            if outgoing.ready_only and refused.refusal.code is RefusalCode.MODEL_NOT_LOADED:
                answer = ErrorAnswer(answer.code, outgoing.ready_only)
            raise Rejected(answer) from None

    async def _acquire_again(self, lease: Lease, relay: Relay) -> Lease:
        with trio.CancelScope() as waiting:
            relay.can_be_cancelled_by(waiting)
            try:
                lease = await self._manager.acquire_again(lease)
            except Refused as refused:
                raise Rejected(from_refusal(refused.refusal)) from None
            relay.can_be_cancelled_by(lease)
            return lease
        raise Rejected(_CANCELLED)

    async def _attempt(
        self, lease: Lease, outgoing: Outgoing, relay: Relay
    ) -> ErrorAnswer | _AskAgain | None:
        """One exchange with the instance of `lease`; None if the client has the whole response.

        The lease is given back as soon as the upstream is not needed any more, but its scope goes on to the
        end of the work.
        """
        failure: ErrorAnswer | _AskAgain | None = None
        held = True
        try:
            with lease.scope as scope:
                error = await self._exchange(lease, outgoing, relay)
                if error is None:
                    held = False
                    lease.release()
                    if lease.lost:
                        scope.deadline = inf  # the client may take its time with what is left
                    await relay.finish()
                else:
                    failure = await self._judged(error, lease, outgoing, relay)
            if scope.cancelled_caught:
                failure = await self.revoked(lease, outgoing)
        finally:
            if held and failure is not _AskAgain.YES:
                lease.release()
        return failure

    # -- the exchange ----------------------------------------------------------------------------------------

    async def _exchange(self, lease: Lease, outgoing: Outgoing, relay: Relay) -> Exception | None:
        """Send the request, pass the response on; failures are returned, as nurseries wrap exceptions."""
        try:
            pool = self._instances.pool(lease, outgoing.model)
        except UnsupportedURL as error:
            return error
        relay.activity = lease.activity
        if isinstance(outgoing.body, bytes) and len(outgoing.body) <= SMALL_BODY:
            return await self._pass_on(pool, outgoing, relay, None)
        # The upstream may begin to answer while a large body is still on its way: then both go on at once.
        async with trio.open_nursery() as sending:
            failure = await self._pass_on(pool, outgoing, relay, sending)
            sending.cancel_scope.cancel()
        return failure

    async def _pass_on(
        self, pool: UpstreamPool, outgoing: Outgoing, relay: Relay, sending: trio.Nursery | None
    ) -> Exception | None:
        headers = outgoing.headers
        if not headers or headers[0][0] != b"host":
            headers = [(b"host", pool.base.authority), *headers]
        try:
            response = await pool.exchange(
                outgoing.method,
                pool.base.target(outgoing.path, outgoing.query),
                headers,
                outgoing.body,
                nursery=sending,
            )
            try:
                await relay.pass_on(response)
            finally:
                response.close()
        except (UpstreamError, BodyFailed, ClientGone) as error:
            return error
        return None

    # -- when it fails ---------------------------------------------------------------------------------------

    async def _judged(
        self, error: Exception, lease: Lease, outgoing: Outgoing, relay: Relay
    ) -> ErrorAnswer | _AskAgain:
        if isinstance(error, BodyFailed):
            raise error.__cause__ or error
        if isinstance(error, ClientGone):
            raise error
        if relay.begun:
            self._report(outgoing, f"the response broke off: {error}")
            return ErrorAnswer("upstream_unreachable", str(error))
        if isinstance(error, HeadTimedOut):
            self._report(outgoing, str(error))
            return ErrorAnswer("upstream_timeout", f"upstream error: {error}")
        last_words = ""
        if isinstance(error, ConnectFailed | ConnectionLost):
            last_words = await self._instances.how_it_ended(lease)
            if lease.lost and not error.request_sent:
                return _AskAgain.YES
        return self._unreachable(outgoing, str(error), last_words)

    async def revoked(self, lease: Lease, outgoing: Outgoing) -> ErrorAnswer:
        """What to say when the manager has ended the use of the lease."""
        match lease.revoked:
            case Revocation.CANCELLED:
                return _CANCELLED
            case Revocation.SHUTTING_DOWN:
                return ErrorAnswer("shutting_down", "swapd is shutting down")
            case _:
                last_words = await self._instances.how_it_ended(lease)
                return self._unreachable(outgoing, "the upstream has gone", last_words)

    def _unreachable(self, outgoing: Outgoing, cause: str, last_words: str) -> ErrorAnswer:
        self._report(outgoing, cause)
        told = f"{cause}\n{last_words}" if last_words else cause
        return ErrorAnswer("upstream_unreachable", f"upstream error: {told}")

    def _report(self, outgoing: Outgoing, what: str) -> None:
        model = outgoing.model.id
        self._log.warn(f"[{model}] upstream error: {what}", event="upstream.failed", model=model)


def _queue_timeout(scope: Scope) -> float | None:
    """How long the client is willing to queue, in seconds, if it says so understandably."""
    try:
        seconds = float(header(scope, b"x-swapd-queue-timeout"))
    except ValueError:
        return None
    return seconds if 0 < seconds < float("inf") else None
