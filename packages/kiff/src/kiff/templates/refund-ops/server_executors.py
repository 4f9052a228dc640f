"""The executors as `kiff serve --executors` takes them; REFUND_LEDGER is the `host:port` of the payment ledger."""

from __future__ import annotations

import os

from executors import registry

EXECUTORS = dict(registry(os.environ["REFUND_LEDGER"]))
