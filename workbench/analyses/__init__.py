"""Formulas over cubes: one question a module, each function from a cube or a frame to a frame.

`parts` names the windows and segments of a cube, `pattern` is the one rule for "out of the ordinary"; `quality`,
`drift` and `performance` build on these two and never on each other.
"""
