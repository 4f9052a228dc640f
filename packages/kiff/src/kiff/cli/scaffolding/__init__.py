"""The Python of a domain: pure text, made from a `Domain` alone. The same domain gives the same text."""

from __future__ import annotations

from kiff.cli.safe_text import width
from kiff.cli.scaffolding.actions_module import actions_module
from kiff.cli.scaffolding.domain_module import domain_module
from kiff.cli.scaffolding.policy_module import policy_module
from kiff.cli.scaffolding.source import WIDTH
from kiff.cli.scaffolding.tests_module import tests_module
from kiff.domain import Domain

_LONG_LINES = "# ruff: noqa: E501\n"


def scaffolding(domain: Domain, yaml: str) -> dict[str, str]:
    """File name -> source.

    Args:
        domain: a complete one.
        yaml: the path of its kiff.yaml, from the folder the files are for.
    """
    sources = {
        "domain.py": domain_module(domain),
        "actions.py": actions_module(domain),
        "policy.py": policy_module(domain),
        "test_domain.py": tests_module(domain, yaml),
    }
    return {name: _excused(source) for name, source in sources.items()}


def _excused(source: str) -> str:
    """A name may be longer than a line: then the linter is told."""
    return _LONG_LINES + source if any(width(line) > WIDTH for line in source.split("\n")) else source
