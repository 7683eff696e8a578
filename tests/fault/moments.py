# SPDX-License-Identifier: Apache-2.0
"""When a fault is injected: with work in flight, or not at all."""
import threading

import ds
from syncd_work import Missed

HIT_SECONDS = 60               # hang guard: work must be in flight within


def until(condition, what, seconds=HIT_SECONDS):
    """Missed instead of an error when time is up."""
    try:
        return ds.wait_until(condition, seconds, what, pause=0.003)
    except ds.StackError as error:
        if "in vain" in str(error):
            raise Missed(str(error)) from None
        raise


def pass_time(choose, seconds):
    """The length of a fault; nothing is waited for."""
    threading.Event().wait(choose.uniform(*seconds))


def reading(stack):
    """Waits until syncd has reads open and something to read."""
    until(lambda: stack.source_proxy.open_reads() and stack.behind(), "an open read with something to read")
