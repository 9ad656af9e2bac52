"""Runs: a notebook and its parameters become a folder that says what was asked, read and found.

`parameters` is the one door through which values enter a notebook, `context` is what a notebook calls (`begin`),
`execute` turns a notebook into a run folder, `records` reads run folders.
"""
