"""What tests of the page share."""

from tests.web.chromium import browser

__all__ = ["browser"]
