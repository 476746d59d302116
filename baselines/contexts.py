"""What a walk tells destinations apart by: their direction, and whether they are near."""

DIRECTIONS = 8
NEAR_M = 1000.0
CONTEXTS = 2 * DIRECTIONS
