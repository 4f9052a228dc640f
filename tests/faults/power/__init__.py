"""Simulated power loss and failing disks, for a SQLite store.

shim.c      preloaded: writes down what a program does to its files, and lets a call fail
preload.py  builds it, and runs programs under it
shop.py     what they run
work.py     the program: a runtime at work, that says in the trace what it was answered and what it did
trace.py    the trace, read
disk.py     what a disk may hold after the power went, at any point of a trace
life.py     one run of the program, kept in a folder, and the disks drawn from it
survival.py what must hold of such a disk
replay.py   the seed of a run
"""
