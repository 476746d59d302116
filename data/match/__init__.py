"""Map matching: GPS points to trips on a road network, in HOSER's format.

`python -m data.match --gps POINTS --data_dir FOLDER`; what the roads are made from is `data.osm`.
"""
