"""What runs only on a real GPU, or only there says something.

Without one every test here is skipped, with the reason. `HOSER_TEST_DEVICE=cpu` rehearses on the
CPU what needs no GPU's own means, so that a test does not fail on its first GPU for a slip in it.
"""
