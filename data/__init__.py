"""Roads and trips as arrays: reading them, checking them, caching them, making a demo of them."""
