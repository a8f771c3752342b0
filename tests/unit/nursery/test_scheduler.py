"""The decision core, event by event: one behaviour a test; `World` checks the invariants meanwhile."""

from __future__ import annotations

import pytest

from swapd.nursery.breaker import BreakerSettings
from swapd.nursery.events import (
    AbandonLoad,
    Crashed,
    LeaseDone,
    ModelRules,
    RefusalCode,
    Revocation,
    Revoke,
    Settings,
    Slot,
    Spawn,
    StateChanged,
    Stop,
    StopReason,
    SwapDecided,
    Ticket,
)
from swapd.nursery.policy.group import Group, GroupPolicy
from swapd.nursery.reports import Ready, StopStuck
from swapd.nursery.states import IllegalTransition, ModelState, check_transition
from tests.unit.nursery.world import World, rules

EXCLUSIVE = Settings(GroupPolicy())
FREE = Settings(GroupPolicy([Group("side by side", frozenset("abcd"), swap=False, exclusive=False)]))


def world(names: str, settings: Settings = EXCLUSIVE, **changes: object) -> World:
    return World({name: rules(**changes) for name in names}, settings)


def serving(names: str, settings: Settings = EXCLUSIVE, **changes: object) -> tuple[World, Ticket]:
    """A world in which the first model is ready and serves one request."""
    made = world(names, settings, **changes)
    ticket = made.request(names[0])
    made.ready(names[0])
    return made, ticket


def refused(ticket: Ticket) -> RefusalCode | None:
    return ticket.refusal.code if ticket.slot is Slot.REFUSED and ticket.refusal else None


# -- joining and collation -----------------------------------------------------------------------------


def test_requests_for_a_starting_model_join_its_swap_and_are_granted_in_order() -> None:
    w = world("a")
    tickets = [w.request("a") for _ in range(5)]
    w.ready("a")
    assert w.grants == tickets
    assert w.core.records["a"].gen == 1


def test_a_mixed_queue_is_served_model_by_model_with_one_load_each() -> None:
    w = world("abc")
    order = [w.request(model) for model in "abcabc"]
    served = []
    for model in "abc":
        w.ready(model)
        mine = [t for t in order if t.slot is Slot.GRANTED]
        served += [t.model for t in mine]
        for ticket in mine:
            w.finish(ticket)
        if model != "c":
            w.exits(model)
    assert served == list("aabbcc")
    assert [w.core.records[model].gen for model in "abc"] == [1, 2, 3]


def test_models_that_may_run_together_load_in_parallel() -> None:
    w = world("ab", FREE)
    w.request("a")
    w.request("b")
    assert w.state("a") is w.state("b") is ModelState.STARTING


def test_a_model_that_two_targets_displace_is_stopped_once() -> None:
    groups = [Group("x", frozenset("x")), Group("side", frozenset("ab"), swap=False)]
    w, x = serving("xab", Settings(GroupPolicy(groups)))
    w.finish(x)
    w.request("a")
    stops = w.of(Stop)
    w.request("b")
    assert [stop.model for stop in stops] == ["x"] and w.of(Stop) == []
    assert w.state("b") is ModelState.STOPPED
    w.exits("x")
    assert w.state("a") is w.state("b") is ModelState.STARTING


# -- busy models are not displaced ---------------------------------------------------------------------


def test_a_busy_model_is_displaced_only_after_its_last_request() -> None:
    w, first = serving("ab")
    second = w.request("a")
    waiting = w.request("b")
    w.finish(first)
    assert w.state("a") is ModelState.READY
    w.finish(second)
    assert w.state("a") is ModelState.STOPPING
    w.exits("a")
    w.ready("b")
    assert waiting.slot is Slot.GRANTED


def test_a_loaded_model_goes_on_serving_while_another_is_queued() -> None:
    w, _ = serving("ab")
    w.request("b")
    assert w.request("a").slot is Slot.GRANTED


def test_a_ready_exclusive_model_first_displaces_the_side_model_it_tolerates_not() -> None:
    groups = [Group("main", frozenset("a")), Group("side", frozenset("b"), exclusive=False)]
    w, a = serving("ab", Settings(GroupPolicy(groups)))
    w.finish(a)
    b = w.request("b")
    w.ready("b")
    w.finish(b)
    again = w.request("a")
    assert [e.evicted for e in w.of(SwapDecided)] == [("b",)]
    assert again.slot is Slot.WAITING
    w.exits("b")
    assert again.slot is Slot.GRANTED


