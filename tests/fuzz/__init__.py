"""Fuzz targets: for everything that is parsed, a function that takes any bytes and fails only where the parser errs."""
