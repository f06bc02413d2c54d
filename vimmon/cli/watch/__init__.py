"""`vimmon vim list --watch`: the VIMs as they change, on a terminal as a table that lives, elsewhere as lines."""