def test_a_minimum_stay_holds_displacement_back_until_it_is_over() -> None:
    w, a = serving("ab", Settings(GroupPolicy(), min_loaded_s=30))
    w.finish(a)
    w.request("b")
    w.advance(29)
    assert w.state("a") is ModelState.READY
    w.advance(1)
    assert w.state("a") is ModelState.STOPPING


# -- leaving -------------------------------------------------------------------------------------------


def test_nothing_is_started_for_a_queued_request_whose_client_left() -> None:
    w, a = serving("abc")
    b, c = w.request("b"), w.request("c")
    w.cancel(b)
    assert c.position == 1
    w.finish(a)
    w.exits("a")
    assert not w.live("b") and w.state("c") is ModelState.STARTING


def test_a_load_goes_on_when_its_only_client_leaves_and_nobody_else_wants_the_place() -> None:
    w = world("ab")
    w.cancel(w.request("a"))
    w.advance(60)
    w.ready("a")
    assert w.state("a") is ModelState.READY and not w.core.records["a"].leased


def test_a_load_that_nobody_waits_for_gives_way_to_a_queued_model() -> None:
    w = world("ab")
    w.cancel(w.request("a"))
    b = w.request("b")
    assert w.state("a") is ModelState.STARTING
    w.advance(1)
    assert w.state("a") is ModelState.STOPPING
    w.exits("a")
    w.ready("b")
    assert b.slot is Slot.GRANTED
    assert w.core.records["a"].breaker.failures == 0


@pytest.mark.parametrize(("mode", "stopped"), [(AbandonLoad.ALWAYS, True), (AbandonLoad.NEVER, False)])
def test_what_becomes_of_a_deserted_load_can_be_chosen(mode: AbandonLoad, stopped: bool) -> None:
    w = world("a", Settings(GroupPolicy(), abandon_load=mode))
    w.cancel(w.request("a"))
    w.advance(2)
    assert (w.state("a") is ModelState.STOPPING) is stopped


def test_a_waiter_that_vanished_in_the_same_moment_costs_no_lease() -> None:
    w = world("ab")
    a = w.request("a")
    a.slot = Slot.ABANDONED  # its `Cancel` is still on the way
    w.ready("a")
    assert w.core.records["a"].reserved == 0
    w.request("b")
    assert w.state("a") is ModelState.STOPPING


# -- unload --------------------------------------------------------------------------------------------


def test_unload_fails_the_waiters_and_a_newcomer_gets_a_fresh_start() -> None:
    w = world("a")
    first = w.request("a")
    call = w.unload("a")
    second = w.request("a")
    assert refused(first) is RefusalCode.MODEL_UNLOADED
    w.handle(Ready("a", 1))  # too late: it is being stopped
    assert second.slot is Slot.WAITING
    w.exits("a")
    assert call not in w.open_calls
    w.ready("a")
    assert second.slot is Slot.GRANTED and second.gen == 2


def test_a_swap_unloaded_while_it_evicts_never_starts_its_target() -> None:
    w, a = serving("abc")
    w.finish(a)
    w.request("b")
    w.unload("b")
    w.request("c")
    assert not w.live("c")
    w.exits("a")
    assert not w.live("b") and w.state("c") is ModelState.STARTING


def test_unload_of_one_model_leaves_the_queue_of_another() -> None:
    w, _ = serving("ab")
    b = w.request("b")
    w.unload("a")
    assert b.slot is Slot.WAITING
    w.exits("a")
    w.ready("b")
    assert b.slot is Slot.GRANTED


def test_unload_gives_each_model_its_own_grace_and_an_explicit_one_overrides() -> None:
    models = {"a": rules(unload_timeout_s=45.0), "c": rules(), "e": rules(unload_timeout_s=25.0)}
    groups = GroupPolicy([Group("g", frozenset("ace"), swap=False)])
    w = World(models, Settings(groups))
    for model in "ace":
        w.request(model)
        w.ready(model)
    w.unload()
    assert [(stop.model, stop.grace_s) for stop in w.of(Stop)] == [("a", 45), ("c", 10), ("e", 25)]
    w.unload(timeout_s=1)
    assert {stop.grace_s for stop in w.of(Stop)} == {1}


