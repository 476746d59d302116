"""The study of a real city that `bench.real_city` runs: what is asked, the steps, the tables.

`settings` and `study` say what there is to do, `steps` does what is not done yet; `teaching`,
`plain_training`, `driving`, `uses` and `questions` are the steps' work; `summary` and `page` say
what came out.
"""
