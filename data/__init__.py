"""Roads and trips as arrays: reading them, checking them, caching them, making a demo of them."""

import runtime  # noqa: F401  # Ctrl-C ends what is still being imported in one line
