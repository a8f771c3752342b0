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

import trio
from msgspec import Struct

from swapd.config import ModelConfig
from swapd.http.errors import ErrorAnswer, Rejected, from_refusal, header
from swapd.http.proxy.instances import Instances
from swapd.http.proxy.loading import Loading, LoadingRelay
from swapd.http.proxy.relay import Relay
from swapd.http.record import RECORD
from swapd.http.server.asgi import ClientGone, Headers, Scope, Send
from swapd.http.upstream import (
    BaseURL,
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


class _Again(enum.Enum):
    """What an attempt returns that has not come to anything. Its lease has not been released then."""

    IN_SCOPE = enum.auto()
    """Nothing was in hand that would have allowed to do without a scope."""
    WITH_NEXT = enum.auto()
    """The instance was gone before anything had been sent to it."""


_Failure = ErrorAnswer | _Again | None


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
        if lease is not None:
            await self.serve_at_once(lease, outgoing, Relay(scope, send))
        elif outgoing.loading is not None:
            await self._serve_aloud(outgoing, outgoing.loading, scope, send)
        else:
            await self.serve_with(await self.acquire(outgoing, scope), outgoing, Relay(scope, send))

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

    async def serve_at_once(self, lease: Lease, outgoing: Outgoing, relay: Relay) -> None:
        """`serve_with` for a request whose model is ready: on a kept connection, if there is one.

        Such a request waits for nothing but its upstream and its client, and both can be interrupted without
        a cancel scope, which costs a tenth of a short request.
        """
        failure = await self._attempt_at_once(lease, outgoing, relay)
        if failure is _Again.IN_SCOPE:
            await self.serve_with(lease, outgoing, relay)
        else:
            await self._conclude(failure, lease, outgoing, relay)

    async def serve_with(self, lease: Lease, outgoing: Outgoing, relay: Relay) -> None:
        """Serve a request that has its lease, which is given back. Raises and is cancelled as `serve`."""
        relay.granted()
        await self._conclude(await self._attempt(lease, outgoing, relay), lease, outgoing, relay)

    async def _conclude(self, failure: _Failure, lease: Lease, outgoing: Outgoing, relay: Relay) -> None:
        """Say what came of an attempt, unless all is said; or make another one."""
        if failure is None:
            return
        if failure is _Again.WITH_NEXT:
            lease = await self._acquire_again(lease, relay)
            failure = await self._attempt(lease, outgoing, relay)
        if failure is _Again.WITH_NEXT:
            lease.release()
            failure = ErrorAnswer("process_not_ready", f"[{outgoing.model.id}] process is not ready")
        if failure is not None:
            assert isinstance(failure, ErrorAnswer)
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
        arrived = trio.current_time()
        try:
            lease = await self._manager.acquire(
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
        started, ready = self._manager.last_load(outgoing.model.id)
        if ready >= arrived and (request := scope[RECORD].request) is not None:
            request.note_column("load_ms", int((ready - started) * 1000))
        return lease

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

    # -- attempts --------------------------------------------------------------------------------------------
    #
    # One exchange with the instance of a lease; None if the client has the whole response. The lease is given
    # back as soon as the upstream is not needed any more, but can be cancelled to the end of the work.

    async def _attempt_at_once(self, lease: Lease, outgoing: Outgoing, relay: Relay) -> _Failure:
        body = outgoing.body
        if not isinstance(body, bytes) or len(body) > SMALL_BODY or not relay.can_be_interrupted:
            return _Again.IN_SCOPE
        try:
            pool = self._instances.pool(lease, outgoing.model)
        except UnsupportedURL:
            return _Again.IN_SCOPE
        kept = pool.take()
        if kept is None:
            return _Again.IN_SCOPE
        relay.granted()
        relay.activity = lease.activity
        relay.waits_for = kept
        lease.interrupt = relay.interrupt
        failure: _Failure = None
        held = True
        try:
            try:
                response = await pool.exchange_on(kept, pool.prepare(*_request(outgoing, pool.base)))
                if response is not None:
                    relay.waits_for = response
                    try:
                        await relay.pass_on(response)
                    finally:
                        response.close()
                elif not lease.interrupted:
                    lease.interrupt = None
                    failure = _Again.IN_SCOPE
            except (UpstreamError, ClientGone) as error:
                if not lease.interrupted:
                    failure = await self._judged(error, lease, outgoing, relay)
            if failure is None and lease.interrupted:
                failure = await self.revoked(lease, outgoing)
            if failure is None:
                held = False
                lease.release()
                await relay.finish()
        finally:
            if held and not isinstance(failure, _Again):
                lease.release()
        return failure

    async def _attempt(self, lease: Lease, outgoing: Outgoing, relay: Relay) -> _Failure:
        error: Exception | None = None
        failure: _Failure = None
        held = True
        try:
            with lease.scope as scope:
                error = await self._exchange(lease, outgoing, relay)
                if error is None:
                    held = False
                    lease.release()
                    await relay.finish()
            if scope.cancelled_caught:
                failure = await self.revoked(lease, outgoing)
            elif error is not None:
                failure = await self._judged(error, lease, outgoing, relay)
        finally:
            if held and failure is not _Again.WITH_NEXT:
                lease.release()
        return failure

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
        try:
            response = await pool.exchange(*_request(outgoing, pool.base), nursery=sending)
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
    ) -> ErrorAnswer | _Again:
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
                return _Again.WITH_NEXT
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


def _request(outgoing: Outgoing, base: BaseURL) -> tuple[bytes, bytes, Headers, bytes | StreamedBody]:
    """Method, target, headers and body for an upstream at `base`."""
    headers = outgoing.headers
    if not headers or headers[0][0] != b"host":
        headers = [(b"host", base.authority), *headers]
    return outgoing.method, base.target(outgoing.path, outgoing.query), headers, outgoing.body


def _queue_timeout(scope: Scope) -> float | None:
    """How long the client is willing to queue, in seconds, if it says so understandably."""
    try:
        seconds = float(header(scope, b"x-swapd-queue-timeout"))
    except ValueError:
        return None
    return seconds if 0 < seconds < float("inf") else None
