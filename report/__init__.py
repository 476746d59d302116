"""What people look at: result files, tables, pictures, GeoJSON and the HTML report.

Nothing is measured here; everything comes from `metrics` and from files of finished runs.
"""