def test_unload_of_what_does_not_run_returns_at_once_and_disturbs_nobody() -> None:
    w, a = serving("ab")
    b = w.request("b")
    w.unload("a")
    call = w.unload("b")
    assert call not in w.open_calls and refused(b) is RefusalCode.MODEL_UNLOADED
    assert a.slot is Slot.GRANTED


def test_a_draining_unload_lets_requests_finish_first() -> None:
    w, a = serving("a")
    call = w.unload("a", drain=True)
    late = w.request("a")
    assert w.state("a") is ModelState.READY and late.slot is Slot.WAITING
    w.finish(a)
    assert w.state("a") is ModelState.STOPPING
    w.exits("a")
    assert call not in w.open_calls
    w.ready("a")
    assert late.slot is Slot.GRANTED


# -- the concurrency limit -----------------------------------------------------------------------------


def test_the_limit_counts_waiting_requests_too() -> None:
    w = world("a", concurrency_limit=2)
    first, second, third = (w.request("a") for _ in range(3))
    assert refused(third) is RefusalCode.CONCURRENCY_LIMIT
    assert third.refusal is not None and third.refusal.retry_after_s == 1
    w.cancel(first)
    assert w.request("a").slot is Slot.WAITING
    assert second.slot is Slot.WAITING


def test_the_limit_holds_on_the_direct_path_too() -> None:
    w, _ = serving("a", concurrency_limit=2)
    w.request("a")
    assert refused(w.request("a")) is RefusalCode.CONCURRENCY_LIMIT


# -- idle time -----------------------------------------------------------------------------------------


def test_idle_time_counts_from_the_end_of_the_last_request() -> None:
    w, first = serving("a", ttl_s=10.0)
    w.advance(5)
    w.finish(first)
    w.advance(9.5)
    second = w.request("a")
    w.advance(25)
    w.finish(second)
    w.advance(9.9)
    assert w.state("a") is ModelState.READY
    w.advance(0.1)
    assert w.state("a") is ModelState.STOPPING


def test_idle_time_counts_from_readiness_when_nobody_came() -> None:
    w = world("a", ttl_s=5.0)
    a = w.request("a")
    w.advance(60)
    w.cancel(a)
    w.ready("a")
    w.advance(4.9)
    assert w.state("a") is ModelState.READY
    w.advance(0.1)
    assert w.state("a") is ModelState.STOPPING


def test_idle_time_goes_on_after_a_swap_that_was_given_up() -> None:
    groups = GroupPolicy([Group("main", frozenset("a")), Group("side", frozenset("b"), exclusive=False)])
    w, a = serving("ab", Settings(groups), ttl_s=5.0)
    w.finish(a)
    w.request("b")
    w.ready("b")
    w.finish(w.tickets[-1])
    w.request("a")
    w.advance(6)
    w.handle(StopStuck("b", 2))
    assert w.state("a") is ModelState.READY
    w.exits("b")
    assert w.state("a") is ModelState.STOPPING


def test_a_request_during_the_stop_gets_a_fresh_instance() -> None:
    w, a = serving("a", ttl_s=5.0)
    w.finish(a)
    w.advance(5)
    late = w.request("a")
    assert late.slot is Slot.WAITING
    w.exits("a")
    w.ready("a")
    assert late.slot is Slot.GRANTED


def test_a_pinned_model_stays_however_long_it_is_idle_until_the_pin_is_taken_back() -> None:
    w, a = serving("a", ttl_s=5.0)
    # Given a model that somebody has pinned while it was used
    w.pin("a", "ann")
    w.finish(a)
    # Then it stays
    w.advance(1000)
    assert w.state("a") is ModelState.READY
    # And other requests change nothing about that
    again = w.request("a")
    w.finish(again)
    w.advance(1000)
    assert w.state("a") is ModelState.READY
    # When it is pinned no longer, then its idle time counts from there
    w.pin("a", None)
    w.advance(4.9)
    assert w.state("a") is ModelState.READY
    w.advance(0.1)
    assert w.state("a") is ModelState.STOPPING


