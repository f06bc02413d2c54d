"""The whole protocol as a model: every part a step machine, no I/O, a virtual clock; the decisions are the real ones."""
