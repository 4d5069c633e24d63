import pytest

from vl_pipeline.data.download.report import kind_of_error


@pytest.mark.parametrize(
    ("message", "kind"),
    [
        ("HTTP Error 404: Not Found", "http_404"),
        ("<urlopen error [Errno -2] Name or service not known>", "unknown_host"),
        ("<urlopen error [Errno 111] Connection refused>", "connection"),
        ("<urlopen error timed out>", "timed_out"),
        ("<urlopen error [SSL: CERTIFICATE_VERIFY_FAILED] certificate verify failed>", "tls"),
        ("IncompleteRead(100 bytes read, 900 more expected)", "incomplete"),
        ("Use of image disallowed by X-Robots-Tag directive", "disallowed"),
        ("Image decoding error", "not_an_image"),
        ("'ascii' codec can't encode character", "bad_url"),
        ("CV_IO_MAX_IMAGE_PIXELS", "too_many_pixels"),
        ("private address 10.0.0.1: see download.requests", "private_address"),
        ("something new", "other"),
        (None, "other"),
    ],
)
def test_messages_about_single_hosts_and_sizes_become_kinds_one_can_count(message, kind):
    assert kind == kind_of_error(message)
