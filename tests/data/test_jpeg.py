import pytest

import hostile
from hostile import encoded, jpeg_with, noise, segment
from linnaeus.data.decode import decode
from linnaeus.data.jpeg import application_segments, has_more_scans
from linnaeus.errors import DecodeError

PLAIN = encoded(noise(), "JPEG")
PROGRESSIVE = encoded(noise(), "JPEG", progressive=True)
SCAN = b"\xff\xda"


def test_application_segments_are_told_by_their_first_letters() -> None:
    assert application_segments(PLAIN) == {b"JFIF"}
    content = jpeg_with(segment(0xE1, b"Exif\0\0") + segment(0xFE, b"Note") + segment(0xE2, b"ICC_PROFILE\0"))(1)
    assert application_segments(content) == {b"JFIF", b"Exif", b"ICC_"}


def test_markers_may_be_filled_up() -> None:
    assert b"Exif" in application_segments(jpeg_with(b"\xff" * 9 + segment(0xE1, b"Exif\0\0"))(1))


@pytest.mark.parametrize("content", [PLAIN[:length] for length in range(0, 40)], ids=len)
def test_a_file_that_is_cut_has_the_segments_that_are_left(content: bytes) -> None:
    assert application_segments(content) <= {b"JFIF"}
    assert not has_more_scans(content, 1)


def test_the_scans_of_a_progressive_image_are_counted() -> None:
    scans = PROGRESSIVE.count(SCAN)
    assert scans > 1
    assert has_more_scans(PROGRESSIVE, scans - 1)
    assert not has_more_scans(PROGRESSIVE, scans)
    assert has_more_scans(hostile.many_scans(1), 200)


def test_what_only_looks_like_scans_is_not_counted() -> None:
    scans = PROGRESSIVE.count(SCAN)
    in_a_comment = PROGRESSIVE[:2] + segment(0xFE, SCAN * 500) + PROGRESSIVE[2:]
    assert not has_more_scans(in_a_comment, scans)
    assert not has_more_scans(PROGRESSIVE + SCAN * 500, scans)


def test_further_scans_of_an_image_that_is_whole_in_one_need_no_count_since_the_decoder_refuses_them() -> None:
    again = PLAIN[:-2] + PLAIN[PLAIN.index(SCAN) : -2] * 200 + PLAIN[-2:]
    assert not has_more_scans(again, 100)
    with pytest.raises(DecodeError):
        decode(again)