def test_a_model_that_is_pinned_while_it_is_idle_stays_and_can_make_room() -> None:
    w, a = serving("ab", ttl_s=5.0)
    w.finish(a)
    w.advance(4)
    w.pin("a", "ann")
    w.advance(1000)
    assert w.state("a") is ModelState.READY
    # When another needs its place
    w.request("b")
    # Then it goes; a pin is about idle time alone
    assert w.state("a") is ModelState.STOPPING


# -- failures ------------------------------------------------------------------------------------------


def test_a_failed_start_fails_all_its_waiters_with_one_cause_and_the_queue_moves_on() -> None:
    w = world("ab")
    waiters = [w.request("a") for _ in range(3)]
    b = w.request("b")
    w.exits("a", "exit status 3")
    assert {ticket.refusal for ticket in waiters} == {waiters[0].refusal}
    assert waiters[0].refusal is not None and "exit status 3" in waiters[0].refusal.message
    assert w.core.records["a"].reserved == 0
    assert w.state("b") is ModelState.STARTING and b.slot is Slot.WAITING


def test_a_start_that_takes_too_long_fails_at_once_and_is_torn_down() -> None:
    w = world("a")
    a = w.request("a")
    w.start_times_out("a")
    assert refused(a) is RefusalCode.START_TIMEOUT
    assert w.state("a") is ModelState.STOPPING


def test_after_a_crash_the_next_request_starts_a_new_instance() -> None:
    w, a = serving("a")
    w.exits("a", "killed by SIGKILL")
    assert w.state("a") is ModelState.STOPPED
    b = w.request("a")
    w.finish(a)
    w.ready("a")
    assert b.slot is Slot.GRANTED and b.gen == 2


def test_a_request_whose_instance_was_lost_before_use_is_served_by_the_next() -> None:
    w, a = serving("a", concurrency_limit=1)
    w.exits("a")
    w.requeue(a)
    w.ready("a")
    assert a.slot is Slot.GRANTED and a.gen == 2


def test_a_lease_handed_back_for_another_counts_as_ended() -> None:
    w, a = serving("a")
    w.reload({"a": rules(launch=2)})
    w.requeue(a)
    assert w.state("a") is ModelState.STOPPING
    w.exits("a")
    w.ready("a")
    assert a.slot is Slot.GRANTED and a.gen == 2


def test_three_failures_open_the_breaker_and_one_probe_follows() -> None:
    w = world("a")
    for _ in range(3):
        w.request("a")
        w.exits("a")
    looping = w.request("a")
    assert refused(looping) is RefusalCode.CRASH_LOOPING
    assert looping.refusal is not None and looping.refusal.retry_after_s == 2
    w.advance(2)
    probe, joined = w.request("a"), w.request("a")
    w.ready("a")
    assert probe.slot is joined.slot is Slot.GRANTED
    assert not w.core.records["a"].breaker.closed
    w.advance(60)
    assert w.core.records["a"].breaker.failures == 0


def test_a_failed_probe_opens_the_breaker_for_longer() -> None:
    w = world("a")
    for _ in range(3):
        w.request("a")
        w.exits("a")
    w.advance(2)
    w.request("a")
    w.exits("a")
    assert w.core.records["a"].breaker.open_until == w.now + 4


def test_a_named_unload_forgets_the_failures() -> None:
    w = world("a")
    for _ in range(3):
        w.request("a")
        w.exits("a")
    w.unload("a")
    assert w.request("a").slot is Slot.WAITING


def test_a_start_that_something_else_stopped_is_no_failure_of_the_server() -> None:
    w = world("a")
    a = w.request("a")
    w.newest("a").stopping = True  # not at the core's request: its task was cancelled
    w.exits("a", "stopped: killed by SIGTERM")
    assert refused(a) is RefusalCode.START_ABORTED
    assert a.refusal is not None and a.refusal.retry_after_s == 1
    assert w.core.records["a"].breaker.failures == 0


def test_stops_of_our_own_never_count_as_failures() -> None:
    w = world("ab", Settings(GroupPolicy(), breaker=BreakerSettings(threshold=1)))
    for _ in range(5):
        w.request("a")
        w.unload("a")
        w.exits("a")
    assert w.core.records["a"].breaker.failures == 0


