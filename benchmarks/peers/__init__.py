"""The same allow decision by other packages, audited, each in an environment of its own.

`compare` and what it imports run here; `agent_aegis` and `governance_toolkit` run in the peers' environment, where
KIFF is not installed, and are told what to do a line at a time (`turns`).
"""
