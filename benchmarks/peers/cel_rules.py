"""cel-expr-python: the ten rules as they are written, compiled and type-checked once. Run in the peers' environment.

Twice: one program for each rule, and one for all ten that gives a list, which looks at the facts once.
"""

from __future__ import annotations

from importlib.metadata import version
from itertools import compress

from cel_expr_python import cel

from benchmarks.peers.ten_rules import RULES, Plain, decisions, outcome
from benchmarks.peers.turns import serve

ENV = cel.NewEnv(
    variables=dict.fromkeys(("parameters", "entity", "actor", "schedule"), cel.Type.Map(cel.Type.STRING, cel.Type.DYN))
)
EACH = [(ENV.compile(rule.when), rule.id) for rule in RULES]
TOGETHER = ENV.compile(f"[{', '.join(rule.when for rule in RULES)}]")
IDS = [rule.id for rule in RULES]


def each(facts: Plain) -> str:
    activation = ENV.Activation(facts)
    return outcome([id for program, id in EACH if program.eval(activation).plain_value()])


def together(facts: Plain) -> str:
    return outcome(list(compress(IDS, TOGETHER.eval(data=facts).plain_value())))


if __name__ == "__main__":
    name = "cel-expr-python"
    serve({name: version(name)}, {"each": decisions(each), "together": decisions(together)})
