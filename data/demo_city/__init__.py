"""A generator of small realistic cities in HOSER's public format, deterministic by seed.

`make_demo_city(folder, num_roads, num_trips, seed)` or `python -m data.demo_city --out FOLDER`.
"""

from data.demo_city.build import make_demo_city
from data.demo_city.settings import (
    MANIFEST_NAME,
    UNFINISHED_NAME,
    DemoCitySettings,
    demo_city_is_current,
)

__all__ = [
    "MANIFEST_NAME",
    "UNFINISHED_NAME",
    "DemoCitySettings",
    "demo_city_is_current",
    "make_demo_city",
]
