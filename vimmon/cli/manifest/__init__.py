"""`vimmon vim register -f FILE`: the VIMs that a file names, checked all together before the first is written."""
