import pytest

from workers.segments import encoding_of, segments_of


@pytest.mark.parametrize(
    ("text", "encoding"),
    [
        ("", "gsm7"),
        ("Hello @ £5, 10 % é Ñ ß Ω", "gsm7"),
        ("[€] {a|b} ~ ^ \\", "gsm7"),
        ("line\r\nbreak", "gsm7"),
        ("ç", "ucs2"),  # the table has only its capital
        ("`", "ucs2"),
        ("tab\t", "ucs2"),
        ("’", "ucs2"),
        ("你好", "ucs2"),
        ("👍", "ucs2"),
    ],
)
def test_the_alphabet_is_the_smallest_that_has_every_character(text: str, encoding: str) -> None:
    assert encoding_of(text) == encoding


@pytest.mark.parametrize(
    ("text", "segments"),
    [
        ("", 1),
        ("a" * 160, 1),
        ("a" * 161, 2),
        ("a" * 306, 2),
        ("a" * 307, 3),
        ("€" * 80, 1),
        ("€" * 81, 2),
        ("a" * 152 + "€" + "a" * 151, 2),  # the euro does not fit behind 152: 152, then 153
        ("a" * 152 + "€" + "a" * 152, 3),
        ("я" * 70, 1),
        ("я" * 71, 2),
        ("я" * 134, 2),
        ("я" * 135, 3),
        ("👍" * 35, 1),
        ("👍" * 36, 2),
        ("👍" * 66, 2),  # 33 pairs in each part, one unit stays empty
        ("👍" * 67, 3),
    ],
)
def test_a_text_takes_as_many_messages_as_its_characters_fill(text: str, segments: int) -> None:
    assert segments_of(text, encoding_of(text)) == segments


def test_what_the_provider_says_counts() -> None:
    assert segments_of("a" * 100, "ucs2") == 2
    assert segments_of("ğ" * 160, "gsm7") == 1
    assert segments_of("00ff", "binary") is None
