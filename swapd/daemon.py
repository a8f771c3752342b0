"""The composition root: builds the parts, runs them in one nursery, and ends them in the right order.

Start: the guardian, before anything that it may have to clean up; the sweep of what an earlier daemon left;
the manager and the application on sockets that listen already; then we say that we are ready.
Stop, on the first SIGTERM or SIGINT:

    1  log and event streams end; else the drain would wait for them
    2  no connection is accepted any more; everybody who waits for a model is refused
    3  requests that were granted go on, until the last has ended or the drain time is over
    4  what remains is cut
    5  all models are stopped in parallel
    6  nothing of ours is left: state records and guardian go, exit 0

A second signal skips to the end: connections are cut and process trees killed, exit 1. Should the processes
not be gone some seconds after the drain time, they are killed too, and the exit code says whether that
helped."""

from __future__ import annotations

import gc
import os
import time
from collections.abc import Sequence
from ipaddress import ip_address
from pathlib import Path
from socket import socket

import trio
from attrs import field, frozen
from msgspec import structs

from swapd.config import Config, Loaded, Sources, render_problem
from swapd.http.access_log import AccessLog
from swapd.http.api.announcements import Announcements
from swapd.http.api.control import Control, Phase, Readiness
from swapd.http.api.history import ModelHistory
from swapd.http.api.metrics import LifecycleMetrics
from swapd.http.api.routes import build_api
from swapd.http.app import App
from swapd.http.auth import Authentication
from swapd.http.prefix import BelowPath
from swapd.http.proxy import MODEL_ROUTES, Profiles, Proxy
from swapd.http.proxy.ollama import OllamaApi
from swapd.http.record import Tracker
from swapd.http.server import Server, ServerSettings, serve
from swapd.http.server.asgi import ASGIApp
from swapd.http.site_guard import SiteGuard
from swapd.nursery.events import StateChanged
from swapd.nursery.local_launcher import LocalLauncher
from swapd.nursery.manager import Manager, ManagerEvent
from swapd.nursery.prober import HttpProber
from swapd.nursery.process_tree import OwnChildren
from swapd.nursery.states import RUNNING, ModelState
from swapd.observe.activity import NewerFile
from swapd.observe.console import Console
from swapd.observe.logger import Level
from swapd.observe.logs import Logs, LogSettings
from swapd.observe.telemetry import Telemetry
from swapd.supervision.configuration import (
    Changes,
    ConfigState,
    ConfigStatus,
    ConfigurationInForce,
    Trigger,
)
from swapd.supervision.orphan_protection import OrphanProtection
from swapd.supervision.ready_fd import ReadyFd
from swapd.supervision.reaper import reap_orphans
from swapd.supervision.service_manager import ServiceManager
from swapd.supervision.signals import SignalEvent, SignalKind, late_stops_ignored, watch_signals
from swapd.supervision.state_dump import task_tree
from swapd.supervision.subreaper import become_subreaper
from swapd.supervision.watchdog import ActorWatch

BACKSTOP_S = 5.0
"""How long after the drain time the processes may take to go, before they are killed."""
FORCED_STOP_S = 0.8
"""How long a forced stop waits for killed processes to be collected."""
DRAIN_REPORT_EVERY_S = 5.0
"""How often a stop says what it is waiting for."""

EXIT_OK = 0
EXIT_FORCED = 1


@frozen
class DaemonSettings:
    """What the command line has worked out. Times in seconds; None means: as configured."""

    sources: Sources
    loaded: Loaded
    """What `sources` gave; its configuration is valid."""
    listeners: Sequence[socket]
    admin_socket: str | None = None
    """The path of that listener, if any, whose clients need no key."""
    state_directory: Path | None = None
    """Where to write down what the next daemon must know, locked for us. None: a crash leaves no trace."""
    ready_fd: ReadyFd | None = None
    server: ServerSettings = field(factory=ServerSettings)
    drain_s: float | None = None
    pre_stop_delay_s: float | None = None
    watch_interval_s: float | None = None
    """Reload when the sources change, looking this often; None: do not look."""
    log_level: str | None = None
    log_format: str | None = None
    """Beats the configuration, also after reloads."""
    console: Console | None = None
    started_lines: tuple[str, ...] = ()
    """What to log once the daemon accepts connections."""
    base_path: str = ""
    """The path below which a reverse proxy shows the daemon, such as `/llm`."""
    with_ui: bool = True