def test_a_crashed_model_with_auto_restart_comes_back_when_it_displaces_nobody() -> None:
    w, a = serving("ab", FREE, auto_restart=True)
    w.exits("a")
    w.finish(a)
    w.advance(0)
    assert w.state("a") is ModelState.STARTING


def test_a_start_of_our_own_that_fails_is_tried_again_with_the_pauses_of_the_breaker() -> None:
    w, a = serving("a", auto_restart=True)
    w.exits("a")
    w.finish(a)
    began = []
    for _ in range(4):
        while w.state("a") is not ModelState.STARTING:
            w.advance(0.5)
        began.append(w.now)
        w.exits("a")
    assert began == [0, 2, 4, 8]  # at once; `base`; then the breaker: 2 s after the third failure, 4 s


def test_a_model_that_crashes_while_it_drains_for_an_unload_does_not_come_back() -> None:
    w, a = serving("a", auto_restart=True)
    w.unload("a", drain=True)
    w.exits("a")
    w.finish(a)
    w.advance(1000)
    assert w.state("a") is ModelState.STOPPED


def test_a_crashed_model_does_not_come_back_by_itself_into_the_way_of_somebody_who_waits() -> None:
    """Found by random histories: it was started, and given up in the same step for the sake of the queue."""
    w, a = serving("ab", auto_restart=True)
    b = w.request("b")
    w.exits("a")
    assert w.of(Spawn) == [Spawn("b", 2)]
    w.finish(a)
    w.ready("b")
    assert b.slot is Slot.GRANTED and w.state("a") is ModelState.STOPPED


def test_a_reload_may_take_the_restart_back() -> None:
    w = world("a", Settings(GroupPolicy(), breaker=BreakerSettings(threshold=1)), auto_restart=True)
    w.request("a")
    w.ready("a")
    w.exits("a")
    w.reload({"a": rules()})
    w.advance(1000)
    assert w.state("a") is ModelState.STOPPED


def test_nobody_is_served_by_a_process_that_has_ended_while_the_rest_of_its_tree_is_removed() -> None:
    w, a = serving("a")
    w.exited("a")
    assert w.of(Revoke) == [Revoke(a, Revocation.UPSTREAM_LOST)]
    waiting = w.request("a")
    assert w.state("a") is ModelState.READY and waiting.slot is Slot.WAITING
    w.exits("a", "killed by SIGSEGV")
    assert w.state("a") is ModelState.STARTING
    w.ready("a")
    assert waiting.slot is Slot.GRANTED and waiting.gen == 2
    assert w.core.records["a"].breaker.last_cause == "killed by SIGSEGV"


def test_a_model_without_a_sign_of_life_counts_as_crashed_and_its_requests_end_at_once() -> None:
    w, a = serving("a")
    w.falls_silent("a")
    assert w.of(Revoke) == [Revoke(a, Revocation.UPSTREAM_LOST)]
    assert [effect.message for effect in w.effects if isinstance(effect, Crashed)] == ["no sign of life"]
    waiting = w.request("a")
    assert w.state("a") is ModelState.STOPPING and waiting.slot is Slot.WAITING
    w.exits("a")
    w.ready("a")
    assert waiting.slot is Slot.GRANTED and waiting.gen == 2
    assert w.core.records["a"].breaker.failures == 1


def test_a_model_without_a_sign_of_life_comes_back_by_itself_if_it_is_to() -> None:
    w, _ = serving("a", auto_restart=True)
    w.falls_silent("a")
    w.exits("a")
    assert w.state("a") is ModelState.STARTING


# -- a draining unload ---------------------------------------------------------------------------------


def test_a_draining_unload_lets_requests_finish_and_then_stops_with_the_grace_it_was_given() -> None:
    w, a = serving("a")
    call = w.unload("a", drain=True, timeout_s=3.0)
    newcomer = w.request("a")
    assert w.state("a") is ModelState.READY and newcomer.slot is Slot.WAITING
    w.finish(a)
    assert [(stop.reason, stop.grace_s) for stop in w.of(Stop)] == [(StopReason.UNLOADED, 3)]
    w.exits("a")
    assert call not in w.open_calls
    w.ready("a")
    assert newcomer.slot is Slot.GRANTED


