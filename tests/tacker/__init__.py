"""vimmon beside a real Tacker server: the parts, and a tour that checks what it shows."""