async def main(settings: DaemonSettings) -> int:
    """Run the daemon until it is told to stop; return its exit code.

    Cancelling it kills every model's process tree and returns within a second or so. Should the process die
    in it, a guardian does that.
    """
    config = settings.loaded.config
    assert config is not None
    logs = Logs(_log_settings(config, settings), settings.console)
    try:
        return await _Daemon(settings, logs).run()
    finally:
        logs.close()


class _Daemon:
    """The parts, and the way they end. The mutable state is which stop has been asked for."""

    def __init__(self, settings: DaemonSettings, logs: Logs) -> None:
        self._settings = settings
        self._in_force = ConfigurationInForce(
            settings.sources,
            settings.loaded,
            environ=os.environ,
            ports_in_use=lambda: self._manager.ports_in_use(),
            beside=() if (tls := settings.server.tls) is None else (tls.certificate, tls.key),
        )
        self._logs = logs
        self._log = logs.proxy
        self._children = OwnChildren()
        self._children.expect_strangers()
        self._protection = OrphanProtection(
            settings.state_directory,
            on_helper_started=self._children.add_helper,
            on_helper_ended=self._children.discard,
            info=self._log.info,
            warn=self._log.warn,
        )
        launcher = LocalLauncher(
            own_children=self._children,
            adopts_orphans=become_subreaper(),
            log_error=self._log.error,
            bookkeeper=self._protection.bookkeeping,
        )
        self._manager = Manager(
            self._in_force.current,
            launcher,
            HttpProber(),
            log=self._log,
            output_of=lambda model: logs.upstream(model).sink,
            instance_uuid=self._protection.instance,
        )
        self._watch = ActorWatch(self._manager.ping, error=self._log.error, info=self._log.info)
        self._service = ServiceManager(
            ready_fd=settings.ready_fd, status=self._status_line, warn=self._log.warn
        )
        self._telemetry = Telemetry(self._in_force.current, logs)
        self._access_log = AccessLog(self._log)
        self._access_log.apply(self._in_force.current)
        self._profiles = Profiles(lambda: self._in_force.current)
        self._proxy = Proxy(
            lambda: self._in_force.current,
            self._manager,
            self._log,
            Tracker(self._telemetry.in_flight, lambda: self._access_log.proxies),
            self._profiles,
        )
        self._telemetry.sampler.running = self._servers
        self._manager.subscribe(self._on_manager_event)
        self._history = ModelHistory()
        self._announcements: Announcements | None = None
        self._config_before = self._in_force.current
        self._manager.subscribe(self._history.on_event)
        self._server: Server | None = None
        self._stop_wanted = trio.Event()
        self._force_wanted = trio.Event()
        self._server_stopping = trio.Event()
        self._server_scope = trio.CancelScope()
        self._server_ended = trio.Event()
        self._manager_ended = trio.Event()

    async def run(self) -> int:
        self._protection.start()
        nothing_left = False
        try:
            await self._run_parts()
        finally:
            self._service.close()
            self._telemetry.close()
            nothing_left = self._protection.end()
        return EXIT_OK if nothing_left and not self._force_wanted.is_set() else EXIT_FORCED

    async def _run_parts(self) -> None:
        async with trio.open_nursery() as root:
            with late_stops_ignored():
                await root.start(watch_signals, self._on_signal)
            root.start_soon(reap_orphans, self._children.__contains__)
            root.start_soon(self._protection.keep)
            if await self._sweep():
                await self._serve_until_stopped(root)
            root.cancel_scope.cancel()

    async def _sweep(self) -> bool:
        """End what an earlier daemon left, before any model is started; False if we are to stop meanwhile."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._cancel_when_stop_is_wanted, nursery.cancel_scope)
            await self._protection.sweep()
            nursery.cancel_scope.cancel()
        return not self._stop_wanted.is_set()

    async def _serve_until_stopped(self, root: trio.Nursery) -> None:
        root.start_soon(self._logs.flush_partial_lines)
        try:
            await self._telemetry.open()
        except NewerFile as error:
            self._log.error(str(error), event="store.trouble")
            self._force_wanted.set()
            return
        root.start_soon(self._telemetry.run)
        root.start_soon(self._in_force.run, self._apply, self._report_reload, self._service.reloading)
        if self._settings.watch_interval_s is not None:
            root.start_soon(self._in_force.watch, self._settings.watch_interval_s, self._log.warn)
        await root.start(self._run_manager)
        self._server = await root.start(self._run_server, root)
        for line in self._settings.started_lines:
            self._log.info(line, event="daemon.started")
        root.start_soon(self._watch.run)
        self._service.ready()
        gc.freeze()  # what is there now stays: no use in going through all of it again and again
        root.start_soon(self._service.run, self._watch)
        await self._stop_wanted.wait()
        async with trio.open_nursery() as stop:
            stop.start_soon(self._force_when_wanted, stop.cancel_scope)
            stop.start_soon(self._service.ask_for_patience)
            await self._stop_in_order()
            stop.cancel_scope.cancel()
        if self._manager.live_instances:
            self._leave_at_once()

    async def _cancel_when_stop_is_wanted(self, scope: trio.CancelScope) -> None:
        await self._stop_wanted.wait()
        scope.cancel()

    # -- the parts ---------------------------------------------------------------------------------

    async def _run_manager(self, *, task_status: trio.TaskStatus[None]) -> None:
        if self._service.listens:
            self._manager.subscribe(self._service.update_status)
        try:
            await self._manager.run(task_status=task_status)
        finally:
            self._manager_ended.set()

    async def _run_server(self, root: trio.Nursery, *, task_status: trio.TaskStatus[Server]) -> None:
        settings = self._settings
        try:
            with self._server_scope:
                await serve(
                    self._application(root),
                    settings.listeners,
                    settings.server,
                    stopping=self._server_stopping,
                    task_status=task_status,
                )
        finally:
            await self._proxy.aclose()
            self._server_ended.set()

    def _application(self, root: trio.Nursery) -> ASGIApp:
        auth = Authentication(
            lambda: self._in_force.current.api_keys, admin_socket=self._settings.admin_socket
        )
        control = Control(
            config=lambda: self._in_force.current,
            manager=self._manager,
            logs=self._logs,
            telemetry=self._telemetry,
            profiles=self._profiles,
            config_status=lambda: self._in_force.status,
            reload=lambda: self._in_force.reload(Trigger.API),
            start_soon=root.start_soon,
            readiness=self._readiness,
            history=self._history,
            with_ui=self._settings.with_ui,
        )
        announcements = self._announcements = Announcements(control)
        self._manager.subscribe(announcements.on_manager_event)
        lifecycle = LifecycleMetrics(self._telemetry.metrics, time.monotonic)
        self._manager.subscribe(lifecycle.on_event)
        self._profiles.subscribe(announcements.on_profile)
        app = App(
            models=self._proxy.models,
            model_routes=MODEL_ROUTES,
            passthrough=self._proxy.passthrough,
            api=build_api(control, auth),
            auth=auth,
            access_log=self._access_log,
            log=self._log,
            ollama=OllamaApi(lambda: self._in_force.current, self._proxy, self._manager),
            guard=SiteGuard(
                lambda: self._in_force.current, loopback_only=all(map(_is_loopback, self._settings.listeners))
            ),
            on_rejected=self._telemetry.on_rejected,
        )
        return BelowPath(app, self._settings.base_path) if self._settings.base_path else app

    def _on_signal(self, event: SignalEvent) -> None:
        match event.kind:
            case SignalKind.STOP:
                self._log.info(f"{event.signal.name}: stopping", event="shutdown.begun")
                self._stop_wanted.set()
            case SignalKind.FORCE_STOP:
                self._log.warn(f"{event.signal.name} again: stopping at once", event="shutdown.forced")
                self._force_wanted.set()
            case SignalKind.KILL:
                self._manager.kill_all()
                os._exit(EXIT_FORCED)
            case SignalKind.RELOAD:
                self._in_force.request(Trigger.SIGNAL)
            case SignalKind.DUMP_STATE:
                self._dump_state()
            case SignalKind.TOGGLE_DEBUG:
                level = self._log.toggle_debug()
                self._log.info(f"{event.signal.name}: the log level is now {level.name.lower()}")

    async def _apply(self, config: Config) -> Changes | None:
        """Put a configuration in force, everywhere in one step."""
        self._config_before = self._in_force.current
        applied = await self._manager.reload(config)
        if applied is None:
            return None
        self._logs.apply(_log_settings(config, self._settings))
        self._access_log.apply(config)
        self._profiles.apply(config)
        self._telemetry.apply(config, self._in_force.status.generation + 1)
        return Changes(applied.added, applied.removed, applied.restarted, applied.updated, applied.unchanged)

    def _report_reload(self, status: ConfigStatus) -> None:
        for problem in status.problems:
            (self._log.error if problem.is_error else self._log.warn)(render_problem(problem))
        if status.state is ConfigState.REJECTED:
            self._log.error(
                "the new configuration was rejected, the old one stays in force", event="config.rejected"
            )
        self._reload_tls()
        if self._announcements is not None:
            self._announcements.on_reload(status, self._config_before)

    def _reload_tls(self) -> None:
        """The certificate may have been renewed, whatever came of the configuration."""
        if self._server is None or self._settings.server.tls is None:
            return
        try:
            self._server.reload_tls()
        except OSError as error:
            self._log.error(
                f"cannot use the TLS files, those before stay in force: {error.strerror or error}",
                event="tls.rejected",
            )
        else:
            self._log.info("the TLS files have been read again", event="tls.loaded")

    def _dump_state(self) -> None:
        snapshot = self._manager.snapshot()
        self._log.info(f"state: {snapshot.queued} queued, shutting down: {snapshot.shutting_down}")
        for model in snapshot.models.values():
            self._log.info(
                f"state: [{model.id}] {model.state.value}, pid {model.pid}, {model.leases} served, "
                f"{model.queued} queued, {model.failures} failures in a row"
            )
        for line in task_tree():
            self._log.info(f"state: task {line}")

    # -- what is observed ------------------------------------------------------------------------------

    def _servers(self) -> dict[str, int]:
        """The pid of each model's server, of those that have one."""
        models = self._manager.snapshot().models.values()
        return {model.id: model.pid for model in models if model.state in RUNNING and model.pid}

    def _on_manager_event(self, event: ManagerEvent) -> None:
        if isinstance(event, StateChanged) and event.new is ModelState.STARTING:
            self._telemetry.sampler.started(event.model)

    # -- how we are --------------------------------------------------------------------------------

    def _readiness(self) -> Readiness:
        if self._stop_wanted.is_set():
            return Readiness(Phase.STOPPING)
        if not self._watch.is_responsive():
            return Readiness(Phase.STUCK)
        if waiting := self._manager.preloads_pending:
            return Readiness(Phase.STARTING, waiting)
        return Readiness()

    def _status_line(self) -> str:
        """One line for `systemctl status`."""
        snapshot = self._manager.snapshot()
        running = [model for model in snapshot.models.values() if model.state in RUNNING]
        names = ", ".join(
            model.id if model.state is ModelState.READY else f"{model.id} ({model.state.value})"
            for model in running
        )
        parts = [f"{len(running)} of {len(snapshot.models)} models running{': ' if names else ''}{names}"]
        if snapshot.queued:
            parts.append(f"{snapshot.queued} waiting")
        if self._in_force.status.state is ConfigState.REJECTED:
            parts.append(f"the new configuration was rejected: {self._in_force.status.message}")
        return f"{'stopping; ' if self._stop_wanted.is_set() else ''}{'; '.join(parts)}"

    # -- the end -----------------------------------------------------------------------------------

    async def _stop_in_order(self) -> None:
        """Steps 1 to 5 of the module's docstring."""
        self._service.stopping()
        self._manager.stop_preloading()
        configured = self._in_force.current.shutdown
        pre_stop_delay_s = _first(self._settings.pre_stop_delay_s, configured.pre_stop_delay_s)
        drain_s = _first(self._settings.drain_s, configured.drain_s)
        if pre_stop_delay_s:
            await trio.sleep(pre_stop_delay_s)
        drain_until = trio.current_time() + drain_s
        self._logs.end_streams()
        self._telemetry.events.end_streams("the daemon is stopping", round(drain_s * 1000))
        self._server_stopping.set()
        self._manager.shut_down(drain_until)
        with trio.move_on_at(drain_until + BACKSTOP_S) as backstop:
            with trio.move_on_at(drain_until) as drain:
                await self._drain(drain_until)
            if drain.cancelled_caught:
                self._log.warn(
                    f"requests were still in progress after {drain_s:g} s and have been cut",
                    event="shutdown.deadline",
                )
            self._server_scope.cancel()
            await self._server_ended.wait()
            await self._manager_ended.wait()
        if backstop.cancelled_caught:
            await self._kill_what_is_left()

    async def _drain(self, until: float) -> None:
        """Wait until the last request has ended, and say every five seconds how many there still are."""
        while not self._server_ended.is_set():
            with trio.move_on_after(DRAIN_REPORT_EVERY_S):
                await self._server_ended.wait()
                return
            served = sum(model.leases for model in self._manager.snapshot().models.values())
            requests = "1 request" if served == 1 else f"{served} requests"
            self._log.info(
                f"waiting for {requests} to end, for at most {until - trio.current_time():.0f} s more",
                event="shutdown.draining",
            )

    async def _force_when_wanted(self, orderly_stop: trio.CancelScope) -> None:
        await self._force_wanted.wait()
        with trio.CancelScope(shield=True):
            await self._kill_what_is_left()
        orderly_stop.cancel()

    def _leave_at_once(self) -> None:
        """End the process although killed children are still there. They are stuck in the kernel, and whoever
        waits for them waits with them; the guardian does that, and the next daemon looks again."""
        self._service.close()
        self._protection.end()
        self._logs.close()
        os._exit(EXIT_FORCED)

    async def _kill_what_is_left(self) -> None:
        self._server_scope.cancel()
        self._manager.kill_all()
        with trio.move_on_after(FORCED_STOP_S):
            await self._manager_ended.wait()


def _is_loopback(listener: socket) -> bool:
    """Whether only this machine can reach a listener; a unix socket is not even a page's to reach."""
    name = listener.getsockname()
    return not isinstance(name, tuple) or ip_address(name[0].partition("%")[0]).is_loopback


def _log_settings(config: Config, settings: DaemonSettings) -> LogSettings:
    wanted = LogSettings.from_config(config)
    if settings.log_level is not None:
        wanted = structs.replace(wanted, level=Level.named(settings.log_level))
    return wanted if settings.log_format is None else structs.replace(wanted, form=settings.log_format)


def _first(chosen: float | None, otherwise: float) -> float:
    return otherwise if chosen is None else chosen