def test_a_second_draining_unload_does_not_give_more_time() -> None:
    w, _ = serving("a", Settings(GroupPolicy(), reload_drain_s=300))
    w.unload("a", drain=True)
    w.advance(200)
    w.unload("a", drain=True)
    w.advance(100)
    assert w.state("a") is ModelState.STOPPING


# -- a process that does not die -----------------------------------------------------------------------


def test_who_depends_on_a_process_that_does_not_die_is_told_so() -> None:
    w, a = serving("ab")
    w.finish(a)
    b = w.request("b")
    w.handle(StopStuck("a", 1))
    assert refused(b) is RefusalCode.STOP_STUCK
    assert refused(w.request("b")) is RefusalCode.STOP_STUCK
    w.exits("a")
    assert w.request("b").slot is Slot.WAITING


# -- the queue -----------------------------------------------------------------------------------------


def test_higher_priority_goes_first_and_equals_keep_their_order() -> None:
    models = {"a": rules(priority=10), "b": rules(priority=5), "c": rules(priority=5), "d": rules(priority=1)}
    w = World({"x": rules()} | models, EXCLUSIVE)
    w.request("x")
    w.ready("x")
    tickets = {name: w.request(name) for name in "bdca"}
    assert [tickets[name].position for name in "abcd"] == [1, 2, 3, 4]


def test_a_blocked_ticket_does_not_hold_up_one_behind_it() -> None:
    groups = [Group("free", frozenset("y"), swap=False, exclusive=False, persistent=True)]
    w, _ = serving("axy", Settings(GroupPolicy(groups)))
    w.request("x")
    w.request("y")
    assert w.state("y") is ModelState.STARTING


def test_the_queue_time_limit_refuses_with_an_estimate() -> None:
    w, _ = serving("ab", queue_timeout_s=20.0)
    b = w.request("b")
    w.advance(20)
    assert refused(b) is RefusalCode.QUEUE_TIMEOUT
    assert b.refusal is not None and b.refusal.retry_after_s == 10
    assert w.core.records["b"].reserved == 0


def test_a_client_may_shorten_the_queue_time_limit_but_not_extend_it() -> None:
    w, _ = serving("ab", queue_timeout_s=20.0)
    short = w.request("b", queue_timeout_s=5.0)
    long = w.request("b", queue_timeout_s=50.0)
    w.advance(5)
    assert refused(short) is RefusalCode.QUEUE_TIMEOUT and long.slot is Slot.WAITING
    w.advance(15)
    assert refused(long) is RefusalCode.QUEUE_TIMEOUT


def test_a_request_that_waits_for_a_second_instance_has_its_whole_queue_time_again() -> None:
    w = world("ab", queue_timeout_s=20.0)
    a = w.request("a")
    w.advance(60)
    w.ready("a")
    w.exits("a")
    w.request("b")
    w.requeue(a)
    assert a.slot is Slot.WAITING and a.position == 1
    w.advance(20)
    assert refused(a) is RefusalCode.QUEUE_TIMEOUT


def test_a_request_that_waits_for_a_second_instance_has_the_priority_of_now() -> None:
    """Found by random histories: it kept that of its admission and stood behind later ones of its model."""
    w, a = serving("ab")
    w.exits("a")
    w.request("b")
    w.reload({"a": rules(priority=1), "b": rules()})
    later = w.request("a")
    w.requeue(a)
    assert (a.position, later.position) == (1, 2)


def test_a_ticket_tells_the_priority_it_has() -> None:
    w, first = serving("ab", priority=5)
    queued = w.request("b")
    w.reload({"a": rules(priority=5), "b": rules(priority=7)})
    assert (first.priority, queued.priority, w.request("a").priority) == (5, 7, 5)


# -- claims --------------------------------------------------------------------------------------------


def test_a_model_that_waited_long_enough_gets_its_turn() -> None:
    w, first = serving("ab", max_wait_s=30.0)
    b = w.request("b")
    w.advance(29)
    late = w.request("a")
    assert late.slot is Slot.GRANTED
    w.advance(1)
    held = w.request("a")
    assert held.slot is Slot.WAITING
    w.finish(first)
    w.finish(late)
    w.exits("a")
    w.ready("b")
    assert b.slot is Slot.GRANTED and held.slot is Slot.WAITING
    w.finish(b)
    w.exits("b")
    w.ready("a")
    assert held.slot is Slot.GRANTED


