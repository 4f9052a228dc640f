"""Which action of the domain a tool is. A tool that no binding names is never asked about: it is `unmapped`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from kiff_guard.errors import AmbiguousTool, ArgumentsRefused, ConfigurationError

_GLOB = frozenset("*?[")
_FIELDS = ("action", "entity_type", "entity_arg", "entity_id", "parameters", "aliases")


class ToolBinding(NamedTuple):
    """One tool as KIFF knows it.

    Args:
        action: the name of the action in the domain.
        entity_type: what it is done to, such as `Order`.
        entity_arg: the argument that names the entity; `order.id` is the `id` in the argument `order`.
        entity_id: the entity itself, for tools whose arguments name none.
        parameters: (argument, parameter) of each argument that KIFF is told; None: all of them, by their names.
    """

    action: str
    entity_type: str
    entity_arg: str = ""
    entity_id: str = ""
    parameters: tuple[tuple[str, str], ...] | None = None


class ToolMap:
    """Tools and their bindings.

        ToolMap().bind("refund", "REFUND_ORDER", "Order", "order_id", aliases=["mcp__*__refund"])

    A name is looked up as it is written first, then among aliases, then among patterns (`*`, `?`, `[…]`).
    """

    def __init__(self, bindings: Mapping[str, ToolBinding] | None = None) -> None:
        self._names: dict[str, ToolBinding] = {}
        self._aliases: dict[str, ToolBinding] = {}
        self._globs: dict[str, ToolBinding] = {}
        for tool, binding in (bindings or {}).items():
            if not isinstance(binding, tuple):  # of a dict, the keys would be the binding
                raise ConfigurationError(
                    f"the binding of `{tool}` must be a ToolBinding, and is {type(binding).__name__}; "
                    f"from names it is ToolMap().bind({tool!r}, …)"
                )
            self._put(tool, ToolBinding(*binding))

    def __repr__(self) -> str:
        return f"<ToolMap of {', '.join([*self._names, *self._aliases, *self._globs]) or 'nothing'}>"

    @classmethod
    def from_settings(cls, told: Mapping[str, Any], where: str) -> ToolMap:
        """The map that a settings file tells: each tool and an object of what `bind` takes, by the same names.

        Args:
            where: the file, for errors.

        Raises:
            ConfigurationError: names the tool, the file, and what is wrong with the binding.
        """
        tools = cls()
        for tool, binding in told.items():
            if not isinstance(binding, Mapping) or not binding.keys() <= set(_FIELDS):
                raise ConfigurationError(
                    f"the binding of `{tool}` in {where} is an object of {', '.join(_FIELDS)} and no others"
                )
            named = {"action": "", "entity_type": "", **binding}
            try:
                tools.bind(tool, **named)
            except ConfigurationError as error:
                raise ConfigurationError(f"{error} (in {where})") from None
        return tools

    def bind(
        self,
        tool: str,
        action: str,
        entity_type: str,
        entity_arg: str = "",
        *,
        aliases: Sequence[str] = (),
        entity_id: str = "",
        parameters: Sequence[str] | Mapping[str, str] | None = None,
    ) -> ToolMap:
        """Says which action a tool is, and gives the map itself.

        Args:
            tool: its name, or a pattern of names. Bound again, the later binding takes the place of the earlier one.
            aliases: other names or patterns of the same tool, as another framework or a server's prefix makes them.
            entity_id: instead of `entity_arg`, the one entity that every call of the tool is about.
            parameters: the arguments that KIFF is told, or {argument: parameter}; all of them, if not given.

        Raises:
            ConfigurationError: a name is empty, or an alias is bound to something else already.
        """
        told = None if parameters is None else _pairs(tool, parameters)
        binding = ToolBinding(action, entity_type, entity_arg, entity_id, told)
        self._put(tool, binding)
        if isinstance(aliases, str):
            raise ConfigurationError(f"`aliases` of `{tool}` is a list of names, such as [{aliases!r}]")
        for alias in aliases:
            self._add(alias, binding)
        return self

    def get(self, tool: str) -> ToolBinding | None:
        """The binding of a tool; None if it has none.

        Raises:
            AmbiguousTool: only patterns fit, and they are bound differently.
        """
        found = self._names.get(tool) or self._aliases.get(tool)
        return found or self._by_pattern(tool)

    def _put(self, tool: str, binding: ToolBinding) -> None:
        named = {"tool": tool, "action": binding.action, "entity_type": binding.entity_type}
        named |= {"entity_id": binding.entity_id} if binding.entity_id else {"entity_arg": binding.entity_arg}
        for field, value in named.items():
            if not isinstance(value, str) or not all(value.split(".") if field == "entity_arg" else [value]):
                raise ConfigurationError(f"`{field}` of the binding of `{tool}` must be a name, and is {value!r}")
        if binding.entity_id and binding.entity_arg:
            raise ConfigurationError(f"`{tool}` has both `entity_arg` and `entity_id`: only one names its entity")
        (self._globs if _is_glob(tool) else self._names)[tool] = binding

    def _add(self, alias: str, binding: ToolBinding) -> None:
        names = self._globs if _is_glob(alias) else self._aliases
        if not alias or names.get(alias, binding) != binding:
            raise ConfigurationError(f"the alias `{alias}` of `{binding.action}` is empty, or bound to another action")
        names[alias] = binding

    def _by_pattern(self, tool: str) -> ToolBinding | None:
        if not self._globs:
            return None
        from fnmatch import fnmatchcase

        fitting = {pattern: each for pattern, each in self._globs.items() if fnmatchcase(tool, pattern)}
        if len(set(fitting.values())) > 1:
            named = " and ".join(f"`{pattern}` ({each.action})" for pattern, each in sorted(fitting.items()))
            raise AmbiguousTool(f"`{tool[:128]}` fits {named}: bind it by its full name")
        return next(iter(fitting.values()), None)


def split(tool: str, binding: ToolBinding, args: Any) -> tuple[str, dict[str, Any]]:
    """The entity that a call is about, and its parameters. The caller's own arguments stay as they are.

    Raises:
        ArgumentsRefused: the arguments are no object, or do not name the entity by a text or a whole number.
    """
    if not isinstance(args, dict):
        raise ArgumentsRefused(f"the arguments of `{tool}` are no object, they are {type(args).__name__}")
    if binding.entity_id:
        return binding.entity_id, _chosen(args, binding)
    path = binding.entity_arg.split(".")
    if binding.entity_arg in args and len(path) > 1:
        if path[0] in args:  # the decision would be about one of them, and the tool might take the other
            raise ArgumentsRefused(f"`{tool}` was called with both `{path[0]}` and `{binding.entity_arg}`")
        path = [binding.entity_arg]
    found, rest = _taken(args, path)
    if found is None or found == "":
        raise ArgumentsRefused(f"`{tool}` was called without `{binding.entity_arg}`, which names its entity")
    if isinstance(found, bool) or not isinstance(found, (str, int)):
        kind = type(found).__name__
        raise ArgumentsRefused(f"`{binding.entity_arg}` of `{tool}` must be a text or a whole number, and is {kind}")
    return str(found), _chosen(rest, binding)


def _chosen(args: dict[str, Any], binding: ToolBinding) -> dict[str, Any]:
    if binding.parameters is None:
        return args
    return {name: args[argument] for argument, name in binding.parameters if argument in args}


def _taken(args: dict[str, Any], path: list[str]) -> tuple[Any, dict[str, Any]]:
    """What stands at the end of the path, and a copy of the arguments without it."""
    name, below = path[0], path[1:]
    if name not in args:
        return None, args
    if not below:
        return args[name], {each: value for each, value in args.items() if each != name}
    if not isinstance(args[name], dict):
        return None, args
    found, rest = _taken(args[name], below)
    return found, {**args, name: rest}


def _pairs(tool: str, parameters: Sequence[str] | Mapping[str, str]) -> tuple[tuple[str, str], ...]:
    if isinstance(parameters, str):
        raise ConfigurationError(f"`parameters` of `{tool}` is a list of arguments, such as [{parameters!r}]")
    pairs = parameters.items() if isinstance(parameters, Mapping) else zip(parameters, parameters, strict=True)
    told = tuple(pairs)
    if len({name for _, name in told}) != len(told):
        raise ConfigurationError(f"`parameters` of `{tool}` makes two arguments one parameter")
    return told


def _is_glob(name: str) -> bool:
    return not _GLOB.isdisjoint(name)
