"""In a shop server's place: `shop_door.py SOCKET EFFECTS stdio | http PORT` has a nursery fork it, and ends with it."""

from __future__ import annotations

import json
import socket
import sys

with socket.socket(socket.AF_UNIX) as nursery:
    nursery.connect(sys.argv[1])
    socket.send_fds(nursery, [json.dumps(sys.argv[2:]).encode()], [0, 1, 2])
    nursery.recv(1)
