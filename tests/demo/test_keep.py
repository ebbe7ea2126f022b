"""``receiver demo --keep``: a newcomer's first look at the console."""

import httpx

from tests.console.shots import demo


def test_the_demo_leaves_a_console_that_is_signed_in_once() -> None:
    """Its address signs one browser in and no other; what needs a person, and jobs with their stories, are there."""
    with demo() as address, httpx.Client(trust_env=False, follow_redirects=True, timeout=30) as http:
        overview = http.get(address)
        assert overview.status_code == 200
        assert "Needs you" in overview.text
        assert "perplexity-webhook" in http.get(f"{address.partition('/enter/')[0]}/jobs").text
        with httpx.Client(trust_env=False, timeout=60) as other:
            assert other.get(address).status_code == 403
