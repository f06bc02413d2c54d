"""When a certificate expires, read from its DER form: of one that was not verified, `ssl` gives no more than that."""

from datetime import UTC, datetime
from functools import lru_cache

CONTEXT_0, UTC_TIME = 0xA0, 0x17


@lru_cache(maxsize=4096)
def expires_at(certificate: bytes) -> datetime | None:
    """Its notAfter (RFC 5280, 4.1). None: it is not a certificate. Parsed once, however often it is seen."""
    try:
        _, signed, _ = _element(certificate, 0)
        _, start, _ = _element(certificate, signed)
        kind, _, end = _element(certificate, start)
        if kind == CONTEXT_0:  # the version, which a certificate of version 1 lacks
            start = end
        for _ in ("serial number", "signature algorithm", "issuer"):
            _, _, start = _element(certificate, start)
        _, not_before, _ = _element(certificate, start)
        _, _, not_after = _element(certificate, not_before)
        kind, begin, end = _element(certificate, not_after)
        text = certificate[begin:end].decode("ascii")
        if kind == UTC_TIME:  # two digits of the year: 50 is 1950
            text = ("19" if text >= "5" else "20") + text
        return datetime.strptime(text, "%Y%m%d%H%M%SZ").replace(tzinfo=UTC)
    except (IndexError, ValueError):
        return None


def _element(der: bytes, at: int) -> tuple[int, int, int]:
    """The tag of the element at `at`, where its content begins, and where that ends."""
    tag, length, begin = der[at], der[at + 1], at + 2
    if length & 0x80:
        count = length & 0x7F
        length = int.from_bytes(der[begin : begin + count])
        begin += count
    if begin + length > len(der):
        raise ValueError("it is cut short")
    return tag, begin, begin + length
