"""Schedules of the learning rate: the values of torch's, one after another, and what is refused."""

import copy
import pickle
import warnings

import numpy as np
import pytest
import torch

from ostinato import OptionError
from ostinato.errors import FileError
from ostinato.learn.schedules import SCHEDULES, Constant, Cosine, Exponential, OnPlateau, Step, WarmUp, as_schedule, rate_of

from .helpers import Messages, assert_close

case = Messages("errors_schedules.txt")
LOSSES = [1.0, 0.9, 0.95, 0.93, 0.91, 0.90005, 0.89, 0.89, 0.89, 0.89, 0.7, 0.8, 0.8, float("nan"), 0.8, 0.8, 0.8, 0.8]


def of_torch(make, n_epochs, losses=None, rate=0.1):
    """The rates of torch's schedule, epoch by epoch."""
    parameter = torch.nn.Parameter(torch.zeros(1))
    optimiser = torch.optim.SGD([parameter], lr=rate)
    scheduler = make(optimiser)
    found = []
    for i in range(n_epochs):
        found.append(optimiser.param_groups[0]["lr"])
        optimiser.step()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            scheduler.step(*([] if losses is None else [losses[i]]))
    return found


def of_ours(schedule, n_epochs, losses=None, rate=0.1):
    begun = schedule.begun(rate, n_epochs)
    found = []
    for epoch in range(1, n_epochs + 1):
        found.append(begun(epoch))
        begun.observe(0.0 if losses is None else losses[epoch - 1])
    return found


schedulers = torch.optim.lr_scheduler


@pytest.mark.parametrize(
    ("ours", "make"),
    [
        (Cosine(minimum=0.01), lambda o: schedulers.CosineAnnealingLR(o, T_max=17, eta_min=0.01)),
        (Step(every=5, factor=0.3), lambda o: schedulers.StepLR(o, step_size=5, gamma=0.3)),
        (Exponential(0.9), lambda o: schedulers.ExponentialLR(o, gamma=0.9)),
        (WarmUp(6, start=0.25), lambda o: schedulers.LinearLR(o, start_factor=0.25, total_iters=6)),
        (Constant(), lambda o: schedulers.ConstantLR(o, factor=1.0)),
        (
            WarmUp(4, start=0.25).then(Exponential(0.8)),
            lambda o: schedulers.SequentialLR(
                o, [schedulers.LinearLR(o, 0.25, total_iters=4), schedulers.ExponentialLR(o, 0.8)], milestones=[4]
            ),
        ),
    ],
    ids=lambda value: type(value).__name__,
)
def test_the_rates_are_those_of_torch(ours, make):
    assert_close(of_ours(ours, 17), of_torch(make, 17), 1e-12)


@pytest.mark.parametrize("patience", [0, 2, 3])
def test_on_a_plateau_the_rate_falls_when_it_falls_in_torch(patience):
    ours = OnPlateau(factor=0.5, patience=patience, threshold=1e-3, minimum=0.02)
    theirs = of_torch(
        lambda o: schedulers.ReduceLROnPlateau(o, factor=0.5, patience=patience, threshold=1e-3, min_lr=0.02), 18, LOSSES
    )
    found = of_ours(ours, 18, LOSSES)
    assert_close(found, theirs, 1e-12)
    assert found[-1] < found[0]


def test_the_cosine_ends_where_it_said_and_stays_there():
    cosine = Cosine(minimum=0.001, n_epochs=4, learning_rate=0.1)
    assert cosine(1) == 0.1
    assert_close([cosine(3), cosine(5), cosine(50)], [0.0505, 0.001, 0.001])


