"""Bytes that are nearly what a parser knows: a seed in which pieces were changed, moved, repeated or left out."""

from collections.abc import Sequence

from hypothesis import strategies as st

PIECES = (
    *(b"", b"0", b"-1", b"1e400", b"9" * 20, b"9" * 5000, b"nan", b"null", b"[]", b"{}", b'""', b"true", b"\\ud800"),
    *(b"\0", b"\n", b"\xff", "é".encode(), "\u2028".encode(), b"%00", b"%", b"@", b":", b"/", b"?", b"#", b"[", b"]"),
    *(b"=", b",", b"&", b'"', b"\\", b" ", b"!", b"s3cr3tpassw0rd", b"[" * 2000, b'{"a":' * 2000),
)


@st.composite
def near(draw: st.DrawFn, seeds: Sequence[bytes]) -> bytes:
    """A few changes of one of the seeds."""
    data = draw(st.sampled_from(seeds))
    for _ in range(draw(st.integers(1, 4))):
        begin = draw(st.integers(0, len(data)))
        end = min(len(data), begin + draw(st.integers(0, 12)))
        piece = draw(st.one_of(st.sampled_from(PIECES), st.binary(max_size=4), st.just(data[begin:end] * 2)))
        data = data[:begin] + piece + data[end:]
    return data