def test_when_the_claim_is_withdrawn_the_others_are_served_at_once() -> None:
    w, _ = serving("ab", max_wait_s=30.0)
    b = w.request("b")
    w.advance(30)
    held = w.request("a")
    w.cancel(b)
    assert held.slot is Slot.GRANTED


def test_a_claim_ignores_the_minimum_stay() -> None:
    w, a = serving("ab", Settings(GroupPolicy(), min_loaded_s=100), max_wait_s=30.0)
    w.finish(a)
    w.request("b")
    w.advance(30)
    assert w.state("a") is ModelState.STOPPING


# -- ready-only requests -------------------------------------------------------------------------------


def test_a_ready_only_request_never_causes_a_load() -> None:
    w = world("a")
    assert refused(w.request("a", ready_only=True)) is RefusalCode.MODEL_NOT_LOADED
    w.request("a")
    assert refused(w.request("a", ready_only=True)) is RefusalCode.MODEL_NOT_LOADED
    w.ready("a")
    assert w.request("a", ready_only=True).slot is Slot.GRANTED


# -- reload --------------------------------------------------------------------------------------------


def test_reload_touches_only_what_changed() -> None:
    w = world("ab", FREE)
    a, b = w.request("a"), w.request("b")
    w.ready("a")
    w.ready("b")
    applied = w.reload({"a": rules(), "b": rules(launch=2), "c": rules()})
    assert (applied.unchanged, applied.restarted, applied.added) == (("a",), ("b",), ("c",))
    assert w.state("b") is ModelState.READY  # it serves to the end
    waiting = w.request("b")
    w.finish(b)
    assert w.state("b") is ModelState.STOPPING
    w.exits("b")
    w.ready("b")
    assert waiting.slot is Slot.GRANTED
    assert a.slot is Slot.GRANTED and w.core.records["a"].gen == 1


def test_reload_repeats_a_start_whose_command_changed_for_the_same_waiters() -> None:
    w = world("a")
    a = w.request("a")
    w.reload({"a": rules(launch=2)})
    assert w.state("a") is ModelState.STOPPING and a.slot is Slot.WAITING
    w.exits("a")
    w.ready("a")
    assert a.slot is Slot.GRANTED and a.gen == 2


def test_reload_refuses_the_waiters_of_a_removed_model_and_stops_it() -> None:
    w = world("ab")
    a = w.request("a")
    w.reload({"b": rules()})
    assert refused(a) is RefusalCode.NOT_FOUND
    assert w.state("a") is ModelState.STOPPING
    w.exits("a")
    assert "a" not in w.core.records


def test_an_edit_that_is_taken_back_changes_nothing() -> None:
    w, a = serving("a")
    w.reload({"a": rules(launch=2)})
    w.reload({"a": rules()})
    w.finish(a)
    assert w.state("a") is ModelState.READY


def test_a_condemned_model_is_stopped_when_its_time_is_over() -> None:
    w, _ = serving("a", Settings(GroupPolicy(), reload_drain_s=300))
    w.reload({"a": rules(launch=2)})
    w.advance(299)
    assert w.state("a") is ModelState.READY
    w.advance(1)
    assert w.state("a") is ModelState.STOPPING


def test_a_swap_that_only_evicted_gives_no_lease_on_an_instance_that_is_to_be_replaced() -> None:
    groups = GroupPolicy([Group("main", frozenset("a")), Group("side", frozenset("b"), exclusive=False)])
    w, first = serving("ab", Settings(groups))
    b = w.request("b")
    w.ready("b")
    w.finish(b)
    again = w.request("a")
    assert w.state("b") is ModelState.STOPPING
    w.reload({"a": rules(launch=2), "b": rules()}, Settings(groups))
    w.exits("b")
    assert again.slot is Slot.WAITING
    w.finish(first)
    w.exits("a")
    w.ready("a")
    assert again.slot is Slot.GRANTED and again.gen == 3