def test_one_follows_another_and_what_it_sees_reaches_the_one_that_runs():
    both = WarmUp(2, start=0.5).then(OnPlateau(factor=0.1, patience=0)).begun(1.0, 10)
    found = []
    for epoch in range(1, 7):
        found.append(both(epoch))
        both.observe(0.5)
    assert_close(found, [0.5, 0.75, 1.0, 1.0, 0.1, 0.01])
    three = Constant(n_epochs=2).then(Constant(n_epochs=2, learning_rate=0.5)).then(Cosine())
    assert three.first.n_epochs == 4
    rates = three.begun(0.1, 8)
    assert_close([rates(epoch) for epoch in range(1, 9)], [0.1, 0.1, 0.5, 0.5, 0.1, *of_ours(Cosine(), 4)[1:]])


@pytest.mark.parametrize("name", SCHEDULES)
def test_a_schedule_is_plain_has_a_name_and_is_not_used_up(name):
    schedule = as_schedule(name, "train")
    before = copy.deepcopy(schedule)
    first = of_ours(schedule, 8, LOSSES)
    assert schedule == before
    assert of_ours(pickle.loads(pickle.dumps(schedule)), 8, LOSSES) == first
    assert type(as_schedule(name.upper().replace("_", "-"), "train")) is type(schedule)


@pytest.mark.parametrize("schedule", [OnPlateau(patience=1), WarmUp(3).then(OnPlateau(patience=1)), Cosine()])
def test_what_a_schedule_has_seen_is_restored(schedule):
    whole, first = schedule.begun(0.1, 18), schedule.begun(0.1, 18)
    for loss in LOSSES[:9]:
        whole.observe(loss)
        first.observe(loss)
    again = schedule.begun(0.1, 18)
    again.restore(first.seen)
    for epoch, loss in enumerate(LOSSES[9:], 10):
        assert again(epoch) == whole(epoch)
        again.observe(loss)
        whole.observe(loss)
    assert again.seen == whole.seen


def test_any_function_is_a_schedule():
    halving = lambda epoch: 0.1 * 0.5**epoch  # noqa: E731
    assert as_schedule(halving, "train") is halving
    assert as_schedule(None, "train") is None
    assert rate_of(lambda _: np.float32(0.5), 1, "train") == 0.5
    assert rate_of(lambda _: 0, 1, "train") == 0.0


# --- what is refused


@case(OptionError)
def a_rate_before_training():
    Cosine()(1)


@case(OptionError)
def a_rate_of_no_epoch():
    Step(learning_rate=0.1)(0)


@case(OptionError)
def epochs_of_half():
    Cosine(n_epochs=2.5)


@case(OptionError)
def a_rate_below_zero():
    Exponential(learning_rate=-0.1)


@case(OptionError)
def a_minimum_below_zero():
    Cosine(minimum=-1e-3)


@case(OptionError)
def a_factor_as_text():
    Step(factor="0.1")


@case(OptionError)
def a_plateau_that_rises():
    OnPlateau(factor=10)


@case(OptionError)
def a_plateau_without_patience():
    OnPlateau(patience=None)


@case(OptionError)
def followed_by_a_number():
    WarmUp(5).then(0.01)


@case(OptionError)
def an_end_that_nobody_knows():
    Cosine().then(Exponential())


@case(OptionError)
def a_name_that_does_not_exist():
    as_schedule("cosin", "train")


@case(OptionError)
def the_class_itself():
    as_schedule(Cosine, "train")


@case(OptionError)
def a_number_for_a_schedule():
    as_schedule(0.01, "train")


@case(OptionError)
def a_schedule_that_gives_nothing():
    rate_of(lambda _: None, 3, "train")


@case(FileError)
def a_plateau_restored_from_something_else():
    OnPlateau().restore({"rate": "high"})


@case(FileError)
def a_cosine_that_is_said_to_remember():
    Cosine().restore({"rate": 0.1})


@case(FileError)
def a_sequence_restored_from_something_else():
    WarmUp(5).then(Cosine()).restore({"passed": 3})


@pytest.mark.parametrize("name", case.names)
def test_message(name, request):
    case.check(name, request)


def test_every_message_has_its_case():
    case.check_complete()
