"""`vimmon doctor`: looks at each part and what it must be like, and says what to do about what is not."""
