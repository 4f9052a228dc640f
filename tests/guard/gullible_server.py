"""The MCP server that every trick works on: whatever any reader could take for a tool call, it runs, and writes down.

`python gullible_server.py EFFECTS`: one line of JSON per tool it ran goes to the file EFFECTS.
"""

from __future__ import annotations

import io
import json
import os
import sys
import time


def first(pairs):
    return dict(reversed(pairs))


def folded(pairs):
    return {name.casefold(): value for name, value in pairs}


def readings(line):
    for pairs in (dict, first, folded):
        try:
            message = json.loads(line, object_pairs_hook=pairs)
        except (ValueError, RecursionError):
            continue
        yield from message if isinstance(message, list) else [message]


def calls(line):
    """The tool calls that some reader finds in a line."""
    seen = []
    for message in readings(line):
        while isinstance(message, list) and message:
            message = message[0]
        if not isinstance(message, dict) or "tools/call" not in str(message.get("method")).casefold():
            continue
        params = message.get("params")
        if isinstance(params, dict) and all(_what(message) != _what(each) for each in seen):
            seen.append(message)
    return seen


def _what(message):
    return message.get("id"), message["params"].get("name"), message["params"].get("arguments")


def run(message, effects):
    params = message["params"]
    tool, arguments = params.get("name"), params.get("arguments") or {}
    with open(effects, "a", encoding="utf-8") as file:
        print(json.dumps({"tool": tool, "arguments": arguments}), file=file)
    if tool == "slow":
        time.sleep(arguments.get("seconds", 1))
    if tool == "die":
        os._exit(arguments.get("code", 3))
    if tool == "boom":
        return {"content": [{"type": "text", "text": "the card network is down"}], "isError": True}
    return {"content": [{"type": "text", "text": f"did {tool}"}], "isError": False}


def answer(message, effects):
    if "tools/call" in str(message.get("method")).casefold() or message.get("Method"):
        return run(message, effects)
    if message.get("method") == "environment":
        return {"names": sorted(os.environ)}
    return {"echo": message.get("method")}


def main(effects):
    out = sys.stdout
    for line in io.TextIOWrapper(sys.stdin.buffer, encoding="utf-8", errors="replace"):
        found = calls(line)
        for message in found:
            result = run(message, effects)
            if "id" in message:
                print(json.dumps({"jsonrpc": "2.0", "id": message["id"], "result": result}), file=out, flush=True)
        if found or not line.strip():
            continue
        for message in list(readings(line))[:1]:
            if isinstance(message, dict) and "method" in message and "id" in message:
                told = {"jsonrpc": "2.0", "id": message["id"], "result": answer(message, effects)}
                print(json.dumps(told), file=out, flush=True)


if __name__ == "__main__":
    main(sys.argv[1])
