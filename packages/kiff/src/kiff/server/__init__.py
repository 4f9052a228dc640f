"""The HTTP server: the wire of PROTOCOL.md over a runtime. It decides nothing; the gate is the kernel's."""