def test_an_edit_that_is_taken_back_lets_a_swap_that_waited_for_the_replacement_end() -> None:
    groups = GroupPolicy([Group("main", frozenset("a")), Group("side", frozenset("b"), exclusive=False)])
    w, first = serving("ab", Settings(groups))
    b = w.request("b")
    w.ready("b")
    w.finish(b)
    again = w.request("a")
    w.reload({"a": rules(launch=2), "b": rules()}, Settings(groups))
    w.exits("b")
    w.reload({"a": rules(), "b": rules()}, Settings(groups))
    assert again.slot is first.slot is Slot.GRANTED and again.gen == 1


# -- shutdown ------------------------------------------------------------------------------------------


def test_shutdown_refuses_everybody_who_waits_and_starts_nothing_more() -> None:
    w = world("abc")
    waiting = [w.request(model) for model in "aabbc"]
    w.shut_down()
    assert {refused(ticket) for ticket in waiting} == {RefusalCode.SHUTTING_DOWN}
    w.shut_down()
    w.exits("a")
    assert w.drained
    assert refused(w.request("a")) is RefusalCode.SHUTTING_DOWN


def test_shutdown_lets_granted_requests_finish_first() -> None:
    w, a = serving("a")
    w.shut_down(30)
    assert w.state("a") is ModelState.READY
    w.advance(5)
    w.finish(a)
    stops = w.of(Stop)
    assert [(stop.reason, stop.grace_s) for stop in stops] == [(StopReason.SHUTDOWN, 10)]
    w.exits("a")
    assert w.drained


def test_the_drain_deadline_ends_what_is_left_with_two_seconds_of_grace() -> None:
    w, a = serving("a")
    w.shut_down(30)
    w.advance(30)
    assert w.state("a") is ModelState.STOPPING
    assert [stop.grace_s for stop in w.effects if isinstance(stop, Stop)] == [2]
    w.exits("a")
    w.finish(a)
    assert w.drained


def test_a_stop_under_way_is_hurried_by_a_shutdown() -> None:
    w, a = serving("a", unload_timeout_s=300.0)
    w.finish(a)
    w.unload("a")
    w.shut_down(30)
    assert [stop.grace_s for stop in w.of(Stop)] == [30]
    w.advance(5)
    w.shut_down(1)
    assert [stop.grace_s for stop in w.of(Stop)] == [2]
    w.exits("a")
    assert w.drained


# -- small print ---------------------------------------------------------------------------------------


def test_releasing_twice_is_a_bug_that_shows() -> None:
    w, a = serving("a")
    w.finish(a)
    with pytest.raises(AssertionError):
        w.core.handle(LeaseDone(a), w.now)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (ModelState.STOPPED, ModelState.READY),
        (ModelState.READY, ModelState.STARTING),
        (ModelState.STOPPING, ModelState.STARTING),
        (ModelState.STOPPING, ModelState.READY),
        (ModelState.STARTING, ModelState.STARTING),
        (ModelState.SHUTDOWN, ModelState.STOPPED),
    ],
)
def test_forbidden_moves_raise(old: ModelState, new: ModelState) -> None:
    with pytest.raises(IllegalTransition):
        check_transition("a", old, new)


def test_a_plain_cycle_has_four_events_and_one_spawn() -> None:
    w = world("a")
    seen: list[object] = []
    a = w.request("a")
    seen += w.effects
    w.ready("a")
    seen += w.effects
    w.finish(a)
    w.unload("a")
    seen += w.effects
    w.exits("a")
    seen += w.effects
    moves = [(e.old.value, e.new.value) for e in seen if isinstance(e, StateChanged)]
    assert moves == [
        ("stopped", "starting"),
        ("starting", "ready"),
        ("ready", "stopping"),
        ("stopping", "stopped"),
    ]
    assert sum(isinstance(e, Spawn) for e in seen) == 1


def test_the_same_events_give_the_same_effects() -> None:
    def history() -> list[str]:
        w = world("abcd", max_wait_s=3.0)
        seen = []
        for model in "abcdabcd":
            w.request(model)
            seen.append(repr(w.effects))
        w.ready("a")
        return [*seen, repr(w.effects)]

    assert history() == history()


def test_rules_are_plain_values() -> None:
    assert ModelRules() == ModelRules()
