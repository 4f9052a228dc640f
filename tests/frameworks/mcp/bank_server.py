"""The bank as an MCP server of somebody else, who knows nothing of KIFF: `bank_server.py FILE stdio | http PORT`.

The third argument may name a trouble: `lost` moves the money and says nothing, as when a line breaks.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from mcp.server.mcpserver import MCPServer
from stories.outside import Bank

FILE, HOW, *MORE = sys.argv[1:]
server = MCPServer("bank", log_level="CRITICAL")


def lost(invoice_id: str, amount: float) -> str:
    """Pay a supplier's invoice."""
    Bank(Path(FILE)).pays(invoice_id, amount)
    os._exit(9)


for name, tool in Bank(Path(FILE)).tools().items():
    server.add_tool(lost if "lost" in MORE and name == "pay_invoice" else tool, name)

if __name__ == "__main__":
    if HOW == "stdio":
        server.run("stdio")
    else:
        server.run("streamable-http", host="127.0.0.1", port=int(MORE[0]))
