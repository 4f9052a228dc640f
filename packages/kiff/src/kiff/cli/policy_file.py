"""The policy document a command reads."""

from __future__ import annotations

from pathlib import Path

from kiff.domain import Policy, load_policy
from kiff.errors import InvalidInput


def policy_text(file: Path) -> bytes:
    """The bytes of a policy document; of the policy.yaml in it when a folder is given.

    Raises:
        InvalidInput: there is none, or it cannot be read.
    """
    file = file / "policy.yaml" if file.is_dir() else file
    try:
        return file.read_bytes()
    except FileNotFoundError as error:
        raise InvalidInput(f"there is no file at `{file}`", field="FILE", hint="give the path of a policy") from error
    except OSError as error:
        raise InvalidInput(f"`{file}` cannot be read: {error.strerror}", field="FILE") from error


def read_policy(file: Path) -> Policy:
    """The policy of a file.

    Raises:
        InvalidInput: it cannot be read. InvalidPolicy: it cannot be loaded.
    """
    return load_policy(policy_text(file), str(file))
