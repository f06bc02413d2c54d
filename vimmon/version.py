"""The version of this vimmon, for everybody who has to say it."""

VERSION = "0.1.0"
