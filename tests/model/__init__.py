"""The whole protocol as a model: step machines, no I/O, a virtual clock; the decisions are the real ones."""
