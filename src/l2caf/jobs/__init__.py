"""What a user runs: pictures, films, scans or whole data sets in; folders of results out."""
