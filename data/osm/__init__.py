"""From a street map to a dataset's `roadmap.geo` and `roadmap.rel`: OpenStreetMap and others.

A source (`pbf`, `lines`, `graphml`) gives ways: polylines whose vertices are numbered nodes, each
with a kind. `region` and `cutting` make street segments of them, `roads` directed roads, `turns`
says which road follows which, `connection` keeps what is mutually reachable, `writing` writes.
`python -m data.osm` does all of it; `python -m data.osm.export` goes the other way.
"""
