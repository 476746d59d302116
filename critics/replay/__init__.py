"""Trips that nobody drove yet: the teacher or the student drives, the teacher's answers are kept.

From which roads to which (`requests`), who scores the next roads (`policies`), the drive itself
(`driving`), what is kept of it (`trips`, on disk `store`), and all of it in one call (`making`).
"""
